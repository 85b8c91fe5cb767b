package decode

import (
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Inner returns what a tunnel carries, from the head of a sampled packet:
// VXLAN, Geneve, GRE, or IP in IP, one level. False if it is no tunnel or the
// head is too short to tell.
func Inner(s *Sample) (Tuple, bool) {
	if int(s.L3) >= len(s.Packet) {
		return Tuple{}, false
	}
	packet := gopacket.NewPacket(s.Packet[s.L3:], firstLayer(s.EthProto),
		gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	all := packet.Layers()
	if i := tunnelPayload(all); i > 0 {
		return inner(all[i:])
	}
	// The kernel's own default port from before there was an assigned one.
	const vxlanLinux = 8472
	if udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && udp.DstPort == vxlanLinux {
		in := gopacket.NewPacket(udp.Payload, layers.LayerTypeVXLAN, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		return inner(in.Layers())
	}
	return Tuple{}, false
}

func firstLayer(ethProto uint16) gopacket.LayerType {
	switch layers.EthernetType(ethProto) {
	case layers.EthernetTypeIPv4:
		return layers.LayerTypeIPv4
	case layers.EthernetTypeIPv6:
		return layers.LayerTypeIPv6
	case layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ:
		return layers.LayerTypeDot1Q
	}
	return gopacket.LayerTypePayload
}

// tunnelPayload returns the index of the first layer inside a tunnel, 0 if
// there is none.
func tunnelPayload(all []gopacket.Layer) int {
	seenIP := false
	for i, l := range all {
		switch l.LayerType() {
		case layers.LayerTypeIPv4, layers.LayerTypeIPv6:
			if seenIP {
				return i
			}
			seenIP = true
		case layers.LayerTypeUDP:
			// Else the source port chose the decoder, and it is a client's.
			if udp, ok := l.(*layers.UDP); ok && udp.DstPort.LayerType() == gopacket.LayerTypePayload {
				return 0
			}
		case layers.LayerTypeVXLAN, layers.LayerTypeGeneve, layers.LayerTypeGRE:
			return i + 1
		case layers.LayerTypeICMPv4, layers.LayerTypeICMPv6:
			return 0 // it may quote a packet, which is no tunnel
		}
	}
	return 0
}

// inner makes a tuple of the first network and transport layers.
func inner(all []gopacket.Layer) (Tuple, bool) {
	var t Tuple
	for _, l := range all {
		switch l := l.(type) {
		case *layers.IPv4:
			// A header that is cut short leaves a layer without addresses.
			if t.EthProto != 0 || l.SrcIP == nil {
				return t, t.EthProto != 0
			}
			t.EthProto, t.Proto = etherIPv4, uint8(l.Protocol)
			t.Src, t.Dst = mapped(l.SrcIP.To4()), mapped(l.DstIP.To4())
		case *layers.IPv6:
			if t.EthProto != 0 || l.SrcIP == nil {
				return t, t.EthProto != 0
			}
			t.EthProto, t.Proto = etherIPv6, uint8(l.NextHeader)
			t.Src, t.Dst = mapped(l.SrcIP), mapped(l.DstIP)
		case *layers.TCP:
			t.Proto, t.SrcPort, t.DstPort = protoTCP, uint16(l.SrcPort), uint16(l.DstPort)
		case *layers.UDP:
			t.Proto, t.SrcPort, t.DstPort = protoUDP, uint16(l.SrcPort), uint16(l.DstPort)
		case *layers.SCTP:
			t.Proto, t.SrcPort, t.DstPort = protoSCTP, uint16(l.SrcPort), uint16(l.DstPort)
		case *layers.ICMPv4:
			t.Proto = protoICMP
		case *layers.ICMPv6:
			t.Proto = protoICMPv6
		}
	}
	return t, t.EthProto != 0
}

func mapped(ip []byte) [AddrLen]byte {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return [AddrLen]byte{}
	}
	return a.As16()
}
