package stream

import (
	"slices"
	"time"
)

// pieceCost is what a piece costs beside its bytes, about.
const pieceCost = 128

// maxAhead is how far a byte can be from the one that is due: TCP's largest
// window.
const maxAhead = 1 << 30

// piece is a run of bytes in sequence space; data is nil where the capture has
// cut them, or where they are unwanted.
type piece struct {
	seq      uint32
	n        int
	data     []byte
	at       time.Time
	unwanted bool
}

func (p *piece) end() uint32 { return p.seq + uint32(p.n) }

// head returns the first n bytes, skip what is behind them.
func (p *piece) head(n int) piece {
	h := *p
	h.n = n
	if h.data != nil {
		h.data = h.data[:n]
	}
	return h
}

func (p *piece) skip(n int) {
	p.seq += uint32(n)
	p.n -= n
	if p.data != nil {
		p.data = p.data[n:]
	}
}

// half is one direction of a connection. Sequence numbers wrap, so they are
// compared by their distance.
type half struct {
	waiting []piece   // ascending and apart from each other
	since   time.Time // when the present wait began
	bytes   int       // of waiting
	next    uint32    // the byte that is due, if known
	isn     uint32    // with syn
	fin     uint32    // the number behind the last byte, with finSeen
	known   bool
	syn     bool
	finSeen bool
	ended   bool
}

// distance is how far a is behind b in the stream.
func distance(a, b uint32) int { return int(int32(a - b)) }

// start says which byte is the first, unless that is known.
func (h *half) start(seq uint32) {
	if !h.known {
		h.known, h.next = true, seq
	}
}

// possible reports whether a segment can be of this stream.
func (h *half) possible(seq uint32, n int) bool {
	anchor := h.next
	if !h.known {
		if len(h.waiting) == 0 {
			return true
		}
		anchor = h.waiting[0].seq
	}
	d := distance(seq, anchor)
	return -maxAhead < d && d+n < maxAhead
}

// take delivers what p has of bytes that are due, and keeps what is ahead of
// them. What is there already, waiting or delivered, stays as it is.
func (a *Assembler) take(c *conn, d Dir, p piece) {
	h := &c.half[d]
	if h.finSeen {
		p = p.head(max(0, min(p.n, distance(h.fin, p.seq))))
	}
	for p.n > 0 {
		if h.known {
			if old := distance(h.next, p.seq); old > 0 {
				p.skip(min(old, p.n))
				continue
			}
		}
		i := h.place(p.seq)
		free := p.n
		if i < len(h.waiting) {
			w := &h.waiting[i]
			if free = distance(w.seq, p.seq); free <= 0 {
				p.skip(min(p.n, distance(w.end(), p.seq)))
				continue
			}
			free = min(free, p.n)
		}
		part := p.head(free)
		if h.known && p.seq == h.next {
			a.deliver(c, d, &part)
			a.drain(c, d, p.at)
		} else {
			a.keep(c, d, i, part)
		}
		p.skip(free)
	}
}

// place returns the first piece that ends behind seq, or len(waiting).
func (h *half) place(seq uint32) int {
	if n := len(h.waiting); n == 0 || distance(h.waiting[n-1].end(), seq) <= 0 {
		return n // the usual cases
	}
	i, _ := slices.BinarySearchFunc(h.waiting, seq, func(w piece, seq uint32) int {
		if distance(w.end(), seq) <= 0 {
			return -1
		}
		return 1
	})
	return i
}

// keep lets p wait at place i, and gives up a gap where a bound says so.
func (a *Assembler) keep(c *conn, d Dir, i int, p piece) {
	h := &c.half[d]
	if p.data != nil {
		p.data = slices.Clone(p.data)
	}
	if len(h.waiting) == 0 {
		h.since = p.at
	}
	h.waiting = slices.Insert(h.waiting, i, p)
	h.bytes += len(p.data)
	a.waiting += len(p.data) + pieceCost
	for len(h.waiting) > 0 {
		switch {
		case h.bytes > a.limits.Bytes:
			a.giveUp(c, d, waitBytes, p.at)
		case len(h.waiting) > a.limits.Segments:
			a.giveUp(c, d, waitSegments, p.at)
		case a.waiting > a.limits.Memory:
			a.giveUp(c, d, memory, p.at)
		default:
			return
		}
	}
}

// deliver hands out a piece that is due.
func (a *Assembler) deliver(c *conn, d Dir, p *piece) {
	c.half[d].next += uint32(p.n)
	switch {
	case p.unwanted:
		c.reader.Skip(d, p.n, p.at)
	case p.data == nil:
		a.lost[notCaptured] += uint64(p.n)
		c.reader.Gap(d, p.n, p.at)
	default:
		c.reader.Data(d, p.data, p.at)
	}
}

// drain delivers what has become due, and ends the direction behind its last
// byte.
func (a *Assembler) drain(c *conn, d Dir, at time.Time) {
	h := &c.half[d]
	if !h.known {
		return
	}
	n := 0
	for ; n < len(h.waiting) && h.waiting[n].seq == h.next; n++ {
		a.release(h, &h.waiting[n])
		a.deliver(c, d, &h.waiting[n])
	}
	if n > 0 {
		clear(h.waiting[:n])
		h.since = at
		if h.waiting = h.waiting[n:]; len(h.waiting) == 0 {
			h.waiting = nil
		}
	}
	if h.finSeen && distance(h.next, h.fin) >= 0 {
		a.end(c, d, FIN, at)
	}
}

func (a *Assembler) release(h *half, p *piece) {
	h.bytes -= len(p.data)
	a.waiting -= len(p.data) + pieceCost
}

// incomplete reports whether bytes are known to be missing.
func (h *half) incomplete() bool {
	return !h.ended && (len(h.waiting) > 0 || h.known && h.finSeen)
}

// giveUp stops waiting for the bytes before the first piece that is there, or
// before the end. It is for what is incomplete.
func (a *Assembler) giveUp(c *conn, d Dir, why cause, at time.Time) {
	h := &c.half[d]
	to := h.fin
	if len(h.waiting) > 0 {
		to = h.waiting[0].seq
	}
	gap := 0
	if h.known {
		gap = distance(to, h.next)
		a.lost[why] += uint64(gap)
	} else {
		h.known, h.next, c.Midway = true, to, true
	}
	h.next += uint32(gap)
	c.reader.Gap(d, gap, at)
	a.drain(c, d, at)
}

// end tells the reader, once, and forgets what waits.
func (a *Assembler) end(c *conn, d Dir, how End, at time.Time) {
	h := &c.half[d]
	if h.ended {
		return
	}
	h.ended = true
	for i := range h.waiting {
		a.release(h, &h.waiting[i])
	}
	h.waiting = nil
	c.reader.End(d, how, at)
}
