package ledger

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

const inode = 4026532000

// world is an interval of one namespace with a veth, as counters and sensors tell
// it. Tests add to its end.
type world struct {
	t        *testing.T
	from, to counters.Namespace
	softnet  uint32
	drops    []record.Drop
	flows    []record.Flow
	deaf     bool
	look     func(Question) []evidence.Fact
	home     uint32
}

func newWorld(t *testing.T) *world {
	n := counters.Namespace{
		Place:      counters.Place{Inode: inode, Name: "a"},
		Interfaces: []counters.Interface{{Index: 2, Name: "v", Kind: "veth", LinkNSID: -1}},
	}
	w := &world{t: t, from: n, to: n}
	w.from.Interfaces = append([]counters.Interface(nil), n.Interfaces...)
	w.from.SNMP, w.to.SNMP = counters.Counters{}, counters.Counters{}
	w.count("IpOutTransmits", 0)
	return w
}

// count sets what a counter has counted in the interval.
func (w *world) count(name string, n uint64) {
	for _, c := range []struct {
		to *counters.Counters
		n  uint64
	}{{&w.from.SNMP, 1000}, {&w.to.SNMP, 1000 + n}} {
		c.to.Names = append(c.to.Names, name)
		c.to.Values = append(c.to.Values, c.n)
	}
}

func (w *world) link() *counters.Interface { return &w.to.Interfaces[0] }

// came has packets come over the veth, to IP if it is said what of.
func (w *world) came(n uint64, proto string) {
	w.link().Stats.RxPackets += n
	w.flows = append(w.flows, record.Flow{
		Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: proto}, Direction: record.In, BuffersIn: n, PacketsIn: n,
	})
}

func (w *world) drop(n uint64, reason, place string, direction record.Direction) {
	w.drops = append(w.drops, record.Drop{
		Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "udp"}, Reason: reason, Location: place + "+0x1",
		Direction: direction, Packets: n, Buffers: n, Verdict: record.Loss,
	})
}

var rules = sync.OnceValues(verdict.New)

func rulebook(t testing.TB) *verdict.Book {
	t.Helper()
	b, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) balance() []record.Entry {
	w.t.Helper()
	return w.balanceIn(New(rulebook(w.t)))
}

// balanceIn is balance by a ledger that may have intervals before this one.
func (w *world) balanceIn(l *Ledger) []record.Entry {
	w.t.Helper()
	start := time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	a := &counters.Sample{Start: start, Namespaces: []counters.Namespace{w.from}, Host: counters.Host{Softnet: []counters.Softnet{{}}}}
	b := &counters.Sample{Start: start.Add(time.Second), Namespaces: []counters.Namespace{w.to}, Host: counters.Host{Softnet: []counters.Softnet{{Dropped: w.softnet}}}}
	lines := l.Balance(&Interval{Host: "h", From: a, To: b, Drops: w.drops, Flows: w.flows, Watched: !w.deaf, Look: w.look, Home: w.home})
	addsUp(w.t, lines)
	return lines
}

// addsUp fails unless in every station what came is what went, with the
// remainder.
func addsUp(t testing.TB, lines []record.Entry) {
	t.Helper()
	sums := map[string]int64{}
	for _, e := range lines {
		ifname := e.IfName
		if e.Scope != record.InterfaceScope {
			ifname = ""
		}
		if e.Line == record.Came {
			e.Packets = -e.Packets
		}
		station := e.Station
		if station == elsewhere || station == taps {
			station += string(e.Layer)
		}
		sums[fmt.Sprint(e.Scope, e.NetNS, ifname, e.Direction, station)] += e.Packets
	}
	for k, n := range sums {
		if n != 0 {
			t.Errorf("%s: the lines miss what came by %d", k, n)
		}
	}
}

