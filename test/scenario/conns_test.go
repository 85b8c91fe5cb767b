package scenario

import (
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// fares is how a connection fares, as both netfate and ss tell it.
type fares struct {
	BytesIn, BytesOut, SegmentsIn, SegmentsOut, Retransmits, OutOfOrder uint64
	RTT, RTTMin, RTTVar                                                 uint64 // us
}

// TestConnsEqualSS sends through a queue that is too short, so that segments are
// lost and sent again, and compares what netfate says of the connection with
// what ss does, and with the kernel's own counters.
func TestConnsEqualSS(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	client.Exec("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "100mbit", "burst", "5k", "limit", "20k")
	var mu sync.Mutex
	open, closed := map[record.Side]record.Conn{}, map[record.Side]record.Conn{}
	fields := record.Fields(record.Conn{})
	watch := func(args ...string) *watch {
		return startWatch(t, func(row []byte) error {
			var c record.Conn
			if err := record.ParseJSON(row, fields, &c); err != nil {
				return err
			}
			if c.NetNS != client.Inode && c.NetNS != server.Inode {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			switch c.Event {
			case record.ConnOpen:
				open[c.Side] = c
			case record.ConnClosed:
				closed[c.Side] = c
			}
			return nil
		}, args...)
	}
	live, events := watch("conns", "--live", "--every", "200ms"), watch("conns")
	before := client.Counter("Tcp", "RetransSegs")
	out, in := netlab.ConnectTCP(client, server, "10.0.0.2:9000")
	const size = 5 << 20
	go func() { _, _ = io.CopyN(out, zeros{}, size) }()
	_, err := io.CopyN(io.Discard, in, size)
	server.Must("read", err)
	_, err = in.Write(make([]byte, 1000))
	server.Must("answer", err)
	_, err = io.CopyN(io.Discard, out, 1000)
	client.Must("read the answer", err)
	settled(t, []*netlab.NetNS{client, server})

	for side, n := range map[record.Side]*netlab.NetNS{record.Client: client, record.Server: server} {
		var got, want fares
		netlab.WaitFor(t, "netfate to say what ss does", func() bool {
			mu.Lock()
			c := open[side]
			mu.Unlock()
			got = fares{c.BytesIn, c.BytesOut, c.SegmentsIn, c.SegmentsOut, c.Retransmits, c.OutOfOrder, uint64(c.RTTMicros), uint64(c.RTTMinMicros), uint64(c.RTTVarMicros)}
			want = socketStatistics(n)
			if side == record.Client {
				want.BytesOut-- // ss counts the SYN
			}
			return cmp.Equal(got, want)
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-ss +netfate):\n%s", side, diff)
		}
	}
	resent := client.Counter("Tcp", "RetransSegs") - before
	out.Close()
	in.Close()
	netlab.WaitFor(t, "the connection to be told closed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(closed) == 2
	})
	live.stop()
	events.stop()
	c := closed[record.Client]
	if resent == 0 || c.Retransmits != resent {
		t.Errorf("got %d segments sent again, want %d as the kernel counts, and some", c.Retransmits, resent)
	}
	if c.BytesOut != size || c.BytesIn != 1000 || c.ClosedBy != "local" || closed[record.Server].BytesIn != size {
		t.Errorf("got %d bytes out, %d in, closed by %q, %d bytes in at the server; want %d, 1000, local, %d",
			c.BytesOut, c.BytesIn, c.ClosedBy, closed[record.Server].BytesIn, size, size)
	}
}

// socketStatistics asks ss about the only connection of a namespace.
func socketStatistics(n *netlab.NetNS) (f fares) {
	text := n.Exec("ss", "-tiHn", "state", "established")
	number := func(pattern string) uint64 {
		m := regexp.MustCompile(`(?:^|\s)` + pattern).FindStringSubmatch(text)
		if m == nil {
			return 0
		}
		x, err := strconv.ParseFloat(m[1], 64)
		n.Must("read ss", err)
		if strings.Contains(pattern, "rtt") {
			x *= 1000 // ms
		}
		return uint64(x + 0.5)
	}
	return fares{
		BytesIn: number(`bytes_received:(\d+)`), BytesOut: number(`bytes_acked:(\d+)`),
		SegmentsIn: number(`segs_in:(\d+)`), SegmentsOut: number(`segs_out:(\d+)`),
		Retransmits: number(`retrans:\d+/(\d+)`), OutOfOrder: number(`rcv_ooopack:(\d+)`),
		RTT: number(`rtt:([\d.]+)/`), RTTMin: number(`minrtt:([\d.]+)`), RTTVar: number(`rtt:[\d.]+/([\d.]+)`),
	}
}

// TestLossyLink loses segments at random, slows the rest down, and wants what
// connections and flows say of that to be what the kernel counts.
func TestLossyLink(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	client.Exec("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "50mbit", "burst", "10k", "latency", "20ms")
	server.NFT(`table ip lossy { chain in { type filter hook input priority 0; meta l4proto tcp numgen random mod 50 == 0 drop; }; }`)
	client.NFT(`table ip lossy { chain in { type filter hook input priority 0; meta l4proto tcp numgen random mod 50 == 0 drop; }; }`)
	file := filepath.Join(t.TempDir(), "lossy.nfr")
	stop := startRecording(t, file)
	const size = 5 << 20
	for range 2 {
		out, in := netlab.ConnectTCP(client, server, "10.0.0.2:9000")
		go func() { _, _ = io.CopyN(out, zeros{}, size) }()
		_, err := io.CopyN(io.Discard, in, size)
		server.Must("read", err)
		in.Close()
		out.Close()
	}
	spaces := []*netlab.NetNS{client, server}
	// A FIN that was lost may be sent again later than what counts as silence, and a
	// connection says how much it sent again when it is over.
	netlab.WaitFor(t, "the connections to be over", func() bool {
		left := ""
		for _, n := range spaces {
			left += n.Exec("ss", "-tHn", "state", "connected", "exclude", "time-wait", "exclude", "fin-wait-2")
		}
		return left == ""
	})
	settled(t, spaces)
	stop()

	want, ofConns, ofFlows := map[uint32]uint64{}, map[uint32]uint64{}, map[uint32]uint64{}
	for _, n := range spaces {
		if resent := n.Counter("Tcp", "RetransSegs"); resent > 0 {
			want[n.Inode] = resent
		}
	}
	var slowest uint32
	for _, c := range replay(t, file, "conns", record.Conn{}) {
		if c.Event == record.ConnClosed && c.Retransmits > 0 && ours(spaces, c.NetNS) {
			ofConns[c.NetNS] += c.Retransmits
		}
		if c.NetNS == client.Inode && c.Event == record.ConnClosed && (c.BytesOut != size || c.RTTMicros == 0) {
			t.Errorf("got %d bytes out in round-trips of %d us, want %d, and some", c.BytesOut, c.RTTMicros, size)
		}
		slowest = max(slowest, c.RTTMicros)
	}
	known := false
	for _, f := range replay(t, file, "flows", record.Flow{}) {
		if f.Retransmits > 0 && ours(spaces, f.NetNS) {
			ofFlows[f.NetNS] += f.Retransmits
		}
		known = known || f.NetNS == client.Inode && f.DstPort == 9000 && f.RTTMicros > 0
	}
	if want[client.Inode] == 0 || !cmp.Equal(want, ofConns) {
		t.Errorf("connections: got segments sent again, by namespace, %v, want %v, and some", ofConns, want)
	}
	if !cmp.Equal(want, ofFlows) {
		t.Errorf("flows: got segments sent again, by namespace, %v, want %v", ofFlows, want)
	}
	if !known || slowest < 200 {
		t.Errorf("got flows with round-trip times: %v, %d us at most; want some, longer than without a queue", known, slowest)
	}
}

// ours reports whether a namespace is one of the test's: others have traffic too.
func ours(spaces []*netlab.NetNS, inode uint32) bool {
	return slices.ContainsFunc(spaces, func(n *netlab.NetNS) bool { return n.Inode == inode })
}

// TestHeldUp: a connect whose first SYN is lost takes as long as the second is
// waited for, and a peer that reads nothing holds the sender up.
func TestHeldUp(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	var mu sync.Mutex
	var now record.Conn
	fields := record.Fields(now)
	w := startWatch(t, func(row []byte) error {
		var c record.Conn
		if err := record.ParseJSON(row, fields, &c); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if c.NetNS == client.Inode {
			now = c
		}
		return nil
	}, "conns", "--live", "--every", "200ms")
	until := func(what string, fits func(*record.Conn) bool) (then record.Conn) {
		t.Helper()
		netlab.WaitFor(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			then = now
			return fits(&then)
		})
		return then
	}
	const to = "10.0.0.2:9000"
	listener := server.ListenTCP(to)
	server.NFT(`table ip deaf { chain in { type filter hook input priority 0; tcp dport 9000 drop; }; }`)
	dialled := make(chan *net.TCPConn)
	go func() {
		conn, err := client.TryDialTCP(to, 20*time.Second)
		if err != nil {
			t.Errorf("connect: %v", err)
		}
		dialled <- conn
	}()
	until("the SYN to be sent", func(c *record.Conn) bool { return c.State == "syn_sent" && c.SegmentsOut > 0 })
	server.NFT(`delete table ip deaf`)
	out := <-dialled
	if out == nil {
		return
	}
	defer out.Close()
	in, err := listener.AcceptTCP()
	server.Must("accept", err)
	defer in.Close()
	c := until("the connection to be established", func(c *record.Conn) bool { return c.State == "established" })
	// TCP_TIMEOUT_INIT is 1 s, and later ones double.
	if took, again := c.ConnectMicros, c.Retransmits; again == 0 || took < 1_000_000<<(again-1) || took > 1_200_000*(1<<again) {
		t.Errorf("got a connect of %d us after %d SYNs more, want a second and as much more as was waited for each", took, again)
	}

	writing := make(chan error)
	go func() {
		_, err := io.CopyN(out, zeros{}, 16<<20)
		writing <- err
	}()
	until("the peer to have no room", func(c *record.Conn) bool { return c.ZeroWindow && c.RwndMicros > 0 })
	_, err = io.CopyN(io.Discard, in, 16<<20)
	server.Must("read", err)
	client.Must("write", <-writing)
	c = until("the peer to have room", func(c *record.Conn) bool { return !c.ZeroWindow && c.BytesOut == 16<<20 })
	w.stop()
	if c.RwndMicros == 0 || c.RwndMicros > c.DurationMicros {
		t.Errorf("got %d us held up in %d us, want some of them", c.RwndMicros, c.DurationMicros)
	}
}
