package scenario

import (
	"net"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// benignWire are frames that were never meant for this host, and segments
// that it has already.
func benignWire() []Recipe {
	return []Recipe{
		{
			Name: "other_hosts_frame", Reasons: []string{"OTHERHOST"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int { return repeat(tap, 3, elsewhere(tap)) }
			},
		},
		{
			Name: "other_hosts_frame_promiscuous", Reasons: []string{"OTHERHOST"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				host.Must("go promiscuous", host.Netlink().SetPromiscOn(host.Link("eth0")))
				return host, func() int { return repeat(tap, 3, elsewhere(tap)) }
			},
		},
		{
			Name: "lldp", Reasons: []string{"UNHANDLED_PROTO"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					f := netlab.Frame{DstMAC: net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x0e}, EtherType: 0x88cc, Payload: make([]byte, 46)}
					return repeat(tap, 3, tap.Address(f).Bytes())
				}
			},
		},
		{
			Name: "spanning_tree", Reasons: []string{"UNHANDLED_PROTO", "NOT_SPECIFIED"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					bpdu := append([]byte{0x42, 0x42, 3}, make([]byte, 43)...)
					f := netlab.Frame{DstMAC: net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0}, EtherType: 38, Payload: bpdu}
					return repeat(tap, 3, tap.Address(f).Bytes())
				}
			},
		},
		{
			Name: "arp_for_others", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					request := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 99}
					f := netlab.Frame{DstMAC: broadcast, EtherType: netlab.EtherARP, Payload: append(request, make([]byte, 18)...)}
					repeat(tap, 3, tap.Address(f).Bytes())
					return 0
				}
			},
		},
		{
			// A router with IPv6 off still tries to join the routers' groups.
			Name: "ipv6_disabled_router", Reasons: []string{"IPV6DISABLED"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, _ := wired(l)
				return host, func() int {
					host.Sysctl("net/ipv6/conf/all/forwarding", "1")
					host.Down("eth0")
					host.Up("eth0")
					netlab.WaitFor(host.TB(), "a report", func() bool { return host.Counter("Ip6", "OutDiscards") > 0 })
					return Some
				}
			},
		},
		{
			Name: "ipv6_interface_up", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				a, b := l.NetNS("a"), l.NetNS("b")
				a.IPv6()
				b.IPv6()
				l.Veth(a, "eth0", b, "eth0")
				return a, func() int {
					a.Down("eth0")
					a.Up("eth0")
					a.Addr("eth0", "fd00::1/64")
					b.Addr("eth0", "fd00::2/64")
					a.Exec("ping", "-n", "-c", "1", "-W", "10", "fd00::2")
					return 0
				}
			},
		},
		onConnection("tcp_old_segment", "TCP_OLD_SEQUENCE", record.Benign, false, func(p *peer) int {
			old := p.segment(netlab.ACK|netlab.PSH, []byte("first"))
			p.data([]byte("first"))
			p.data([]byte("second"))
			return p.tell(3, old)
		}),
		onConnection("tcp_last_segment_again", "TCP_OLD_DATA", record.Benign, false, func(p *peer) int {
			last := p.segment(netlab.ACK|netlab.PSH, []byte("last"))
			p.data([]byte("last"))
			return p.tell(3, last)
		}),
		onConnection("tcp_keepalive", "TCP_OLD_SEQUENCE", record.Benign, false, func(p *peer) int {
			probe := p.segment(netlab.ACK, nil)
			probe.Seq-- // RFC 9293 section 3.8.4
			return p.tell(3, probe)
		}),
		onConnection("tcp_reordered_overlap", "TCP_OFOMERGE", record.Benign, false, func(p *peer) int {
			late := p.segment(netlab.ACK|netlab.PSH, []byte("0123456789"))
			late.Seq += 100
			part := late
			part.Seq += 2
			part.Payload = part.Payload[:4]
			p.tell(1, late)
			p.tell(3, part) // the kernel holds these bytes already
			p.send(netlab.ACK|netlab.PSH, make([]byte, 100))
			p.acked(p.seq + 110)
			return 3
		}),
		{
			Name: "fragments_reassembled", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, _, server := routed(l)
				sink := server.ListenUDP(farServer + ":9000")
				return server, func() int {
					client.Datagrams(farServer+":9000", 3, 5000)
					got := 0
					netlab.WaitFor(server.TB(), "three datagrams", func() bool { got += received(server, sink); return got == 3 })
					return 0
				}
			},
		},
		{
			Name: "sniffed_udp", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				sink := server.ListenUDP("10.0.0.2:9000")
				return server, func() int {
					capture := server.Capture("eth0")
					client.Datagrams("10.0.0.2:9000", 5, 100)
					got := 0
					netlab.WaitFor(server.TB(), "five datagrams", func() bool { got += received(server, sink); return got == 5 })
					capture.Stop()
					return 0
				}
			},
		},
		{
			Name: "peek_and_discard", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				return server, func() int {
					out, in := netlab.ConnectTCP(client, server, "10.0.0.2:9000")
					_, err := out.Write(make([]byte, 3000))
					client.Must("write", err)
					netlab.WaitFor(server.TB(), "data", func() bool { return connReadable(server, in) })
					raw, err := in.SyscallConn()
					server.Must("open raw socket", err)
					left := 3000
					netlab.WaitFor(server.TB(), "all data", func() bool {
						server.Must("reach socket", raw.Control(func(fd uintptr) {
							size, _, _ := unix.Recvfrom(int(fd), make([]byte, 3000), unix.MSG_TRUNC|unix.MSG_DONTWAIT)
							left -= max(size, 0)
						}))
						return left == 0
					})
					return 0
				}
			},
		},
	}
}

// elsewhere is a datagram in a frame for another host.
func elsewhere(tap *netlab.Tap) []byte {
	f := datagram(4000, 9000)
	f.DstMAC = net.HardwareAddr{2, 0, 0, 0, 9, 9}
	return f.with(tap)
}