// get adds up the lines of the namespace and its interfaces.
func get(lines []record.Entry, direction record.Direction, station string, line record.Line, what string) (n int64) {
	for _, e := range lines {
		if e.Scope != record.HostScope && e.Direction == direction && e.Station == station && e.Line == line && e.What == what {
			n += e.Packets
		}
	}
	return n
}

// remainders returns those that are not zero, of all stations but the total.
func remainders(lines []record.Entry) map[string]int64 {
	off := map[string]int64{}
	for _, e := range lines {
		if e.Line == record.Remainder && e.Packets != 0 && e.Station != total {
			off[fmt.Sprint(e.Station, " ", e.Direction)] += e.Packets
		}
	}
	return off
}

func (w *world) want(lines []record.Entry, off map[string]int64) {
	w.t.Helper()
	if got := remainders(lines); fmt.Sprint(got) != fmt.Sprint(off) {
		w.t.Errorf("remainders: got %v, want %v", got, off)
	}
}

// TestIn follows 100 datagrams: each balance holds, and each wrong number is the
// remainder of its station.
func TestIn(t *testing.T) {
	base := func(t *testing.T) *world {
		w := newWorld(t)
		w.came(100, "udp")
		w.came(4, "arp")
		w.count("IpInReceives", 98)
		w.count("IpInHdrErrors", 3)
		w.count("IpForwDatagrams", 20)
		w.count("IpInDelivers", 70)
		w.count("UdpInDatagrams", 58)
		w.count("UdpInErrors", 7)
		w.count("UdpRcvbufErrors", 7)
		w.count("UdpNoPorts", 5)
		w.drop(2, "TC_INGRESS", "__netif_receive_skb_core", record.In)
		w.drop(3, "IP_INHDR", "ip_rcv_core", record.In)
		w.drop(5, "NETFILTER_DROP", "nft_do_chain", record.In)
		w.drop(7, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", record.In)
		w.drop(5, "NO_SOCKET", "__udp4_lib_rcv", record.In)
		// What is forwarded goes out.
		w.flows = append(w.flows, record.Flow{Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "udp"}, Direction: record.Forward, BuffersOut: 20, PacketsOut: 20})
		w.link().Stats.TxPackets = 20
		return w
	}
	w := base(t)
	lines := w.balance()
	w.want(lines, map[string]int64{})
	for _, c := range []struct {
		station string
		line    record.Line
		what    string
		want    int64
	}{
		{device, record.Came, "received", 104}, {ingress, record.Taken, "other protocols", 4}, {ingress, record.LostLine, "TC_INGRESS", 2},
		{ip, record.LostLine, "IP_INHDR", 3}, {ip, record.LostLine, "NETFILTER_DROP", 5}, {ip, record.Forwarded, "forwarded", 20},
		{transport, record.LostLine, "SOCKET_RCVBUFF", 7}, {transport, record.LostLine, "NO_SOCKET", 5}, {transport, record.Delivered, "udp", 58},
		{total, record.Came, "received", 104}, {total, record.Delivered, "udp", 58}, {total, record.Forwarded, "forwarded", 20}, {total, record.Remainder, "", 0},
	} {
		if got := get(lines, record.In, c.station, c.line, c.what); got != c.want {
			t.Errorf("%s %s %s: got %d, want %d", c.station, c.line, c.what, got, c.want)
		}
	}

	for _, c := range []struct {
		name string
		do   func(w *world)
		off  map[string]int64
	}{
		{"the device counts two more", func(w *world) { w.link().Stats.RxPackets += 2 }, map[string]int64{"device in": 2}},
		{"and two fewer", func(w *world) { w.link().Stats.RxPackets -= 2 }, map[string]int64{"device in": -2}},
		{"the hook's drops are not seen", func(w *world) { w.drops[2].Buffers = 0 }, map[string]int64{"ip in": 5}},
		{"IP gets three fewer", func(w *world) { w.to.SNMP.Values[1] -= 3 }, map[string]int64{"ingress in": 3, "ip in": -3}},
		{"UDP delivers one fewer", func(w *world) { w.to.SNMP.Values[5]-- }, map[string]int64{"transport in": 1}},
		{"a protocol that nobody speaks", func(w *world) {
			w.came(6, "ip-253")
			w.to.SNMP.Values[1] += 6
			w.count("IpInUnknownProtos", 6)
			w.drop(6, "IP_NOPROTO", "ip_protocol_deliver_rcu", record.In)
			w.drops[len(w.drops)-1].Proto = "ip-253"
		}, map[string]int64{}},
		{"one that is forwarded", func(w *world) {
			w.came(6, "ip-253")
			w.to.SNMP.Values[1] += 6
			w.to.SNMP.Values[3] += 6
			w.link().Stats.TxPackets += 6
			w.flows = append(w.flows, record.Flow{Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "ip-253"}, Direction: record.Forward, BuffersOut: 6, PacketsOut: 6})
		}, map[string]int64{}},
		{"one that somebody speaks", func(w *world) {
			w.came(6, "gre")
			w.to.SNMP.Values[1] += 6
			w.to.SNMP.Values[4] += 6
		}, map[string]int64{}},
		{"a counter knows better than the sensor", func(w *world) { w.drops[3].Buffers = 1 }, map[string]int64{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := base(t)
			c.do(w)
			w.want(w.balance(), c.off)
		})
	}
}

