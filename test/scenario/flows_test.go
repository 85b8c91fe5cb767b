package scenario

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/witness"
)

// port names an interface of one namespace.
type port struct {
	netns  uint32
	ifname string
}

// traffic is what passed an interface, in the unit that the struct's user says.
type traffic struct{ PacketsIn, BytesIn, PacketsOut, BytesOut uint64 }

// sums adds up flow rows by interface.
type sums struct {
	buffers, wire map[port]traffic
	host          map[uint32]uint64 // host_packets by namespace
	rows          []record.Flow     // kept if keep is set
	keep          bool
}

func newSums() *sums {
	return &sums{buffers: map[port]traffic{}, wire: map[port]traffic{}, host: map[uint32]uint64{}}
}

// watchFlows starts `netfate flows` and adds its rows up until the watch stops.
func watchFlows(t *testing.T, s *sums) *watch {
	t.Helper()
	fields := record.Fields(record.Flow{})
	return startWatch(t, func(row []byte) error {
		var f record.Flow
		if err := record.ParseJSON(row, fields, &f); err != nil {
			return err
		}
		at := port{f.NetNS, f.IfName}
		b, w := s.buffers[at], s.wire[at]
		s.buffers[at] = traffic{b.PacketsIn + f.BuffersIn, b.BytesIn + f.BufferBytesIn, b.PacketsOut + f.BuffersOut, b.BytesOut + f.BufferBytesOut}
		s.wire[at] = traffic{w.PacketsIn + f.PacketsIn, w.BytesIn + f.BytesIn, w.PacketsOut + f.PacketsOut, w.BytesOut + f.BytesOut}
		s.host[f.NetNS] += f.HostPackets
		if s.keep {
			s.rows = append(s.rows, f)
		}
		return nil
	}, "flows")
}

// counters reads IFLA_STATS64 of every interface of the namespaces.
func counters(spaces []*netlab.NetNS) map[port]traffic {
	m := map[port]traffic{}
	for _, n := range spaces {
		for _, link := range n.Links() {
			s := link.Attrs().Statistics
			m[port{n.Inode, link.Attrs().Name}] = traffic{s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes}
		}
	}
	return m
}

