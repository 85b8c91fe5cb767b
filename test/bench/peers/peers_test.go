package peers

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReaders reads what the tools of Debian 12 have really printed: of 20 datagrams each
// to three ports, one of them filtered where it says so, 20 questions and 10 requests. Of
// pwru and retis there are lines in the form that their documentation has.
func TestReaders(t *testing.T) {
	names := map[uint64]string{2: "NOT_SPECIFIED", 3: "NO_SOCKET", 12: "NETFILTER_DROP"}
	flows := Told{"10.77.0.2:9": {20, 920}, "10.77.0.2:10": {20, 920}, "10.77.0.2:11": {20, 920}, "10.77.0.2:53": {20, 1220}}
	paths := Told{"/p/0": {Events: 3}, "/p/1": {Events: 3}, "/p/2": {Events: 2}, "/p/3": {Events: 2}}
	asked := Told{"q0.example.test": {Events: 7}, "q1.example.test": {Events: 7}, "q2.example.test": {Events: 6}}
	both := Told{"NO_SOCKET": {Events: 1}, "NETFILTER_DROP": {Events: 1}}
	for file, c := range map[string]struct {
		read func(io.Reader) (Told, error)
		want Told // of what the file has, as far as it was played
	}{
		"netfate.drops":  {readDrops, Told{"NO_SOCKET": {Events: 40}, "NETFILTER_DROP": {Events: 20}}},
		"netfate.flows":  {readFlows, flows},
		"netfate.urls":   {readPaths, Told{"/p/{id}": {Events: 10}}},
		"netfate.names":  {readNames, asked},
		"bpftrace.drops": {func(r io.Reader) (Told, error) { return readReasonNumbers(r, names) }, Told{"NO_SOCKET": {Events: 40}, "NETFILTER_DROP": {Events: 20}}},
		"bpftrace.flows": {readFlowMaps, flows},
		"perf.drops":     {readReasons, Told{"NO_SOCKET": {Events: 1}, "NETFILTER_DROP": {Events: 3}}},
		"perf.processes": {readLengths, Told{"16345": {Bytes: 172}, "13992": {Bytes: 118}}},
		"tcpdump.urls":   {readRequests, Told{"/p/0": {Events: 2}, "/p/1": {Events: 1}}},
		"tcpdump.names":  {readQuestions, Told{"q0.example.test": {Events: 4}, "q1.example.test": {Events: 4}, "q2.example.test": {Events: 4}}},
		"ngrep.urls":     {readRequests, Told{"/p/0": {Events: 1}, "/p/1": {Events: 1}, "/p/2": {Events: 1}}},
		"httpry.urls":    {readFields, paths},
		"tshark.urls":    {readFields, paths},
		"tshark.names":   {readFields, asked},
		"pmacct.csv":     {readPmacct, flows},
		"pwru.drops":     {func(r io.Reader) (Told, error) { return readLast(r, pwruReason) }, both},
		"retis.drops":    {func(r io.Reader) (Told, error) { return readLast(r, retisReason) }, both},
	} {
		got := mustRead(t, file, c.read)
		for key, want := range c.want {
			if got[key] != want {
				t.Errorf("%s: %s: got %+v, want %+v", file, key, got[key], want)
			}
		}
	}
}