// TestOut follows what sockets send.
func TestOut(t *testing.T) {
	w := newWorld(t)
	w.to.Qdiscs = []counters.Qdisc{{Index: 2, Handle: 0x10000, Parent: 0xffffffff, Kind: "tbf", Stats: counters.QueueStats{Packets: 80, Drops: 6, Qlen: 5}}}
	w.from.Qdiscs = []counters.Qdisc{{Index: 2, Handle: 0x10000, Parent: 0xffffffff, Kind: "tbf", Stats: counters.QueueStats{Qlen: 1}}}
	w.count("IpOutRequests", 93)
	w.count("UdpOutDatagrams", 93)
	w.count("IpOutNoRoutes", 2)
	w.drop(3, "NETFILTER_DROP", "nft_do_chain", record.Out)
	w.drop(6, "QDISC_DROP", "__dev_queue_xmit", record.Out)
	w.drop(2, "IP_OUTNOROUTES", "ip_queue_xmit", record.Out)
	w.flows = []record.Flow{{Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "udp"}, Direction: record.Out, BuffersOut: 80, PacketsOut: 80}}
	w.link().Stats.TxPackets, w.link().Stats.TxDropped = 79, 1
	lines := w.balance()
	w.want(lines, map[string]int64{})
	if n := get(lines, record.Out, total, record.Waiting, "in queues"); n != 4 {
		t.Errorf("waiting: got %d, want 4", n)
	}
	if n := get(lines, record.Out, total, record.LostLine, "QDISC_DROP"); n != 6 {
		t.Errorf("lost in the queue: got %d, want 6", n)
	}

	w.link().Stats.TxDropped = 0
	w.want(w.balance(), map[string]int64{"device out": 1})
}

// TestSegments: buffers of TCP that software cuts up are no surplus, as far as
// TCP counts so many segments; others are.
func TestSegments(t *testing.T) {
	for _, c := range []struct {
		segments uint64
		off      map[string]int64
	}{{100, map[string]int64{}}, {70, map[string]int64{"ip out": -30}}, {10, map[string]int64{"ip out": -90}}} {
		w := newWorld(t)
		w.count("IpOutRequests", 10)
		w.count("TcpOutSegs", c.segments)
		w.flows = []record.Flow{{Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "tcp"}, Direction: record.Out, BuffersOut: 100, PacketsOut: 100}}
		w.link().Stats.TxPackets = 100
		w.want(w.balance(), c.off)
	}
}

