package evidence

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
)

// namespace makes a network namespace that lives as long as the test and
// returns a path to it.
func namespace(t *testing.T) string {
	t.Helper()
	need.Root(t)
	var f *os.File
	onThread(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	t.Cleanup(func() { f.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
}

// onThread runs f on a thread of its own, which ends with it.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// inside runs f in the namespace.
func inside(t *testing.T, path string, f func() error) {
	t.Helper()
	onThread(t, func() error {
		ns, err := os.Open(path)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// firstError returns the first error of a row of steps.
func firstError(steps ...func() error) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

// pair makes a veth pair va, vb with 10.9.0.1/24 on va, both up.
func pair() error {
	la := netlink.NewLinkAttrs()
	la.Name, la.MTU = "va", 1400
	v := &netlink.Veth{LinkAttrs: la, PeerName: "vb"}
	return firstError(
		func() error { return netlink.LinkAdd(v) },
		func() error {
			return netlink.AddrAdd(v, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 0, 1), Mask: net.CIDRMask(24, 32)}})
		},
		func() error { return netlink.LinkSetUp(v) },
		func() error { return up("vb") },
		func() error { return up("lo") },
	)
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// want checks that one of the facts has the name and that its value and note
// contain the texts.
func want(t *testing.T, facts []Fact, name, value, note string) {
	t.Helper()
	for _, f := range facts {
		if strings.Contains(f.Name, name) && strings.Contains(f.Value, value) && strings.Contains(f.Note, note) {
			return
		}
	}
	t.Errorf("got no fact %q with value %q and note %q in:", name, value, note)
	for _, f := range facts {
		t.Logf("  %+v", f)
	}
}

func write(path, text string) func() error {
	return func() error { return os.WriteFile(path, []byte(text), 0) }
}

func TestSettings(t *testing.T) {
	ns := namespace(t)
	inside(t, ns, func() error {
		return firstError(pair,
			write("/proc/sys/net/ipv4/conf/all/rp_filter", "0"), write("/proc/sys/net/ipv4/conf/va/rp_filter", "1"),
			write("/proc/sys/net/ipv4/ip_forward", "1"))
	})
	s := Subject{NetNSPath: ns, IfName: "va"}
	facts := Collect(context.Background(), []string{
		"sysctl:net.ipv4.conf.{if}.rp_filter", "sysctl:net.ipv4.ip_forward", "sysctl:net.ipv4.neigh.{if}.unres_qlen_bytes",
		"sysctl:net.core.somaxconn", "sysctl:net.core.netdev_max_backlog", "sysctl:net.ipv4.no_such_thing", "sysctl:../../etc/passwd", "counter:IpInHdrErrors",
		"counter:TcpExtListenDrops", "counter:Udp6NoPorts", "counter:Nonsense", "softnet", "memory", "sockstat", "gibberish",
	}, s)
	want(t, facts, "net.ipv4.conf.all.rp_filter", "0", "")
	want(t, facts, "net.ipv4.conf.va.rp_filter", "1", "the larger counts, 1: strict")
	want(t, facts, "net.ipv4.ip_forward", "1", "this host routes")
	want(t, facts, "net.ipv4.neigh.va.unres_qlen_bytes", "", "KiB")
	want(t, facts, "net.core.somaxconn", "", "backlog")
	backlog, err := os.ReadFile("/proc/sys/net/core/netdev_max_backlog") // the namespace itself does not have it
	if err != nil {
		t.Fatal(err)
	}
	want(t, facts, "net.core.netdev_max_backlog", strings.TrimSpace(string(backlog)), "may wait for one CPU")
	want(t, facts, "net.ipv4.no_such_thing", "not read: this kernel or namespace does not have it", "")
	want(t, facts, "../../etc/passwd", "not read", "")
	want(t, facts, "IpInHdrErrors", "0", "never")
	want(t, facts, "TcpExtListenDrops", "0", "never")
	want(t, facts, "Udp6NoPorts", "0", "never")
	want(t, facts, "Nonsense", "not read", "")
	want(t, facts, "per-CPU input queue, dropped", "", "")
	want(t, facts, "memory available", "iB of", "")
	want(t, facts, "TCP sockets", "inuse", "")
	want(t, facts, "gibberish", "netfate does not know", "")
	for _, f := range facts {
		if f.Key == "" || f.Name == "" || f.Value == "" {
			t.Errorf("got an incomplete fact %+v", f)
		}
	}
}

func TestInterfaces(t *testing.T) {
	ns := namespace(t)
	inside(t, ns, func() error {
		return firstError(pair, func() error {
			l, err := netlink.LinkByName("va")
			if err != nil {
				return err
			}
			return firstError(
				func() error {
					return netlink.QdiscAdd(&netlink.Tbf{
						QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
						Rate:       12500, Limit: 3000, Buffer: 1 << 20,
					})
				},
				func() error {
					return netlink.RouteAdd(&netlink.Route{
						LinkIndex: l.Attrs().Index, Gw: net.IPv4(10, 9, 0, 2),
						Dst: &net.IPNet{IP: net.IPv4(192, 0, 2, 0), Mask: net.CIDRMask(24, 32)}, MTU: 1300,
					})
				},
				func() error {
					return netlink.NeighAdd(&netlink.Neigh{
						LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 9, 0, 2), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9},
					})
				},
			)
		})
	})
	s := Subject{
		NetNSPath: ns, IfName: "vb", Proto: "udp",
		Src: netip.MustParseAddrPort("10.9.0.7:99"), Dst: netip.MustParseAddrPort("192.0.2.1:53"),
	}
	facts := Collect(context.Background(), []string{"link", "route", "neigh", "mtu", "ring", "programs", "qdisc"}, s)
	want(t, facts, "interface vb", "veth, up", "")
	want(t, facts, "route to 192.0.2.1", "via 10.9.0.2 dev va", "")
	want(t, facts, "route back to 10.9.0.7", "dev va", "another interface than vb")
	want(t, facts, "next hop 10.9.0.2", "permanent 02:00:00:00:00:09", "set by hand")
	want(t, facts, "MTU towards 192.0.2.1", "1300", "")
	want(t, facts, "ring of vb", "", "")
	want(t, facts, "programs on vb", "none", "")
	s.IfName = "va"
	facts = Collect(context.Background(), []string{"qdisc", "mtu"}, s)
	want(t, facts, "qdisc tbf on va", "rate 100000 bit/s, limit 3000 bytes", "")
	want(t, facts, "MTU of va", "1400", "")

	// What is not known is said.
	facts = Collect(context.Background(), []string{"link", "route", "socket"}, Subject{NetNSPath: ns})
	want(t, facts, "interface", "not known; give it with -i", "")
	want(t, facts, "route", "addresses of the packet are not known", "")
	facts = Collect(context.Background(), []string{"link"}, Subject{NetNSPath: ns, IfName: "nosuch0"})
	want(t, facts, "interface", "not read: find interface nosuch0", "")
}

func TestSockets(t *testing.T) {
	ns := namespace(t)
	var udp, tcp, backlog int
	inside(t, ns, func() error {
		if err := up("lo"); err != nil {
			return err
		}
		udp = socketOn(t, unix.SOCK_DGRAM, 7001)
		if err := unix.SetsockoptInt(udp, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
			return err
		}
		tcp = socketOn(t, unix.SOCK_STREAM, 7002)
		backlog = socketOn(t, unix.SOCK_DGRAM, 0)
		for range 20 {
			if err := unix.Sendto(backlog, make([]byte, 1000), 0, &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				return err
			}
		}
		return unix.Listen(tcp, 5)
	})
	s := Subject{NetNSPath: ns, Proto: "udp", Src: netip.MustParseAddrPort("127.0.0.1:9"), Dst: netip.MustParseAddrPort("127.0.0.1:7001")}
	facts := Collect(context.Background(), []string{"socket", "listen"}, s)
	want(t, facts, "udp socket 127.0.0.1:7001, receive buffer", "iB of 8 KiB", "")
	want(t, facts, "udp socket 127.0.0.1:7001, drops", "", "since the socket was made")
	want(t, facts, "udp socket on 127.0.0.1:7001", "open", "")
	s.Proto, s.Dst = "tcp", netip.MustParseAddrPort("10.0.0.1:7002")
	facts = Collect(context.Background(), []string{"listen"}, s)
	want(t, facts, "tcp listener 127.0.0.1:7002", "0 of 5", "bound to 127.0.0.1 only")
	s.Dst = netip.MustParseAddrPort("127.0.0.1:7003")
	facts = Collect(context.Background(), []string{"listen", "socket"}, s)
	want(t, facts, "listening socket", "none", "nobody in this namespace has tcp port 7003 open")
	want(t, facts, "receiving socket", "none", "closed by now")
	s.Dst = netip.MustParseAddrPort("127.0.0.1:7002")
	facts = Collect(context.Background(), []string{"socket"}, s)
	want(t, facts, "tcp listener 127.0.0.1:7002", "0 of 5", "")
	s.Proto = "icmp"
	facts = Collect(context.Background(), []string{"socket"}, s)
	want(t, facts, "receiving socket", "for tcp and udp only", "")
}

func socketOn(t *testing.T, kind, port int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return -1
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Error(err)
	}
	return fd
}

func TestFirewall(t *testing.T) {
	ns := namespace(t)
	inside(t, ns, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		drop := nftables.ChainPolicyDrop
		table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})
		chain := conn.AddChain(&nftables.Chain{
			Name: "input", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Register: 1, Data: []byte{6}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Register: 1, Data: []byte{0, 80}},
			&expr.Counter{Packets: 12, Bytes: 720},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Verdict{Kind: expr.VerdictAccept},
		}})
		return conn.Flush()
	})
	facts := Collect(context.Background(), []string{"nft"}, Subject{NetNSPath: ns})
	want(t, facts, "nft chain inet filter input", "policy drop", "")
	want(t, facts, "nft rule inet filter input handle", "l4proto tcp dport 80 drop", "matched 12 packets, 720 bytes")
	if len(facts) != 2 {
		t.Errorf("got %d facts, want 2: %+v", len(facts), facts)
	}
	want(t, Collect(context.Background(), []string{"nft"}, Subject{NetNSPath: namespace(t)}), "nft rules", "none drops or rejects", "")
}

