package ledger

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// wired puts a veth between two namespaces that say nothing by themselves.
func wired(l *netlab.Lab) (a, b *netlab.NetNS) {
	a, b = l.NetNS("a"), l.NetNS("b")
	l.Veth(a, "v", b, "v")
	a.Addr("v", "10.6.0.1/24")
	b.Addr("v", "10.6.0.2/24")
	a.Neigh("v", "10.6.0.2", b.MAC("v"))
	b.Neigh("v", "10.6.0.1", a.MAC("v"))
	return a, b
}

// middle puts a router between two hosts.
func middle(l *netlab.Lab) (a, r, b *netlab.NetNS) {
	a, r, b = l.NetNS("a"), l.NetNS("r"), l.NetNS("b")
	l.Veth(a, "v", r, "left")
	l.Veth(b, "v", r, "right")
	a.Addr("v", "10.1.0.2/24")
	b.Addr("v", "10.2.0.2/24")
	r.Addr("left", "10.1.0.1/24")
	r.Addr("right", "10.2.0.1/24")
	a.Route("default", "10.1.0.1")
	b.Route("default", "10.2.0.1")
	a.Neigh("v", "10.1.0.1", r.MAC("left"))
	b.Neigh("v", "10.2.0.1", r.MAC("right"))
	r.Neigh("left", "10.1.0.2", a.MAC("v"))
	r.Neigh("right", "10.2.0.2", b.MAC("v"))
	r.Forwarding()
	return a, r, b
}

// transfer sends so many bytes over TCP and waits until both ends have closed.
func transfer(t *testing.T, from, to *netlab.NetNS, addr string, size int) {
	t.Helper()
	out, in := netlab.ConnectTCP(from, to, addr)
	got := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, in)
		in.Close()
		got <- n
	}()
	if _, err := out.Write(bytes.Repeat([]byte("x"), size)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if n := <-got; n != int64(size) {
		t.Fatalf("got %d bytes, want %d", n, size)
	}
}

func read(t *testing.T, conn *net.UDPConn, count int) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	receive(t, conn, count)
}

func xdp(t *testing.T, n *netlab.NetNS, ifname string, program asm.Instructions, flags int) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "xdp_test", Type: ebpf.XDP, License: "GPL", Instructions: program})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	n.Do(func() error { return netlink.LinkSetXdpFdWithFlags(n.Link(ifname), p.FD(), flags) })
}

const in, out = record.In, record.Out