// TestUnits: hardware counts packets of the wire, which GRO joins.
func TestUnits(t *testing.T) {
	w := newWorld(t)
	w.link().Kind, w.from.Interfaces[0].Kind = "", ""
	w.link().Stats.RxPackets, w.link().Stats.RxMissedErrors = 640, 9
	w.flows = []record.Flow{{Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "tcp"}, Direction: record.In, BuffersIn: 40, PacketsIn: 640}}
	w.count("IpInReceives", 40)
	w.count("IpInDelivers", 40)
	w.count("TcpInSegs", 40)
	lines := w.balance()
	w.want(lines, map[string]int64{})
	if n := get(lines, record.In, device, record.Merged, "GRO"); n != 600 {
		t.Errorf("merged: got %d, want 600", n)
	}
	if n := get(lines, record.In, device, record.LostLine, "RING"); n != 9 {
		t.Errorf("lost in the ring: got %d, want 9", n)
	}
}

// TestLate has counters and sensors come in different intervals, in either order:
// together they balance as one long interval would.
func TestLate(t *testing.T) {
	const whole, joined = 100, 61 // buffers before and after GRO, of 150 packets
	for _, first := range []uint64{0, 30, 61, 80, 100} {
		l := New(rulebook(t))
		var off, merged int64
		for i, count := range []uint64{first, whole - first} {
			w := newWorld(t)
			w.link().Kind = "vxlan"
			w.link().Stats.RxPackets = count
			w.flows = append(w.flows, record.Flow{
				Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "tcp"}, Direction: record.In,
				BuffersIn: []uint64{30, joined - 30}[i], PacketsIn: []uint64{119, 31}[i],
			})
			lines := w.balanceIn(l)
			off += get(lines, record.In, device, record.Remainder, "")
			merged += get(lines, record.In, device, record.Merged, "GRO")
		}
		if off != 0 || merged != whole-joined {
			t.Errorf("%d counted first: got a remainder of %d and %d merged, want 0 and %d", first, off, merged, whole-joined)
		}
	}
}

// TestAgreement: a loss that both know is counted once, and what each says is
// kept; one that only one knows is not lost.
func TestAgreement(t *testing.T) {
	w := newWorld(t)
	w.came(10, "udp")
	w.count("IpInReceives", 10)
	w.count("IpInDelivers", 10)
	w.count("UdpInErrors", 10)
	w.count("UdpRcvbufErrors", 10)
	w.drop(9, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", record.In)
	w.drop(4, "SOMETHING_NEW", "no_function_we_know", record.In)
	find := func(lines []record.Entry, what string) *record.Entry {
		for i := range lines {
			if lines[i].What == what && lines[i].Line == record.LostLine && lines[i].Station != total {
				return &lines[i]
			}
		}
		t.Fatalf("no loss %s", what)
		return nil
	}
	lines := w.balance()
	e := find(lines, "SOCKET_RCVBUFF")
	if e.Packets != 10 || e.Counted == nil || *e.Counted != 10 || e.Seen == nil || *e.Seen != 9 || e.Verdict == "" || e.Why == "" || e.Command == "" {
		t.Errorf("got %+v, want 10, counted 10, seen 9, explained", e)
	}
	e = find(lines, "SOMETHING_NEW")
	if e.Packets != 4 || e.Counted != nil || e.Station != elsewhere {
		t.Errorf("got %+v, want 4 that no balance has", e)
	}
	w.deaf, w.drops = true, nil
	if e = find(w.balance(), "SOCKET_RCVBUFF"); e.Packets != 10 || e.Seen != nil {
		t.Errorf("got %+v, want 10 and nothing seen", e)
	}
}

// TestOlder: before 6.6 what is forwarded is among what IP sent.
func TestOlder(t *testing.T) {
	w := newWorld(t)
	w.from.SNMP, w.to.SNMP = counters.Counters{}, counters.Counters{}
	w.came(20, "udp")
	w.count("IpInReceives", 20)
	w.count("IpForwDatagrams", 15)
	w.count("IpOutRequests", 15+30)
	w.drop(5, "NETFILTER_DROP", "nf_hook_slow", record.Forward)
	w.drop(4, "NETFILTER_DROP", "nf_hook_slow", record.Out)
	w.flows = append(w.flows, record.Flow{Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "udp"}, BuffersOut: 45, PacketsOut: 45})
	w.link().Stats.TxPackets = 45
	lines := w.balance()
	w.want(lines, map[string]int64{})
	if n := get(lines, record.Out, ip, record.Came, "from sockets"); n != 34 {
		t.Errorf("from sockets: got %d, want 30 and 4 that a hook dropped", n)
	}
}

