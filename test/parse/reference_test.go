package parse

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/netfate/netfate/internal/decode"
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
)

// second is what another parser says of a packet.
type second struct {
	ip       bool // an IP header, whole
	t        decode.Tuple
	ports    bool // a transport header that has ports, or an ICMP type
	fragment uint8
	l3, l4   int
	payload  int // behind a TCP header; 0 if not known
	flags    uint8
	tags     int // VLAN tags
	ext      int // IPv6 extension headers
	why      string
	atomic   bool
}

// reference parses with gopacket, as far as our own parser goes: to the first
// transport header, and into no tunnel.
func reference(packet []byte, ethProto uint16) (s second) {
	first := map[uint16]gopacket.LayerType{
		etherIPv4: layers.LayerTypeIPv4, etherIPv6: layers.LayerTypeIPv6, etherVLAN: layers.LayerTypeDot1Q, etherQinQ: layers.LayerTypeDot1Q,
	}[ethProto]
	s.t.EthProto = ethProto
	if first == 0 {
		return s
	}
	// The copy is cut to length, so that nothing behind it can be seen.
	all := gopacket.NewPacket(append([]byte(nil), packet...), first, gopacket.DecodeOptions{}).Layers()
	at := 0 // of the layer in the packet
	for _, l := range all {
		if !s.layer(l, at) {
			break
		}
		at += len(l.LayerContents())
	}
	return s
}

// layer takes in one layer and reports whether the next one matters.
func (s *second) layer(l gopacket.Layer, at int) bool {
	if len(l.LayerContents()) == 0 {
		return false // it was cut short
	}
	switch l := l.(type) {
	case *layers.Dot1Q:
		s.tags++
		s.t.EthProto = uint16(l.Type)
		return true
	case *layers.IPv4:
		if s.ip || l.SrcIP == nil {
			return false
		}
		s.ip, s.l3, s.l4 = true, at, at+int(l.IHL)*4
		s.t.Src, s.t.Dst = as16(l.SrcIP), as16(l.DstIP)
		s.t.Proto = uint8(l.Protocol)
		s.fragment = fragmentOf(l.FragOffset, l.Flags&layers.IPv4MoreFragments != 0)
		return true
	case *layers.IPv6:
		if s.ip || l.SrcIP == nil {
			return false
		}
		s.ip, s.l3, s.l4 = true, at, at+40
		s.t.Src, s.t.Dst = as16(l.SrcIP), as16(l.DstIP)
		s.t.Proto = uint8(l.NextHeader)
		return true
	case *layers.IPv6HopByHop:
		return s.extension(l.NextHeader, at+l.ActualLength)
	case *layers.IPv6Routing:
		return s.extension(l.NextHeader, at+l.ActualLength)
	case *layers.IPv6Destination:
		return s.extension(l.NextHeader, at+l.ActualLength)
	case *layers.IPv6Fragment:
		s.fragment = fragmentOf(l.FragmentOffset, l.MoreFragments)
		s.atomic = s.fragment == 0
		return s.extension(l.NextHeader, at+8)
	case *layers.IPSecAH:
		if s.t.EthProto == etherIPv4 {
			s.why = "AH over IPv4"
			return false
		}
		return s.extension(l.NextHeader, at+len(l.LayerContents()))
	}
	return s.transport(l, at)
}

func (s *second) extension(next layers.IPProtocol, behind int) bool {
	s.ext++
	s.t.Proto, s.l4 = uint8(next), behind
	return true
}

func (s *second) transport(l gopacket.Layer, at int) bool {
	switch l := l.(type) {
	case *layers.TCP:
		s.t.SrcPort, s.t.DstPort = uint16(l.SrcPort), uint16(l.DstPort)
		s.flags = flagsOf(l)
		s.payload = at + int(l.DataOffset)*4
	case *layers.UDP:
		s.t.SrcPort, s.t.DstPort = uint16(l.SrcPort), uint16(l.DstPort)
		s.payload = at + 8
	case *layers.SCTP:
		s.t.SrcPort, s.t.DstPort = uint16(l.SrcPort), uint16(l.DstPort)
		s.payload = at + 12
	case *layers.ICMPv4:
		s.t.SrcPort = uint16(l.TypeCode)
		if kind := l.TypeCode.Type(); kind == layers.ICMPv4TypeEchoRequest || kind == layers.ICMPv4TypeEchoReply {
			s.t.DstPort = l.Id
		}
	case *layers.ICMPv6:
		if len(l.LayerPayload()) < 2 {
			return false // ours reads to the id
		}
		s.t.SrcPort = uint16(l.TypeCode)
		kind := l.TypeCode.Type()
		if kind == layers.ICMPv6TypeEchoRequest || kind == layers.ICMPv6TypeEchoReply {
			s.t.DstPort = binary.BigEndian.Uint16(l.LayerPayload())
		}
	default:
		return false
	}
	s.ports = true
	return false
}

func as16(ip []byte) [16]byte {
	a, _ := netip.AddrFromSlice(ip)
	return a.As16()
}

