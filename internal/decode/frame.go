package decode

import (
	"encoding/binary"
	"strconv"

	"github.com/gopacket/gopacket"
)

// What the bytes of a frame begin with.
const (
	LinkEthernet = "ethernet"
	LinkIP       = "ip"
)

const (
	ethernetLen = 14
	addressLen  = 12 // of Ethernet, both
	tagLen      = 4
)

// Head is the head of a packet as a program copied it, from whatever header the
// buffer still had.
type Head struct {
	Bytes    []byte
	L3       int    // where in Bytes the network header is
	EthProto uint16 // of what is there
	Tag      uint32 // VLAN tag beside the packet, as on the wire; 0: none
	Whole    uint32 // bytes of the buffer from the first of Bytes on
}

// Head returns the head of a sampled packet.
func (s *Sample) Head() Head {
	return Head{s.Packet, int(s.L3), s.EthProto, s.Tag, s.Whole}
}

// Frame returns a packet as a capture keeps it, at most most bytes of it, which the
// caller owns, and its whole length: with its Ethernet header and the VLAN tag back
// in its place, or from the network header on. link is LinkEthernet or LinkIP, or
// the Ethernet type of something else without a header, in hexadecimal.
func (h *Head) Frame(most int) (link string, frame []byte, length uint32) {
	b, whole := h.Bytes, max(h.Whole, uint32(len(h.Bytes)))
	if h.L3 == ethernetLen && len(b) >= ethernetLen {
		if h.Tag == 0 {
			return LinkEthernet, clone(b, most), whole
		}
		frame = make([]byte, 0, len(b)+tagLen)
		frame = append(frame, b[:addressLen]...)
		frame = binary.LittleEndian.AppendUint32(frame, h.Tag)
		frame = append(frame, b[addressLen:]...)
		return LinkEthernet, frame[:min(most, len(frame))], whole + tagLen
	}
	skip := min(h.L3, len(b))
	link = "0x" + strconv.FormatUint(uint64(h.EthProto), 16)
	if h.EthProto == etherIPv4 || h.EthProto == etherIPv6 {
		link = LinkIP
	}
	return link, clone(b[skip:], most), whole - uint32(skip)
}

// Head returns the head of a packet that passed a device, of which b was copied.
func (e *FrameEvent) Head(b []byte) Head {
	return Head{b, int(e.L3), e.EthProto, e.Tag, e.Whole}
}

// Tuple returns between whom a packet is, its outermost headers', and false if it is
// not IP.
func (h *Head) Tuple() (Tuple, bool) {
	if h.L3 >= len(h.Bytes) {
		return Tuple{}, false
	}
	packet := gopacket.NewPacket(h.Bytes[h.L3:], firstLayer(h.EthProto), gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	var all []gopacket.Layer
	if network := packet.NetworkLayer(); network != nil {
		all = append(all, network)
	}
	if transport := packet.TransportLayer(); transport != nil {
		all = append(all, transport)
	}
	return inner(all)
}

func clone(b []byte, most int) []byte { return append([]byte(nil), b[:min(most, len(b))]...) }
