package table

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/record"
)

func showConns(t testing.TB, o Options, batches ...*record.Batch) (out, notes string) {
	t.Helper()
	return show(t, func(out, notes *bytes.Buffer) (View, error) { return NewConns(out, notes, o) }, batches)
}

// conn is a connection at a second of the night.
func conn(event record.ConnEvent, side record.Side, flow string, owner record.Owner, more func(*record.Conn)) record.Conn {
	c := record.Conn{Event: event, Side: side, Start: at(0.25), State: "established", DurationMicros: 750_000}
	c.Endpoints = ends(flow, "web", "", owner)
	if more != nil {
		more(&c)
	}
	return c
}

func connBatches() []*record.Batch {
	curl, nginx := record.Owner{PID: 4242, Comm: "curl"}, record.Owner{PID: 80, Comm: "nginx", Container: "0123456789ab", ContainerName: "web-1"}
	const there, v6, inbound = "tcp 10.0.0.5:51234 10.0.0.9:443", "tcp [fd00::5]:40000 [fd00::9]:80", "tcp 192.0.2.7:33000 10.0.0.5:80"
	first := &record.Batch{Start: at(0), End: at(1), Conns: []record.Conn{
		conn(record.ConnOpened, record.Client, there, curl, func(c *record.Conn) {
			c.ConnectMicros, c.RTTMicros, c.Name = 1234, 1200, "www.example.com"
		}),
		conn(record.ConnFailed, record.Client, v6, curl, func(c *record.Conn) {
			c.ConnectMicros, c.Error, c.State, c.Retransmits, c.SegmentsOut = 3_100_000, "timed_out", "syn_sent", 2, 3
		}),
		conn(record.ConnFailed, record.Client, "tcp 10.0.0.5:51236 10.0.0.9:81", curl, func(c *record.Conn) {
			c.ConnectMicros, c.Error, c.State = 85, "refused", "syn_sent"
		}),
		conn(record.ConnOpened, record.Server, inbound, nginx, nil),
		conn(record.ConnOpen, record.Server, inbound, nginx, func(c *record.Conn) {
			c.RTTMicros, c.RTTMinMicros, c.BytesIn, c.BytesOut, c.SegmentsOut = 40_300, 38_000, 1200, 2_000_000, 1400
		}),
		conn(record.ConnOpen, record.Client, there, curl, func(c *record.Conn) { c.Older, c.BytesIn = true, 5_000_000_000 }),
		conn(record.ConnListens, record.Server, "tcp", nginx, func(c *record.Conn) {
			c.DstAddr, c.DstPort, c.Backlog, c.BacklogMax, c.SynQueue, c.Overflows = addr("0.0.0.0"), 80, 129, 128, 3, 1234
			c.CookieTime = c.Time.Add(-3 * time.Second)
		}),
		conn(record.ConnListens, record.Server, "tcp", curl, func(c *record.Conn) { c.DstAddr, c.DstPort, c.BacklogMax = addr("::1"), 6010, 4096 }),
	}}
	second := &record.Batch{Start: at(1), End: at(2), Conns: []record.Conn{
		conn(record.ConnClosed, record.Client, there, curl, func(c *record.Conn) {
			c.BytesIn, c.BytesOut, c.RTTMicros, c.ClosedBy, c.Name = 50_000, 1000, 1300, "local", "www.example.com"
		}),
		conn(record.ConnClosed, record.Server, inbound, nginx, func(c *record.Conn) {
			c.BytesIn, c.BytesOut, c.RTTMicros, c.ClosedBy, c.Error = 1200, 7_000_000, 41_000, "peer_reset", "reset"
			c.Retransmits, c.SegmentsOut, c.DurationMicros = 40, 5000, 1_500_000
		}),
		conn(record.ConnClosed, record.Server, "tcp 192.0.2.8:33000 10.0.0.5:80", record.Owner{}, func(c *record.Conn) { c.Older, c.ClosedBy = true, "peer" }),
		conn(record.ConnOpen, record.Client, there, curl, func(c *record.Conn) {
			c.Older, c.BytesIn, c.ZeroWindow, c.RwndMicros, c.RTTMicros = true, 5_012_500_000, true, 400_000, 900
			c.Name = "www.example.com"
		}),
	}, Lost: []record.Lost{{Place: "connections", Reason: "ring full", Count: 7, Effect: "these changes of connections are not told"}}}
	return []*record.Batch{first, second}
}

