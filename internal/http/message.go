package http

import (
	"bytes"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// state is what a side is in the middle of.
type state uint8

const (
	inHead        state = iota // or between messages
	inBody                     // so many bytes are left
	inChunk                    // the same, of a chunk
	chunkLine                  // a chunk's size
	chunkEnd                   // the line end behind a chunk
	inTrailers                 // the lines behind the last chunk
	passingChunks              // chunks of which not all was copied
	untilClose                 // a response that ends with the connection
	inTunnel                   // no HTTP any more
	inTLS                      // nor anything that can be read
	inH2
	seeking // something is missing: the next message is looked for
)

// half is one side of a connection.
type half struct {
	exchange *exchange // of the message whose body it is in
	buf      []byte    // of a head that has not come whole
	first    time.Time // first byte of the head
	left     uint64    // bytes left of the body or the chunk; the size so far
	state    state
	digit    bool // the chunk's size has one
	skip     bool // the rest of the chunk's line is no size
	blank    bool // the line of the trailers is, so far
	missed   bool // a message may have been, before the next one
	dug      bool // what the tunnel begins with was looked at
}

// head reads the head of the next message, and returns what is behind it.
func (c *conn) head(side int, b []byte, at time.Time) []byte {
	h := &c.half[side]
	if len(h.buf) == 0 {
		for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
			b = b[1:]
		}
		if len(b) == 0 {
			return nil
		}
		h.first = at
		if n := headEnd(b, 0); n > 0 && n <= maxHead && likeHead(b, side == asks) == alike {
			c.message(side, b[:n], at)
			return b[n:]
		}
	}
	old := len(h.buf)
	if !c.hold(h, b) {
		c.partialHead(side, at)
		h.state = seeking
		return nil
	}
	if likeHead(h.buf, side == asks) == unlike {
		if c.mayBeTLS(side) && c.hello(side, at) {
			return nil
		}
		if side == asks || c.decided || !likeSettings(h.buf) {
			c.stray(side)
		}
		return nil // a server may send its settings before the preface of HTTP/2 comes
	}
	n := headEnd(h.buf, max(0, old-3))
	if n == 0 {
		return nil
	}
	head := h.buf[:n]
	c.drop(side)
	c.message(side, head, at)
	return b[n-old:]
}

// hold keeps bytes of a head, false if there are too many.
func (c *conn) hold(h *half, b []byte) bool {
	switch {
	case len(h.buf)+len(b) > maxHead:
		c.t.lost[longHead]++
	case c.t.held+len(b) > maxHeld:
		c.t.lost[noRoom]++
	default:
		h.buf = append(h.buf, b...)
		c.t.held += len(b)
		return true
	}
	return false
}

// drop forgets what is held of a head.
func (c *conn) drop(side int) {
	c.t.held -= len(c.half[side].buf)
	c.half[side].buf = nil
}

// partialHead takes what there is of a head for all of it, and of the message.
func (c *conn) partialHead(side int, at time.Time) {
	b := c.half[side].buf
	c.drop(side)
	h, ok := parseHead(b, side == asks)
	if !ok {
		c.stray(side)
		return
	}
	c.decide()
	e := c.begin(side)
	if side == asks {
		e.ask(c.t, &h, c.half[side].first)
	} else {
		e.answer(&h, c.half[side].first)
	}
	if c.t.trace != nil {
		c.t.trace(c, &h, side == asks)
	}
	e.last = later(e.last, at)
	if e.err == "" {
		e.err = record.CutOff
	}
	c.half[side].exchange = e
	c.finish(side)
}

// stray is for bytes that are in no message.
func (c *conn) stray(side int) {
	c.drop(side)
	if !c.decided {
		c.ignored = !c.lossy
		c.half[side].state = seeking
		return
	}
	c.t.lost[strayBytes]++
	c.lossy = true
	if side == answers && c.responses < c.requests {
		c.half[side].exchange = c.begin(side)
		c.malformed(side)
	}
	c.half[side].state = seeking
}

// malformed ends a message that makes no sense from here on.
func (c *conn) malformed(side int) {
	if e := c.half[side].exchange; e.err == "" {
		e.err = record.Malformed
	}
	c.finish(side)
	c.half[side].state, c.lossy = seeking, true
}

// decide notes that the connection is HTTP.
func (c *conn) decide() {
	if !c.decided && c.lossy {
		c.t.lost[midway]++
	}
	c.decided = true
}

// message does a whole head.
func (c *conn) message(side int, b []byte, at time.Time) {
	h, ok := parseHead(b, side == asks)
	if !ok {
		c.stray(side)
		return
	}
	c.decide()
	if side == asks && h.method == "PRI" && h.version == "2" {
		c.h2Preface()
		return
	}
	if c.t.trace != nil {
		c.t.trace(c, &h, side == asks)
	}
	if side == asks {
		c.request(&h, at)
	} else {
		c.response(&h, at)
	}
}

