package ledger

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

const (
	payload = 100
	frame   = payload + 8 + 20 + 14 // UDP, IPv4, Ethernet
)

// pair is two namespaces with a veth that nobody but the test uses: neighbours
// are known, so there is no ARP.
type pair struct {
	t      *testing.T
	a, b   *netlab.NetNS
	reader *counters.Reader
	before *counters.Sample
}

func newPair(t *testing.T) *pair {
	t.Helper()
	need.Root(t)
	lab := netlab.New(t)
	p := &pair{t: t, a: lab.NetNS("a"), b: lab.NetNS("b"), reader: counters.New()}
	lab.Veth(p.a, "v", p.b, "v")
	p.a.Addr("v", "10.6.0.1/24")
	p.b.Addr("v", "10.6.0.2/24")
	p.a.Neigh("v", "10.6.0.2", p.b.MAC("v"))
	p.b.Neigh("v", "10.6.0.1", p.a.MAC("v"))
	return p
}

func (p *pair) sample() *counters.Sample {
	p.t.Helper()
	return p.reader.Sample(p.t.Context(), []counters.Place{
		{Inode: p.a.Inode, Name: "a", Path: p.a.Path()}, {Inode: p.b.Inode, Name: "b", Path: p.b.Path()},
	})
}

// begin takes the first sample.
func (p *pair) begin() { p.before = p.sample() }

// difference takes samples until the difference to the first one is as it
// should be: packets may be on their way. Then it is checked for what no test
// makes: gaps, resets, losses.
func (p *pair) difference(what string, reached func(a, b *counters.NamespaceDelta) bool) (a, b *counters.NamespaceDelta) {
	p.t.Helper()
	netlab.WaitFor(p.t, what, func() bool {
		d := counters.Difference(p.before, p.sample())
		if len(d.Namespaces) != 2 {
			p.t.Fatalf("got %d namespaces, want 2", len(d.Namespaces))
		}
		a, b = &d.Namespaces[0], &d.Namespaces[1]
		if len(d.Lost) > 0 || d.Skew <= 0 {
			p.t.Fatalf("lost %+v, skew %s; want nothing and a positive one", d.Lost, d.Skew)
		}
		return reached(a, b)
	})
	for _, n := range []*counters.NamespaceDelta{a, b} {
		for _, g := range n.Gaps {
			if g.Part != counters.PartXfrm { // some kernels are built without its statistics
				p.t.Errorf("%s: gap %+v, want none", n.Name, g)
			}
		}
		if len(n.Resets) > 0 {
			p.t.Errorf("%s: resets %+v, want none", n.Name, n.Resets)
		}
		if len(n.Spans) < len(n.Reads) {
			p.t.Errorf("%s: %d intervals of %d parts", n.Name, len(n.Spans), len(n.Reads))
		}
	}
	return a, b
}

// link returns the interface of the name given.
func link(t *testing.T, n *counters.NamespaceDelta, name string) *counters.Interface {
	t.Helper()
	for i := range n.Interfaces {
		if n.Interfaces[i].Name == name {
			return &n.Interfaces[i]
		}
	}
	t.Fatalf("%s has no interface %s", n.Name, name)
	return nil
}

