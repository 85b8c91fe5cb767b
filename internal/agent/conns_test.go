package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/enrich/iface"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
)

func tupleOf(src, dst string) decode.Tuple {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	t := decode.Tuple{Src: from.Addr().As16(), Dst: to.Addr().As16(), SrcPort: from.Port(), DstPort: to.Port(), EthProto: 0x0800, Proto: 6}
	if from.Addr().Is6() {
		t.EthProto = 0x86dd
	}
	return t
}

func TestFilterOfConns(t *testing.T) {
	v4, v6 := tupleOf("10.0.0.5:40000", "192.0.2.9:443"), tupleOf("[fd00::5]:40000", "[fd00::9]:5432")
	for expr, want := range map[string][2]bool{
		"":                            {true, true},
		"tcp":                         {true, true},
		"udp":                         {false, false},
		"port 443":                    {true, false},
		"dst port 5432":               {false, true},
		"src host 192.0.2.9":          {true, false},
		"net 10.0.0.0/8 and port 443": {true, false},
		"ip6 and not port 443":        {false, true},
		"host fd00::9":                {false, true},
		"portrange 1-1023":            {true, false},
	} {
		pair, err := filter.Programs(t.Context(), expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{matches(pair, v4), matches(pair, v6)}; got != want {
			t.Errorf("%q: got %v, want %v", expr, got, want)
		}
	}
}

// TestConnRecord checks what becomes of the kernel's numbers.
func TestConnRecord(t *testing.T) {
	l := &live{tick: uint64(4 * time.Millisecond), clock: kernel.Clock{Mono: 5e9, Real: 1_800_000_000e9}}
	l.names = newNames("web1", nil, nil, nil)
	l.names.ifaces = iface.New(func(uint32) (string, bool) { return "", false })
	base := decode.ConnEvent{
		Conn: decode.Conn{
			Tuple: tupleOf("10.0.0.5:40000", "192.0.2.9:443"), Start: 1e9, Established: 1_002_000_000, Role: decode.ConnClient,
			Flags: decode.ConnFINOut | decode.ConnAllAcked | decode.ConnFINIn, End: decode.ConnEndLocal,
		},
		Time: 4e9, BytesIn: 101, BytesOut: 52, RwndLimited: 5, SRTT: 800, RTTVar: 40, RTTMin: 90, SegsIn: 7, SegsOut: 8, Retrans: 1, OutOfOrder: 2,
		What: decode.ConnClosed, State: 5,
	}
	wall := time.Unix(1_800_000_000, 0).UTC()
	want := record.Conn{
		Endpoints: record.Endpoints{
			Time: wall.Add(-time.Second), Host: "web1", Proto: "tcp", SrcAddr: netip.MustParseAddr("10.0.0.5"), SrcPort: 40000,
			DstAddr: netip.MustParseAddr("192.0.2.9"), DstPort: 443,
		},
		Event: record.ConnClosed, State: "fin_wait2", Side: record.Client, Start: wall.Add(-4 * time.Second), DurationMicros: 3e6, ConnectMicros: 2000,
		RTTMicros: 100, RTTMinMicros: 90, RTTVarMicros: 10, BytesIn: 100, BytesOut: 50, SegmentsIn: 7, SegmentsOut: 8, Retransmits: 1, OutOfOrder: 2,
		RwndMicros: 20_000, ClosedBy: "local",
	}
	compare := func(name string, change func(*decode.ConnEvent), expect func(*record.Conn)) {
		t.Helper()
		e, w := base, want
		change(&e)
		expect(&w)
		if diff := cmp.Diff(w, l.conn(&e), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	compare("closed", func(*decode.ConnEvent) {}, func(*record.Conn) {})
	compare("server", func(e *decode.ConnEvent) { e.Conn.Role = decode.ConnServer }, func(c *record.Conn) {
		c.Side, c.ConnectMicros, c.BytesOut = record.Server, 0, 51
		c.SrcAddr, c.DstAddr, c.SrcPort, c.DstPort = c.DstAddr, c.SrcAddr, c.DstPort, c.SrcPort
	})
	compare("failed", func(e *decode.ConnEvent) {
		e.What, e.Err, e.State, e.Conn.Established, e.Conn.Flags, e.Conn.End = decode.ConnFailed, int32(unix.ECONNREFUSED), 2, 0, 0, 0
		e.BytesIn, e.BytesOut, e.SRTT = 0, 0, 0
	}, func(c *record.Conn) {
		c.Event, c.State, c.Error, c.ClosedBy, c.ConnectMicros = record.ConnFailed, "syn_sent", "refused", "", 3e6
		c.BytesIn, c.BytesOut, c.RTTMicros, c.RTTMinMicros, c.RTTVarMicros = 0, 0, 0, 0, 0
	})
	compare("reset", func(e *decode.ConnEvent) { e.Conn.Flags, e.Err = decode.ConnRSTIn, int32(unix.ECONNRESET) }, func(c *record.Conn) {
		c.ClosedBy, c.Error, c.BytesIn, c.BytesOut = "peer_reset", "reset", 101, 51
	})
	compare("aborted", func(e *decode.ConnEvent) { e.Conn.Flags, e.State, e.Conn.End = 0, 1, 0 }, func(c *record.Conn) {
		c.State, c.ClosedBy, c.BytesIn, c.BytesOut = "established", "local_reset", 101, 51
	})
	compare("timeout", func(e *decode.ConnEvent) { e.Err = int32(unix.ETIMEDOUT) }, func(c *record.Conn) { c.ClosedBy, c.Error = "timeout", "timed_out" })
	compare("no room", func(e *decode.ConnEvent) { e.What, e.State, e.Conn.End, e.Conn.Flags = decode.ConnOpen, 1, 0, 0 }, func(c *record.Conn) {
		c.Event, c.State, c.ZeroWindow, c.ClosedBy, c.BytesIn, c.BytesOut = record.ConnOpen, "established", true, "", 101, 51
	})
	compare("listener", func(e *decode.ConnEvent) {
		e.Conn = decode.Conn{Tuple: tupleOf("0.0.0.0:80", "0.0.0.0:0"), Role: decode.ConnListener, Start: 1e9, Flags: decode.ConnOlder}
		e.What, e.State, e.Backlog, e.BacklogMax, e.Window, e.Overflows = decode.ConnOpen, 10, 3, 128, 4, 9
		e.RwndLimited = 250
	}, func(c *record.Conn) {
		*c = record.Conn{
			Endpoints: record.Endpoints{Time: c.Time, Host: "web1", Proto: "tcp", DstAddr: netip.MustParseAddr("0.0.0.0"), DstPort: 80},
			Event:     record.ConnListens, State: "listen", Side: record.Server, Start: c.Start, Older: true,
			Backlog: 3, BacklogMax: 128, SynQueue: 4, Overflows: 9, CookieTime: c.Time.Add(-time.Second),
		}
	})
}

// TestConnRowsAreBounded: what does not fit is counted.
func TestConnRowsAreBounded(t *testing.T) {
	var c conns
	for range maxConnRows + 5 {
		c.keep(&decode.ConnEvent{})
	}
	if len(c.rows) != maxConnRows || c.omitted != 5 {
		t.Errorf("got %d rows and %d omitted, want %d and 5", len(c.rows), c.omitted, maxConnRows)
	}
}
