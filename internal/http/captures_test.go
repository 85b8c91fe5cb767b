package http

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// TestCaptures compares, on public captures, each request and each response
// with what tshark reads in them, direction by direction. Where we differ for a
// reason, testdata/captures.golden has the row and the reason.
func TestCaptures(t *testing.T) {
	dir := need.Captures(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	argued := readArgued(t)
	compared := 0
	for _, file := range files {
		name := filepath.Base(file)
		want := tsharkHeads(t, file+".http.tsv")
		got := capturedHeads(t, file)
		compared += len(want)
		for _, d := range differences(want, got) {
			row := name + "\t" + d
			if _, ok := argued[row]; !ok {
				t.Errorf("%s", row)
			}
			delete(argued, row)
		}
	}
	for row, reason := range argued {
		t.Errorf("no such difference any more: %s (%s)", row, reason)
	}
	if compared == 0 {
		t.Error("no requests to compare with")
	}
}

// readArgued returns the differences that have a reason: file, who has it, the
// head, and behind the last tab the reason.
func readArgued(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "captures.golden"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, '\t')
		if at < 0 || line[at+1:] == "" {
			t.Fatalf("%q has no reason", line)
		}
		rows[line[:at]] = line[at+1:]
	}
	return rows
}

// tsharkHeads reads tshark's answers: for each direction of a connection the
// heads in order. A capture without a file of them has none.
func tsharkHeads(t *testing.T, file string) map[string][]string {
	t.Helper()
	heads := map[string][]string{}
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return heads
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if f[0] == "frame" {
			continue
		}
		if len(f) != 12 {
			t.Fatalf("%s: got %d fields, want 12: %q", file, len(f), line)
		}
		version := f[6]
		if strings.HasPrefix(version, "h2/") {
			version = "HTTP/2"
		}
		direction := f[1] + " " + f[2] + " > " + f[3] + " " + f[4]
		heads[direction] = append(heads[direction], strings.Join([]string{f[5], version, f[7], f[8], f[9], f[10]}, " "))
	}
	return heads
}

// capturedHeads reads the same from the packets.
func capturedHeads(t *testing.T, file string) map[string][]string {
	t.Helper()
	r := openCapture(t, file)
	heads := map[string][]string{}
	tr := New(Config{})
	tr.trace = func(c *conn, h *head, isRequest bool) {
		from, to := c.conn.Server, c.conn.Client
		if isRequest != c.swapped {
			from, to = to, from
		}
		text := fmt.Sprintf("request HTTP/%s %s %s %s ", h.version, h.method, h.host, h.target)
		if !isRequest {
			text = "response HTTP/" + h.version + "    " + strconv.Itoa(int(h.status))
		}
		heads[direction(from, to)] = append(heads[direction(from, to)], text)
	}
	parser := packet.NewParser()
	var p packet.Packet
	for {
		frame, info, err := r.ReadPacketData()
		if err != nil {
			break // the end; what a cut file has is compared
		}
		if parser.Parse(r.LinkType(), info.Timestamp, frame, info.Length, &p) {
			tr.Packet(&p)
		}
	}
	tr.Roll(p.Time, true, &record.Batch{})
	return heads
}

// frames is what pcapgo's two readers have in common.
type frames interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// openCapture opens pcap and pcapng.
func openCapture(t *testing.T, file string) frames {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := pcapgo.NewReader(bytes.NewReader(data)); err == nil {
		return r
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(data), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}

func direction(from, to netip.AddrPort) string {
	return fmt.Sprintf("%s %d > %s %d", from.Addr(), from.Port(), to.Addr(), to.Port())
}

// differences are the heads that only one of the two has, and those that both
// have in another order.
func differences(want, got map[string][]string) []string {
	var out []string
	for direction := range merged(want, got) {
		w, g := slices.Clone(want[direction]), slices.Clone(got[direction])
		for i := 0; i < len(w); {
			at := slices.Index(g, w[i])
			if at < 0 {
				i++
				continue
			}
			w, g = slices.Delete(w, i, i+1), slices.Delete(g, at, at+1)
		}
		for _, head := range w {
			out = append(out, "tshark\t"+direction+"\t"+head)
		}
		for _, head := range g {
			out = append(out, "netfate\t"+direction+"\t"+head)
		}
	}
	slices.Sort(out)
	return out
}

func merged(a, b map[string][]string) map[string]bool {
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	return keys
}
