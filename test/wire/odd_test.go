package wire

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/netfate/netfate/internal/capture"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// said is a frame from one host to another.
func said(proto uint8, sport, dport uint16, payload string) netlab.Frame {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	return netlab.Frame{
		SrcMAC: mac, DstMAC: mac, Proto: proto, Payload: []byte(payload), Seq: 1, Flags: netlab.ACK,
		Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), sport), Dst: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), dport),
	}
}

func lastFrame() []byte { return said(protoUDP, 1000, lastPort, "the end").Bytes() }

// tagged puts tags before a frame's type, the outermost first.
func tagged(b []byte, tags ...[4]byte) []byte {
	var all []byte
	for _, t := range tags {
		all = append(all, t[:]...)
	}
	return slices.Concat(b[:12], all, b[12:])
}

// Tags of each type, with priority 5 and the bit for dropping first.
func tags() (q, ad, old [4]byte) {
	return [4]byte{0x81, 0, 0xb0, 7}, [4]byte{0x88, 0xa8, 0xb0, 100}, [4]byte{0x91, 0, 0xb0, 9}
}

// question is a message of DNS: what are the addresses of a?
func question(id byte) string {
	return "\x00" + string(rune(id)) + "\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"
}

// writeOdd writes what the public captures lack: tags of all types, a frame that
// segmentation offload has made, and fragments the last of which comes first.
func writeOdd(t *testing.T, path string) string {
	t.Helper()
	q, ad, old := tags()
	get := said(protoTCP, 40000, 80, "GET /tagged HTTP/1.1\r\nHost: shop\r\n\r\n")
	get.Flags |= netlab.PSH
	ask := said(protoUDP, 40000, 53, question(1)).Bytes()
	frames := [][]byte{
		tagged(get.Bytes(), q), tagged(ask, ad, q), tagged(ask, old), tagged(ask, q, q, q),
		said(protoTCP, 40001, 80, "POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n"+strings.Repeat("x", 60000)).Bytes(),
	}
	whole := said(protoUDP, 40002, 53, question(2)+strings.Repeat("y", 3000)).Bytes()[34:]
	for _, from := range []int{2800, 0, 1400} {
		part := said(protoUDP, 0, 0, "")
		part.ID, part.Offset, part.More = 7, uint16(from), from < 2800
		part.Payload = whole[from:min(from+1400, len(whole))]
		frames = append(frames, part.Bytes())
	}
	write(t, path, frames)
	return path
}

// counter is a decoder that counts packets of UDP, until the last one.
type counter struct {
	payloads map[string]int
	bytes    int
	last     func()
}

func (c *counter) Packet(p *packet.Packet) {
	switch {
	case p.Proto != protoUDP:
	case p.Dst.Port() == lastPort:
		c.last()
	default:
		c.payloads[string(p.Payload[:min(20, len(p.Payload))])]++
		c.bytes += int(p.Length)
	}
}

func (c *counter) Roll(time.Time, bool, *record.Batch) {}

