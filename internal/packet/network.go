package packet

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// ip reads a packet of either version.
func (p *Parser) ip(b []byte) bool {
	if len(b) == 0 || p.depth >= maxDepth {
		return false
	}
	p.depth++
	defer func() { p.depth-- }()
	switch b[0] >> 4 {
	case 4:
		return p.ip4(b)
	case 6:
		return p.ip6(b)
	}
	return false
}

const (
	header4 = 20
	header6 = 40
)

// ip4 reads a packet of IPv4, with options, whole or a fragment.
func (p *Parser) ip4(b []byte) bool {
	if len(b) < header4 {
		return false
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < header4 {
		return false
	}
	if total == 0 { // segmentation offload of more than 64 KiB
		total = len(b) + p.cut
	}
	if total < header {
		return false
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	proto := b[9]
	body, missing := payload(b, header, total)
	if where := binary.BigEndian.Uint16(b[6:]); where&0x3fff != 0 {
		key := fragmentKey{src: src, dst: dst, id: uint32(binary.BigEndian.Uint16(b[4:])), proto: proto}
		whole, cut, ok := p.frags.add(key, fragment{at: int(where&0x1fff) * 8, more: where&0x2000 != 0, body: body, missing: missing})
		if !ok {
			p.part(key, proto)
			return false
		}
		body, missing = whole, cut
	}
	p.found(proto, src, dst)
	p.transport(proto, 4, body, missing)
	return true
}

// ip6 reads a packet of IPv6 and its extension headers (RFC 8200, section 4).
func (p *Parser) ip6(b []byte) bool {
	if len(b) < header6 {
		return false
	}
	total := header6 + int(binary.BigEndian.Uint16(b[4:]))
	if total == header6 { // a jumbogram, or segmentation offload
		total = len(b) + p.cut
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	proto := b[6]
	body, missing := payload(b, header6, total)
	for {
		size := extension(proto, body)
		if size == 0 {
			p.found(proto, src, dst)
			p.transport(proto, 6, body, missing)
			return true
		}
		if size > len(body) { // cut, or nonsense: the protocol is not known
			p.found(proto, src, dst)
			return true
		}
		next := body[0]
		if proto == uint8(layers.IPProtocolIPv6Fragment) {
			where := binary.BigEndian.Uint16(body[2:])
			f := fragment{at: int(where &^ 7), more: where&1 != 0, body: body[size:], missing: missing}
			if f.at != 0 || f.more { // else an atomic fragment, which is whole
				// The packet's parts may differ in what they say comes next; RFC 8200
				// takes the word of the first, which is there when all are.
				key := fragmentKey{src: src, dst: dst, id: binary.BigEndian.Uint32(body[4:]), proto: proto}
				f.next = next
				whole, cut, ok := p.frags.add(key, f)
				if !ok {
					p.part(key, next)
					return false
				}
				proto, body, missing = p.frags.next, whole, cut
				continue
			}
		}
		proto, body = next, body[size:]
	}
}

// extension is the length of the extension header of IPv6 that b begins with, 0
// if proto is none, more than b has if b is cut.
func extension(proto uint8, b []byte) int {
	var units, unit int
	switch layers.IPProtocol(proto) {
	case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination, 135, 139, 140: // mobility, HIP, Shim6
		units, unit = 1, 8
	case layers.IPProtocolAH:
		units, unit = 2, 4
	case layers.IPProtocolIPv6Fragment:
		return 8
	default:
		return 0
	}
	if len(b) < 2 {
		return len(b) + 1
	}
	return (units + int(b[1])) * unit
}

// payload is what of the packet is behind its header, without the padding of
// short frames, and how many bytes of it are not there.
func payload(b []byte, header, total int) (body []byte, missing int) {
	end := min(total, len(b))
	if header > end {
		return nil, total - header
	}
	return b[header:end], total - end
}

// found notes an IP packet, which replaces the one around it.
func (p *Parser) found(proto uint8, src, dst netip.Addr) {
	t, version := p.to, layers.EthernetTypeIPv6
	if src.Is4() {
		version = layers.EthernetTypeIPv4
	}
	*t = Packet{
		Time: t.Time, Length: t.Length, VLAN: t.VLAN, Tunnels: t.Tunnels,
		EtherType: uint16(version), Proto: proto, Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(dst, 0),
	}
}

// part notes a fragment of a packet that is not whole yet.
func (p *Parser) part(key fragmentKey, proto uint8) {
	p.found(proto, key.src, key.dst)
	switch layers.IPProtocol(proto) {
	case layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolSCTP:
		if head := p.frags.head(key); len(head) >= 4 {
			p.ports(head)
		}
	}
}

// transport reads what an IP packet of the version carries.
func (p *Parser) transport(proto, version uint8, b []byte, missing int) {
	switch layers.IPProtocol(proto) {
	case layers.IPProtocolTCP:
		p.tcp(b, missing)
	case layers.IPProtocolUDP:
		p.udp(b, missing)
	case layers.IPProtocolGRE:
		p.gre(b, missing)
	case layers.IPProtocolIPv4, layers.IPProtocolIPv6:
		p.to.Payload, p.to.Missing = b, missing
		p.inside(ipInIP(proto, version), b, (*Parser).ip)
	default:
		p.to.Payload, p.to.Missing = b, missing
	}
}

const (
	headerTCP = 20
	headerUDP = 8
)

func (p *Parser) ports(b []byte) {
	t := p.to
	t.Src = netip.AddrPortFrom(t.Src.Addr(), binary.BigEndian.Uint16(b))
	t.Dst = netip.AddrPortFrom(t.Dst.Addr(), binary.BigEndian.Uint16(b[2:]))
}

func (p *Parser) tcp(b []byte, missing int) {
	if len(b) >= 4 {
		p.ports(b)
	}
	if len(b) < headerTCP {
		return
	}
	header := int(b[12]>>4) * 4
	if header < headerTCP || header > len(b)+missing {
		return
	}
	t := p.to
	t.Seq, t.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	t.Flags, t.Window = b[13], binary.BigEndian.Uint16(b[14:])
	t.Payload, t.Missing = payload(b, header, len(b)+missing)
}

func (p *Parser) udp(b []byte, missing int) {
	if len(b) >= 4 {
		p.ports(b)
	}
	if len(b) < headerUDP {
		return
	}
	total := len(b) + missing
	// 0 is a jumbogram, or segmentation offload; what is longer than its packet
	// was cut by whoever sent it.
	if length := int(binary.BigEndian.Uint16(b[4:])); length >= headerUDP {
		total = min(total, length)
	}
	p.to.Payload, p.to.Missing = payload(b, headerUDP, total)
	p.datagram()
}