func TestConnViews(t *testing.T) {
	for name, o := range map[string]Options{
		"conns-each":        {Unicode: true},
		"conns-each-100":    {Width: 100, Unicode: true, Colour: true},
		"conns-failed":      {Failed: true},
		"conns-live-80":     {Live: true, Width: 80, Unicode: true},
		"conns-live-200":    {Live: true, Width: 200, Unicode: true, Colour: true},
		"conns-listeners":   {Listeners: true, Unicode: true, Width: 100},
		"conns-process-120": {By: byProcess, Unicode: true, Width: 120},
		"conns-peer-200":    {By: byPeer, Unicode: true, Width: 200, Colour: true},
		"conns-container":   {By: byContainer, Once: true},
		"conns-fold":        {By: byPeer, Once: true, MaxKeys: 1, Width: 120},
	} {
		out, notes := showConns(t, o, connBatches()...)
		golden(t, name, out+strings.Repeat("-", 20)+"\n"+notes)
		checkWidth(t, name, out, o.Width)
	}
}

func TestConnRows(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want int
	}{
		"all":       {Options{Format: JSON}, 7},
		"failed":    {Options{Format: JSON, Failed: true}, 3},
		"live":      {Options{Format: JSON, Live: true}, 3},
		"listeners": {Options{Format: JSON, Listeners: true}, 2},
		"csv":       {Options{Format: CSV}, 8},
	} {
		out, notes := showConns(t, c.o, connBatches()...)
		if got := strings.Count(out, "\n"); got != c.want {
			t.Errorf("%s: got %d lines, want %d:\n%s", name, got, c.want, out)
		}
		if !strings.Contains(notes, "lost 7 at connections (ring full)") {
			t.Errorf("%s: got notes %q, want the loss", name, notes)
		}
	}
}

// TestNothingWatched: who could not watch does not say that there was nothing.
func TestNothingWatched(t *testing.T) {
	if out, notes := showConns(t, Options{}); out+notes != "" {
		t.Errorf("got %q, want nothing", out+notes)
	}
}

func TestConnUsage(t *testing.T) {
	for want, o := range map[string]Options{
		"grouped by process, peer, container": {By: "shoe"},
		"choose one":                          {Live: true, Failed: true},
		"the formats are":                     {Format: "xml"},
		"leave --by out":                      {By: byPeer, Format: JSON},
	} {
		if _, err := NewConns(nil, nil, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", o, err, want)
		}
	}
}

// TestConnSumsAddUp: whatever does not fit, the rows add up to the total.
func TestConnSumsAddUp(t *testing.T) {
	m := NewConnSums(byPeer, 10)
	for i := range 1000 {
		c := conn(record.ConnClosed, record.Client, fmt.Sprintf("tcp 10.0.0.5:1000 10.0.%d.9:443", i%200), record.Owner{}, func(c *record.Conn) {
			c.BytesIn, c.RTTMicros = uint64(i), uint32(i)
		})
		m.Add(&record.Batch{Start: at(float64(i)), End: at(float64(i + 1)), Conns: []record.Conn{c}})
	}
	sum := m.other.connTally
	for _, r := range m.rows {
		sum.closed += r.closed
		sum.bytesIn += r.bytesIn
	}
	if len(m.rows) != 10 || sum.closed != 1000 || sum.bytesIn != 999*1000/2 {
		t.Errorf("got %d rows of %d connections and %d bytes, want 10, 1000 and %d", len(m.rows), sum.closed, sum.bytesIn, 999*1000/2)
	}
}
