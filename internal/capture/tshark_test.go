package capture

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/dns"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

var update = flag.Bool("update", false, "rewrite testdata, keeping the reasons that are there")

// TestDNSLikeTshark reads every public capture that tshark found DNS in, and
// compares message by message. A difference that is argued stands in
// testdata/tshark-dns.tsv, one a line, with its reason.
func TestDNSLikeTshark(t *testing.T) {
	dir := need.Captures(t)
	lists, err := filepath.Glob(filepath.Join(dir, "*.dns.tsv"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("got %d lists of DNS messages in %s, %v", len(lists), dir, err)
	}
	var got []string
	for _, list := range lists {
		want := sharked(t, list)
		name := strings.TrimSuffix(list, ".dns.tsv")
		have := messages(t, name)
		for _, frame := range slices.Sorted(keys(want, have)) {
			for _, d := range differences(want[frame], have[frame]) {
				got = append(got, fmt.Sprintf("%s\t%d\t%s", filepath.Base(name), frame, d))
			}
		}
	}
	argued(t, filepath.Join("testdata", "tshark-dns.tsv"), "capture\tframe\twhat\tnetfate\ttshark\treason", got)
}

func keys[K comparable, V any](maps ...map[K]V) func(func(K) bool) {
	all := map[K]bool{}
	for _, m := range maps {
		for k := range m {
			all[k] = true
		}
	}
	return func(yield func(K) bool) {
		for k := range all {
			if !yield(k) {
				return
			}
		}
	}
}

// columns is what is compared, as tshark's list names it.
func columns() []string {
	return []string{"src", "sport", "dst", "dport", "l4", "id", "response", "opcode", "rcode", "qname", "qtype", "answers", "addresses"}
}

// differences says in what two messages differ.
func differences(want, have map[string]string) (list []string) {
	switch {
	case have == nil:
		return []string{"message\tnone\t" + want["id"]}
	case want == nil:
		return []string{"message\t" + have["id"] + "\tnone"}
	}
	for _, c := range columns() {
		if want[c] != have[c] {
			list = append(list, fmt.Sprintf("%s\t%s\t%s", c, have[c], want[c]))
		}
	}
	return list
}

// sharked returns tshark's messages by frame, put as ours are.
func sharked(t *testing.T, path string) map[uint64]map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	lines.Scan()
	heads := strings.Split(lines.Text(), "\t")
	all := map[uint64]map[string]string{}
	for lines.Scan() {
		row := map[string]string{}
		for i, cell := range strings.Split(lines.Text(), "\t") {
			row[heads[i]] = cell
		}
		frame, err := strconv.ParseUint(row["frame"], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		row["qname"] = strings.ToLower(row["qname"]) // names are compared as DNS does
		all[frame] = row
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// questioner is a decoder that keeps the messages of DNS that it is given.
type questioner struct {
	source *Source
	found  map[uint64]map[string]string
}

func (q *questioner) Roll(time.Time, bool, *record.Batch) {}

func (q *questioner) Packet(p *packet.Packet) {
	if p.Proto != 17 || p.Src.Port() != 53 && p.Dst.Port() != 53 {
		return
	}
	var m dns.Message
	_ = m.Decode(p.Payload) // what stands before damage is compared as well
	flag := map[bool]string{false: "0", true: "1"}
	row := map[string]string{
		"src": p.Src.Addr().String(), "sport": fmt.Sprint(p.Src.Port()), "dst": p.Dst.Addr().String(), "dport": fmt.Sprint(p.Dst.Port()), "l4": "udp",
		"id": fmt.Sprintf("0x%04x", m.ID), "response": flag[m.Response], "opcode": fmt.Sprint(m.Opcode), "answers": fmt.Sprint(m.Counts[1]),
	}
	if m.Response {
		row["rcode"] = fmt.Sprint(m.RCode & 0xf) // tshark shows what the header has
	}
	if len(m.Questions) > 0 {
		row["qname"], row["qtype"] = m.Questions[0].Name, fmt.Sprint(m.Questions[0].Type)
	}
	// tshark lists A first, then AAAA, of all sections.
	var four, six []string
	for _, r := range m.Records {
		switch {
		case r.Addr.Is4():
			four = append(four, r.Addr.String())
		case r.Addr.IsValid():
			six = append(six, r.Addr.String())
		}
	}
	row["addresses"] = strings.Join(append(four, six...), ",")
	q.found[q.source.Packets()] = row
}

// messages returns our messages of DNS in a capture, by frame.
func messages(t *testing.T, path string) map[uint64]map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	q := &questioner{found: map[uint64]map[string]string{}}
	if q.source, err = Open(file, q); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := q.source.Next(); errors.Is(err, io.EOF) {
			return q.found
		} else if err != nil {
			t.Fatalf("%s: %v", filepath.Base(path), err)
		}
	}
}

// argued compares differences with those that a file gives reasons for, in its
// last column, below a head. -update writes the file anew; a line without a reason
// fails.
func argued(t *testing.T, path, head string, got []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	var want []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if at := strings.LastIndex(line, "\t"); line != head && at >= 0 {
			want = append(want, line[:at])
			reasons[line[:at]] = line[at+1:]
		}
	}
	if *update {
		all := head + "\n"
		for _, d := range got {
			all += d + "\t" + reasons[d] + "\n"
		}
		if err := os.WriteFile(path, []byte(all), 0o644); err != nil {
			t.Fatal(err)
		}
		want = got
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences from tshark (-argued +found):\n%s", diff)
	}
	for _, d := range want {
		if len(reasons[d]) < 20 {
			t.Errorf("no reason is given for %q", d)
		}
	}
}