func TestBounds(t *testing.T) {
	var keys []string
	for i := range 2 * maxKeys {
		keys = append(keys, fmt.Sprintf("sysctl:net.nothing%d", i))
	}
	facts := Collect(context.Background(), keys, Subject{})
	if len(facts) != maxKeys+1 {
		t.Errorf("got %d facts, want %d", len(facts), maxKeys+1)
	}
	want(t, facts, "more facts", "only 64 keys", "")

	over, cancel := context.WithCancel(context.Background())
	cancel()
	want(t, Collect(over, []string{"softnet"}, Subject{}), "per-CPU input queue", "not read: context canceled", "")
	want(t, Collect(context.Background(), []string{"softnet"}, Subject{NetNSPath: "/run/netns/nf-none"}), "per-CPU input queue", "not read", "")
}

// Collect leaves its caller where it was.
func TestNamespaceIsLeft(t *testing.T) {
	ns := namespace(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		Collect(context.Background(), []string{"softnet"}, Subject{NetNSPath: ns})
	}
	done := make(chan string)
	for range 20 { // other goroutines, so that other threads are looked at, too
		go func() {
			link, _ := os.Readlink("/proc/thread-self/ns/net")
			done <- link
		}()
		if after := <-done; after != before {
			t.Fatalf("got namespace %s, want %s", after, before)
		}
	}
}
