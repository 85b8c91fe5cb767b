package packet

import (
	"encoding/binary"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/netfate/netfate/internal/record"
)

// maxDepth bounds how many packets are looked for inside each other. Real ones
// have two or three; what is deeper is read as the packet that wraps it.
const maxDepth = 8

// Parser reads frames. It holds the fragments of packets that are not whole yet,
// at most 4 MiB of them, and is for one goroutine.
//
// It reads headers itself, with a cursor, where gopacket's decoders would give
// up: they fail on a header that the capture has cut, or that is malformed in an
// option nobody needs.
type Parser struct {
	frags fragments
	to    *Packet
	depth int
	cut   int // bytes that the capture has cut off the frame
}

// NewParser returns a parser that holds no fragments.
func NewParser() *Parser { return &Parser{frags: newFragments()} }

// Reads reports whether frames of the link type can be read.
func Reads(link layers.LinkType) bool {
	switch link {
	case layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull, layers.LinkTypeLoop,
		layers.LinkTypeRaw, rawBSD, rawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return true
	}
	return false
}

// What BSDs wrote for raw IP before there was a number for all.
const (
	rawBSD     layers.LinkType = 12
	rawOpenBSD layers.LinkType = 14
)

// Parse reads a frame, of which the wire carried length bytes, into to: the
// innermost packet of IP that is there. Of a packet whose header was cut it tells
// as much as can be told: a TCP segment without a whole header has neither flags
// nor payload. ok is false if there is no packet of IP to be told, or if this is
// a fragment and others of its packet have not come yet. Then to has the frame's
// Ethernet type, or the fragment's addresses, with ports once the packet's
// beginning has come, and no payload.
//
// What to points to refers to frame, or to memory of the parser's own, and is
// good until the next call. Parse allocates nothing but for fragments, and for
// VLAN and Tunnels while to has no room for them.
func (p *Parser) Parse(link layers.LinkType, at time.Time, frame []byte, length int, to *Packet) (ok bool) {
	length = max(length, len(frame))
	*to = Packet{Time: at, Length: uint32(length), VLAN: to.VLAN[:0], Tunnels: to.Tunnels[:0]}
	p.to, p.depth, p.cut = to, 0, length-len(frame)
	p.frags.now(at)
	switch link {
	case layers.LinkTypeEthernet:
		return p.ethernet(frame)
	case layers.LinkTypeLinuxSLL:
		return len(frame) >= 16 && p.etherType(binary.BigEndian.Uint16(frame[14:]), frame[16:])
	case layers.LinkTypeLinuxSLL2:
		return len(frame) >= 20 && p.etherType(binary.BigEndian.Uint16(frame), frame[20:])
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		// The four bytes are an address family, in the numbers and the byte order
		// of whoever captured. The packet says the same by its version.
		return len(frame) >= 4 && p.ip(frame[4:])
	case layers.LinkTypeRaw, rawBSD, rawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return p.ip(frame)
	}
	return false
}

// Lost returns what the bounds on fragments have cost since the last call. The
// caller knows the time.
func (p *Parser) Lost() []record.Lost { return p.frags.lost() }

// Frames below this are of IEEE 802.3: the type is a length, and the type comes
// after a SNAP header.
const minEtherType = 0x600

func (p *Parser) ethernet(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	return p.etherType(binary.BigEndian.Uint16(b[12:]), b[14:])
}

// Ethernet types that gopacket has no name for.
const (
	etherTagged    = 0x9100 // QinQ before 802.1ad
	etherERSPAN3   = 0x22eb
	etherSNAP      = 0xaaaa03
	etherSNAPBytes = 8
)

// etherType reads what is behind an Ethernet type.
func (p *Parser) etherType(t uint16, b []byte) bool {
	for {
		p.to.EtherType = t
		switch layers.EthernetType(t) {
		case layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ, etherTagged:
			if len(b) < 4 {
				return false
			}
			p.to.VLAN = append(p.to.VLAN, binary.BigEndian.Uint16(b)&0xfff)
			t, b = binary.BigEndian.Uint16(b[2:]), b[4:]
			continue
		case layers.EthernetTypeIPv4, layers.EthernetTypeIPv6:
			return p.ip(b)
		}
		// SNAP: the service access points, unnumbered, an organization, the type.
		if t >= minEtherType || len(b) < etherSNAPBytes || binary.BigEndian.Uint32(b)>>8 != etherSNAP {
			return false
		}
		if t = binary.BigEndian.Uint16(b[6:]); t < minEtherType {
			return false
		}
		b = b[etherSNAPBytes:]
	}
}
