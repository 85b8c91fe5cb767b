package scenario

import (
	"encoding/binary"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// linkLosses are frames that bridges, tunnels and neighbours swallow.
func linkLosses() []Recipe {
	return []Recipe{
		{
			Name: "neighbour_failed", Reasons: []string{"NEIGH_FAILED"}, Verdict: record.Loss,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.77:9000", Direction: record.Out, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, _ := pair(l)
				client.Sysctl("net/ipv4/neigh/eth0/mcast_solicit", "1")
				client.Sysctl("net/ipv4/neigh/eth0/retrans_time_ms", "100")
				return client, func() int {
					client.Datagrams("10.0.0.77:9000", 3, 100)
					netlab.WaitFor(client.TB(), "the neighbour to fail", func() bool { return neighbour(client, "10.0.0.77") == netlink.NUD_FAILED })
					return 3
				}
			},
		},
		{
			Name: "neighbour_queue_full", Reasons: []string{"NEIGH_QUEUEFULL"}, Verdict: record.Resource,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.77:9000", Direction: record.Out, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				server.Addr("eth0", "10.0.0.77/32")
				server.Sysctl("net/ipv4/conf/all/arp_ignore", "8") // answers nobody
				client.Sysctl("net/ipv4/neigh/eth0/unres_qlen_bytes", "4000")
				sink := server.ListenUDP("10.0.0.77:9000")
				return client, func() int {
					client.Datagrams("10.0.0.77:9000", 12, 500)
					// What the queue kept goes out as soon as the neighbour is known.
					client.Neigh("eth0", "10.0.0.77", server.MAC("eth0"))
					client.Datagrams("10.0.0.77:9000", 1, 10)
					kept := 0 // of the twelve; the thirteenth found the neighbour known
					netlab.WaitFor(server.TB(), "the queue to arrive", func() bool {
						kept += received(server, sink)
						return kept > 1
					})
					return 12 - (kept + received(server, sink) - 1)
				}
			},
		},
		{
			Name: "vxlan_unknown_vni", Reasons: []string{"VXLAN_VNI_NOT_FOUND"}, Verdict: record.Refused,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:4789", Direction: record.In,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := vxlan(l)
				return host, func() int { return repeat(tap, 3, encapsulated(0x08, 99).with(tap)) }
			},
		},
		{
			Name: "vxlan_bad_header", Reasons: []string{"VXLAN_INVALID_HDR"}, Verdict: record.Invalid,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:4789", Direction: record.In,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := vxlan(l)
				return host, func() int { return repeat(tap, 3, encapsulated(0x00, 10).with(tap)) }
			},
		},
		{
			Name: "bridge_no_target", Reasons: []string{"NO_TX_TARGET"}, Since: "BRIDGE_INGRESS_STP_STATE", Verdict: record.Loss,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:9000", Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := bridged(l)
				return host, func() int {
					f := datagram(4000, 9000)
					f.DstMAC = net.HardwareAddr{2, 0, 0, 0, 9, 9} // nobody has it, and there is no other port
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		{
			Name: "bridge_port_listening", Reasons: []string{"BRIDGE_INGRESS_STP_STATE"}, Verdict: record.Policy,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:9000", Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host := l.NetNS("host")
				tap := host.Tap("eth0")
				host.Exec("ip", "link", "add", "br0", "up", "type", "bridge", "stp_state", "1", "forward_delay", "3000", "mcast_snooping", "0")
				return host, func() int {
					host.Exec("ip", "link", "set", "eth0", "master", "br0") // listens for 30 s before it learns
					return repeat(tap, 3, datagram(4000, 9000).with(tap))
				}
			},
		},
		{
			Name: "bridge_source_multicast", Reasons: []string{"MAC_INVALID_SOURCE"}, Since: "BRIDGE_INGRESS_STP_STATE", Verdict: record.Invalid,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:9000", Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := bridged(l)
				return host, func() int {
					f := datagram(4000, 9000)
					f.SrcMAC = net.HardwareAddr{1, 0, 0x5e, 0, 0, 9}
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
	}
}

// neighbour returns the state of a neighbour on eth0, as netlink.NUD_….
func neighbour(n *netlab.NetNS, addr string) int {
	list, err := n.Netlink().NeighList(n.Index("eth0"), netlink.FAMILY_V4)
	n.Must("list neighbours", err)
	for _, neigh := range list {
		if neigh.IP.String() == addr {
			return neigh.State
		}
	}
	return netlink.NUD_NONE
}

// vxlan is a wired host with a VXLAN device for VNI 10.
func vxlan(l *netlab.Lab) (*netlab.NetNS, *netlab.Tap) {
	host, tap := wired(l)
	host.Add(&netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: "vx10", TxQLen: -1}, VxlanId: 10, Port: 4789,
		SrcAddr: net.ParseIP(serverAddr), VtepDevIndex: host.Index("eth0"),
	})
	return host, tap
}

// encapsulated is a datagram in VXLAN (RFC 7348): flag 0x08 says that the VNI
// is valid.
func encapsulated(flags byte, vni uint32) *crafted {
	inner := datagram(5000, 53)
	inner.SrcMAC, inner.DstMAC = net.HardwareAddr{2, 0, 0, 0, 7, 1}, net.HardwareAddr{2, 0, 0, 0, 7, 2}
	inner.Src, inner.Dst = addrPort("172.16.0.1", 5000), addrPort("172.16.0.2", 53)
	header := append([]byte{flags, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, vni<<8)...)
	outer := datagram(4000, 4789)
	outer.Payload = append(header, inner.Bytes()...)
	return outer
}

// bridged is a host whose tap is the only port of a bridge.
func bridged(l *netlab.Lab) (*netlab.NetNS, *netlab.Tap) {
	host := l.NetNS("host")
	tap := host.Tap("eth0")
	host.Bridge("br0", "eth0")
	return host, tap
}
