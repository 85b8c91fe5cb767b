package doctor

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/kernel"
)

var update = flag.Bool("update", false, "rewrite the expected texts")

// golden compares got with testdata/name.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: got + want -; -update rewrites it\n%s", path, diff)
	}
}

func sampleFacts() kernel.Facts {
	return kernel.Facts{
		Release: "6.12.1-amd64", Machine: "x86_64", OnlineCPUs: 4, PossibleCPUs: 8, PageSize: 4096, HZ: 250,
		Mounts:                  kernel.Mounts{Cgroup2: "/sys/fs/cgroup", BPFFS: "/sys/fs/bpf", SecurityFS: "/sys/kernel/security"},
		Lockdown:                "integrity",
		LSMs:                    []string{"lockdown", "capability", "yama", "apparmor"},
		Process:                 kernel.Process{Capabilities: []string{"CAP_BPF", "CAP_PERFMON"}, Missing: []string{"CAP_SYS_RESOURCE"}, Seccomp: "none", MemlockLimit: 8 << 20},
		UnprivilegedBPFDisabled: "2", KptrRestrict: "0", BPFJITEnable: "0", PerfEventParanoid: "3",
		Config: map[string]string{"CONFIG_HZ": "250"}, ConfigFrom: "/boot/config-6.12.1-amd64",
	}
}

func sampleCaps() []kernel.Capability {
	return []kernel.Capability{
		{Name: "bpf", Title: "bpf system call", OK: true, Costs: "everything"},
		{Name: "btf", Title: "types of the kernel (BTF)", OK: true, Costs: "everything"},
		{Name: "tp_btf", Title: "tracepoints with types", OK: true, Costs: "owners"},
		{Name: "raw_tp", Title: "raw tracepoints", OK: true, Costs: "drops"},
		{Name: "module_btf", Title: "types of modules", OK: true, Why: "no module is loaded", Costs: "names"},
		{Name: "kprobe", Title: "probes in kernel functions", Why: "this kernel was built without CONFIG_KPROBES",
			Costs: `run: user objects with SEC("kprobe"); the sensors use tracepoints`, Remedy: "take a kernel built with it"},
		{Name: "fentry", Title: "entry of kernel functions", Why: "this kernel refuses it even to root, though other BPF works: its vendor left it out or forbids it",
			Costs: `run: user objects with SEC("fentry")`, Remedy: "take another kernel"},
		{Name: "fexit", Title: "exit of kernel functions", Why: "this kernel refuses it even to root, though other BPF works: its vendor left it out or forbids it",
			Costs: `run: user objects with SEC("fexit")`, Remedy: "take another kernel"},
	}
}

func TestWriteReport(t *testing.T) {
	for name, style := range map[string]Style{
		"wide.txt":   {},
		"narrow.txt": {Width: 60},
		"ascii.txt":  {Width: 80, ASCII: true},
		"color.txt":  {Width: 100, Color: true},
	} {
		var b bytes.Buffer
		if err := WriteReport(&b, sampleFacts(), sampleCaps(), style); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", name), b.Bytes())
		for line := range strings.Lines(b.String()) {
			if style.ASCII && strings.IndexFunc(line, func(r rune) bool { return r > 127 }) >= 0 {
				t.Errorf("%s: got %q, want ASCII", name, line)
			}
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); style.Width > 0 && !style.Color && n > style.Width {
				t.Errorf("%s: got a line of %d columns: %q", name, n, line)
			}
		}
	}
}

