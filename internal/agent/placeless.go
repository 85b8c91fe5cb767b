package agent

import (
	"slices"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/table"
)

// placeless are packets that were lost when they had neither device nor socket
// nor route any more, as those that wait in a socket's queue: the kernel cannot
// say in which namespace that was. Their addresses can, if what is known of the
// flows and sockets of this interval has them in exactly one.
type placeless map[decode.Tuple]*place

// place is what each source knows of one of them.
type place struct {
	flows, through, sockets, bound spaces
}

// spaces are different namespaces.
type spaces []uint32

// maxSpaces bounds those that are kept: more than one are as good as none, but
// for those that turn out to be on the way only.
const maxSpaces = 8

func (s *spaces) add(netns uint32) {
	if netns != 0 && len(*s) < maxSpaces && !slices.Contains(*s, netns) {
		*s = append(*s, netns)
	}
}

// only returns the namespace that is not among others, if there is just one.
func (s spaces) only(others spaces) (netns uint32) {
	for _, n := range s {
		switch {
		case slices.Contains(others, n):
		case netns != 0:
			return 0
		default:
			netns = n
		}
	}
	return netns
}

// placeKey is what a drop is looked up by; false if it knows where it was, or
// too little.
func placeKey(k *decode.DropKey) (decode.Tuple, bool) {
	way := k.Flags & decode.DropDirection
	if k.NetNS != 0 || k.Flags&decode.DropOther != 0 || !k.HasAddrs() || way != decode.DropIn && way != decode.DropOut {
		return decode.Tuple{}, false
	}
	t := k.Tuple
	t.Flags = way
	return t, true
}

// want asks for the namespace of a drop, if it has none.
func (p placeless) want(k *decode.DropKey) {
	if t, ok := placeKey(k); ok && p[t] == nil {
		p[t] = &place{}
	}
}

// addFlow takes in where a flow was counted. A namespace that hands on what it
// received is on the way, and not where a socket lost it.
func (p placeless) addFlow(k *decode.FlowKey) {
	t := k.Tuple
	t.Flags = decode.DropIn
	received := p[t]
	t.Flags = decode.DropOut
	sent := p[t]
	switch {
	case k.Flags&decode.FlowOther != 0:
	case k.Flags&decode.FlowTX == 0 && received != nil:
		received.flows.add(k.NetNS)
	case k.Flags&(decode.FlowTX|decode.FlowBorn) == decode.FlowTX && received != nil:
		received.through.add(k.NetNS)
	case k.Flags&(decode.FlowTX|decode.FlowBorn) == decode.FlowTX|decode.FlowBorn && sent != nil:
		sent.flows.add(k.NetNS)
	}
}

// addSocket takes in where a socket is open that such packets are of.
func (p placeless) addSocket(pair *table.Pair) {
	received, sent := pair.Tuple(false), pair.Tuple(true)
	received.Flags, sent.Flags = decode.DropIn, decode.DropOut
	if at := p[received]; at != nil {
		at.sockets.add(pair.NetNS())
	}
	if at := p[sent]; at != nil {
		at.sockets.add(pair.NetNS())
	}
}

// addBound takes in which addresses are bound: packets to them, or from them,
// if no other namespace has the same.
func (p placeless) addBound(bound map[decode.BoundKey]decode.OwnerRef) {
	type local struct {
		addr  [decode.AddrLen]byte
		port  uint16
		proto uint8
	}
	at := make(map[local]*spaces, len(bound))
	for k := range bound {
		l := local{k.Addr, k.Port, k.Proto}
		if at[l] == nil {
			at[l] = &spaces{}
		}
		at[l].add(k.NetNS)
	}
	for t, where := range p {
		l := local{t.Dst, t.DstPort, t.Proto}
		if t.Flags == decode.DropOut {
			l.addr, l.port = t.Src, t.SrcPort
		}
		exact := at[l]
		l.addr = [decode.AddrLen]byte{}
		for _, found := range []*spaces{exact, at[l]} {
			if found == nil {
				continue
			}
			for _, netns := range *found {
				where.bound.add(netns)
			}
		}
	}
}

// netns returns the namespace of a drop: the kernel's, or the one that was
// found, or 0.
func (p placeless) netns(k *decode.DropKey) uint32 {
	t, ok := placeKey(k)
	if !ok || p[t] == nil {
		return k.NetNS
	}
	at := p[t]
	for _, found := range []uint32{at.flows.only(at.through), at.sockets.only(nil), at.bound.only(nil)} {
		if found != 0 {
			return found
		}
	}
	return 0
}
