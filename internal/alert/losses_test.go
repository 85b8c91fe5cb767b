package alert

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

func at(seconds int) time.Time {
	return time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func drop(v record.Verdict, reason, location string, packets uint64) record.Drop {
	return record.Drop{
		Endpoints: record.Endpoints{Host: "web1", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Proto: "tcp"},
		Reason:    reason, Subsystem: "core", Location: location, Verdict: v, Packets: packets,
	}
}

// evening is ten minutes: a loss that is usual, a benign one, and from 300 s on,
// for 30 s, a new one at two offsets of one function.
func evening() []record.Batch {
	var batches []record.Batch
	for i := range 600 {
		b := record.Batch{Start: at(i), End: at(i + 1), Drops: []record.Drop{
			drop(record.Policy, "NETFILTER_DROP", "nft_do_chain+0x40e", 3),
			drop(record.Benign, "TCP_OFOMERGE", "tcp_data_queue_ofo+0x1", uint64(i)),
		}}
		if i >= 300 && i < 330 {
			b.Drops = append(b.Drops, drop(record.Loss, "NEIGH_FAILED", "neigh_invalidate+0x9d", 4), drop(record.Loss, "NEIGH_FAILED", "neigh_invalidate+0xa1", 1))
		}
		batches = append(batches, b)
	}
	return batches
}

func watch(cfg Config, batches []record.Batch) (alerts []record.Alert) {
	l := NewLosses(cfg)
	for i := range batches {
		alerts = append(alerts, l.Batch(&batches[i])...)
	}
	return append(alerts, l.Close()...)
}

func TestLosses(t *testing.T) {
	cfg := Config{
		Learn: 3 * time.Minute,
		Why:   func(d record.Drop) string { return "because of " + d.Reason },
		More:  func(d record.Drop) string { return "netfate drops -i " + d.IfName },
	}
	begin := record.Alert{
		Time: at(301), Host: "web1", Event: record.AlertNew, Verdict: record.Loss, Reason: "NEIGH_FAILED", Subsystem: "core",
		Location: "neigh_invalidate", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Start: at(300), Packets: 5, Micros: 1e6,
		UsualMicros: 267831573, Why: "because of NEIGH_FAILED", Command: "netfate drops -i eth0",
	}
	over := begin
	over.Time, over.Event, over.Packets, over.Micros = at(360), record.AlertOver, 150, 60e6
	want := []record.Alert{begin, over}
	got := watch(cfg, evening())
	for i := range got {
		if got[i].UsualMicros < 250e6 || got[i].UsualMicros > 300e6 {
			t.Errorf("got %d us in which nothing was usual, want the five minutes before, weighted", got[i].UsualMicros)
		}
		got[i].UsualMicros = begin.UsualMicros
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBenignOnDemand checks that what harms nobody alerts only with All.
func TestBenignOnDemand(t *testing.T) {
	batches := evening()[:400]
	for i := range batches {
		batches[i].Drops = batches[i].Drops[1:2]
		batches[i].Drops[0].Packets = uint64(i / 300)
	}
	if got := watch(Config{Learn: time.Minute}, batches); len(got) > 0 {
		t.Errorf("got %v, want none", got)
	}
	if got := watch(Config{Learn: time.Minute, All: true}, batches); len(got) != 1 || got[0].Verdict != record.Benign {
		t.Errorf("got %v with All, want one of a benign loss", got)
	}
}

// TestSplitBatches checks that an interval in several batches, as recordings have
// large ones, alerts as one does.
func TestSplitBatches(t *testing.T) {
	var split []record.Batch
	for _, b := range evening() {
		for i := range b.Drops {
			split = append(split, record.Batch{Start: b.Start, End: b.End, Drops: b.Drops[i : i+1]})
		}
	}
	want := watch(Config{Learn: time.Minute}, evening())
	for _, batches := range [][]record.Batch{evening(), split} {
		if diff := cmp.Diff(want, watch(Config{Learn: time.Minute, Split: true}, batches)); diff != "" {
			t.Errorf("%d batches (-whole +split):\n%s", len(batches), diff)
		}
	}
}

// TestPlacesWithoutRoom checks that they are told as a loss of netfate's own.
func TestPlacesWithoutRoom(t *testing.T) {
	l := NewLosses(Config{MaxSeries: 1})
	b := record.Batch{Start: at(0), End: at(1), Drops: []record.Drop{
		drop(record.Loss, "A", "a", 1), drop(record.Loss, "B", "b", 2), drop(record.Loss, "C", "c", 3),
	}}
	alerts := l.Batch(&b)
	if len(alerts) != 2 || alerts[1].Reason != rest || alerts[1].Packets != 5 {
		t.Errorf("got %+v, want A and all others", alerts)
	}
	if lost := l.Lost(); len(lost) != 1 || lost[0].Count != 5 {
		t.Errorf("got %v, want 5 packets of places without room", lost)
	}
	if lost := l.Lost(); lost != nil {
		t.Errorf("got %v the second time, want none", lost)
	}
}
