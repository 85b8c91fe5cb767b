package iface

// Class is how packets and bytes are counted on a kind of interface.
type Class struct {
	// Outside says that what is received here enters the host: from a wire, or
	// from a program or virtual machine behind a tun device. What software
	// devices receive was counted where it entered or was born.
	Outside bool
	// Stacked says that what is sent here is handed on to another interface of
	// this host, where it is counted again.
	Stacked bool
	// CountsLinkHeaderIn and CountsLinkHeaderOut say whether the interface's own
	// byte counters (ip -s link) hold the link-layer header, in each direction.
	// Without one (HeaderLen 0) they mean nothing.
	//
	// A veth counts without it on receive, and so its peer on send, what it
	// polls through NAPI (veth_skb_is_eligible_for_gro): everything with an XDP
	// program in the driver, which is taken into account here for the
	// receiving end; and, from Linux 5.13, with GRO switched on and the sender's
	// TSO off (ethtool -K), which rtnetlink does not tell.
	CountsLinkHeaderIn  bool
	CountsLinkHeaderOut bool
}

// classOf tells an interface's class by its kind; xdp says that a program is
// attached in the driver. A kind that is not known is taken for one that
// leads outside: a packet counted twice is seen, one that is not is missed.
//
// The counters are as the kernel's source has them; those of lo, veth, bridge,
// macvlan, vxlan and tun are measured by a test too.
func classOf(kind string, xdp bool) Class {
	switch kind {
	case "physical", "tun", "dsa":
		// Drivers count frames. tun_get_user and tun_do_read in drivers/net/tun.c
		// count what the program wrote or reads: with Ethernet for tap.
		// dsa_switch_rcv in net/dsa/tag.c adds ETH_HLEN.
		return Class{Outside: kind != "dsa", Stacked: kind == "dsa", CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}
	case "lo":
		// loopback_xmit in drivers/net/loopback.c counts once for both directions,
		// after eth_type_trans has pulled the header.
		return Class{}
	case "veth":
		// veth_xmit counts skb->len before it forwards, for itself as sent and for
		// its peer as received; veth_xdp_rcv counts after eth_type_trans.
		return Class{CountsLinkHeaderIn: !xdp, CountsLinkHeaderOut: true}
	case "netkit", "dummy", "ifb", "nlmon", "vsockmon":
		// netkit_xmit in drivers/net/netkit.c counts both ends before it pulls.
		// The others receive nothing, or copies.
		return Class{CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}
	case "bridge", "vlan", "team", "vrf", "macsec", "hsr":
		// br_pass_frame_up (net/bridge/br_input.c), vlan_do_receive (net/8021q/
		// vlan_core.c), team_handle_frame, vrf_rx_stats, macsec_handle_frame and
		// hsr_deliver_master count skb->len where the header is already pulled; on
		// send it is still there.
		return Class{Stacked: true, CountsLinkHeaderOut: true}
	case "bond", "macvlan", "macvtap", "ipvlan", "ipvtap", "batadv":
		// bond_get_stats sums up its ports; macvlan_handle_frame, ipvlan_rcv_frame
		// and batadv_interface_rx count skb->len + ETH_HLEN.
		return Class{Stacked: true, CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}
	case "gretap", "erspan":
		// ip_tunnel_rcv (net/ipv4/ip_tunnel.c) counts before eth_type_trans;
		// iptunnel_xmit from the inner network header on.
		return Class{Stacked: true, CountsLinkHeaderIn: true}
	case "vxlan", "geneve", "ip6gretap", "ip6erspan":
		// vxlan_rcv, geneve_rx and __ip6_tnl_rcv count after eth_type_trans;
		// iptunnel_xmit from the inner network header on.
		return Class{Stacked: true}
	case "gre", "ip6gre", "ipip", "ip6tnl", "sit", "vti", "vti6", "xfrm", "wireguard", "ovpn",
		"bareudp", "gtp", "pfcp", "amt", "lowpan", "rmnet":
		return Class{Stacked: true} // no link header
	case "ppp":
		// Nearly always PPPoE, whose packets come and go by an Ethernet below.
		return Class{Stacked: true}
	}
	return Class{Outside: true, CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}
}
