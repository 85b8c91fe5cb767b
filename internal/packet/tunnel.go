package packet

import (
	"encoding/binary"

	"github.com/gopacket/gopacket/layers"
)

// UDP ports of tunnels. A client may have any port of its own: a tunnel is known
// by where it goes.
const (
	portVXLAN      = 4789
	portVXLANLinux = 8472 // the kernel's default from before there was an assigned one
	portGeneve     = 6081
)

// vxlanValid says that a VXLAN header has a network identifier.
const vxlanValid = 0x08

// inside reads what a tunnel carries. If that is no packet of IP, or is cut
// before it can be told, the packet around it stays.
func (p *Parser) inside(name string, b []byte, read func(*Parser, []byte) bool) {
	around := *p.to
	p.to.Tunnels = append(p.to.Tunnels, name)
	if !read(p, b) {
		*p.to = around
	}
}

func ipInIP(proto, version uint8) string {
	switch {
	case version == 4 && layers.IPProtocol(proto) == layers.IPProtocolIPv4:
		return "ipip"
	case version == 4:
		return "6in4"
	case layers.IPProtocol(proto) == layers.IPProtocolIPv4:
		return "4in6"
	}
	return "6in6"
}

// datagram looks whether a datagram goes to a tunnel's port.
func (p *Parser) datagram() {
	b := p.to.Payload
	if len(b) < 8 {
		return
	}
	switch p.to.Dst.Port() {
	case portVXLAN, portVXLANLinux: // RFC 7348, section 5
		if b[0]&vxlanValid != 0 {
			p.inside("vxlan", b[8:], (*Parser).ethernet)
		}
	case portGeneve: // RFC 8926, section 3.4
		options := int(b[0]&0x3f) * 4
		if b[0]>>6 == 0 && len(b) >= 8+options {
			p.typed("geneve", binary.BigEndian.Uint16(b[2:]), b[8+options:])
		}
	}
}

// typed reads what a tunnel carries by its Ethernet type.
func (p *Parser) typed(name string, t uint16, b []byte) {
	if layers.EthernetType(t) == layers.EthernetTypeTransparentEthernetBridging {
		p.inside(name, b, (*Parser).ethernet)
		return
	}
	around := *p.to
	p.to.Tunnels = append(p.to.Tunnels, name)
	if !p.etherType(t, b) {
		*p.to = around
	}
}

// Flags of GRE (RFC 2784, RFC 2890), and its version.
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSequence = 0x1000
	greVersion  = 0x0007
)

// gre reads GRE of version 0; version 1 is PPP of PPTP.
func (p *Parser) gre(b []byte, missing int) {
	p.to.Payload, p.to.Missing = b, missing
	if len(b) < 4 {
		return
	}
	flags, t := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if flags&(greRouting|greVersion) != 0 {
		return
	}
	header := 4
	for _, f := range []uint16{greChecksum, greKey, greSequence} {
		if flags&f != 0 {
			header += 4
		}
	}
	if len(b) < header {
		return
	}
	b = b[header:]
	// ERSPAN (draft-foschiano-erspan): type I has no header of its own and GRE's
	// without a sequence number, type II 8 bytes, type III 12 and maybe 8 more.
	switch {
	case layers.EthernetType(t) == layers.EthernetTypeERSPAN && flags&greSequence == 0:
		p.inside("erspan", b, (*Parser).ethernet)
	case layers.EthernetType(t) == layers.EthernetTypeERSPAN && len(b) >= 8:
		p.inside("erspan", b[8:], (*Parser).ethernet)
	case t == etherERSPAN3 && len(b) >= 12:
		header := 12
		if b[11]&1 != 0 {
			header += 8
		}
		if len(b) >= header {
			p.inside("erspan", b[header:], (*Parser).ethernet)
		}
	default:
		p.typed("gre", t, b)
	}
}