func (c *conn) request(h *head, at time.Time) {
	s := &c.half[asks]
	e := c.begin(asks)
	e.ask(c.t, h, s.first)
	e.settings = h.settings
	e.last = later(e.last, at)
	s.exchange = e
	switch {
	case h.chunked:
		c.chunked(s)
	case h.length > 0:
		s.state, s.left = inBody, uint64(h.length)
	default:
		c.finish(asks)
	}
}

func (c *conn) response(h *head, at time.Time) {
	if h.status/100 == 1 && h.status != 101 {
		return // the final one follows
	}
	s := &c.half[answers]
	e := c.begin(answers)
	e.answer(h, s.first)
	e.last = later(e.last, at)
	if c.upgraded(e, h) {
		return
	}
	s.exchange = e
	switch {
	case e.method == "HEAD" || h.status == 204 || h.status == 304:
		c.finish(answers)
	case h.chunked:
		c.chunked(s)
	case h.length > 0:
		s.state, s.left = inBody, uint64(h.length)
	case h.length == 0:
		c.finish(answers)
	default:
		s.state = untilClose
	}
}

// chunked expects a chunk's size.
func (c *conn) chunked(s *half) {
	s.state, s.left, s.digit, s.skip = chunkLine, 0, false, false
}

// body reads what is behind a head, and returns what is behind that.
func (c *conn) body(side int, b []byte, at time.Time) []byte {
	h := &c.half[side]
	switch h.state {
	case inBody, inChunk:
		n := int(min(h.left, uint64(len(b))))
		c.pass(side, n, at)
		return b[n:]
	case untilClose:
		c.count(side, len(b), at)
	case chunkLine:
		return c.chunkSize(side, b)
	case chunkEnd:
		if b[0] == '\r' {
			return b[1:]
		}
		if c.chunked(h); b[0] == '\n' {
			return b[1:]
		}
		return b
	case inTrailers:
		return c.trailers(side, b, at)
	}
	return nil
}

// lastChunk is how a body in chunks ends, if it has no trailers.
const lastChunk = "\n0\r\n\r\n"

// passChunks counts what there is of a body whose chunks cannot be told apart any
// more, with their lines. It ends with its last chunk, if that was copied, or
// where the next message begins.
func (c *conn) passChunks(side int, b []byte, segment bool, at time.Time) []byte {
	if segment && likeHead(b, side == asks) == alike && c.mayFollow(side) {
		c.finish(side)
		return b
	}
	c.count(side, len(b), at)
	if bytes.HasSuffix(b, []byte(lastChunk)) || segment && string(b) == lastChunk[1:] {
		c.finish(side)
	}
	return nil
}

// mayFollow reports whether the next message of a side can begin. Bodies may look
// like heads, but who answers does so when asked, and who asks waits for the answer.
// Where messages may have been missed, one that looks like a head is taken for it.
func (c *conn) mayFollow(side int) bool {
	switch {
	case c.lossy:
		return true
	case side == asks:
		return c.responses >= c.requests
	}
	return c.requests > c.responses
}

// known reports whether it is in bytes of which it knows how many there are.
func (h *half) known() bool { return h.state == inBody || h.state == inChunk }

// pass counts bytes of known number.
func (c *conn) pass(side, n int, at time.Time) {
	h := &c.half[side]
	c.count(side, n, at)
	h.left -= uint64(n)
	switch {
	case h.left > 0:
	case h.state == inBody:
		c.finish(side)
	default:
		h.state = chunkEnd
	}
}

// count adds bytes of a body.
func (c *conn) count(side, n int, at time.Time) {
	e := c.half[side].exchange
	e.last = later(e.last, at)
	if side == asks {
		e.up += uint64(n)
	} else {
		e.down += uint64(n)
	}
}

// chunkSize reads hexadecimal digits and skips what else is in their line.
func (c *conn) chunkSize(side int, b []byte) []byte {
	h := &c.half[side]
	for i, ch := range b {
		digit, isHex := unhex(ch)
		switch {
		case ch == '\n' && h.digit && h.left > 0:
			h.state = inChunk
			return b[i+1:]
		case ch == '\n' && h.digit:
			h.state, h.blank = inTrailers, true
			return b[i+1:]
		case ch == '\n':
			c.malformed(side)
			return nil
		case h.skip:
		case isHex && h.left < 1<<59:
			h.left, h.digit = h.left<<4|digit, true
		case ch == ';' || ch == '\r' || ch == ' ' || ch == '\t':
			h.skip = h.digit
		default:
			c.malformed(side)
			return nil
		}
	}
	return nil
}

func unhex(c byte) (uint64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint64(c - '0'), true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10, true
	}
	return 0, false
}

// trailers reads lines up to a blank one.
func (c *conn) trailers(side int, b []byte, at time.Time) []byte {
	h := &c.half[side]
	for i, ch := range b {
		switch {
		case ch == '\n' && h.blank:
			c.count(side, 0, at)
			c.finish(side)
			return b[i+1:]
		case ch == '\n':
			h.blank = true
		case ch != '\r':
			h.blank = false
		}
	}
	return nil
}