// TestHost: what is in no namespace's book is in the host's, and its sums are
// those of all.
func TestHost(t *testing.T) {
	w := newWorld(t)
	w.came(10, "arp")
	w.softnet = 7
	w.drops = append(w.drops, record.Drop{Endpoints: record.Endpoints{Proto: "tcp"}, Reason: "TCP_CSUM", Location: "tcp_v4_rcv+0x1", Direction: record.In, Buffers: 3, Packets: 3, Verdict: record.Loss})
	lines := w.balance()
	var came, lost, backlog int64
	for _, e := range lines {
		switch {
		case e.Scope != record.HostScope:
		case e.Station == total && e.Line == record.Came:
			came += e.Packets
		case e.Line == record.LostLine:
			lost += e.Packets
		case e.Station == "softnet" && e.Line == record.Remainder:
			backlog = e.Packets
		}
	}
	if came != 10 || lost != 3 || backlog != 7 {
		t.Errorf("got %d came, %d lost, %d of the backlog in no book; want 10, 3, 7", came, lost, backlog)
	}
}

// TestAddsUp holds whatever counters and sensors say.
func TestAddsUp(t *testing.T) {
	reasons := []string{"", "NOT_SPECIFIED", "NETFILTER_DROP", "SOCKET_RCVBUFF", "QDISC_DROP", "XDP", "CPU_BACKLOG", "IP_RPFILTER", "TC_EGRESS", "FULL_RING", "TCP_CSUM", "DUP_FRAG", "WHATEVER"}
	places := []string{"ip_rcv", "tcp_v4_rcv", "udp_queue_rcv_skb", "br_forward", "nf_hook_slow", "packet_rcv", "neigh_probe", "veth_xdp_rcv_skb", "vxlan_rcv", "", "strange"}
	names := []string{"IpInReceives", "IpInDelivers", "IpForwDatagrams", "IpOutRequests", "IpReasmReqds", "IpReasmOKs", "IpFragCreates", "IpFragOKs", "TcpInSegs", "TcpOutSegs",
		"UdpInDatagrams", "UdpInErrors", "UdpRcvbufErrors", "TcpExtListenDrops", "Ip6InReceives", "IcmpInMsgs", "IpOutNoRoutes", "UdpIgnoredMulti"}
	kinds := []string{"", "veth", "bridge", "vxlan", "vlan", "tun"}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t)
		w.to.Interfaces, w.from.Interfaces = nil, nil
		for i, kind := range kinds {
			l := counters.Interface{Index: uint32(i + 1), Name: fmt.Sprint("i", i), Kind: kind, LinkNSID: -1}
			if rng.IntN(3) == 0 {
				l.Master = 3
			}
			w.from.Interfaces = append(w.from.Interfaces, l)
			l.Stats.RxPackets, l.Stats.TxPackets, l.Stats.TxDropped, l.Stats.RxMissedErrors = rng.Uint64N(99), rng.Uint64N(99), rng.Uint64N(3), rng.Uint64N(3)
			w.to.Interfaces = append(w.to.Interfaces, l)
			w.to.Qdiscs = append(w.to.Qdiscs, counters.Qdisc{Index: l.Index, Parent: 0xffffffff, Kind: "tbf", Stats: counters.QueueStats{Packets: rng.Uint64N(99), Drops: rng.Uint32N(5), Qlen: rng.Uint32N(9)}})
		}
		for range 20 {
			buffers := rng.Uint64N(50)
			w.flows = append(w.flows, record.Flow{
				Endpoints: record.Endpoints{NetNS: inode, IfName: fmt.Sprint("i", rng.IntN(8)), Proto: []string{"tcp", "udp", "arp", "gre"}[rng.IntN(4)]},
				BuffersIn: buffers, PacketsIn: buffers * 2, BuffersOut: rng.Uint64N(50), PacketsOut: 100,
			})
			n := rng.Uint64N(9)
			w.drops = append(w.drops, record.Drop{
				Endpoints: record.Endpoints{NetNS: inode, IfName: fmt.Sprint("i", rng.IntN(8)), Proto: "udp"}, Reason: reasons[rng.IntN(len(reasons))],
				Location: places[rng.IntN(len(places))] + "+0x2", Direction: []record.Direction{record.In, record.Out, record.Forward}[rng.IntN(3)],
				Buffers: n, Packets: n * 2, Verdict: record.Verdicts()[rng.IntN(6)],
			})
		}
		for _, name := range names {
			w.count(name, rng.Uint64N(60))
		}
		var seen, told uint64
		for i := range w.drops {
			if d := &w.drops[i]; d.Verdict != record.Benign {
				seen += d.Buffers
			}
		}
		for _, e := range w.balance() {
			switch {
			case e.Seen == nil || e.Line != record.LostLine || e.Station == total:
			case e.Unit == buffers:
				told += *e.Seen
			case e.Station == device:
				told += *e.Seen / 2 // packets
			}
		}
		if told < seen {
			t.Errorf("the sensor saw %d lost, the lines tell %d", seen, told)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestBare: where the kernel gives no reason, a loss that a counter knows is found
// by the function that freed it, and what no counter knows is told apart.
func TestBare(t *testing.T) {
	in := record.In
	for _, c := range []struct {
		name string
		make func(w *world)
		want map[string]int64 // by station and what is lost
	}{
		{"a route that there is not, and one that is prohibited", func(w *world) {
			w.came(20, "udp")
			w.count("IpInReceives", 20)
			w.count("IpExtInNoRoutes", 13)
			w.drop(20, "", "ip_error", in)
		}, map[string]int64{"ip IP_INNOROUTES": 13, "ip NOT_SPECIFIED": 7}},
		{"two counters of one place", func(w *world) {
			w.came(20, "udp")
			w.count("IpInReceives", 20)
			w.count("IpExtInNoRoutes", 13)
			w.count("IpInAddrErrors", 7)
			w.drop(20, "", "ip_error", in)
		}, map[string]int64{"ip IP_INNOROUTES": 13, "ip IP_INADDRERRORS": 7}},
		{"tc on the way in", func(w *world) {
			w.came(14, "udp")
			w.to.Qdiscs = []counters.Qdisc{{Index: 2, Kind: "clsact", Stats: counters.QueueStats{Drops: 12}}}
			w.from.Qdiscs = []counters.Qdisc{{Index: 2, Kind: "clsact"}}
			w.drop(14, "", "__netif_receive_skb_core.constprop.0", in)
		}, map[string]int64{"ingress TC_INGRESS": 12, "ingress UNHANDLED_PROTO": 2}},
		{"tc both ways", func(w *world) {
			w.came(12, "udp")
			w.count("IpOutRequests", 5)
			w.to.Qdiscs = []counters.Qdisc{{Index: 2, Kind: "clsact", Stats: counters.QueueStats{Drops: 17}}}
			w.from.Qdiscs = []counters.Qdisc{{Index: 2, Kind: "clsact"}}
			w.drop(12, "", "__netif_receive_skb_core.constprop.0", in)
			w.drop(5, "", "__dev_queue_xmit", record.Out)
		}, map[string]int64{"ingress TC_INGRESS": 12, "ip NOT_SPECIFIED": 5}},
		{"frames for others, and bad headers", func(w *world) {
			w.came(25, "udp")
			w.count("IpInReceives", 5)
			w.count("IpInHdrErrors", 5)
			w.drop(25, "", "ip_rcv_core.isra.0", in)
		}, map[string]int64{"ip IP_INHDR": 5, "ingress OTHERHOST": 20}},
		{"a device that is full", func(w *world) {
			w.count("IpOutRequests", 9)
			w.flows = append(w.flows, record.Flow{Endpoints: record.Endpoints{NetNS: inode, IfName: "v", Proto: "udp"}, Direction: record.Out, BuffersOut: 9, PacketsOut: 9})
			w.link().Stats.TxPackets, w.link().Stats.TxDropped = 2, 7
			w.drop(7, "", "tun_net_xmit", record.Out)
		}, map[string]int64{"device FULL_RING": 7}},
		{"XDP in the driver, and a queue", func(w *world) {
			w.came(4, "arp")
			w.link().Stats.RxPackets += 25
			w.link().XDP.Mode = counters.XDPNative
			w.link().Driver.Names, w.link().Driver.Values = []string{"rx_queue_0_xdp_drops"}, []uint64{25}
			w.from.Interfaces[0].Driver.Names, w.from.Interfaces[0].Driver.Values = []string{"rx_queue_0_xdp_drops"}, []uint64{0}
			w.from.Interfaces[0].XDP.Mode = counters.XDPNative
			w.drop(25, "NOT_SPECIFIED", "veth_xdp_rcv_skb", in)
			w.count("IpOutRequests", 6)
			w.to.Qdiscs = []counters.Qdisc{{Index: 2, Parent: 0xffffffff, Kind: "tbf", Stats: counters.QueueStats{Drops: 6}}}
			w.from.Qdiscs = []counters.Qdisc{{Index: 2, Parent: 0xffffffff, Kind: "tbf"}}
			w.drop(6, "", "__dev_xmit_skb", record.Out)
		}, map[string]int64{"device XDP": 25, "queue QDISC_DROP": 12}}, // in the books of the interface and the namespace
		{"a copy for a raw socket", func(w *world) {
			w.to.SocketSums = []counters.SocketSum{{Protocol: "raw", Drops: 24}}
			w.from.SocketSums = []counters.SocketSum{{Protocol: "raw"}}
			w.to.Sockets = []counters.Socket{{Protocol: "raw", Inode: 5, Drops: 24}}
			raw := []counters.Read{{Part: counters.PartRaw}}
			w.to.Reads, w.from.Reads = raw, raw
			w.drop(24, "", "raw_rcv_skb", in)
		}, map[string]int64{"taps SOCKET_RCVBUFF": 24}},
		{"a full socket and a closed port", func(w *world) {
			w.came(11, "udp")
			w.count("IpInReceives", 11)
			w.count("IpInDelivers", 11)
			w.count("UdpNoPorts", 4)
			w.count("UdpInErrors", 7)
			w.count("UdpRcvbufErrors", 7)
			w.drop(4, "", "__udp4_lib_rcv", in)
			w.drop(7, "", "udp_queue_rcv_one_skb", in)
		}, map[string]int64{"transport NO_SOCKET": 4, "transport SOCKET_RCVBUFF": 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.make(w)
			lines := w.balance()
			w.want(lines, map[string]int64{})
			got := map[string]int64{}
			for _, e := range lines {
				if e.Scope == record.HostScope || e.Line != record.LostLine || e.Station == total || e.Packets == 0 {
					continue
				}
				got[e.Station+" "+e.What] += e.Packets
				if e.Seen == nil || *e.Seen != uint64(e.Packets) {
					t.Errorf("%s: got %d, seen %v; want both to agree", e.What, e.Packets, e.Seen)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("losses: got %v, want %v", got, c.want)
			}
		})
	}
}