func fragmentOf(offset uint16, more bool) uint8 {
	switch {
	case offset != 0:
		return 2
	case more:
		return 1
	}
	return 0
}

func flagsOf(l *layers.TCP) (bits uint8) {
	for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR} {
		if set {
			bits |= 1 << i
		}
	}
	return bits
}

// Classes of packets that the two read differently, each with its reason. The
// tests say which classes they met.
const (
	moreTags   = "more than two VLAN tags: ours stops at the third, as no kernel device makes it"
	version    = "a version that is not the ethertype's: ours takes it for malformed, gopacket does not look"
	manyExt    = "more than eight extension headers: ours stops, so that the verifier can walk it"
	ahOverIPv4 = "AH over IPv4: ours names it, gopacket looks behind it"
	mobility   = "mobility header: gopacket does not know it and stops, ours steps over it"
	lengths    = "lengths that do not fit (options, total length): gopacket refuses, ours reads what it needs"
	fragments  = "first fragment: gopacket wants it whole, ours reads the ports"
	atomic     = "a fragment header of a whole packet (RFC 6946): ours calls that a fragment, and reads the ports"
	shortL4    = "transport header cut short: gopacket wants it whole, ours the ports only"
)

// compare says in which classes ours and gopacket's differ, and what differs
// without a class.
func compare(packet []byte, ethProto uint16, p Packet, t decode.Tuple, ok bool) (classes []string, err error) {
	s := reference(packet, ethProto)
	switch {
	case s.tags > 2:
		return []string{moreTags}, nil
	case !ok && s.ip && packet[s.l3]>>4 != map[uint16]byte{etherIPv4: 4, etherIPv6: 6}[s.t.EthProto]:
		return []string{version}, nil
	case !ok && s.ip:
		return nil, fmt.Errorf("got no IP header, want %+v", s.t)
	case !ok && !s.ip:
		if s.tags == 0 && t.EthProto != ethProto {
			return nil, fmt.Errorf("got ethertype %#x, want %#x", t.EthProto, ethProto)
		}
		return nil, nil
	case ok && !s.ip:
		return []string{lengths}, nil
	}
	if t.Src != s.t.Src || t.Dst != s.t.Dst || t.EthProto != s.t.EthProto || int(p.L3) != s.l3 {
		return nil, fmt.Errorf("got %+v at %d, want %+v at %d", t, p.L3, s.t, s.l3)
	}
	return compareTransport(p, t, &s)
}

func compareTransport(p Packet, t decode.Tuple, s *second) (classes []string, err error) {
	const protoMH = 135
	switch {
	case s.why != "":
		if t.Proto != 51 || t.SrcPort != 0 || t.DstPort != 0 {
			return nil, fmt.Errorf("AH over IPv4: got %+v, want protocol 51 without ports", t)
		}
		return []string{ahOverIPv4}, nil
	case s.ext > 8:
		return []string{manyExt}, nil
	case s.t.Proto == protoMH && t.EthProto == etherIPv6:
		return []string{mobility}, nil
	case (t.Proto != s.t.Proto || int(p.L4) != s.l4) && !s.ports && isExtension(s.t.Proto):
		// gopacket could not read an extension header that ours stepped over:
		// its length goes beyond the packet.
		return []string{lengths}, nil
	case t.Proto != s.t.Proto:
		return nil, fmt.Errorf("got protocol %d, want %d", t.Proto, s.t.Proto)
	case p.Fragment == 1 && s.fragment == 0 && s.atomic:
		classes = append(classes, atomic)
	case p.Fragment != s.fragment:
		return nil, fmt.Errorf("got fragment %d, want %d", p.Fragment, s.fragment)
	case int(p.L4) != s.l4&0xffff:
		return nil, fmt.Errorf("got the transport header at %d, want %d", p.L4, s.l4)
	case p.Fragment == 2 && (t.SrcPort != 0 || t.DstPort != 0 || p.TCPFlags != 0):
		return nil, fmt.Errorf("got ports %d and %d of a fragment that has none", t.SrcPort, t.DstPort)
	}
	if !s.ports {
		switch {
		case t.SrcPort == 0 && t.DstPort == 0:
			return classes, nil
		case p.Fragment == 1:
			return append(classes, fragments), nil
		default:
			return append(classes, shortL4), nil
		}
	}
	if t.SrcPort != s.t.SrcPort || t.DstPort != s.t.DstPort {
		return nil, fmt.Errorf("got ports %d, %d, want %d, %d", t.SrcPort, t.DstPort, s.t.SrcPort, s.t.DstPort)
	}
	if p.TCPFlags != s.flags {
		return nil, fmt.Errorf("got TCP flags %#x, want %#x", p.TCPFlags, s.flags)
	}
	if s.payload != 0 && int(p.Payload) != s.payload&0xffff {
		return nil, fmt.Errorf("got the payload at %d, want %d", p.Payload, s.payload)
	}
	return classes, nil
}

func isExtension(proto uint8) bool {
	switch proto {
	case 0, 43, 44, 51, 60, 135:
		return true
	}
	return false
}
