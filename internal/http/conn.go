package http

import (
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/stream"
	"github.com/netfate/netfate/internal/tls"
)

// The sides of a conversation: who asks and who answers.
const (
	asks = iota
	answers
)

// conn reads one connection.
//
// The n-th response answers the n-th request: queue has the exchanges in that
// order, of which so many have begun their request, and so many their response.
// Either may come first here, since packets may have been captured out of order.
type conn struct {
	t         *Tracker
	conn      *stream.Conn
	queue     []*exchange
	requests  int
	responses int
	half      [2]half // by side
	h2        *h2     // once a side speaks it
	secure    *secure // the same of TLS, until its row is told
	decided   bool    // it is HTTP
	ignored   bool    // it is not, or can no longer be followed
	swapped   bool    // joined midway, and the client is the other end
	lossy     bool    // messages may have been missed
	reset     bool
	flushed   bool // nobody said that it ended
	ended     int
}

func newConn(t *Tracker, s *stream.Conn) *conn {
	c := &conn{t: t, conn: s}
	if s.Midway {
		c.lossy = true
		c.half[asks].state, c.half[answers].state = seeking, seeking
	}
	return c
}

// side tells who speaks in a direction of the stream.
func (c *conn) side(d stream.Dir) int {
	if c.swapped {
		return 1 - int(d)
	}
	return int(d)
}

// Data reads the bytes of a segment.
func (c *conn) Data(d stream.Dir, b []byte, at time.Time) {
	if c.ignored {
		c.wake(c.side(d), b, at)
		return
	}
	for segment := true; len(b) > 0 && !c.ignored; segment = false {
		h := &c.half[c.side(d)]
		switch h.state {
		case inHead:
			b = c.head(c.side(d), b, at)
		case seeking:
			b = c.seek(d, b, segment, at)
		case passingChunks:
			b = c.passChunks(c.side(d), b, segment, at)
		case inH2:
			c.h2.data(c, c.side(d), b, at)
			return
		case inTunnel:
			c.tunnel(c.side(d), b, at)
			return
		case inTLS:
			c.secureData(c.side(d), b, at)
			return
		default:
			b = c.body(c.side(d), b, at)
		}
	}
}

// Gap skips bytes that are missing: within a body whose end is known that does
// no harm.
func (c *conn) Gap(d stream.Dir, n int, at time.Time) {
	if c.ignored {
		return
	}
	side := c.side(d)
	h := &c.half[side]
	switch {
	case h.state == inH2:
		c.h2.gap(c, side, n)
	case h.state == inTunnel:
		c.drop(side)
		h.dug = true
	case h.state == inTLS:
		c.secureGap(side, n, at)
	case h.known() && uint64(n) <= h.left && n > 0:
		c.pass(side, n, at)
	case h.state == inBody && n > 0:
		// The message is whole; what came behind it is not.
		rest := n - int(h.left)
		c.pass(side, int(h.left), at)
		c.Gap(d, rest, at)
	case h.state == untilClose:
		c.count(side, n, at)
	default:
		c.loseTrack(side)
	}
}

// Skip skips bytes that were not copied: of bodies, as a rule.
func (c *conn) Skip(d stream.Dir, n int, at time.Time) {
	h := &c.half[c.side(d)]
	switch h.state {
	case inChunk, chunkLine, chunkEnd, inTrailers, passingChunks:
		if c.ignored || h.known() && uint64(n) <= h.left {
			c.Gap(d, n, at)
			return
		}
		c.count(c.side(d), n, at)
		h.state = passingChunks
	default:
		c.Gap(d, n, at)
	}
}

// End finishes what the end of a direction finishes, and with the second one
// everything.
func (c *conn) End(d stream.Dir, how stream.End, at time.Time) {
	c.reset = c.reset || how == stream.RST
	c.flushed = c.flushed || how == stream.Flushed
	if c.ignored {
		c.drop(asks)
		c.drop(answers)
		return
	}
	side := c.side(d)
	h := &c.half[side]
	switch {
	case (h.state == untilClose || h.state == passingChunks) && how == stream.FIN:
		c.finish(side)
	case h.state == inHead && len(h.buf) > 0 && (c.decided || likeHead(h.buf, side == asks) == alike):
		c.partialHead(side, at)
	}
	c.drop(side)
	if c.ended++; c.ended == 2 {
		c.finishAll()
	}
}

// finishAll says of what is open how it ended.
func (c *conn) finishAll() {
	for _, e := range c.queue {
		e.giveUp(c.fate(e))
	}
	c.settle()
	if c.h2 != nil {
		c.h2.finishAll(c, c.fate)
	}
	c.tellTLS()
}

func (c *conn) fate(e *exchange) string {
	switch {
	case c.reset:
		return record.Reset
	case e.answered || !e.requestDone:
		return record.CutOff
	}
	return record.Unanswered
}