// A report on nothing known, as from a process that may not even read /proc.
func TestWriteReportUnknown(t *testing.T) {
	var b bytes.Buffer
	if err := WriteReport(&b, kernel.Facts{}, kernel.Capabilities(), Style{Width: 1, ASCII: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"netfate cannot watch this host", "release", "unknown", "no bpf", "not mounted"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got no %q in\n%s", want, b.String())
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestWriteErrors(t *testing.T) {
	for name, err := range map[string]error{
		"report": WriteReport(brokenWriter{}, sampleFacts(), sampleCaps(), Style{}),
		"json":   WriteJSON(brokenWriter{}, sampleFacts(), sampleCaps()),
		"csv":    WriteCSV(brokenWriter{}, sampleCaps()),
	} {
		if err == nil {
			t.Errorf("%s: got no error from a broken writer", name)
		}
	}
}

func TestSummary(t *testing.T) {
	f := func(name string, change func(map[string]*kernel.Capability), want string, wantUsable bool) {
		t.Helper()
		caps := sampleCaps()
		byName := make(map[string]*kernel.Capability)
		for i := range caps {
			byName[caps[i].Name] = &caps[i]
		}
		change(byName)
		got, usable := Summary(caps)
		if !strings.Contains(got, want) || usable != wantUsable {
			t.Errorf("%s: got %q, %v; want %q, %v", name, got, usable, want, wantUsable)
		}
	}
	f("some missing", func(map[string]*kernel.Capability) {}, "with 5 of 8 capabilities", true)
	f("all", func(m map[string]*kernel.Capability) {
		m["kprobe"].OK, m["fentry"].OK, m["fexit"].OK = true, true, true
	}, "Everything", true)
	f("no bpf", func(m map[string]*kernel.Capability) {
		m["bpf"].OK, m["bpf"].Why, m["bpf"].Remedy = false, "this process lacks CAP_BPF", "run netfate as root"
	}, "netfate cannot watch this host: this process lacks CAP_BPF; run netfate as root.", false)
	f("no BTF", func(m map[string]*kernel.Capability) { m["btf"].OK = false }, "cannot watch", false)
	f("one kind of tracepoint", func(m map[string]*kernel.Capability) { m["tp_btf"].OK = false }, "with 4 of 8", true)
	f("no tracepoints", func(m map[string]*kernel.Capability) { m["tp_btf"].OK, m["raw_tp"].OK = false, false }, "cannot watch", false)
}

func TestWriteJSON(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, sampleFacts(), sampleCaps()); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "\n") != 1 {
		t.Errorf("got more than a line: %s", b.String())
	}
	var back struct {
		Usable       bool
		Summary      string
		Facts        kernel.Facts
		Capabilities []kernel.Capability
	}
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleCaps(), back.Capabilities); diff != "" {
		t.Errorf("capabilities: got + want -\n%s", diff)
	}
	if diff := cmp.Diff(sampleFacts(), back.Facts); diff != "" {
		t.Errorf("facts: got + want -\n%s", diff)
	}
	if !back.Usable || back.Summary == "" {
		t.Errorf("got %v %q", back.Usable, back.Summary)
	}
}

func TestWriteCSV(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCSV(&b, sampleCaps()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(sampleCaps())+1 || rows[0][0] != "name" || rows[6][2] != "false" {
		t.Errorf("got %v", rows)
	}
}

func TestWrap(t *testing.T) {
	f := func(text string, width int, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, wrap(text, width)); diff != "" {
			t.Errorf("%q at %d: got + want -\n%s", text, width, diff)
		}
	}
	f("", 10, "")
	f("one two", 7, "one two")
	f("one two", 6, "one", "two")
	f("überlängenwort x", 3, "überlängenwort", "x")
	f("a b c", 0, "a b c")
	f("ä ö ü", 3, "ä ö", "ü")
}

// docs/doctor.md holds the list of capabilities between two marks.
func TestReference(t *testing.T) {
	const path, begin, end = "../../../docs/doctor.md", "<!-- capabilities: begin -->\n", "<!-- capabilities: end -->"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(page), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the marks", path)
	}
	var b strings.Builder
	b.WriteString(head + begin)
	b.WriteString("| name | what | without it | remedy |\n| --- | --- | --- | --- |\n")
	for _, c := range kernel.Capabilities() {
		cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
		b.WriteString("| `" + c.Name + "` | " + cell(c.Title) + " | " + cell(c.Costs) + " | " + cell(c.Remedy) + " |\n")
	}
	b.WriteString(end + tail)
	golden(t, path, []byte(b.String()))
}
