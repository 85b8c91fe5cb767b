package table

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/alert"
	"github.com/netfate/netfate/internal/record"
)

// alarming is five minutes: one loss from the start on, which gets worse, and one
// that is new and ends.
func alarming() []*record.Batch {
	var batches []*record.Batch
	for i := range 300 {
		b := &record.Batch{Start: at(float64(i)), End: at(float64(i + 1))}
		usual := drop(record.Resource, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb+0x2f4", 10, ends("udp", "web", "eth0", record.Owner{}), record.In)
		if i >= 200 {
			usual.Packets = 1000
		}
		b.Drops = append(b.Drops, usual)
		if i >= 120 && i < 150 {
			b.Drops = append(b.Drops, drop(record.Loss, "NEIGH_FAILED", "neigh_invalidate+0x9d", 1, ends("arp", "host", "br\x1b]0;x", record.Owner{}), record.Out))
		}
		batches = append(batches, b)
	}
	batches[3].Lost = []record.Lost{{Time: at(4), Place: "drop_table", Reason: "full", Count: 7, Effect: "rows are missing"}}
	return batches
}

func showAlerts(t *testing.T, o Options, cfg alert.Config, batches ...*record.Batch) string {
	t.Helper()
	var out, notes bytes.Buffer
	cfg.Why = func(d record.Drop) string { return "why of " + d.Reason }
	cfg.More = func(d record.Drop) string { return "netfate drops --netns " + d.NetNSName }
	v, err := NewAlerts(&out, &notes, o, alert.NewLosses(cfg))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := v.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String() + "-- notes\n" + notes.String()
}

func TestAlerts(t *testing.T) {
	cfg := alert.Config{Learn: time.Minute}
	golden(t, "alerts", showAlerts(t, Options{Unicode: true}, cfg, alarming()...))
	golden(t, "alerts-colour", showAlerts(t, Options{Colour: true}, cfg, alarming()...))
	golden(t, "alerts-json", showAlerts(t, Options{Format: JSON}, cfg, alarming()...))
	golden(t, "alerts-csv", showAlerts(t, Options{Format: CSV}, cfg, alarming()...))
}

// TestQuietHostIsSilent checks that nothing is written while nothing changes.
func TestQuietHostIsSilent(t *testing.T) {
	got := showAlerts(t, Options{}, alert.Config{Learn: time.Minute}, alarming()[4:120]...)
	if got != "-- notes\n" {
		t.Errorf("got %q, want nothing", got)
	}
	got = showAlerts(t, Options{}, alert.Config{Learn: time.Hour}, alarming()[4:120]...)
	if !strings.Contains(got, "shorter --learn") {
		t.Errorf("got %q, want to be told that there was no time to learn", got)
	}
}

func TestAlertFormats(t *testing.T) {
	if _, err := NewAlerts(nil, nil, Options{Format: "xml"}, nil); err == nil {
		t.Error("got no error for -o xml")
	}
}
