package stream

import (
	"net/netip"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/packet"
)

// protoTCP is IP's number for TCP.
const protoTCP = 6

// linger is how long a closed connection is remembered, so that a segment that
// comes late is not taken for a new one: TIME_WAIT.
const linger = time.Minute

// reach is how far the number of a SYN or RST may be from the byte that is due:
// what may be in flight, or may have been missed. Others were forged, or are
// of another connection.
const reach = 16 << 20

// Assembler orders the segments of many connections. It is for one goroutine.
type Assembler struct {
	limits  Limits
	open    func(*Conn) Reader
	conns   map[key]*conn
	live    list // the one that was silent the longest first
	closed  list // and those nobody wants to read
	waiting int  // bytes of memory in pieces
	lost    [causes]uint64
}

// New returns an assembler without connections. It calls open at the first
// packet of a connection that has a SYN or data; nil says that nobody wants to
// read it. open may keep the Conn, whose Midway may become true later, when the
// first segment of the other direction does not come.
func New(l Limits, open func(*Conn) Reader) *Assembler {
	return &Assembler{limits: l.withDefaults(), open: open, conns: map[key]*conn{}}
}

// key is a connection by its ends, the smaller first. VLANs and tunnels are no
// part of it: the two directions may have different ones, and a packet that
// crosses several counts once.
type key struct {
	a, b         [16]byte
	aPort, bPort uint16
	space        uint32
}

// keyOf returns the key of a packet, and whether its source is the key's b.
func keyOf(src, dst netip.AddrPort, space uint32) (k key, swapped bool) {
	if swapped = src.Compare(dst) > 0; swapped {
		src, dst = dst, src
	}
	return key{src.Addr().As16(), dst.Addr().As16(), src.Port(), dst.Port(), space}, swapped
}

// conn is a connection and its place in one of the lists.
type conn struct {
	Conn
	key        key
	reader     Reader // nil once it is closed, or if nobody wants it
	half       [2]half
	clientIsB  bool
	last       time.Time
	prev, next *conn
}

// Add takes a packet; what is not TCP is ignored.
func (a *Assembler) Add(p *packet.Packet) {
	if p.Proto != protoTCP || !p.Src.IsValid() || !p.Dst.IsValid() {
		return
	}
	a.expire(p.Time)
	k, swapped := keyOf(p.Src, p.Dst, p.Space)
	c := a.conns[k]
	if c != nil && opens(p) && c.reused(swapped, p.Seq) {
		a.forget(c, p.Time)
		c = nil
	}
	if c == nil {
		if c = a.newConn(k, swapped, p); c == nil {
			return
		}
	}
	c.last = p.Time
	if c.reader == nil {
		a.closed.touch(c)
		return
	}
	a.live.touch(c)
	d := Up
	if swapped != c.clientIsB {
		d = Down
	}
	a.segment(c, d, p)
	if c.half[Up].ended && c.half[Down].ended {
		a.retire(c)
	}
}

// opens reports whether p asks for a new connection.
func opens(p *packet.Packet) bool {
	return p.Flags&(packet.SYN|packet.ACK|packet.RST) == packet.SYN
}

// reused reports whether a SYN with this number is of another connection that
// has the same ends: neither sent again nor, where c was joined midway, late.
func (c *conn) reused(swapped bool, isn uint32) bool {
	h := &c.half[Up]
	if swapped != c.clientIsB {
		h = &c.half[Down]
	}
	if h.syn {
		return h.isn != isn
	}
	late := distance(h.next, isn)
	return c.reader == nil || h.known && (late <= 0 || late > reach)
}

