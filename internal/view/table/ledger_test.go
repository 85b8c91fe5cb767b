package table

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// ledgerBatch is two namespaces of which one forwards and drops, one loses at a
// socket and has something unexplained; number makes intervals differ.
func ledgerBatch(number int) *record.Batch {
	end := time.Date(2026, 3, 14, 3, 0, number+1, 0, time.UTC)
	b := &record.Batch{Start: end.Add(-time.Second), End: end}
	n := func(v uint64) *uint64 { return &v }
	add := func(e record.Entry) {
		e.Time, e.Start, e.Host, e.SkewMicros = b.End, b.Start, "web1", 1200
		b.Ledger = append(b.Ledger, e)
	}
	station := func(space uint32, name string, dir record.Direction, station string, layer record.Layer, line record.Line, what string, packets int64) record.Entry {
		e := record.Entry{Scope: record.NetNSScope, NetNS: space, NetNSName: name, Direction: dir, Station: station, Layer: layer, Line: line, What: what, Unit: "buffers", Packets: packets}
		if station == "device" {
			e.Scope, e.IfName = record.InterfaceScope, "eth0"
		}
		return e
	}
	full := station(7, "app", record.In, "transport", record.SocketLayer, record.LostLine, "SOCKET_RCVBUFF", 242)
	full.Counter, full.Counted, full.Seen = "UdpRcvbufErrors", n(242), n(242)
	full.Verdict, full.Why = record.Resource, "the receive buffer is full because the application reads too slowly"
	full.Location, full.PID, full.Comm = "udp_queue_rcv_one_skb+0x437", 11052, "python3"
	full.Fact, full.Command = "udp 10.92.0.2:7: 7680 of 8192 bytes wait, 242 dropped", `ss -uanpm "sport = :7"`
	full.Evidence = []string{"udp socket 10.92.0.2:7, receive buffer: 8 KiB of 8 KiB (full: the application does not read fast enough)", "net.core.rmem_max: 212992"}
	rule := station(8, "gw\x1b[31m", record.Out, "ip", record.NetfilterLayer, record.LostLine, "NETFILTER_DROP", 469)
	rule.Seen, rule.Verdict, rule.Why, rule.Location = n(469), record.Policy, "a firewall rule (nftables or iptables) dropped it", "nft_do_chain+0x46f"
	rule.Fact = "candidate, without a counter: ip fw f: l4proto udp dport 23 drop"
	ports := station(7, "app", record.In, "transport", record.TransportLayer, record.LostLine, "NO_SOCKET", 469)
	ports.Counted, ports.Seen, ports.Verdict, ports.Location = n(469), n(460), record.Refused, "__udp4_lib_rcv+0x4bc"
	for _, e := range []record.Entry{
		station(7, "app", record.In, "device", record.DriverLayer, record.Came, "received", 1300),
		station(7, "app", record.In, "device", record.DriverLayer, record.Passed, "to the stack", 1297),
		station(7, "app", record.In, "device", record.DriverLayer, record.Remainder, "", 3),
		station(7, "app", record.In, "transport", record.TransportLayer, record.Came, "from the layer below", 1297),
		full, ports,
		station(7, "app", record.In, "transport", record.TransportLayer, record.Delivered, "udp", 586),
		station(7, "app", record.In, "transport", record.TransportLayer, record.Remainder, "", 0),
		station(8, "gw\x1b[31m", record.Out, "ip", record.RoutingLayer, record.Came, "forwarded", 2100), rule,
		station(8, "gw\x1b[31m", record.Out, "ip", record.RoutingLayer, record.Merged, "GSO", -150),
		station(8, "gw\x1b[31m", record.Out, "ip", record.RoutingLayer, record.Passed, "to queues", 1781),
		station(8, "gw\x1b[31m", record.Out, "ip", record.RoutingLayer, record.Remainder, "", 0),
	} {
		add(e)
		if e.Line == record.Passed || e.Line == record.Came && e.What == "from the layer below" || e.Line == record.Remainder && e.Station != "device" {
			continue
		}
		e.Station, e.Scope, e.IfName = "total", record.NetNSScope, ""
		if e.Line != record.LostLine {
			e.Layer = record.TotalLayer
		}
		add(e)
	}
	add(station(8, "gw\x1b[31m", record.Out, "total", record.TotalLayer, record.Delivered, "sent", 1781))
	add(station(8, "gw\x1b[31m", record.Out, "total", record.TotalLayer, record.Remainder, "", 0))
	if number == 1 {
		b.Lost = []record.Lost{{Place: "ledger_sockets", Reason: "full", Count: 9, Effect: "the kernel's counters of so many sockets are left out of the ledger"}}
	}
	return b
}

