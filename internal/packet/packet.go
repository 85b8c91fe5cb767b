// Package packet reads a packet from its first header to its payload: link,
// tags, tunnels, IP with its fragments, TCP and UDP. It is for packets that
// come whole, from capture files and from sensors that copy them; what the
// kernel counts is parsed there, by bpf/lib/parse.h.
//
// It is pure: no clock, no goroutine, no lock. Package stream puts its
// segments in order, package dns reads its datagrams.
package packet

import (
	"net/netip"
	"time"
)

// TCP flags, as in the header.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Packet is the innermost TCP segment or UDP datagram of a frame.
type Packet struct {
	Time time.Time
	// EtherType is what the packet is as Ethernet numbers it, of IP by its
	// version; 0 if the frame does not say.
	EtherType uint16
	Proto     uint8 // protocol number of IP: 6, 17, others without ports
	Src, Dst  netip.AddrPort
	Seq, Ack  uint32 // TCP
	Flags     uint8  // TCP
	Window    uint16 // TCP, not scaled
	// Payload is what the capture holds of it. It is good until the next packet
	// is read.
	Payload []byte
	// Missing is how many bytes of the payload the capture has cut.
	Missing int
	// Space tells apart what has the same addresses and is not the same: the
	// netns of a packet on lo; 0 otherwise.
	Space uint32
	// OneIn says that the packet stands for so many, where not all are kept; 0 for
	// itself.
	OneIn uint32
	// Skipped is how many bytes of TCP, right before these, nobody wanted to have.
	Skipped int
	// Length is what the wire carried, in bytes, from Ethernet on.
	Length uint32
	// Interface is where it was captured, if that is known. Whoever parses says.
	Interface string
	// VLAN holds the tags, the outermost first.
	VLAN []uint16
	// Tunnels name what it was wrapped in, the outermost first: vxlan, geneve,
	// gre, ipip, erspan …
	Tunnels []string
}