// TestReadersOfAll reads what is compared whole. The bytes of processes are those that
// each tool counts: payload, or packets with their headers.
func TestReadersOfAll(t *testing.T) {
	for file, c := range map[string]struct {
		read func(io.Reader) (Told, error)
		want Told
	}{
		"netfate.flows":      {readOwners, Told{"0": {Bytes: 4612}, "13992": {Bytes: 6166}, "17099": {Bytes: 9634}}},
		"bpftrace.processes": {readPIDMap, Told{"27055": {Bytes: 2490}, "27300": {Bytes: 2590}}},
		"nethogs.processes":  {readHogs, Told{"0": {Bytes: 6920}, "15865": {Bytes: 2648}}},
		"softflowd.netflow5": {readNetFlow, Told{"127.0.0.1:9000": {9770, 449420}, "127.0.0.1:9001": {9769, 449374}, "127.0.0.1:9002": {9769, 449374}}},
		"tshark.flows": {readConversations, Told{
			"10.77.0.1:38204": {Events: 20}, "10.77.0.2:9": {Events: 20}, "10.77.0.2:10": {Events: 20}, "10.77.0.2:11": {Events: 20}, "10.77.0.2:53": {Events: 20},
		}},
	} {
		if diff := cmp.Diff(c.want, mustRead(t, file, c.read)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func mustRead(t *testing.T, file string, read func(io.Reader) (Told, error)) Told {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := read(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return got
}

// TestReadersRefuse sees that what is no output of a tool's is not taken for none.
func TestReadersRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		read func(io.Reader) (Told, error)
		text string
	}{
		"NetFlow of another version": {readNetFlow, "\x00\x09" + strings.Repeat("\x00", netFlowHeader)},
		"NetFlow that is cut":        {readNetFlow, "\x00\x05\x00\x01" + strings.Repeat("\x00", netFlowHeader)},
		"CSV of other columns":       {readPmacct, "A,B\n1,2\n"},
		"CSV without columns":        {readPmacct, ""},
		"numbers that are none":      {readPmacct, "DST_IP,DST_PORT,PACKETS,BYTES\n10.0.0.1,1,x,1\n"},
		"rows that are cut":          {readNames, `{"qname":"a","que`},
		"an address that is none":    {readFlowMaps, "@bytes[10.77.0.1, 2734, here, 2304]: 920\n"},
		"too few keys":               {readFlowMaps, "@bytes[1, 2]: 920\n"},
		"sums that are none":         {readHogs, "python3/12/0\tmuch\t0\n"},
	} {
		if got, err := c.read(strings.NewReader(c.text)); err == nil {
			t.Errorf("%s: got %v and no error", name, got)
		}
	}
}

// TestEveryJobIsAnswered holds every tool to an answer for every job: how, or why not.
func TestEveryJobIsAnswered(t *testing.T) {
	for _, tool := range All("netfate") {
		for _, job := range Jobs() {
			r, does := tool.Does[job]
			if does == (tool.Cannot[job] != "") {
				t.Errorf("%s: %s: is done: %v, and why not: %q; want one of both", tool.Name, job, does, tool.Cannot[job])
			}
			if does && (len(r.Args) == 0 || r.Why == "" || r.Ready == nil || r.Read == nil) {
				t.Errorf("%s: %s: got an incomplete recipe %+v", tool.Name, job, r)
			}
		}
		if (tool.Package == "") == (tool.Env == "") {
			t.Errorf("%s: comes from package %q and from variable %q, want one of both", tool.Name, tool.Package, tool.Env)
		}
	}
}

func TestFind(t *testing.T) {
	tool := Tool{Name: "no-such-tool", Package: "no-such-package"}
	if _, err := tool.Find(); err == nil || !strings.Contains(err.Error(), "no-such-package") {
		t.Errorf("a tool that is not installed: got %v, want its package", err)
	}
	tool = Tool{Name: "mine", Env: "NETFATE_TEST_TOOL"}
	if _, err := tool.Find(); err == nil || !strings.Contains(err.Error(), "NETFATE_TEST_TOOL") {
		t.Errorf("a tool without a path: got %v, want its variable", err)
	}
	t.Setenv("NETFATE_TEST_TOOL", "testdata")
	if path, err := tool.Find(); path != "testdata" || err != nil {
		t.Errorf("a tool by its path: got %q, %v", path, err)
	}
	t.Setenv("NETFATE_TEST_TOOL", "nowhere")
	if _, err := tool.Find(); err == nil {
		t.Error("a path that leads nowhere: got no error")
	}
}

// TestKprobes sees that a tool that needs what this kernel may lack is told to.
func TestKprobes(t *testing.T) {
	t.Setenv("NETFATE_TEST_TOOL", "testdata")
	_, err := Tool{Name: "mine", Env: "NETFATE_TEST_TOOL", Kprobes: true}.Find()
	_, missing := os.Stat(kprobes)
	if (err != nil) != (missing != nil) {
		t.Errorf("got %v where the kernel's kprobes are: %v", err, missing)
	}
}

func TestBound(t *testing.T) {
	const head = "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n"
	for text, want := range map[string]bool{
		head: false,
		head + "0000000018ce270b 3      3    0003   2     1 0      0      2879737\n": true,
		head + "0000000018ce270b 3      3    0003   0     1 0      0      2879737\n": false,
		head + "0000000018ce270b 3      3    0000   2     0 0      0      2879737\n": false,
	} {
		if got := bound(text); got != want {
			t.Errorf("bound(%q): got %v, want %v", text, got, want)
		}
	}
}