func showLedger(t *testing.T, o Options) string {
	t.Helper()
	var out, notes bytes.Buffer
	v, err := NewLedger(&out, &notes, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := v.Batch(ledgerBatch(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String() + strings.Repeat("-", 20) + "\n" + notes.String()
}

func TestLedger(t *testing.T) {
	for name, o := range map[string]Options{
		"ledger-80":         {Width: 80, Unicode: true, Colour: true, Once: true},
		"ledger-160":        {Width: 160, Unicode: true, Once: true},
		"ledger-40-ascii":   {Width: 40, Once: true},
		"ledger-rows":       {Width: 80, Rows: 1, Once: true},
		"ledger-layers-80":  {Width: 80, Unicode: true, By: ledgerLayers, Once: true},
		"ledger-layers-160": {Width: 160, Unicode: true, By: ledgerLayers, Once: true},
		"ledger-draw-80":    {Width: 80, Unicode: true, Colour: true, By: ledgerDraw, Once: true},
		"ledger-draw-ascii": {Width: 60, By: ledgerDraw, Once: true},
		"ledger-full":       {Width: 80, MaxKeys: 3, Once: true},
		"ledger-csv":        {Format: CSV},
		"ledger-json":       {Format: JSON},
	} {
		text := showLedger(t, o)
		golden(t, name, text)
		if o.Width == 0 || o.Colour {
			continue
		}
		for _, line := range strings.Split(text, "\n") {
			if width(line) > o.Width && !strings.HasPrefix(line, "netfate:") {
				t.Errorf("%s: a line takes %d columns of %d: %q", name, width(line), o.Width, line)
			}
		}
	}
}

// TestLedgerNothing says that nothing was counted, and what cannot be asked for.
func TestLedgerNothing(t *testing.T) {
	v, err := NewLedger(&bytes.Buffer{}, &bytes.Buffer{}, Options{By: "colour"})
	if err == nil {
		t.Errorf("got %v, want a view that there is not refused", v)
	}
	for _, format := range []Format{JSON, CSV} {
		if _, err := NewLedger(&bytes.Buffer{}, &bytes.Buffer{}, Options{By: ledgerDraw, Format: format}); err == nil {
			t.Errorf("-o %s: a drawing is not refused", format)
		}
	}
	var out bytes.Buffer
	if v, err = NewLedger(&out, &bytes.Buffer{}, Options{Once: true}); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil || out.String() != "ledger: nothing was seen yet\n\n" {
		t.Errorf("got %q, error %v; want it to say that nothing was seen, and no more", out.String(), err)
	}
	quiet := NewLedgerSums(ledgerBook, 0)
	quiet.Add(&record.Batch{Start: time.Unix(0, 0), End: time.Unix(1, 0)})
	if got := quiet.Lines(Options{}); len(got) < 2 || got[1] != "no packet came or went" {
		t.Errorf("got %q, want it to say that no packet came", got)
	}
	if got := fmt.Sprint(scaled(5, 10, 40), scaled(0, 10, 40), scaled(20, 10, 40), scaled(1, 0, 40)); got != "20 0 40 0" {
		t.Errorf("cells: got %s, want 20 0 40 0", got)
	}
}