// settled returns the counters once they have stood still for a while: the
// last acknowledgement, the last group report.
func settled(t *testing.T, spaces []*netlab.NetNS) map[port]traffic {
	t.Helper()
	last, since := counters(spaces), time.Now()
	netlab.WaitFor(t, "the interfaces to fall silent", func() bool {
		now := counters(spaces)
		if !cmp.Equal(last, now) {
			last, since = now, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
	return last
}

// watchInSilence starts to watch between two moments at which the counters are
// the same: group reports may come late, and starting takes long in a guest.
func watchInSilence(t *testing.T, spaces []*netlab.NetNS) (before map[port]traffic, s *sums, w *watch) {
	t.Helper()
	const tries = 5
	for range tries {
		before, s = settled(t, spaces), newSums()
		w = watchFlows(t, s)
		if cmp.Equal(before, counters(spaces)) {
			return before, s, w
		}
		w.stop()
	}
	t.Fatalf("the interfaces never fell silent while netfate started, %d times", tries)
	return nil, nil, nil
}

// name gives rows their interface where netfate had only its number: a name that
// takes longer than half a second, as in a guest it may, comes with the next row.
func (s *sums) name(spaces []*netlab.NetNS) {
	for _, sum := range []map[port]traffic{s.buffers, s.wire} {
		for at, unnamed := range sum {
			var index int
			if _, err := fmt.Sscanf(at.ifname, "if%d", &index); err != nil {
				continue
			}
			for _, n := range spaces {
				link, err := n.Netlink().LinkByIndex(index)
				if n.Inode != at.netns || err != nil {
					continue
				}
				to := port{at.netns, link.Attrs().Name}
				sum[to] = minus(sum[to], minus(traffic{}, unnamed)) // which adds
				delete(sum, at)
			}
		}
	}
}

func minus(a, b traffic) traffic {
	return traffic{a.PacketsIn - b.PacketsIn, a.BytesIn - b.BytesIn, a.PacketsOut - b.PacketsOut, a.BytesOut - b.BytesOut}
}

// TestFlowsEqualInterfaceCounters compares, for every interface of closed
// networks, what netfate's rows add up to with what the interface counted.
func TestFlowsEqualInterfaceCounters(t *testing.T) {
	need.Root(t)
	labs := []struct {
		name  string
		build func(l *netlab.Lab) (spaces []*netlab.NetNS, play func())
		long  bool // and like another one
	}{
		{"veth", vethTraffic, true},
		{"bridge_and_nat", natTraffic, false},
		{"ipv6", ipv6Traffic, true},
		{"loopback", loopbackTraffic, false},
		{"tagged_and_fragments", oddTraffic, false},
	}
	for _, lab := range labs {
		t.Run(lab.name, func(t *testing.T) {
			if lab.long {
				need.Time(t)
			}
			witness.Agree(t, func() (wrong []string, skipped bool) {
				spaces, play := lab.build(netlab.New(t))
				before, s, w := watchInSilence(t, spaces)
				play()
				after := settled(t, spaces)
				w.stop()
				s.name(spaces)
				for at, now := range after {
					if diff := cmp.Diff(minus(now, before[at]), s.buffers[at]); diff != "" {
						wrong = append(wrong, fmt.Sprintf("%s: rows differ from IFLA_STATS64 (-counters +netfate):\n%s", nameOf(spaces, at), diff))
					}
					delete(s.buffers, at)
				}
				for at, rest := range s.buffers {
					if name := nameOf(spaces, at); name != "" {
						wrong = append(wrong, fmt.Sprintf("got rows for %s %q, which has no such interface: %+v", name, at.ifname, rest))
					}
				}
				return wrong, w.skipped()
			})
		})
	}
}

// nameOf returns the interface in words, or nothing if it is not of the lab.
func nameOf(spaces []*netlab.NetNS, at port) string {
	for _, n := range spaces {
		if n.Inode == at.netns {
			return n.Short + "/" + at.ifname
		}
	}
	return ""
}

// TestFlowsEqualCapture compares wire packets and bytes with what a capture
// counts where every buffer is one packet: at the server, behind a router that
// segments in software. The client sends with GSO.
func TestFlowsEqualCapture(t *testing.T) {
	need.Root(t)
	witness.Agree(t, func() ([]string, bool) { return compareWithCapture(t) })
}

func compareWithCapture(t *testing.T) (wrong []string, skipped bool) {
	client, router, server := routed(netlab.New(t))
	router.Offloads("right", false)
	server.Offloads("eth0", false)
	spaces := []*netlab.NetNS{client, router, server}
	settled(t, spaces)
	s := newSums()
	w := watchFlows(t, s)
	capture := server.Capture("eth0")
	transfer(client, server, farServer+":9000", 20<<20)
	datagrams(t, client, server, farServer+":9001", []int{1, 100, 1400, 1472})
	settled(t, spaces)
	capture.Stop()
	w.stop()
	s.name(spaces)
	if capture.Lost != 0 {
		t.Fatalf("the capture lost %d packets and cannot be compared with", capture.Lost)
	}
	want := traffic{capture.PacketsIn, capture.BytesIn, capture.PacketsOut, capture.BytesOut}
	turned := traffic{want.PacketsOut, want.BytesOut, want.PacketsIn, want.BytesIn}
	for _, c := range []struct {
		at   port
		want traffic
	}{
		{port{server.Inode, "eth0"}, want},
		{port{router.Inode, "right"}, turned},
		{port{router.Inode, "left"}, want},
		{port{client.Inode, "eth0"}, turned},
	} {
		if diff := cmp.Diff(c.want, s.wire[c.at]); diff != "" {
			wrong = append(wrong, fmt.Sprintf("%s: rows differ from the capture at the server (-capture +netfate):\n%s", nameOf(spaces, c.at), diff))
		}
	}
	if got, want := s.buffers[port{client.Inode, "eth0"}].PacketsOut, want.PacketsIn; got >= want {
		t.Errorf("got %d buffers for %d packets from the client, want fewer: GSO was off and nothing was shown", got, want)
	}
	// Every packet was born in the client or the server and enters nowhere.
	var host uint64
	for _, n := range spaces {
		host += s.host[n.Inode]
	}
	if got, want := host, want.PacketsIn+want.PacketsOut; got != want {
		wrong = append(wrong, fmt.Sprintf("got %d host packets over all rows, want %d: each packet once", got, want))
	}
	for at, got := range s.wire {
		if name := nameOf(spaces, at); name != "" && len(wrong) > 0 {
			wrong = append(wrong, fmt.Sprintf("rows of %s add up to %+v", name, got))
		}
	}
	return wrong, w.skipped()
}

// vethTraffic is 50 MB of TCP with GSO, and UDP of many sizes.
func vethTraffic(l *netlab.Lab) ([]*netlab.NetNS, func()) {
	client, server := pair(l)
	return []*netlab.NetNS{client, server}, func() {
		transfer(client, server, "10.0.0.2:9000", 50<<20)
		datagrams(l.TB(), client, server, "10.0.0.2:9001", []int{0, 1, 18, 100, 1472})
		client.Exec("ping", "-n", "-c", "3", "-i", "0.01", serverAddr)
	}
}

// natTraffic crosses a bridge and a router that masquerades: two clients on
// the bridge, the server behind the router.
func natTraffic(l *netlab.Lab) ([]*netlab.NetNS, func()) {
	one, two, middle, server := l.NetNS("one"), l.NetNS("two"), l.NetNS("middle"), l.NetNS("server")
	l.Veth(one, "eth0", middle, "port1")
	l.Veth(two, "eth0", middle, "port2")
	l.Veth(server, "eth0", middle, "out")
	middle.Bridge("br0", "port1", "port2")
	middle.Addr("br0", "10.1.0.1/24")
	middle.Addr("out", "10.2.0.1/24")
	middle.Forwarding()
	middle.NFT(`table ip nat { chain post { type nat hook postrouting priority 100; oifname "out" masquerade; }; }`)
	one.Addr("eth0", "10.1.0.2/24")
	two.Addr("eth0", "10.1.0.3/24")
	server.Addr("eth0", farServer+"/24")
	one.Route("default", "10.1.0.1")
	two.Route("default", "10.1.0.1")
	neighbours := func(a *netlab.NetNS, aName, aAddr string, b *netlab.NetNS, bName, bAddr string) {
		a.Neigh(aName, bAddr, b.MAC(bName))
		b.Neigh(bName, aAddr, a.MAC(aName))
	}
	neighbours(one, "eth0", "10.1.0.2", middle, "br0", "10.1.0.1")
	neighbours(two, "eth0", "10.1.0.3", middle, "br0", "10.1.0.1")
	neighbours(one, "eth0", "10.1.0.2", two, "eth0", "10.1.0.3")
	neighbours(server, "eth0", farServer, middle, "out", "10.2.0.1")
	return []*netlab.NetNS{one, two, middle, server}, func() {
		transfer(one, server, farServer+":9000", 10<<20)
		transfer(one, two, "10.1.0.3:9000", 5<<20)
		datagrams(l.TB(), two, server, farServer+":9001", []int{10, 1000})
		datagrams(l.TB(), two, one, "10.1.0.2:9001", []int{10, 1000})
		two.Exec("ping", "-n", "-c", "2", "-i", "0.01", "10.1.0.1")
	}
}

func ipv6Traffic(l *netlab.Lab) ([]*netlab.NetNS, func()) {
	client, server := l.NetNS("client"), l.NetNS("server")
	for _, n := range []*netlab.NetNS{client, server} {
		n.IPv6()
	}
	l.Veth(client, "eth0", server, "eth0")
	client.Addr("eth0", "fd00::1/64")
	server.Addr("eth0", "fd00::2/64")
	return []*netlab.NetNS{client, server}, func() {
		transfer(client, server, "[fd00::2]:9000", 10<<20)
		datagrams(l.TB(), client, server, "[fd00::2]:9001", []int{1, 1000, 5000})
	}
}

func loopbackTraffic(l *netlab.Lab) ([]*netlab.NetNS, func()) {
	host := l.NetNS("host")
	return []*netlab.NetNS{host}, func() {
		transfer(host, host, "127.0.0.1:9000", 10<<20)
		datagrams(l.TB(), host, host, "127.0.0.1:9001", []int{1, 1000, 30000})
	}
}

// oddTraffic is fragments, frames with one and two VLAN tags, ARP, a type that
// nobody knows, runts, and datagrams cut by UDP_SEGMENT.
func oddTraffic(l *netlab.Lab) ([]*netlab.NetNS, func()) {
	client, server := pair(l)
	return []*netlab.NetNS{client, server}, func() {
		datagrams(l.TB(), client, server, "10.0.0.2:9001", []int{1473, 5000, 60000})
		raw := client.Packets("eth0", 0)
		frame := netlab.Frame{
			SrcMAC: client.MAC("eth0"), DstMAC: server.MAC("eth0"), VLAN: 42,
			Src: netip.MustParseAddrPort("10.0.0.1:4000"), Dst: netip.MustParseAddrPort("10.0.0.2:9002"),
			Proto: netlab.ProtoUDP, Payload: make([]byte, 200),
		}
		tagged := frame.Bytes()
		double := append(append(append([]byte(nil), tagged[:12]...), 0x88, 0xa8, 0, 7), tagged[12:]...)
		for range 50 {
			raw.Send(tagged)
			raw.Send(double)
			raw.Send(netlab.Frame{SrcMAC: frame.SrcMAC, DstMAC: broadcast, EtherType: 0x88b5, Payload: []byte{1}}.Bytes())
		}
		client.Exec("arping", "-c", "2", "-w", "5", "-I", "eth0", serverAddr)
		conn := client.DialUDP("", "10.0.0.2:9003")
		sink := server.ListenUDP("10.0.0.2:9003")
		control(client, conn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 1000) })
		_, err := conn.Write(make([]byte, 30_000))
		client.Must("send in segments", err)
		arrive(l.TB(), server, sink, 30)
	}
}

// datagrams sends a hundred datagrams of each size and waits for them.
func datagrams(tb netlab.TB, client, server *netlab.NetNS, addr string, sizes []int) {
	sink := server.ListenUDP(addr)
	to := netip.MustParseAddrPort(addr)
	from := "0.0.0.0:0"
	if to.Addr().Is6() {
		from = "[::]:0"
	}
	conn := client.ListenUDP(from)
	for _, size := range sizes {
		for range 100 {
			_, err := conn.WriteToUDPAddrPort(make([]byte, size), to)
			client.Must(fmt.Sprintf("send %d bytes", size), err)
			arrive(tb, server, sink, 1) // one at a time, so that none is lost
		}
	}
	conn.Close()
	sink.Close()
}

// arrive reads count datagrams.
func arrive(tb netlab.TB, n *netlab.NetNS, sink *net.UDPConn, count int) {
	buffer := make([]byte, 65536)
	n.Must("set deadline", sink.SetReadDeadline(time.Now().Add(20*time.Second)))
	for range count {
		if _, err := sink.Read(buffer); err != nil {
			tb.Fatalf("wait for a datagram in %s: %v", n.Short, err)
		}
	}
}
