package ledger

import (
	"cmp"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// The stations: layers that are balanced together.
const (
	device    = "device"    // an interface
	ingress   = "ingress"   // what the devices of a namespace hand to the stack
	ip        = "ip"        // IPv4 and IPv6
	transport = "transport" // UDP, TCP, ICMP
	bridge    = "bridge"
	queue     = "queue"     // queueing disciplines
	elsewhere = "elsewhere" // losses that no balance has
	taps      = "taps"      // copies for AF_PACKET and raw sockets, which cost nobody a packet
	total     = "total"
)

// rawDrops is what raw sockets count, each for itself.
const rawDrops = "raw sockets' drops"

// cause is a kind of loss: which drops of the sensor it is, and which counters
// count the same packets.
type cause struct {
	station   string
	direction record.Direction
	layer     record.Layer
	// what is the drop reason that stands for it, as netfate explain knows it.
	what string
	// reasons and places (beginnings of function names) tell its drops; both
	// have to fit if both are given.
	reasons, places []string
	// counters are added up; one that begins with a minus is taken off.
	counters []string
	// partial says that the counters do not know all packets.
	partial bool
	// perLink has a line for each interface.
	perLink bool
	// bare are places (beginnings of function names) that free it where the kernel
	// gives no reason: as many as its counters say. At otherwise it is also what is
	// left there.
	bare, otherwise []string
}

// causes are the losses of which a counter is known, or whose station their
// reason alone tells, the most special first. See docs/ledger.md.
func causes() []cause {
	in, out := record.In, record.Out
	raw := []string{"raw_rcv", "rawv6_rcv"} // what they get are copies
	udp := []string{"udp", "__udp", "udpv6"}
	tcp := []string{"tcp", "__tcp", "inet_csk", "sk_filter"}
	// Where kernels before 5.17 free what has no reason there.
	core := []string{"__netif_receive_skb", "sch_handle_ingress"}
	headers := []string{"ip_rcv_core", "ip6_rcv_core"}
	routes := []string{"ip_rcv_finish", "ip6_rcv_finish"}
	onward := []string{"ip_forward", "ip6_forward"}
	refused := []string{"ip_error", "ip6_pkt_drop"}
	protocols := []string{"ip_local_deliver", "ip_protocol_deliver", "ip6_input", "ip6_protocol_deliver"}
	received := []string{"ip_rcv", "ip6_rcv", "ipv6_rcv", "ip_forward", "ip6_forward", "ip_local_deliver", "ip6_input"}
	return []cause{
		{station: taps, direction: in, layer: record.SocketLayer, what: "PACKET_SOCK_ERROR", reasons: []string{"PACKET_SOCK_ERROR"}},
		{station: taps, direction: in, layer: record.SocketLayer, what: "PACKET_SOCK_ERROR", places: []string{"packet_rcv", "tpacket_rcv"}},

		{station: taps, direction: in, layer: record.SocketLayer, what: "SOCKET_FILTER", reasons: []string{"SOCKET_FILTER"}, places: raw},
		{station: taps, direction: in, layer: record.SocketLayer, what: "SOCKET_RCVBUFF", places: raw, counters: []string{rawDrops}},

		{station: device, direction: in, layer: record.BacklogLayer, what: "CPU_BACKLOG", reasons: []string{"CPU_BACKLOG"}, perLink: true},
		{station: device, direction: in, layer: record.BacklogLayer, what: "CPU_BACKLOG", places: []string{"enqueue_to_backlog", "netif_rx"}, perLink: true},
		{station: device, direction: in, layer: record.XDPLayer, what: "XDP", places: []string{"veth_xdp_rcv"}, perLink: true},
		{station: device, direction: out, layer: record.DriverLayer, what: "FULL_RING", reasons: []string{"FULL_RING"}, perLink: true},

		{station: ingress, direction: in, layer: record.IngressLayer, what: "XDP", reasons: []string{"XDP"}, perLink: true},
		{station: ingress, direction: in, layer: record.IngressLayer, what: "XDP", places: []string{"do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp"}, perLink: true},
		{station: ingress, direction: in, layer: record.IngressLayer, what: "TC_INGRESS", reasons: []string{"TC_INGRESS"}, perLink: true, bare: core},
		{station: ingress, direction: in, layer: record.IngressLayer, what: "OTHERHOST", reasons: []string{"OTHERHOST"}, otherwise: headers},
		{station: ingress, direction: in, layer: record.IngressLayer, what: "UNHANDLED_PROTO", reasons: []string{"UNHANDLED_PROTO"}, otherwise: core},

		{station: ip, direction: in, layer: record.RoutingLayer, what: "PKT_TOO_SMALL", reasons: []string{"PKT_TOO_SMALL"}, places: received,
			counters: []string{"IpExtInTruncatedPkts", "Ip6InTruncatedPkts"}, bare: headers},
		{station: ip, direction: in, layer: record.RoutingLayer, what: "IP_INHDR", reasons: []string{"IP_INHDR", "IP_CSUM", "IPV6_BAD_EXTHDR", "IPV6_TOO_MANY_EXTHDRS"},
			counters: []string{"IpInHdrErrors", "Ip6InHdrErrors"},
			bare:     slices.Concat(headers, routes, onward)},
		{station: ip, direction: in, layer: record.RoutingLayer, what: "IP_RPFILTER", reasons: []string{"IP_RPFILTER"}, counters: []string{"TcpExtIPReversePathFilter"}, bare: routes},
		{station: ip, direction: in, layer: record.RoutingLayer, what: "IP_INNOROUTES", reasons: []string{"IP_INNOROUTES"}, counters: []string{"IpExtInNoRoutes", "Ip6InNoRoutes"}, bare: refused},
		{station: ip, direction: in, layer: record.RoutingLayer, what: "IP_INADDRERRORS", reasons: []string{"IP_INADDRERRORS"}, counters: []string{"IpInAddrErrors", "Ip6InAddrErrors"},
			bare: slices.Concat(refused, onward)},
		{station: ip, direction: in, layer: record.RoutingLayer, what: "IP_NOPROTO", reasons: []string{"IP_NOPROTO"}, counters: []string{"IpInUnknownProtos", "Ip6InUnknownProtos"},
			bare: protocols},
		{station: ip, direction: in, layer: record.RoutingLayer, what: "IPV6DISABLED", reasons: []string{"IPV6DISABLED"}, counters: []string{"IpInDiscards", "Ip6InDiscards"},
			bare: slices.Concat(headers, onward, protocols)},
		{station: ip, direction: in, layer: record.RoutingLayer, what: "PKT_TOO_BIG", reasons: []string{"PKT_TOO_BIG"}, places: []string{"ip_forward", "ip6_forward"}},

		{station: transport, direction: in, layer: record.TransportLayer, what: "NO_SOCKET", reasons: []string{"NO_SOCKET"}, places: udp,
			counters: []string{"UdpNoPorts", "Udp6NoPorts", "UdpLiteNoPorts", "UdpLite6NoPorts"}, bare: udp},
		{station: transport, direction: in, layer: record.SocketLayer, what: "SOCKET_RCVBUFF", reasons: []string{"SOCKET_RCVBUFF"}, places: udp,
			counters: []string{"UdpRcvbufErrors", "Udp6RcvbufErrors", "UdpLiteRcvbufErrors", "UdpLite6RcvbufErrors"}, bare: udp},
		{station: transport, direction: in, layer: record.TransportLayer, what: "UDP_CSUM", reasons: []string{"UDP_CSUM"},
			counters: []string{"UdpInCsumErrors", "Udp6InCsumErrors", "UdpLiteInCsumErrors", "UdpLite6InCsumErrors"}, bare: udp},
		{station: transport, direction: in, layer: record.SocketLayer, what: "PROTO_MEM", reasons: []string{"PROTO_MEM"}, places: udp,
			counters: []string{"UdpMemErrors", "Udp6MemErrors", "UdpLiteMemErrors", "UdpLite6MemErrors"}, bare: udp},
		{station: transport, direction: in, layer: record.SocketLayer, what: "SOCKET_FILTER", places: udp, counters: []string{
			"UdpInErrors", "Udp6InErrors", "-UdpRcvbufErrors", "-Udp6RcvbufErrors", "-UdpInCsumErrors", "-Udp6InCsumErrors", "-UdpMemErrors", "-Udp6MemErrors"}},
		{station: transport, direction: in, layer: record.TransportLayer, what: "ICMP_CSUM", places: []string{"icmp"}, reasons: []string{"ICMP_CSUM"},
			counters: []string{"IcmpInCsumErrors", "Icmp6InCsumErrors"}, bare: []string{"icmp"}},
		{station: transport, direction: in, layer: record.TransportLayer, what: "TCP_CSUM", reasons: []string{"TCP_CSUM"}, counters: []string{"TcpInCsumErrors"}, bare: tcp},
		{station: transport, direction: in, layer: record.SocketLayer, what: "TCP_LISTEN_OVERFLOW", reasons: []string{"TCP_LISTEN_OVERFLOW"},
			counters: []string{"TcpExtListenDrops"}},
		{station: transport, direction: in, layer: record.SocketLayer, what: "SOCKET_BACKLOG", reasons: []string{"SOCKET_BACKLOG"}, places: tcp, counters: []string{"TcpExtTCPBacklogDrop"}, bare: []string{"tcp_v4_rcv", "tcp_v6_rcv", "tcp_add_backlog"}},
		{station: transport, direction: in, layer: record.SocketLayer, what: "SOCKET_RCVBUFF", reasons: []string{"SOCKET_RCVBUFF", "PROTO_MEM"}, places: tcp, counters: []string{"TcpExtTCPRcvQDrop"}, bare: []string{"tcp_drop", "tcp_data_queue"}},

		{station: queue, direction: out, layer: record.QdiscLayer, what: "QDISC_DROP", reasons: []string{"QDISC_DROP"}, perLink: true},
		{station: ip, direction: out, layer: record.QdiscLayer, what: "TC_EGRESS", reasons: []string{"TC_EGRESS"}},
		{station: ip, direction: out, layer: record.RoutingLayer, what: "IP_OUTNOROUTES", reasons: []string{"IP_OUTNOROUTES"}, counters: []string{"IpOutNoRoutes", "Ip6OutNoRoutes"},
			bare: []string{"ip6_pkt_drop", "ip_queue_xmit", "__ip_queue_xmit"}},
	}
}

// region is where functions that begin with a word belong.
type region struct {
	prefix    string
	station   string
	direction record.Direction
	layer     record.Layer
}

// regions finds the station of what no cause names; the first that fits.
func regions() []region {
	var list []region
	add := func(station string, direction record.Direction, layer record.Layer, prefixes ...string) {
		for _, p := range prefixes {
			list = append(list, region{p, station, direction, layer})
		}
	}
	add(ingress, record.In, record.IngressLayer, "__netif_receive", "sch_handle_ingress", "netif_receive", "arp_rcv", "arp_process", "llc_", "tcf_classify", "nf_hook_ingress")
	add(bridge, record.In, record.BridgeLayer, "br_", "ebt_")
	add(ip, record.Out, record.RoutingLayer, "ip_output", "__ip_local_out", "ip_finish", "__ip_finish", "ip_mc_", "ip_do_fragment", "ip_fragment",
		"ip6_finish", "__ip6_finish", "ip6_output", "ip6_xmit", "ip6_fragment", "neigh_", "__neigh_", "arp_error", "arp_solicit", "ndisc_error", "__cgroup_bpf",
		"__dev_queue_xmit", "sch_handle_egress", "validate_xmit", "ip_queue_xmit", "__ip_queue_xmit", "ip_send", "ip_push")
	add(ip, record.In, record.RoutingLayer, "ip_", "ip6_", "ipv6_", "inet_frag", "inet6_frag", "icmpv6_send", "fib_")
	add(transport, record.In, record.TransportLayer, "udp", "__udp", "tcp", "__tcp", "icmp", "ping_", "raw", "igmp", "ndisc", "sctp", "vxlan_rcv", "vxlan_", "geneve_", "gre_",
		"sk_filter", "inet_csk", "inet6_csk", "esp", "ah", "xfrm", "__xfrm")
	return list
}

// netfilter are functions that hold the hooks' verdicts.
func netfilter(reason, place string) bool {
	return reason == "NETFILTER_DROP" || reason == "" && hasPrefix(place, "nf_hook_slow", "nft_do_chain", "ipt_do_table", "ip6t_do_table", "nf_")
}

func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// fits reports whether a drop is of the cause.
func (c *cause) fits(reason, place string) bool {
	if len(c.reasons) == 0 && len(c.places) == 0 {
		return false
	}
	return (len(c.reasons) == 0 || slices.Contains(c.reasons, reason)) && (len(c.places) == 0 || hasPrefix(place, c.places...))
}

const unspecified = "NOT_SPECIFIED"

// reasonOf returns the reason of a drop; empty if the kernel has none for it.
func reasonOf(d *record.Drop) string {
	if d.Reason == unspecified {
		return ""
	}
	return d.Reason
}

// placeOf returns the function that freed a buffer.
func placeOf(d *record.Drop) string {
	place, _, _ := strings.Cut(d.Location, "+")
	return place
}

// classify finds the cause of a drop.
func (b *book) classify(d *record.Drop) cause {
	reason, place := reasonOf(d), placeOf(d)
	name := cmp.Or(reason, unspecified)
	if netfilter(reason, place) {
		c := cause{station: ip, direction: record.In, layer: record.NetfilterLayer, what: "NETFILTER_DROP"}
		switch {
		case d.Direction == record.Out, d.Direction == record.Forward && b.apart():
			c.direction = record.Out // what is forwarded is counted as such before the hook since 6.6
		case b.isPort(d.IfName):
			c.station, c.layer = bridge, record.BridgeLayer
		}
		return c
	}
	for _, c := range b.causes {
		if c.fits(reason, place) {
			if c.what == "PKT_TOO_BIG" && b.apart() && strings.HasPrefix(place, "ip_forward") {
				c.direction = record.Out // counted as forwarded before the MTU is looked at, too; IPv6 looks first
			}
			return c
		}
	}
	if d.Subsystem == "qdisc" || strings.HasPrefix(reason, "QDISC") || strings.Contains(place, "enqueue") || strings.HasPrefix(place, "__dev_xmit_skb") {
		return cause{station: queue, direction: record.Out, layer: record.QdiscLayer, what: "QDISC_DROP", perLink: true}
	}
	for _, r := range b.regions {
		if strings.HasPrefix(place, r.prefix) && (r.direction == record.In || d.Direction != record.In) {
			return cause{station: r.station, direction: r.direction, layer: r.layer, what: name}
		}
	}
	if d.Direction != record.In && strings.Contains(place, "xmit") {
		return cause{station: device, direction: record.Out, layer: record.DriverLayer, what: name, perLink: true}
	}
	return cause{station: elsewhere, direction: d.Direction, layer: record.TotalLayer, what: name}
}