// counter returns a named counter, which must be there.
func counter(t *testing.T, n *counters.NamespaceDelta, name string) uint64 {
	t.Helper()
	v, ok := n.Counter(name)
	if !ok {
		t.Fatalf("%s has no counter %s", n.Name, name)
	}
	return v
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// receive reads what has come for a socket.
func receive(t *testing.T, conn *net.UDPConn, count int) {
	t.Helper()
	for range count {
		if _, err := conn.Read(make([]byte, 2*payload)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDelivered(t *testing.T) {
	p := newPair(t)
	conn := p.b.ListenUDP("10.6.0.2:7")
	p.a.Datagrams("10.6.0.2:7", 5, payload)
	receive(t, conn, 5)
	p.begin()
	const sent = 40
	p.a.Datagrams("10.6.0.2:7", sent, payload)
	receive(t, conn, sent)
	a, b := p.difference("all datagrams", func(_, b *counters.NamespaceDelta) bool { return counter(t, b, "UdpInDatagrams") >= sent })

	out, in := link(t, a, "v").Stats, link(t, b, "v").Stats
	equal(t, "sent packets", out.TxPackets, sent)
	equal(t, "sent bytes", out.TxBytes, sent*frame)
	equal(t, "received packets", in.RxPackets, sent)
	equal(t, "received bytes", in.RxBytes, sent*frame)
	equal(t, "packets back", in.TxPackets+out.RxPackets, 0)
	equal(t, "UdpOutDatagrams", counter(t, a, "UdpOutDatagrams"), sent)
	equal(t, "IpOutRequests", counter(t, a, "IpOutRequests"), sent)
	equal(t, "IpInReceives", counter(t, b, "IpInReceives"), sent)
	equal(t, "IpInDelivers", counter(t, b, "IpInDelivers"), sent)
	equal(t, "UdpInDatagrams", counter(t, b, "UdpInDatagrams"), sent)
	equal(t, "IpExtInOctets", counter(t, b, "IpExtInOctets"), sent*(frame-14))
	equal(t, "sockets with drops", len(b.Sockets), 0)
	equal(t, "interfaces that came or went", len(a.Came)+len(a.Gone)+len(b.Came)+len(b.Gone), 0)
}

// TestQueue sends through a token bucket: what was not let through was dropped
// or still waits.
func TestQueue(t *testing.T) {
	p := newPair(t)
	p.a.Exec("tc", "qdisc", "add", "dev", "v", "root", "tbf", "rate", "8kbit", "burst", "1000", "limit", "2000")
	p.b.ListenUDP("10.6.0.2:7")
	p.begin()
	const sent = 60
	p.a.Datagrams("10.6.0.2:7", sent, payload)
	var root *counters.Qdisc
	a, _ := p.difference("the queue's counts", func(a, _ *counters.NamespaceDelta) bool {
		for i := range a.Qdiscs {
			if a.Qdiscs[i].Kind == "tbf" {
				root = &a.Qdiscs[i]
			}
		}
		return root.Stats.Packets+uint64(root.Stats.Drops)+uint64(root.Stats.Qlen) == sent
	})
	if root.Stats.Drops == 0 || root.Stats.Packets == 0 {
		t.Errorf("got %+v, want some let through and some dropped", root.Stats)
	}
	equal(t, "limit", root.Limit, counters.Limit{Value: 2000, Unit: "bytes"})
	equal(t, "rate", root.Rate, 1000)
	equal(t, "interface of the queue", root.Index, link(t, a, "v").Index)
	equal(t, "socket's send errors", counter(t, a, "UdpSndbufErrors"), uint64(root.Stats.Drops))
}

// TestSocket sends more than a socket holds.
func TestSocket(t *testing.T) {
	p := newPair(t)
	conn := p.b.ListenUDP("10.6.0.2:7")
	if err := conn.SetReadBuffer(2048); err != nil {
		t.Fatal(err)
	}
	p.a.Datagrams("10.6.0.2:7", 20, payload)
	p.until("the socket to be full", func(n *counters.Namespace) bool { return len(n.Sockets) == 1 })
	p.begin()
	const sent = 30
	p.a.Datagrams("10.6.0.2:7", sent, payload)
	_, b := p.difference("all drops", func(_, b *counters.NamespaceDelta) bool { return counter(t, b, "UdpRcvbufErrors") >= sent })
	if len(b.Sockets) != 1 {
		t.Fatalf("got sockets %+v, want one", b.Sockets)
	}
	s := b.Sockets[0]
	equal(t, "drops", s.Drops, sent)
	equal(t, "address", s.Local.String(), "10.6.0.2:7")
	equal(t, "protocol", s.Protocol, "udp")
	if s.Inode == 0 || s.Cookie == 0 || s.Queued <= s.Buffer/2 {
		t.Errorf("got %+v, want an inode, a cookie and a full buffer", s)
	}
	equal(t, "sum", b.SocketSums[0].Drops, sent)
	conn.Close()
	_, b = p.difference("the socket to be gone", func(_, b *counters.NamespaceDelta) bool { return len(b.Sockets) == 0 })
	if len(b.SocketsGone) != 1 || b.SocketsGone[0].Cookie != s.Cookie {
		t.Errorf("gone: got %+v, want the socket that was closed", b.SocketsGone)
	}
}

// until waits for something in the second namespace, from its beginning on.
func (p *pair) until(what string, reached func(n *counters.Namespace) bool) {
	p.t.Helper()
	netlab.WaitFor(p.t, what, func() bool { return reached(&p.sample().Namespaces[1]) })
}

// TestRules drops by rules, by one with a counter of its own and one with a
// named counter.
func TestRules(t *testing.T) {
	p := newPair(t)
	p.b.NFT(`table ip t {
		counter named { }
		chain in {
			type filter hook input priority 0; policy drop;
			udp dport 9 counter drop
			udp dport 10 counter name "named" drop
			udp dport 7 counter accept
		}
	}`)
	p.a.Datagrams("10.6.0.2:9", 3, payload)
	p.begin()
	p.a.Datagrams("10.6.0.2:9", 11, payload)
	p.a.Datagrams("10.6.0.2:10", 12, payload)
	_, b := p.difference("all datagrams", func(_, b *counters.NamespaceDelta) bool {
		return link(t, b, "v").Stats.RxPackets == 23 && counter(t, b, "IpInReceives") == 23
	})
	if len(b.NFT.Rules) != 2 || len(b.NFT.Counters) != 1 || len(b.NFT.Policies) != 1 {
		t.Fatalf("got %+v, want two rules that drop, one counter, one policy", b.NFT)
	}
	first, second := b.NFT.Rules[0], b.NFT.Rules[1]
	equal(t, "first rule", first.Text, "l4proto udp dport 9 drop")
	equal(t, "first rule's packets", first.Packets, 11)
	equal(t, "first rule's bytes", first.Bytes, 11*(frame-14))
	equal(t, "second rule counts", second.Counted, false)
	equal(t, "second rule's counter", second.Counter, "named")
	equal(t, "named counter's packets", b.NFT.Counters[0].Packets, 12)
	equal(t, "chain with policy drop", b.NFT.Policies[0].Chain, "in")
	equal(t, "IpInDelivers", counter(t, b, "IpInDelivers"), 0)
}

// TestXDP drops in the driver: no counter of the stack knows of it.
func TestXDP(t *testing.T) {
	p := newPair(t)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "drop_all", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, // XDP_DROP
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	p.b.Do(func() error {
		return netlink.LinkSetXdpFdWithFlags(p.b.Link("v"), program.FD(), unix.XDP_FLAGS_DRV_MODE)
	})
	p.a.Datagrams("10.6.0.2:7", 2, payload)
	p.begin()
	const sent = 25
	p.a.Datagrams("10.6.0.2:7", sent, payload)
	drops := func(n *counters.NamespaceDelta) (sum uint64) {
		for i, name := range link(t, n, "v").Driver.Names {
			if strings.HasSuffix(name, "_drops") && strings.HasPrefix(name, "rx_queue_") {
				sum += link(t, n, "v").Driver.Values[i]
			}
		}
		return sum
	}
	a, b := p.difference("all drops", func(_, b *counters.NamespaceDelta) bool { return drops(b) >= sent })
	equal(t, "drops of XDP", drops(b), sent)
	x := link(t, b, "v").XDP
	equal(t, "mode", x.Mode, counters.XDPNative)
	equal(t, "program", x.Program.Name, "drop_all")
	equal(t, "sent packets", link(t, a, "v").Stats.TxPackets, sent)
	equal(t, "IpInReceives", counter(t, b, "IpInReceives"), 0)
}

// TestFilter drops by an action of tc, where there is one.
func TestFilter(t *testing.T) {
	p := newPair(t)
	p.b.Exec("tc", "qdisc", "add", "dev", "v", "ingress")
	if out, err := p.b.TryExec("tc", "filter", "add", "dev", "v", "ingress", "protocol", "ip", "prio", "3",
		"u32", "match", "u32", "0", "0", "action", "drop"); err != nil {
		need.Feature{What: "action drop of tc", Options: []string{"CONFIG_NET_ACT_GACT"}}.Skip(t, err)
		t.Fatal(out)
	}
	p.begin()
	const sent = 15
	p.a.Datagrams("10.6.0.2:7", sent, payload)
	_, b := p.difference("all drops", func(_, b *counters.NamespaceDelta) bool { return link(t, b, "v").Stats.RxPackets == sent })
	for _, f := range b.Filters {
		if len(f.Actions) == 1 {
			equal(t, "action", f.Actions[0].Kind, "gact")
			equal(t, "verdict is drop", f.Actions[0].Drops, true)
			equal(t, "packets", f.Actions[0].Stats.Packets, sent)
			equal(t, "drops", f.Actions[0].Stats.Drops, sent)
			equal(t, "direction", f.Direction, "ingress")
			return
		}
	}
	t.Errorf("got filters %+v, want one with an action", b.Filters)
}

// TestListener fills an accept queue: a loss without a buffer that is freed as
// dropped.
func TestListener(t *testing.T) {
	p := newPair(t)
	p.b.Sysctl("net/ipv4/tcp_syncookies", "0")
	s := p.b.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Bind(s.FD, &unix.SockaddrInet4{Addr: [4]byte{10, 6, 0, 2}, Port: 80}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(s.FD, 1); err != nil {
		t.Fatal(err)
	}
	p.begin()
	for range 2 {
		p.a.DialTCP("10.6.0.2:80")
	}
	for range 3 { // they find the queue full, and try again after a second
		c := p.a.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		_ = unix.Connect(c.FD, &unix.SockaddrInet4{Addr: [4]byte{10, 6, 0, 2}, Port: 80}) // EINPROGRESS
	}
	_, b := p.difference("drops of SYNs", func(_, b *counters.NamespaceDelta) bool { return counter(t, b, "TcpExtListenDrops") >= 3 })
	if len(b.Listeners) != 1 {
		t.Fatalf("got listeners %+v, want one", b.Listeners)
	}
	l := b.Listeners[0]
	equal(t, "waiting", l.Waiting, 2)
	equal(t, "at most", l.Max, 1)
	equal(t, "address", l.Local.String(), "10.6.0.2:80")
	if l.Drops < 3 {
		t.Errorf("drops: got %d, want at least 3", l.Drops)
	}
}

// TestCameAndGone has an interface go and another come.
func TestCameAndGone(t *testing.T) {
	p := newPair(t)
	p.a.Add(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "old", TxQLen: -1}})
	p.begin()
	if err := p.a.Netlink().LinkDel(p.a.Link("old")); err != nil {
		t.Fatal(err)
	}
	p.a.Add(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "new", TxQLen: -1}})
	a, _ := p.difference("the new bridge", func(a, _ *counters.NamespaceDelta) bool { return len(a.Came) > 0 })
	if len(a.Came) != 1 || a.Came[0].Name != "new" || a.Came[0].Kind != "bridge" || len(a.Gone) != 1 || a.Gone[0].Name != "old" {
		t.Errorf("came %+v, gone %+v; want new and old", a.Came, a.Gone)
	}
}

// TestNothingStays holds no namespace open between two samples: then its veth
// would stay, too. The lab would hold it, so it is a process's.
func TestNothingStays(t *testing.T) {
	need.Root(t)
	host := netlab.New(t).NetNS("host")
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	host.Start(cmd)
	host.Add(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v", TxQLen: -1}, PeerName: "v", PeerNamespace: netlink.NsPid(cmd.Process.Pid)})
	s := counters.New().Sample(t.Context(), []counters.Place{{Path: fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)}})
	// Modules that others have loaded put interfaces of their own into each namespace.
	if n := &s.Namespaces[0]; !slices.ContainsFunc(n.Interfaces, func(l counters.Interface) bool { return l.Name == "v" }) {
		t.Fatalf("got %+v, want v in it", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	netlab.WaitFor(t, "the veth to go with its namespace", func() bool {
		return !slices.ContainsFunc(host.Links(), func(l netlink.Link) bool { return l.Attrs().Name == "v" })
	})
}
