package scenario

import (
	"net/netip"

	"github.com/netfate/netfate/test/netlab"
)

// crafted is a frame to be sent on a wired host's tap.
type crafted struct{ netlab.Frame }

// with returns the frame's bytes with the tap's hardware addresses.
func (c crafted) with(tap *netlab.Tap) []byte { return tap.Address(c.Frame).Bytes() }

func addrPort(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// datagram is a UDP datagram from the recipe to the wired host.
func datagram(sport, dport uint16) *crafted {
	return &crafted{netlab.Frame{
		Src: addrPort(clientAddr, sport), Dst: addrPort(serverAddr, dport),
		Proto: netlab.ProtoUDP, Payload: []byte("netfate scenario"),
	}}
}

// datagram6 is datagram for IPv6.
func datagram6(sport, dport uint16) *crafted {
	c := datagram(sport, dport)
	c.Src, c.Dst = addrPort("fd00::1", sport), addrPort("fd00::2", dport)
	return c
}

// repeat sends a frame count times and returns count.
func repeat(tap *netlab.Tap, count int, frame []byte) int {
	for range count {
		tap.Send(frame)
	}
	return count
}
