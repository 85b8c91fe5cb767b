package main

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}, {[]float64{8, 2, 4, 6}, 5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v): got %v, want %v", c.values, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing: got %v, want NaN", got)
	}
}

func TestSpan(t *testing.T) {
	for want, values := range map[string][]float64{
		"–": nil, "7": {7}, "5 (1 to 9)": {9, 1, 5},
	} {
		if got := span(values, "%.0f"); got != want {
			t.Errorf("span(%v): got %q, want %q", values, got, want)
		}
	}
}

func TestParseMachineCPU(t *testing.T) {
	busy, all, err := parseMachineCPU("cpu  100 20 30 400 50 6 7 8 9 0\ncpu0 1 2 3\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := (100 + 20 + 30 + 6 + 7) * tick; busy != want {
		t.Errorf("busy: got %v, want %v", busy, want)
	}
	if want := 621 * tick; all != want {
		t.Errorf("all: got %v, want %v", all, want)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu a b c d e f g h", "cpu0 1 2 3 4 5 6 7 8"} {
		if _, _, err := parseMachineCPU(bad); err == nil {
			t.Errorf("parse %q: got no error", bad)
		}
	}
}

func TestParseFields(t *testing.T) {
	got := parseFields("map_id:\t12\nmemlock:\t4096\nVmRSS:\t   20 kB\nno colon\n")
	want := map[string]string{"map_id": "12", "memlock": "4096", "VmRSS": "20 kB"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if n, err := kilobytes(got["VmRSS"]); n != 20480 || err != nil {
		t.Errorf("kilobytes: got %d, %v, want 20480", n, err)
	}
}

func TestFill(t *testing.T) {
	got, err := fill("a\n"+pageBegin+"old\n"+pageEnd+"z\n", pageBegin, pageEnd, "new\n")
	if want := "a\n" + pageBegin + "new\n" + pageEnd + "z\n"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := fill("no markers", pageBegin, pageEnd, "new"); err == nil {
		t.Error("fill a page without a place: got no error")
	}
}

func TestDescribeCPU(t *testing.T) {
	name, where := describeCPU("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor\n")
	if name != "Some CPU" || where != "a virtual machine" {
		t.Errorf("got %q, %q", name, where)
	}
}

func TestDestinationsDiffer(t *testing.T) {
	inside := netip.MustParsePrefix(manyNet)
	seen := map[netip.AddrPort]bool{}
	for _, to := range destinations(workload{flows: storm, port: 9}) {
		if seen[to] || !inside.Contains(to.Addr()) || to.Port() != 9 {
			t.Fatalf("got %v twice, or outside of %v, or another port", to, inside)
		}
		seen[to] = true
	}
	if len(seen) != storm {
		t.Errorf("got %d destinations, want %d", len(seen), storm)
	}
}

func TestFloodGoesRound(t *testing.T) {
	f := newFlood(-1, destinations(workload{flows: 100, port: 9}), nil)
	if len(f.msgs)%batch != 0 || len(f.msgs) < 100 {
		t.Errorf("got %d messages, want whole batches of %d for 100 destinations", len(f.msgs), batch)
	}
	if _, err := f.round(); err == nil {
		t.Error("send on no socket: got no error")
	}
	if f.at != batch {
		t.Errorf("next batch: got %d, want %d", f.at, batch)
	}
}

// TestMarkdown sees that results that are missing are said to be.
func TestMarkdown(t *testing.T) {
	r := &results{cfg: config{rounds: 2, idle: time.Second}, rates: map[string][armsEnd][]rate{}}
	text := r.markdown()
	if strings.Contains(text, "NaN") && !strings.Contains(text, "not measured") {
		t.Errorf("got a table that hides what is missing:\n%s", text)
	}
	r.events = map[string]*eventCost{"kfree_skb, " + workloads()[2].name: {
		hook: "kfree_skb", workload: workloads()[2].name,
		program: []float64{100, 120}, empty: []float64{40, 40}, over: []float64{60, 80},
	}}
	if want := "| drop count, over an empty program | 60 ns | 70 (60 to 80) | **missed** |"; !strings.Contains(r.markdown(), want) {
		t.Errorf("got no line %q in:\n%s", want, r.markdown())
	}
}
