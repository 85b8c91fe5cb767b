package scenario

import (
	"net"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// ipLosses are packets that the network layer cannot or will not use.
func ipLosses() []Recipe {
	const src, dst = "10.0.0.1:4000", "10.0.0.2:9000"
	return []Recipe{
		{
			Name: "ttl_expired", Reasons: []string{"IP_INHDR"}, Verdict: record.Invalid,
			Proto: "udp", Src: farClient, Dst: farServer + ":9000", Direction: record.Forward, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, router, _ := routed(l)
				client.Sysctl("net/ipv4/ip_default_ttl", "1")
				return router, func() int { client.Datagrams(farServer+":9000", 3, 100); return 3 }
			},
		},
		{
			Name: "hop_limit_expired", Reasons: []string{"IP_INHDR"}, Verdict: record.Invalid,
			Proto: "udp", Src: "[fd00::1]:4000", Dst: "[fd00:2::2]:9000", Direction: record.Forward, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired6(l)
				host.Forwarding()
				host.Route("fd00:2::/64", "fd00::1")
				return host, func() int {
					f := datagram6(4000, 9000)
					f.Dst, f.TTL = addrPort("fd00:2::2", 9000), 1
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		mangled("ip_checksum", "IP_CSUM", record.Invalid, "udp", func(b []byte) []byte {
			b[netlab.NetworkAt(b)+10] ^= 0xff
			return b
		}),
		mangled("udp_checksum", "UDP_CSUM", record.Invalid, "udp", func(b []byte) []byte {
			b[netlab.TransportAt(b)+6] ^= 0xff
			return b
		}),
		mangled("ip_version", "IP_INHDR", record.Invalid, "", func(b []byte) []byte {
			b[netlab.NetworkAt(b)] = 5<<4 | 5
			return netlab.Resum(b)
		}),
		mangled("ip_longer_than_frame", "PKT_TOO_SMALL", record.Invalid, "udp", func(b []byte) []byte {
			b[netlab.NetworkAt(b)+2] = 1 // 256 bytes and more
			return netlab.Resum(b)
		}),
		mangled("udp_longer_than_packet", "PKT_TOO_SMALL", record.Invalid, "udp", func(b []byte) []byte {
			b[netlab.TransportAt(b)+4] = 1
			return b
		}),
		{
			Name: "icmp_checksum", Reasons: []string{"ICMP_CSUM"}, Verdict: record.Invalid,
			Proto: "icmp", Src: clientAddr, Dst: serverAddr, Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					f := datagram(0, 0)
					f.Proto, f.Payload = netlab.ProtoICMP, []byte{8, 0, 0, 0, 1, 2, 3, 4}
					b := f.with(tap)
					b[netlab.TransportAt(b)+2] ^= 0xff
					return repeat(tap, 3, b)
				}
			},
		},
		{
			Name: "no_route", Reasons: []string{"IP_INNOROUTES"}, Verdict: record.Loss,
			Proto: "udp", Src: farClient, Dst: "10.99.0.1:9000", Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, router, _ := routed(l)
				return router, func() int { client.Datagrams("10.99.0.1:9000", 3, 100); return 3 }
			},
		},
		{
			Name: "no_forwarding", Reasons: []string{"IP_INADDRERRORS"}, Verdict: record.Refused,
			Proto: "udp", Src: farClient, Dst: farServer + ":9000", Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, router, _ := routed(l)
				router.Sysctl("net/ipv4/ip_forward", "0")
				return router, func() int { client.Datagrams(farServer+":9000", 3, 100); return 3 }
			},
		},
		from("local_source", "IP_LOCAL_SOURCE", serverAddr),
		from("multicast_source", "IP_INVALID_SOURCE", "224.0.0.5"),
		from("loopback_source", "IP_LOCALNET", "127.0.0.1"),
		{
			Name: "unknown_protocol", Reasons: []string{"IP_NOPROTO"}, Verdict: record.Refused,
			Src: clientAddr, Dst: serverAddr, Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					f := datagram(0, 0)
					f.Proto = 253 // for experiments, RFC 3692
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		{
			Name: "unknown_ethertype", Reasons: []string{"UNHANDLED_PROTO"}, Verdict: record.Refused,
			Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					f := netlab.Frame{EtherType: 0x88b5, Payload: make([]byte, 50)} // local experimental, IEEE 802
					return repeat(tap, 3, tap.Address(f).Bytes())
				}
			},
		},
		{
			Name: "too_big_for_mtu", Reasons: []string{"PKT_TOO_BIG"}, Verdict: record.Loss,
			Proto: "udp", Src: farClient, Dst: farServer + ":9000", Direction: record.Forward, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, router, server := routed(l)
				router.MTU("right", 1280)
				server.MTU("eth0", 1280)
				conn := client.ListenUDP(farClient + ":4000")
				control(client, conn, func(fd int) error {
					return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
				})
				return router, func() int {
					for range 3 {
						_, err := conn.WriteTo(make([]byte, 1400), &net.UDPAddr{IP: net.ParseIP(farServer), Port: 9000})
						client.Must("send", err)
					}
					return 3
				}
			},
		},
		{
			Name: "fragments_timed_out", Reasons: []string{"FRAG_REASM_TIMEOUT"}, Verdict: record.Loss,
			Proto: "udp", Src: clientAddr, Dst: serverAddr, Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				host.Sysctl("net/ipv4/ipfrag_time", "1")
				return host, func() int {
					f := datagram(0, 0)
					f.Payload, f.More = make([]byte, 64), true
					for id := range uint16(3) {
						f.ID = 77 + id
						tap.Send(f.with(tap))
					}
					netlab.WaitFor(host.TB(), "reassembly to time out", func() bool { return host.Counter("Ip", "ReasmTimeout") == 3 })
					return 3
				}
			},
		},
		{
			Name: "multicast_not_joined", Reasons: []string{"IP_INVALID_DEST", "IP_INADDRERRORS", "NOT_SPECIFIED"}, Verdict: record.Refused,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "239.1.2.3:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					f := datagram(4000, 9000)
					f.Dst, f.DstMAC = addrPort("239.1.2.3", 9000), net.HardwareAddr{1, 0, 0x5e, 1, 2, 3}
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		{
			Name: "broadcast_nobody_listens_to", Reasons: []string{"NOT_SPECIFIED", "NO_SOCKET"}, Verdict: record.Refused,
			Proto: "udp", Src: "0.0.0.0:68", Dst: "255.255.255.255:67", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					f := datagram(68, 67)
					f.Src, f.Dst, f.DstMAC = addrPort("0.0.0.0", 68), addrPort("255.255.255.255", 67), broadcast
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		{
			Name: "ndisc_hop_limit", Reasons: []string{"IPV6_NDISC_HOP_LIMIT"}, Verdict: record.Invalid,
			Proto: "icmpv6", Src: "fd00::1", Dst: "fd00::2", Direction: record.In,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired6(l)
				return host, func() int {
					f := datagram6(0, 0)
					f.Proto = netlab.ProtoICMPv6
					f.Payload = append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, f.Dst.Addr().AsSlice()...) // neighbour solicitation
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		{
			Name: "closed_port_behind_options", Reasons: []string{"NO_SOCKET"}, Verdict: record.Refused,
			Proto: "udp", Src: src, Dst: dst, Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					f := datagram(4000, 9000)
					f.Options = []byte{7, 7, 4, 0, 0, 0, 0, 0} // record route, room for one
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		{
			Name: "closed_port_behind_extension", Reasons: []string{"NO_SOCKET"}, Verdict: record.Refused,
			Proto: "udp", Src: "[fd00::1]:4000", Dst: "[fd00::2]:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired6(l)
				return host, func() int {
					f := datagram6(4000, 9000)
					b := f.with(tap)
					at := netlab.TransportAt(b)
					options := []byte{b[at-34], 0, 1, 4, 0, 0, 0, 0} // destination options: PadN
					b = append(b[:at:at], append(options, b[at:]...)...)
					b[at-34] = 60
					b[at-35] += 8 // payload length
					return repeat(tap, 3, b)
				}
			},
		},
	}
}

// mangled sends three datagrams to an open port of a wired host, each broken
// by the function.
func mangled(name, reason string, verdict record.Verdict, proto string, spoil func([]byte) []byte) Recipe {
	r := Recipe{
		Name: name, Reasons: []string{reason}, Verdict: verdict, Proto: proto, Direction: record.In,
		Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
			host, tap := wired(l)
			host.ListenUDP("10.0.0.2:9000")
			return host, func() int { return repeat(tap, 3, spoil(datagram(4000, 9000).with(tap))) }
		},
	}
	if proto != "" {
		r.Src, r.Dst = "10.0.0.1:4000", "10.0.0.2:9000"
	}
	return r
}

// from sends three datagrams from an address that must not come from outside.
func from(name, reason, source string) Recipe {
	return Recipe{
		Name: name, Reasons: []string{reason}, Verdict: record.Invalid,
		Proto: "udp", Src: source + ":4000", Dst: "10.0.0.2:9000", Direction: record.In,
		Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
			host, tap := wired(l)
			return host, func() int {
				f := datagram(4000, 9000)
				f.Src = addrPort(source, 4000)
				return repeat(tap, 3, f.with(tap))
			}
		},
	}
}