// TestBalance: in closed namespaces nothing is unexplained.
func TestBalance(t *testing.T) {
	c := open(t, true)

	t.Run("udp", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			conn := y.ListenUDP("10.6.0.2:7")
			return func() { x.Datagrams("10.6.0.2:7", 40, payload); read(t, conn, 40) }
		})
		b.balanced(t)
		b.want(t, "b", in, "transport", record.Delivered, "udp", 40)
		b.want(t, "b", in, "device", record.Came, "received", 40)
		b.want(t, "a", out, "device", record.Delivered, "sent", 40)
		b.want(t, "a", out, "ip", record.Came, "from sockets", 40)
	})

	t.Run("tcp", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			return func() { transfer(t, x, y, "10.6.0.2:80", 4<<20) }
		})
		b.balanced(t)
		sent, got := b.get("a", out, "device", record.Delivered, "sent"), b.get("b", in, "transport", record.Delivered, "tcp")
		if sent != got || got < 60 || got > 2000 { // 4 MiB are 2,900 packets: most buffers hold many
			t.Errorf("buffers of TCP: %d sent, %d delivered, want the same, fewer than packets", sent, got)
		}
	})

	t.Run("forwarding", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, _, y := middle(l)
			conn := y.ListenUDP("10.2.0.2:7")
			return func() {
				x.Datagrams("10.2.0.2:7", 30, payload)
				read(t, conn, 30)
				transfer(t, x, y, "10.2.0.2:80", 1<<20)
			}
		})
		b.balanced(t)
		b.want(t, "b", in, "transport", record.Delivered, "udp", 30)
		if n := b.get("r", in, "ip", record.Forwarded, "forwarded"); n < 60 || n != b.get("r", out, "ip", record.Came, "forwarded") {
			t.Errorf("forwarded: got %d in, %d out; want the same, more than 60", n, b.get("r", out, "ip", record.Came, "forwarded"))
		}
	})

	t.Run("nat", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, r, y := middle(l)
			r.NFT(`table ip n { chain p { type nat hook postrouting priority 100; oifname "right" masquerade; }; }`)
			conn := y.ListenUDP("10.2.0.2:7")
			return func() { x.Datagrams("10.2.0.2:7", 25, payload); read(t, conn, 25) }
		})
		b.balanced(t)
		b.want(t, "r", in, "ip", record.Forwarded, "forwarded", 25)
		b.want(t, "b", in, "transport", record.Delivered, "udp", 25)
	})

	t.Run("full socket", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			conn := y.ListenUDP("10.6.0.2:7")
			if err := conn.SetReadBuffer(2048); err != nil {
				t.Fatal(err)
			}
			return func() { x.Datagrams("10.6.0.2:7", 50, payload); drain(conn) }
		})
		b.balanced(t)
		lost, got := b.get("b", in, "transport", record.LostLine, "SOCKET_RCVBUFF"), b.get("b", in, "transport", record.Delivered, "udp")
		if lost == 0 || lost+got != 50 {
			t.Errorf("got %d lost and %d delivered, want 50 in all, some lost", lost, got)
		}
		c.proved(t, "b", "SOCKET_RCVBUFF", `ss -uanpm "sport = :7"`, "udp socket 10.6.0.2:7, receive buffer", "net.core.rmem_max")
	})

	t.Run("raw socket", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			conn := y.ListenUDP("10.6.0.2:7")
			raw := y.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
			raw.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 2048)
			return func() { x.Datagrams("10.6.0.2:7", 30, payload); read(t, conn, 30) }
		})
		b.balanced(t)
		b.want(t, "b", in, "transport", record.Delivered, "udp", 30)
		if n := b.get("b", in, "taps", record.LostLine, "SOCKET_RCVBUFF"); n == 0 || n >= 30 {
			t.Errorf("lost copies: got %d, want some of 30", n)
		}
		c.proved(t, "b", "SOCKET_RCVBUFF", "", "raw 0.0.0.0:17: ", " dropped")
	})

	t.Run("closed port", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, _ := wired(l)
			return func() { x.Datagrams("10.6.0.2:9", 12, payload) }
		})
		b.balanced(t)
		b.want(t, "b", in, "transport", record.LostLine, "NO_SOCKET", 12)
		c.proved(t, "b", "NO_SOCKET", "ss -lntup", "nobody in this namespace has udp port 9 open")
	})

	t.Run("nft", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			y.NFT(`table ip t { chain in { type filter hook input priority 0; udp dport 9 counter drop; }; }`)
			x.NFT(`table ip t { chain out { type filter hook output priority 0; tcp dport 10 drop; udp dport 11 drop; udp dport 10 drop; }; }`)
			return func() { x.Datagrams("10.6.0.2:9", 11, payload); x.Datagrams("10.6.0.2:10", 6, payload) }
		})
		b.balanced(t)
		b.want(t, "b", in, "ip", record.LostLine, "NETFILTER_DROP", 11)
		b.want(t, "a", out, "ip", record.LostLine, "NETFILTER_DROP", 6)
		c.proved(t, "b", "NETFILTER_DROP", "nft -a list chain ip t in", "rule ip t in: l4proto udp dport 9 drop (11 packets)")
		c.proved(t, "a", "NETFILTER_DROP", "nft -a list chain ip t out", "candidate, without a counter: ip t out: l4proto udp dport 10 drop")
	})

	t.Run("nft forward", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, r, y := middle(l)
			r.NFT(`table ip t { chain on { type filter hook forward priority 0; udp dport 9 drop; }; }`)
			conn := y.ListenUDP("10.2.0.2:7")
			return func() {
				x.Datagrams("10.2.0.2:9", 21, payload)
				x.Datagrams("10.2.0.2:7", 5, payload)
				read(t, conn, 5)
			}
		})
		b.balanced(t)
		if n := b.get("r", in, "ip", record.LostLine, "NETFILTER_DROP") + b.get("r", out, "ip", record.LostLine, "NETFILTER_DROP"); n != 21 {
			t.Errorf("lost: got %d, want 21", n)
		}
	})

	t.Run("nft ingress", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			y.NFT(`table netdev t { chain in { type filter hook ingress device "v" priority 0; udp dport 9 drop; }; }
				table ip t { chain in { type filter hook input priority 0; udp dport 10 drop; }; }`)
			return func() { x.Datagrams("10.6.0.2:9", 11, payload); x.Datagrams("10.6.0.2:10", 6, payload) }
		})
		b.balanced(t)
		b.want(t, "b", in, "ingress", record.LostLine, "NETFILTER_DROP", 11)
		b.want(t, "b", in, "ip", record.LostLine, "NETFILTER_DROP", 6)
	})

	t.Run("routes", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, r, _ := middle(l)
			x.Neigh("v", "10.1.0.77", r.MAC("left"))
			return func() { x.Datagrams("10.9.0.1:7", 13, payload) }
		})
		b.balanced(t)
		b.want(t, "r", in, "ip", record.LostLine, "IP_INNOROUTES", 13)
		c.proved(t, "r", "IP_INNOROUTES", "ip route get 10.9.0.1 from 10.1.0.2 iif left", "net.ipv4.ip_forward: 1", "route to 10.9.0.1")
	})

	t.Run("rp_filter", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, r, _ := middle(l)
			r.Sysctl("net/ipv4/conf/all/rp_filter", "1")
			x.Addr("v", "10.8.0.1/32")
			return func() {
				k := x.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
				if err := unix.Bind(k.FD, &unix.SockaddrInet4{Addr: [4]byte{10, 8, 0, 1}}); err != nil {
					t.Fatal(err)
				}
				for range 9 {
					if err := unix.Sendto(k.FD, make([]byte, payload), 0, &unix.SockaddrInet4{Addr: [4]byte{10, 2, 0, 2}, Port: 7}); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
		b.balanced(t)
		b.want(t, "r", in, "ip", record.LostLine, "IP_RPFILTER", 9)
		c.proved(t, "r", "IP_RPFILTER", "sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.left.rp_filter", "net.ipv4.conf.all.rp_filter: 1", "net.ipv4.conf.left.rp_filter: ")
	})

	t.Run("mtu", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, r, _ := middle(l)
			r.Do(func() error { return netlink.LinkSetMTU(r.Link("right"), 1000) })
			return func() { x.Datagrams("10.2.0.2:7", 1, 1300) } // a second one would be cut up
		})
		b.balanced(t)
		if (need.Feature{Since: "5.17"}).Excuse(errors.New("no reasons")) == nil {
			return // it has no counter of its own
		}
		if n := b.get("r", in, "ip", record.LostLine, "PKT_TOO_BIG") + b.get("r", out, "ip", record.LostLine, "PKT_TOO_BIG"); n != 1 {
			t.Errorf("lost: got %d, want 1", n)
		}
		c.proved(t, "r", "PKT_TOO_BIG", "tracepath -n 10.2.0.2", "MTU of left: 1500", "MTU towards 10.2.0.2: 1000 (of right)")
	})

	t.Run("tbf", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			x.Exec("tc", "qdisc", "add", "dev", "v", "root", "tbf", "rate", "64kbit", "burst", "1600", "limit", "3000")
			conn := y.ListenUDP("10.6.0.2:7")
			return func() {
				x.Datagrams("10.6.0.2:7", 60, payload)
				c.pass(t, 4) // the queue drains: 3,000 bytes at 8,000 a second
				drain(conn)
			}
		})
		b.balanced(t)
		lost, got := b.get("a", out, "queue", record.LostLine, "QDISC_DROP"), b.get("b", in, "transport", record.Delivered, "udp")
		if lost == 0 || lost+got != 60 {
			t.Errorf("got %d lost and %d delivered, want 60 in all, some lost", lost, got)
		}
		c.proved(t, "a", "QDISC_DROP", "tc -s qdisc show dev v", "qdisc tbf on v: rate 64000 bit/s, limit 3000 bytes")
	})

	t.Run("tc", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			y.Exec("tc", "qdisc", "add", "dev", "v", "clsact")
			tcDrop(t, y)
			return func() { x.Datagrams("10.6.0.2:7", 14, payload) }
		})
		b.balanced(t)
		b.want(t, "b", in, "ingress", record.LostLine, "TC_INGRESS", 14)
		c.proved(t, "b", "TC_INGRESS", "tc -s filter show dev v ingress", "tc ingress filter on v: bpf pref 1 tc_drop")
	})

	t.Run("xdp drop", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			xdp(t, y, "v", asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, unix.XDP_FLAGS_DRV_MODE)
			return func() { x.Datagrams("10.6.0.2:7", 25, payload) }
		})
		b.balanced(t)
		b.want(t, "b", in, "device", record.LostLine, "XDP", 25)
		c.proved(t, "b", "XDP", "bpftool net show dev v", "XDP on v: program", "xdp_test (native)")
	})

	t.Run("xdp generic", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			xdp(t, y, "v", asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, unix.XDP_FLAGS_SKB_MODE)
			return func() { x.Datagrams("10.6.0.2:7", 25, payload) }
		})
		b.balanced(t)
		b.want(t, "b", in, "ingress", record.LostLine, "XDP", 25)
	})

	t.Run("xdp redirect", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			z := l.NetNS("z")
			l.Veth(y, "w", z, "w")
			pass := asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}
			xdp(t, z, "w", pass, unix.XDP_FLAGS_DRV_MODE) // redirecting to a veth takes XDP on its peer
			xdp(t, y, "v", asm.Instructions{
				asm.Mov.Imm(asm.R1, int32(y.Index("w"))), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
			}, unix.XDP_FLAGS_DRV_MODE)
			return func() { x.Datagrams("10.6.0.2:7", 20, payload) }
		})
		b.balanced(t)
		b.want(t, "b", in, "device", record.Taken, "XDP", 20)
		b.want(t, "z", in, "device", record.Came, "received", 20)
	})

	t.Run("bridge", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, s, y := l.NetNS("a"), l.NetNS("s"), l.NetNS("b")
			l.Veth(x, "v", s, "p1")
			l.Veth(y, "v", s, "p2")
			s.Bridge("br", "p1", "p2")
			x.Addr("v", "10.6.0.1/24")
			y.Addr("v", "10.6.0.2/24")
			s.Addr("br", "10.6.0.3/24")
			conn, own := y.ListenUDP("10.6.0.2:7"), s.ListenUDP("10.6.0.3:7")
			return func() {
				x.Datagrams("10.6.0.2:7", 40, payload) // ARP comes first
				read(t, conn, 40)
				x.Datagrams("10.6.0.3:7", 8, payload)
				read(t, own, 8)
				transfer(t, x, y, "10.6.0.2:80", 1<<20)
			}
		})
		b.balanced(t)
		b.want(t, "b", in, "transport", record.Delivered, "udp", 40)
		b.want(t, "s", in, "transport", record.Delivered, "udp", 8)
		if n := b.get("s", in, "bridge", record.Forwarded, "bridged"); n < 60 {
			t.Errorf("bridged: got %d, want more than 60", n)
		}
	})

	t.Run("vxlan", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			tunnel(x, "10.6.0.1", "10.6.0.2", "10.7.0.1/24")
			tunnel(y, "10.6.0.2", "10.6.0.1", "10.7.0.2/24")
			conn := y.ListenUDP("10.7.0.2:7")
			return func() {
				x.Datagrams("10.7.0.2:7", 30, payload)
				read(t, conn, 30)
				transfer(t, x, y, "10.7.0.2:80", 1<<20)
			}
		})
		b.balanced(t)
		if n := b.get("b", in, "transport", record.Delivered, "udp"); n <= 60 { // those, what carried them, and what carried TCP
			t.Errorf("delivered: got %d, want more than 60", n)
		}
	})

	t.Run("vlan", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			for _, n := range []*netlab.NetNS{x, y} {
				if text, err := n.TryExec("ip", "link", "add", "link", "v", "name", "v7", "type", "vlan", "id", "7"); err != nil {
					need.Feature{What: "VLANs", Options: []string{"CONFIG_VLAN_8021Q"}}.Skip(t, err)
					t.Fatal(text)
				}
				n.Up("v7")
			}
			x.Addr("v7", "10.7.0.1/24")
			y.Addr("v7", "10.7.0.2/24")
			conn := y.ListenUDP("10.7.0.2:7")
			return func() {
				x.Datagrams("10.7.0.2:7", 30, payload)
				read(t, conn, 30)
			}
		})
		b.balanced(t)
		b.want(t, "b", in, "transport", record.Delivered, "udp", 30)
	})

	t.Run("accept queue", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			y.Sysctl("net/ipv4/tcp_syncookies", "0")
			s := y.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err := unix.Bind(s.FD, &unix.SockaddrInet4{Addr: [4]byte{10, 6, 0, 2}, Port: 80}); err != nil {
				t.Fatal(err)
			}
			if err := unix.Listen(s.FD, 1); err != nil {
				t.Fatal(err)
			}
			return func() {
				for range 2 {
					x.DialTCP("10.6.0.2:80")
				}
				for range 3 {
					k := x.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
					_ = unix.Connect(k.FD, &unix.SockaddrInet4{Addr: [4]byte{10, 6, 0, 2}, Port: 80})
					k.Close() // or it asks again while the books are closed
				}
			}
		})
		b.balanced(t)
		if n := b.get("b", in, "transport", record.LostLine, "TCP_LISTEN_OVERFLOW"); n < 3 {
			t.Errorf("lost: got %d, want at least 3", n)
		}
		c.proved(t, "b", "TCP_LISTEN_OVERFLOW", `ss -lnt "sport = :80"`, "tcp listener 10.6.0.2:80: 2 of 1 connections wait for accept", "net.core.somaxconn")
	})

	t.Run("fragments", func(t *testing.T) {
		b := c.watched(t, func(l *netlab.Lab) func() {
			x, y := wired(l)
			conn := y.ListenUDP("10.6.0.2:7")
			return func() {
				x.Datagrams("10.6.0.2:7", 5, 4000)
				for range 5 {
					if _, err := conn.Read(make([]byte, 5000)); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
		b.balanced(t)
		b.want(t, "b", in, "device", record.Came, "received", 15)
		b.want(t, "b", in, "transport", record.Delivered, "udp", 5)
	})
}

// TestHidden: a loss that nobody tells is a remainder of its size.
func TestHidden(t *testing.T) {
	c := open(t, false)
	b := c.watched(t, func(l *netlab.Lab) func() {
		x, y := wired(l)
		y.NFT(`table ip t { chain in { type filter hook input priority 0; udp dport 9 drop; }; }`)
		conn := y.ListenUDP("10.6.0.2:7")
		return func() {
			x.Datagrams("10.6.0.2:9", 11, payload)
			x.Datagrams("10.6.0.2:7", 20, payload)
			read(t, conn, 20)
		}
	})
	b.want(t, "b", in, "ip", record.Remainder, "", 11)
	b.want(t, "b", in, "total", record.Remainder, "", 11)
	b.want(t, "b", in, "device", record.Remainder, "", 0)
	b.want(t, "b", in, "transport", record.Remainder, "", 0)
	b.want(t, "b", in, "transport", record.Delivered, "udp", 20)
	b.want(t, "a", out, "total", record.Remainder, "", 0)
}

// drain reads what waits.
func drain(conn *net.UDPConn) {
	for {
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 2*payload)); err != nil {
			return
		}
	}
}

// tunnel makes a VXLAN to one other host.
func tunnel(n *netlab.NetNS, local, remote, addr string) {
	n.Exec("ip", "link", "add", "vx", "type", "vxlan", "id", "7", "dstport", "4789", "local", local, "remote", remote, "dev", "v")
	n.Up("vx")
	n.Addr("vx", addr)
}

// tcDrop attaches a program that drops what comes in.
func tcDrop(t *testing.T, n *netlab.NetNS) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "tc_drop", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // TC_ACT_SHOT
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	n.Do(func() error {
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: n.Index("v"), Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:          p.FD(), Name: "tc_drop", DirectAction: true,
		})
	})
}
