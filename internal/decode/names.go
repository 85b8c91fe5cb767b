package decode

import (
	"bytes"
	"net/netip"
	"strconv"
)

// Ethertypes and protocols that have names of their own in records.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// Addr returns the address of 16 bytes from the kernel side; IPv4 unmapped.
// All zero under an EthProto that is not IP means that there is none.
func (t *Tuple) addr(a [AddrLen]byte) netip.Addr {
	if t.EthProto != etherIPv4 && t.EthProto != etherIPv6 {
		return netip.Addr{}
	}
	if t.Proto == 0 && a == [AddrLen]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a).Unmap()
}

// HasAddrs reports whether the parser found an IP header.
func (t *Tuple) HasAddrs() bool {
	return (t.EthProto == etherIPv4 || t.EthProto == etherIPv6) && (t.Src != [AddrLen]byte{} || t.Dst != [AddrLen]byte{})
}

// SrcAddr returns the source address, or the zero Addr if there is none.
func (t *Tuple) SrcAddr() netip.Addr {
	if !t.HasAddrs() {
		return netip.Addr{}
	}
	return t.addr(t.Src)
}

// DstAddr returns the destination address, or the zero Addr if there is none.
func (t *Tuple) DstAddr() netip.Addr {
	if !t.HasAddrs() {
		return netip.Addr{}
	}
	return t.addr(t.Dst)
}

// Ports returns the ports, or zeros for a protocol that has none.
func (t *Tuple) Ports() (src, dst uint16) {
	switch t.Proto {
	case protoTCP, protoUDP, protoSCTP:
		return t.SrcPort, t.DstPort
	}
	return 0, 0
}

// Reversed returns the tuple of the other way. ICMP echo keeps its id, and
// request and reply become each other.
func (t Tuple) Reversed() Tuple {
	t.Src, t.Dst = t.Dst, t.Src
	switch {
	case t.Proto == protoICMP || t.Proto == protoICMPv6:
		t.SrcPort = echoPair(t.Proto, t.SrcPort)
	default:
		t.SrcPort, t.DstPort = t.DstPort, t.SrcPort
	}
	return t
}

// echoPair maps an echo request's type<<8|code to its reply's and back.
func echoPair(proto uint8, typeCode uint16) uint16 {
	switch {
	case proto == protoICMP && typeCode == 8<<8:
		return 0
	case proto == protoICMP && typeCode == 0:
		return 8 << 8
	case proto == protoICMPv6 && typeCode == 128<<8:
		return 129 << 8
	case proto == protoICMPv6 && typeCode == 129<<8:
		return 128 << 8
	}
	return typeCode
}

// Protocol names what a tuple carries: the transport protocol, or the network
// protocol of what is not IP, or its number in hexadecimal; "" for a buffer
// that never had a protocol (netlink, unix sockets).
func (t *Tuple) Protocol() string {
	switch t.EthProto {
	case 0:
		return ""
	case etherIPv4, etherIPv6:
		return transport(t)
	case etherARP:
		return "arp"
	case 0x0004: // ETH_P_802_2: frames with an LLC header, spanning tree among them
		return "llc"
	case 0x88cc:
		return "lldp"
	case 0x8847, 0x8848:
		return "mpls"
	case 0x8863, 0x8864:
		return "pppoe"
	case 0x888e:
		return "eapol"
	case 0x8809:
		return "lacp"
	}
	return "0x" + strconv.FormatUint(uint64(t.EthProto), 16)
}

func transport(t *Tuple) string {
	switch t.Proto {
	case 0:
		if !t.HasAddrs() {
			if t.EthProto == etherIPv4 {
				return "ipv4"
			}
			return "ipv6"
		}
		return "hopopt"
	case protoICMP:
		return "icmp"
	case 2:
		return "igmp"
	case 4:
		return "ipip"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case 33:
		return "dccp"
	case 41:
		return "ipv6-in-ip"
	case 47:
		return "gre"
	case 50:
		return "esp"
	case 51:
		return "ah"
	case protoICMPv6:
		return "icmpv6"
	case 59:
		return "no-next"
	case 89:
		return "ospf"
	case 103:
		return "pim"
	case 112:
		return "vrrp"
	case protoSCTP:
		return "sctp"
	case 136:
		return "udplite"
	}
	return "ip-" + strconv.Itoa(int(t.Proto))
}

// TCPFlags writes the flag bits as letters, in tcpdump's order: F S R P A U E C.
func TCPFlags(bits uint8) string {
	if bits == 0 {
		return ""
	}
	const letters = "FSRPAUEC"
	out := make([]byte, 0, len(letters))
	for i := range len(letters) {
		if bits&(1<<i) != 0 {
			out = append(out, letters[i])
		}
	}
	return string(out)
}

// SocketState names the kernel's TCP state number, which other sockets use too
// (a UDP socket is established or closed); "" for none.
func SocketState(state uint8) string {
	names := [...]string{
		"", "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait",
		"close", "close_wait", "last_ack", "listen", "closing", "new_syn_recv", "bound_inactive",
	}
	if int(state) < len(names) {
		return names[state]
	}
	return "state_" + strconv.Itoa(int(state))
}

// Comm returns the name in a fixed field, up to its first zero byte.
func Comm(b [CommLen]byte) string {
	if i := bytes.IndexByte(b[:], 0); i >= 0 {
		return string(b[:i])
	}
	return string(b[:])
}