// seek looks whether a segment begins a message: where bytes are missing, or
// make no sense, the next message is found there.
func (c *conn) seek(d stream.Dir, b []byte, segment bool, at time.Time) []byte {
	if !segment {
		return nil
	}
	side := c.side(d)
	if c.wake(side, b, at) {
		return nil
	}
	if likeHead(b, side == asks) != unlike && len(b) > 4 {
		c.half[side].state = inHead
		return b
	}
	if !c.decided && c.conn.Midway && likeHead(b, side != asks) != unlike && len(b) > 4 {
		c.swap()
		c.half[c.side(d)].state = inHead
		return b
	}
	if !c.decided && likeFrames(b) {
		c.t.lost[midwayH2]++
		c.ignored = true
	}
	if !c.decided && tls.Encrypted(b) {
		c.t.lost[midwayTLS]++
		c.ignored = true
	}
	return nil
}

// swap makes the client of who was taken for the server.
func (c *conn) swap() {
	c.swapped = !c.swapped
	c.half[asks], c.half[answers] = c.half[answers], c.half[asks]
}

// loseTrack gives up the message of a side, and looks for the next one.
func (c *conn) loseTrack(side int) {
	h := &c.half[side]
	c.drop(side)
	c.lossy = true
	if e := h.exchange; e != nil {
		if e.err == "" {
			e.err = record.CutOff
		}
		c.finish(side)
	}
	h.state, h.missed = seeking, true
}

// begin returns the exchange that the next message of a side belongs to.
func (c *conn) begin(side int) *exchange {
	at := &c.requests
	if side == answers {
		at = &c.responses
		c.skipAnswered()
	} else {
		c.skipUnasked()
	}
	if *at == len(c.queue) {
		c.push(&exchange{})
		if side == answers && c.lossy {
			c.queue[*at].requestDone = true
			c.requests++
		}
	}
	*at++
	return c.queue[*at-1]
}

// skipAnswered gives up the requests whose responses must have been missed:
// clients that do not pipeline ask again only when they were answered.
func (c *conn) skipAnswered() {
	if !c.half[answers].missed {
		return
	}
	c.half[answers].missed = false
	for ; c.responses < c.requests-1; c.responses++ {
		if e := c.queue[c.responses]; e.requestDone {
			e.giveUp(record.CutOff)
		}
	}
}

// skipUnasked finds the responses, of those that wait for their requests, whose
// requests must have been missed: they came before the one that begins now.
func (c *conn) skipUnasked() {
	if !c.lossy {
		return
	}
	for ; c.requests < c.responses; c.requests++ {
		e := c.queue[c.requests]
		if !e.first.Before(c.half[asks].first) {
			return
		}
		e.requestDone = true
	}
}

// push adds an exchange, within the bounds.
func (c *conn) push(e *exchange) {
	if len(c.queue) >= maxPipeline || len(c.queue) > 0 && c.t.pending >= maxPending {
		c.t.lost[tooManyPending]++
		c.requests, c.responses = max(c.requests, 1), max(c.responses, 1)
		c.queue[0].giveUp(record.Unanswered)
		c.settle()
	}
	c.t.pending++
	c.queue = append(c.queue, e)
}

// settle emits what is finished, in order.
func (c *conn) settle() {
	n := 0
	for n < len(c.queue) && c.queue[n].finished() {
		c.t.emit(c, c.queue[n])
		n++
	}
	if n == 0 {
		return
	}
	clear(c.queue[:n])
	c.queue = c.queue[n:]
	c.requests, c.responses = max(0, c.requests-n), max(0, c.responses-n)
	if len(c.queue) == 0 {
		c.queue = nil
	}
}

// finish ends the message of a side.
func (c *conn) finish(side int) {
	h := &c.half[side]
	e := h.exchange
	h.exchange, h.state, h.left = nil, inHead, 0
	if side == asks {
		e.requestDone = true
	} else {
		e.responseDone = true
	}
	c.settle()
}

// switchTo changes what both sides speak, behind CONNECT or an upgrade.
func (c *conn) switchTo(s state) {
	for side := range c.half {
		c.drop(side)
		c.half[side].state, c.half[side].exchange = s, nil
	}
}

// upgraded reports whether a response makes a tunnel or another protocol of
// the connection, and does it.
func (c *conn) upgraded(e *exchange, h *head) bool {
	switch {
	case h.status == 101 && strings.Contains(h.upgrade, "h2c"):
		c.h2Upgrade(e)
		return true
	case h.status == 101 && strings.Contains(h.upgrade, "websocket"):
		e.protocol = "websocket"
	case h.status == 101:
	case e.method == "CONNECT" && h.status/100 == 2:
	default:
		return false
	}
	e.requestDone, e.responseDone = true, true
	if c.half[asks].state == inTLS { // it did not wait for the tunnel
		c.switchTo(inTLS)
	} else {
		c.switchTo(inTunnel)
	}
	c.settle()
	return true
}
