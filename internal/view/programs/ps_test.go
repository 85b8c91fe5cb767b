package programs

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/inventory"
	"github.com/netfate/netfate/internal/tracelog"
)

func psPrograms() []inventory.Program {
	loaded := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []inventory.Program{
		{ID: 7, Kind: "raw_tp", Name: "count_free", Tag: "0123456789abcdef", Loaded: loaded, Runs: 1000, RunTime: 50 * time.Microsecond, Memory: 4096,
			Maps: []uint32{3}, Attached: []inventory.Attachment{{How: "link", Where: "kfree_skb", Link: 4}},
			Owners: []inventory.Owner{{PID: 12, Comm: "net\x1bfate"}}, Pins: []string{}, Netfate: true, Object: "kfree_skb"},
		{ID: 9, Kind: "tc", Name: "x", Loaded: loaded, Memory: 8192, Runs: 10, RunTime: 100 * time.Microsecond,
			Attached: []inventory.Attachment{{How: "tc", Where: "eth0 tc egress (clsact)"}, {How: "link", Where: "eth1 tc egress", Link: 5}},
			Owners:   []inventory.Owner{}, Pins: []string{"/sys/fs/bpf/x"}, Netfate: true, Maps: []uint32{}},
		{ID: 11, Kind: "cgroup", Name: "", Loaded: loaded, Attached: []inventory.Attachment{}, Owners: []inventory.Owner{}, Pins: []string{}, Maps: []uint32{}},
	}
}

func TestPsLines(t *testing.T) {
	want := `ID  KIND    NAME        ATTACHED                                 RUNS  NS/RUN  MEMORY  OBJECT     PIDS          PINS
 7  raw_tp  count_free  kfree_skb                                1000      50   4.0ki  kfree_skb  12(net?fate)  -
 9  tc      x           eth0 tc egress (clsact), eth1 tc egress    10   10000   8.0ki  (netfate)  -             /sys/fs/bpf/x
11  cgroup  -           -                                           0       -       0  -          -             -`
	if diff := cmp.Diff(want, strings.Join(PsLines(PsRows(psPrograms()), 0), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, line := range PsLines(PsRows(psPrograms()), 30) {
		if len(line) > 30 {
			t.Errorf("got %q, wider than 30", line)
		}
	}
	if got := PsLines(nil, 0); got != nil {
		t.Errorf("got %q for nothing", got)
	}
}

func TestPsRates(t *testing.T) {
	before, now := psPrograms(), psPrograms()
	now[0].Runs, now[0].RunTime = now[0].Runs+200, now[0].RunTime+20*time.Microsecond
	now[1].Runs, now[1].RunTime = now[1].Runs+2, now[1].RunTime+40*time.Millisecond
	end := now[0].Loaded.Add(time.Hour)
	rows := PsRates(before[:2], now, end, 2*time.Second)
	type want struct {
		id               uint32
		runs, cpu, perNS float64
	}
	var got []want
	for _, r := range rows {
		got = append(got, want{r.ID, r.Rate.RunsPerSec, r.Rate.CPUPercent, r.NSPerRun})
	}
	if diff := cmp.Diff([]want{{9, 1, 2, 2e7}, {7, 100, 0.001, 100}, {11, 0, 0, 0}}, got, cmp.AllowUnexported(want{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// An id that went to another program, and counters that were reset.
	before[0].Loaded = before[0].Loaded.Add(-time.Hour)
	now[1].Runs, now[1].RunTime = 4, 8
	rows = PsRates(before, now, end, time.Second)
	if rows[0].ID != 7 || rows[0].Rate.RunsPerSec != 1200 || rows[1].Rate.RunsPerSec != 4 {
		t.Errorf("got %+v %+v", *rows[0].Rate, *rows[1].Rate)
	}
	lines := PsLines(rows, 0)
	if !strings.Contains(lines[0], "CPU%") || !strings.Contains(lines[0], "RUNS/S") {
		t.Errorf("got %q", lines[0])
	}
}

func TestPsForScripts(t *testing.T) {
	var b bytes.Buffer
	if err := WritePsJSON(&b, PsRows(psPrograms())); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(b.String()) {
		n++
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"id", "kind", "maps", "attached", "owners", "pins", "run_ns", "ns_per_run"} {
			if row[key] == nil {
				t.Errorf("%s is not in %s", key, line)
			}
		}
	}
	if n != 3 {
		t.Errorf("got %d lines, want 3", n)
	}
	b.Reset()
	if err := WritePsCSV(&b, PsRows(psPrograms()), true, false); err != nil {
		t.Fatal(err)
	}
	want := `id,kind,name,attached,runs,ns_per_run,memory,object,pids,pins
7,raw_tp,count_free,kfree_skb,1000,50,4096,kfree_skb,12(net\x1bfate),
9,tc,x,"eth0 tc egress (clsact), eth1 tc egress",10,10000,8192,(netfate),,/sys/fs/bpf/x
11,cgroup,,,0,,0,,,
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.Reset()
	rates := PsRates(nil, psPrograms()[:1], time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Second)
	if err := WritePsCSV(&b, rates, false, true); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "2026-01-02T03:04:05Z,7,raw_tp,count_free,kfree_skb,0.01,1000,50,4096,"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, err := range map[string]error{"json": WritePsJSON(brokenWriter{}, rates), "csv": WritePsCSV(brokenWriter{}, rates, true, true),
		"log": NewLog(brokenWriter{}, false).Add(&tracelog.Entry{})} {
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: got %v, want the error of writing", name, err)
		}
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestLog(t *testing.T) {
	entries := []tracelog.Entry{
		{Since: 12*time.Second + 345*time.Microsecond, PID: 7, Comm: "a\nb", CPU: 1, Flags: "d..31", Event: "bpf_trace_printk", Text: "x=\x1b[31m1"},
		{Since: 12*time.Second + 345*time.Microsecond, PID: 7, Comm: "a\nb", CPU: 1, Text: "more\ttext", Continued: true},
		{CPU: 3, Lost: 5},
		{Since: time.Second, PID: 8, Comm: "long", Text: strings.Repeat("ä", 500)},
	}
	want := `           TIME     PID  COMM            CPU  TEXT
      12.000345       7  a?b               1  x=?[31m1
                                              more text
                                           3  [5 events lost: they came faster than they were read]
`
	var table, lines bytes.Buffer
	forPeople, forScripts := NewLog(&table, false), NewLog(&lines, true)
	for i := range entries {
		if err := errors.Join(forPeople.Add(&entries[i]), forScripts.Add(&entries[i])); err != nil {
			t.Fatal(err)
		}
	}
	got, long := table.String(), "       1.000000       8  long              0  "+strings.Repeat("ä", 500)+"\n"
	if diff := cmp.Diff(want+long, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = `{"seconds":12.000345,"pid":7,"comm":"a\nb","cpu":1,"flags":"d..31","text":"x=\u001b[31m1"}
{"seconds":12.000345,"pid":7,"comm":"a\nb","cpu":1,"text":"more\ttext","continued":true}
{"cpu":3,"lost":5}
`
	if got := lines.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