// hear reads to the last packet and returns what was counted and lost.
func hear(t *testing.T, s *capture.Source, c *counter) (lost uint64) {
	t.Helper()
	e := &ears{lost: map[string]uint64{}}
	e.drain(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return e.lost["capture dropped"]
}

// TestLoopback has packets that are sent and received on the same interface.
func TestLoopback(t *testing.T) {
	need.Root(t)
	ns := netlab.New(t).NetNS("lo")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &counter{payloads: map[string]int{}, last: cancel}
	s, err := capture.Listen(ctx, capture.Live{Interface: "lo", NetNS: ns.Path(), Interval: time.Second}, c)
	if err != nil {
		t.Fatal(err)
	}
	for i, to := range []string{"127.0.0.1:1000", "127.0.0.1:1000", "127.0.0.1:9"} {
		conn := ns.DialUDP("", to)
		if _, err := fmt.Fprintf(conn, "number %d", i); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	hear(t, s, c)
	if diff := cmp.Diff(map[string]int{"number 0": 1, "number 1": 1}, c.payloads); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}

// TestBothWays has what an interface sends and what it receives.
func TestBothWays(t *testing.T) {
	need.Root(t)
	w := newCable(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &counter{payloads: map[string]int{}, last: cancel}
	s := w.listen(ctx, t, "", c)
	w.in.Packets(inName, 0).Send(said(protoUDP, 1, 2, "sent").Bytes())
	out := w.out.Packets(outName, 0)
	out.Send(said(protoUDP, 2, 1, "received").Bytes())
	out.Send(lastFrame())
	hear(t, s, c)
	if diff := cmp.Diff(map[string]int{"sent": 1, "received": 1}, c.payloads); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}

// TestExpression has an expression select, on the interface, what it selects in the
// file: with and without tags, of which the kernel takes the first off.
func TestExpression(t *testing.T) {
	need.Root(t)
	q, ad, _ := tags()
	dir := t.TempDir()
	ask := said(protoUDP, 40000, 53, question(1)).Bytes()
	path := dir + "/tags.pcap"
	write(t, path, [][]byte{
		ask, tagged(ask, q), tagged(ask, ad, q), said(protoUDP, 40000, 5353, question(3)).Bytes(), said(protoTCP, 40000, 80, "x").Bytes(), lastFrame(),
	})
	w := newCable(t)
	for expr, want := range map[string]int{
		"udp": 2, "port 53": 1, "tcp": 1, "vlan": 2, "vlan 7 and port 53": 1, "vlan 100 and vlan 7 and udp": 1, "not vlan": 3, "len > 61": 2,
	} {
		expr := "udp dst port 9 or (" + expr + ")" // not behind: vlan changes what comes after it
		file, wire := readFile(t, path, expr), w.play(t, path, expr)
		if diff := cmp.Diff(file.rows, wire.rows); diff != "" {
			t.Errorf("%s (-file +interface):\n%s", expr, diff)
		}
		if file.packets != want {
			t.Errorf("%s: got %d packets, want %d", expr, file.packets, want)
		}
	}
}

// TestFull sends more than the ring holds before anything is read: what was read
// and what was lost is what was sent.
func TestFull(t *testing.T) {
	need.Root(t)
	w := newCable(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &counter{payloads: map[string]int{}, last: func() {}}
	s := w.listen(ctx, t, "", c)
	const sent, size = 1000, 60_000
	frame := said(protoUDP, 1, 2, strings.Repeat("x", size)).Bytes()
	out := w.out.Packets(outName, 0)
	for range sent {
		out.Send(frame)
	}
	netlab.WaitFor(t, "all frames to cross", func() bool {
		return w.in.Link(inName).Attrs().Statistics.RxPackets >= sent
	})
	cancel()
	lost := hear(t, s, c)
	got := c.payloads[strings.Repeat("x", 20)]
	if uint64(got)+lost != sent || lost < sent/4 || got < sent/4 || c.bytes != got*len(frame) {
		t.Errorf("got %d packets of %d bytes and %d lost, want some of both and %d in all", got, c.bytes, lost, sent)
	}
}

// TestPromiscuous looks at the interface's own count of who wants everything.
func TestPromiscuous(t *testing.T) {
	need.Root(t)
	w := newCable(t)
	wanted := func() int { return w.in.Link(inName).Attrs().Promisc }
	for _, promiscuous := range []bool{false, true} {
		s, err := capture.Listen(t.Context(), capture.Live{Interface: inName, NetNS: w.in.Path(), Promiscuous: promiscuous, Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if got := wanted() == 1; got != promiscuous {
			t.Errorf("got promiscuous %v, want %v", got, promiscuous)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if wanted() != 0 {
			t.Error("the interface is promiscuous still")
		}
	}
}

// TestForwarded has what crosses a host and is for nobody on it: a port of a bridge
// shows it, the bridge itself only where it is promiscuous.
func TestForwarded(t *testing.T) {
	need.Root(t)
	lab := netlab.New(t)
	left, host, right := lab.NetNS("left"), lab.NetNS("host"), lab.NetNS("right")
	lab.Veth(left, "eth0", host, "port0")
	lab.Veth(right, "eth0", host, "port1")
	host.Bridge("br0", "port0", "port1")
	for _, n := range []*netlab.NetNS{left, right} {
		n.Up("eth0")
	}
	host.Up("port0")
	host.Up("port1")
	// The bridge learns where each is, so that it has no need to flood.
	ask, answer := said(protoUDP, 1, 2, "ask"), said(protoUDP, 2, 1, "answer")
	ask.SrcMAC, ask.DstMAC = left.MAC("eth0"), right.MAC("eth0")
	answer.SrcMAC, answer.DstMAC = ask.DstMAC, ask.SrcMAC
	from, to := left.Packets("eth0", 0), right.Packets("eth0", 0)
	arrived := func(n *netlab.NetNS, want uint64) {
		netlab.WaitFor(t, "a packet to cross", func() bool { return n.Link("eth0").Attrs().Statistics.RxPackets >= want })
	}
	from.Send(ask.Bytes())
	arrived(right, 1)
	to.Send(answer.Bytes())
	arrived(left, 1)
	both := map[string]int{"ask": 1, "answer": 1}
	for i, listen := range []struct {
		on          string
		promiscuous bool
		want        map[string]int
	}{{"port0", false, both}, {"br0", false, map[string]int{}}, {"br0", true, both}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := &counter{payloads: map[string]int{}, last: cancel}
		s, err := capture.Listen(ctx, capture.Live{Interface: listen.on, NetNS: host.Path(), Promiscuous: listen.promiscuous, Interval: time.Second}, c)
		if err != nil {
			t.Fatal(err)
		}
		from.Send(ask.Bytes())
		arrived(right, uint64(2+i))
		to.Send(answer.Bytes())
		arrived(left, uint64(2+i))
		cancel()
		hear(t, s, c)
		if diff := cmp.Diff(listen.want, c.payloads); diff != "" {
			t.Errorf("on %s, promiscuous %v (-want +got):\n%s", listen.on, listen.promiscuous, diff)
		}
	}
}

// TestDown takes the interface down and up again while it is read, and removes it.
func TestDown(t *testing.T) {
	need.Root(t)
	w := newCable(t)
	c := &counter{payloads: map[string]int{}, last: func() {}}
	s := w.listen(t.Context(), t, "", c)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	next := func() error {
		b, err := s.Next()
		if err == nil && b.End.Before(b.Start) {
			t.Errorf("got a batch from %v to %v", b.Start, b.End)
		}
		return err
	}
	w.in.Down(inName)
	if err := next(); err != nil {
		t.Fatal(err)
	}
	w.in.Up(inName)
	w.out.Packets(outName, 0).Send(said(protoUDP, 1, 2, "again").Bytes())
	for c.payloads["again"] == 0 {
		if err := next(); err != nil {
			t.Fatal(err)
		}
	}
	w.in.Must("remove the interface", w.in.Netlink().LinkDel(&netlink.Device{LinkAttrs: *w.in.Link(inName).Attrs()}))
	for {
		if err := next(); err != nil {
			if !strings.Contains(err.Error(), inName+" was removed") {
				t.Errorf("got %v, want that the interface is gone", err)
			}
			return
		}
	}
}

// TestRawIP reads an interface without Ethernet: a tun's packets begin with IP.
func TestRawIP(t *testing.T) {
	need.Root(t)
	ns := netlab.New(t).NetNS("tunnel")
	tun := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_MULTI_QUEUE_DEFAULTS, Queues: 1, NonPersist: true,
	}
	ns.Do(func() error { return netlink.LinkAdd(tun) })
	defer func() {
		for _, f := range tun.Fds { // while they are open the interface has a carrier
			f.Close()
		}
	}()
	ns.Addr("tun0", "10.9.0.1/24")
	ns.Up("tun0")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &counter{payloads: map[string]int{}, last: cancel}
	s, err := capture.Listen(ctx, capture.Live{Interface: "tun0", NetNS: ns.Path(), Interval: time.Second, Filter: filterOf(t, "udp dst port 1000 or udp dst port 9")}, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"10.9.0.2:1000", "10.9.0.2:1001", "10.9.0.2:9"} {
		conn := ns.DialUDP("", to)
		if _, err := fmt.Fprintf(conn, "to %s", to); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	hear(t, s, c)
	if diff := cmp.Diff(map[string]int{"to 10.9.0.2:1000": 1}, c.payloads); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}