// newConn returns nil if p begins nothing.
func (a *Assembler) newConn(k key, swapped bool, p *packet.Packet) *conn {
	hasSYN := p.Flags&packet.SYN != 0
	if p.Flags&packet.RST != 0 || !hasSYN && len(p.Payload)+p.Missing == 0 {
		return nil
	}
	c := &conn{key: k, clientIsB: swapped, Conn: Conn{
		Client: p.Src, Server: p.Dst, Start: p.Time, Midway: !hasSYN, VLAN: slices.Clone(p.VLAN),
		Interface: p.Interface, Space: p.Space,
	}}
	if hasSYN && p.Flags&packet.ACK != 0 || !hasSYN && p.Src.Port() < p.Dst.Port() {
		c.Client, c.Server, c.clientIsB = c.Server, c.Client, !swapped
	}
	if a.live.len >= a.limits.Conns {
		a.lost[evicted]++
		a.forget(a.live.oldest, p.Time)
	}
	a.conns[k] = c
	if c.reader = a.open(&c.Conn); c.reader == nil {
		a.toClosed(c)
	} else {
		a.live.push(c)
	}
	return c
}

// segment does one packet of a connection that is read.
func (a *Assembler) segment(c *conn, d Dir, p *packet.Packet) {
	h, back := &c.half[d], &c.half[1-d]
	seq, n := p.Seq, len(p.Payload)+p.Missing
	if p.Flags&packet.RST != 0 {
		// What a reset carries is words for people.
		if off := distance(seq, h.next); !h.known || -reach < off && off < reach {
			a.finish(c, d, RST, p.Time)
		}
		return
	}
	if p.Flags&packet.SYN != 0 {
		if !h.syn && !h.known {
			h.syn, h.isn = true, seq
		}
		seq++
		h.start(seq)
		if p.Flags&packet.ACK != 0 {
			back.start(p.Ack)
			a.drop(c, 1-d)
			a.drain(c, 1-d, p.Time)
		}
		a.drop(c, d)
	}
	fin := p.Flags&packet.FIN != 0
	if c.Midway && (n > 0 || fin) {
		h.start(seq)
	}
	if p.Skipped > 0 && h.known && h.possible(seq-uint32(p.Skipped), p.Skipped) {
		a.take(c, d, piece{seq: seq - uint32(p.Skipped), n: p.Skipped, at: p.Time, unwanted: true})
	}
	if n > 0 || fin {
		if !h.possible(seq, n) {
			a.lost[outOfWindow]++
			return
		}
		if len(p.Payload) > 0 {
			a.take(c, d, piece{seq: seq, n: len(p.Payload), data: p.Payload, at: p.Time})
		}
		if p.Missing > 0 {
			a.take(c, d, piece{seq: seq + uint32(len(p.Payload)), n: p.Missing, at: p.Time})
		}
	}
	if fin && !h.finSeen && !(h.known && distance(seq+uint32(n), h.next) < 0) {
		h.finSeen, h.fin = true, seq+uint32(n)
	}
	a.drain(c, d, p.Time)
	for d := range Dir(2) {
		h := &c.half[d]
		if len(h.waiting) > 0 && p.Time.Sub(h.since) > a.limits.Wait {
			a.giveUp(c, d, waitTime, p.Time)
		}
	}
}

// drop removes what waits before the first byte, now that it is known.
func (a *Assembler) drop(c *conn, d Dir) {
	h := &c.half[d]
	for len(h.waiting) > 0 {
		w := &h.waiting[0]
		old := distance(h.next, w.seq)
		if old <= 0 {
			return
		}
		if old < w.n {
			// Rare enough to be simple: the rest is a piece of its own.
			rest := *w
			rest.skip(old)
			a.release(h, w)
			h.waiting[0] = rest
			h.bytes += len(rest.data)
			a.waiting += len(rest.data) + pieceCost
			return
		}
		a.release(h, w)
		h.waiting = h.waiting[1:]
	}
}

// finish ends both directions, d first, after whatever waits.
func (a *Assembler) finish(c *conn, d Dir, how End, at time.Time) {
	for _, d := range [2]Dir{d, 1 - d} {
		for c.half[d].incomplete() {
			a.giveUp(c, d, neverCame, at)
		}
		a.end(c, d, how, at)
	}
}
