package alert

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

// books makes the ledger of one station of one namespace: so much came, and so much
// was left over. A sum and the host's book repeat it, as in the real one.
func books(i int, came, left int64) record.Batch {
	line := func(scope record.Scope, station string, l record.Line, n int64) record.Entry {
		return record.Entry{Host: "web1", Scope: scope, NetNS: 7, NetNSName: "app", Direction: record.In, Station: station, Line: l, Packets: n, SkewMicros: 2000}
	}
	b := record.Batch{Start: at(i), End: at(i + 1)}
	for _, scope := range []record.Scope{record.NetNSScope, record.HostScope} {
		b.Ledger = append(b.Ledger, line(scope, "ip", record.Came, came), line(scope, "ip", record.Remainder, left),
			line(scope, "total", record.Came, came), line(scope, "total", record.Remainder, left))
	}
	return b
}

func hour(f func(i int) (came, left int64)) []record.Alert {
	batches := make([]record.Batch, 0, 3600)
	for i := range 3600 {
		came, left := f(i)
		batches = append(batches, books(i, came, left))
	}
	return watch(Config{Learn: 3 * time.Minute, Books: func(uint32) string { return "netfate ledger" }}, batches)
}

// TestRestsQuiet: what comes back in the next interval, what is a thousandth, and what
// comes once in a while is no news.
func TestRestsQuiet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var before int64
	for name, f := range map[string]func(int) (int64, int64){
		"nothing": func(int) (int64, int64) { return 100, 0 },
		"readings that differ": func(int) (int64, int64) {
			now := rng.Int64N(2000)
			left := now - before
			before = now
			return 50_000, left
		},
		"a burst between two readings": func(i int) (int64, int64) {
			switch i {
			case 1000, 2000:
				return 5000, 5000
			case 1001, 2001:
				return 10, -5000
			}
			return 10, 0
		},
		"a packet each five minutes":  func(i int) (int64, int64) { return 10, int64(i%300/299) * -1 },
		"less than a thousandth":      func(int) (int64, int64) { return 100_000, 50 },
		"usual since the beginning":   func(int) (int64, int64) { return 1000, 30 },
		"traffic that begins anew":    func(i int) (int64, int64) { return int64(i/1800) * 100_000, 0 },
		"a namespace that was silent": func(i int) (int64, int64) { return int64(i % 2), 0 },
	} {
		if got := hour(f); len(got) > 0 {
			t.Errorf("%s: got %+v, want silence", name, got)
		}
	}
}

// TestRestsGrow: a remainder that grows and stays is told once, whatever its sign,
// and that it is over.
func TestRestsGrow(t *testing.T) {
	for _, sign := range []int64{1, -1} {
		got := hour(func(i int) (int64, int64) {
			if i >= 1000 && i < 1300 {
				return 1000, sign * 50
			}
			return 1000, 0
		})
		if len(got) != 2 || got[0].Event != record.AlertNew || got[1].Event != record.AlertOver {
			t.Fatalf("got %+v, want new and over", got)
		}
		a := got[0]
		if late := a.Time.Sub(at(1000)); late < 2*time.Second || late > 2*time.Minute {
			t.Errorf("told after %s, want some intervals, and not minutes", late)
		}
		a.Time, a.Start, a.Packets, a.Micros, a.UsualMicros, a.Why = time.Time{}, time.Time{}, 0, 0, 0, ""
		want := record.Alert{
			Host: "web1", Event: record.AlertNew, Verdict: record.Loss, Reason: "~unexplained", Location: "in ip",
			NetNS: 7, NetNSName: "app", Command: "netfate ledger",
		}
		if diff := cmp.Diff(want, a); diff != "" {
			t.Errorf("alert (-want +got):\n%s", diff)
		}
		if n := got[1].Packets; n < 13_000 || n > 15_000 {
			t.Errorf("over: got %d packets, want about 15000", n)
		}
	}
}

// TestRestsBound: stations that have no room are counted and told.
func TestRestsBound(t *testing.T) {
	l := NewLosses(Config{})
	b := record.Batch{Start: at(0), End: at(1)}
	for i := range maxRests + 5 {
		b.Ledger = append(b.Ledger, record.Entry{Scope: record.NetNSScope, NetNS: uint32(i + 1), Station: "ip", Line: record.Remainder, Packets: -3})
	}
	l.Batch(&b)
	if got := l.Lost(); len(got) != 1 || got[0].Count != 15 || got[0].Place != "alert_rests" {
		t.Errorf("got %+v, want 15 packets of 5 stations", got)
	}
	if got := l.Lost(); got != nil {
		t.Errorf("got %+v again", got)
	}
}
