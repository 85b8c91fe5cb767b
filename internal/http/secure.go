package http

import (
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/tls"
)

// secure is a TLS connection.
type secure struct {
	handshake tls.Handshake
	start     time.Time // first byte of the client's hello
	began     time.Time // first byte of what the server is saying
	first     time.Time // first byte of its answer
	last      time.Time // latest packet
	bytes     [2]uint64 // that each side said, from its hello on
	cut       bool      // some of them are missing in the handshake
}

// mayBeTLS reports whether a side that says no HTTP can be at its hello: that
// of a client that has begun, or that does not wait for a proxy's tunnel.
func (c *conn) mayBeTLS(side int) bool {
	if !c.decided {
		return true
	}
	n := len(c.queue)
	return side == asks && n > 0 && c.queue[n-1].method == "CONNECT"
}

// hello looks at what a side has begun with, and reports whether it is a hello,
// or may become one.
func (c *conn) hello(side int, at time.Time) bool {
	h := &c.half[side]
	from, is, enough := tls.Hello(h.buf)
	if !enough {
		return true
	}
	b := h.buf
	return is && c.startTLS(side, from, b, h.first, at)
}

// tunnel looks whether TLS is said inside one: that may come at its beginning,
// cut anywhere, or later.
func (c *conn) tunnel(side int, b []byte, at time.Time) {
	h := &c.half[side]
	switch {
	case h.dug:
		c.wake(side, b, at)
		return
	case len(h.buf) == 0:
		h.first = at
	}
	if h.dug = !c.hold(h, b) || !c.hello(side, at); h.dug {
		c.drop(side)
	}
}

// wake looks whether a segment of a connection that is not followed begins with
// a hello. Many protocols agree on TLS in words of their own first.
func (c *conn) wake(side int, b []byte, at time.Time) bool {
	from, is, _ := tls.Hello(b)
	return is && c.startTLS(side, from, b, at, at)
}

// startTLS makes TLS of a side that has said b, a hello that began at first and
// went on at, and of the other one unless it has to answer first. It reports
// false where a hello makes no sense.
func (c *conn) startTLS(side int, from tls.Side, b []byte, first, at time.Time) bool {
	if c.half[asks].state == inTLS || c.half[answers].state == inTLS {
		return c.joinTLS(side, from, b, at)
	}
	if (from == tls.Client) != (side == asks) {
		if c.decided {
			return false
		}
		c.swap()
		side = 1 - side
	}
	c.t.pending++
	c.ignored, c.secure = false, &secure{}
	early, earlyAt := c.half[1-side].buf, c.half[1-side].first
	c.drop(side)
	c.half[side].state = inTLS
	c.secureData(side, b, first)
	if c.secure != nil {
		c.secure.last = later(c.secure.last, at)
	}
	if len(c.queue) > 0 {
		return true
	}
	c.drop(1 - side)
	c.half[1-side].state = inTLS
	if len(early) > 0 {
		c.secureData(1-side, early, earlyAt)
	}
	return true
}

// joinTLS makes TLS of the second side, whose last words before were missed.
func (c *conn) joinTLS(side int, from tls.Side, b []byte, at time.Time) bool {
	if c.half[side].state == inTLS || from != sideOf(side) {
		return false
	}
	c.half[side].state = inTLS
	c.secureData(side, b, at)
	return true
}

// sideOf names the sides as package tls does.
func sideOf(side int) tls.Side {
	if side == asks {
		return tls.Client
	}
	return tls.Server
}

// secureData reads TLS. Behind the handshake bytes are counted only.
func (c *conn) secureData(side int, b []byte, at time.Time) {
	s := c.secure
	if s == nil {
		return
	}
	if s.handshake.Done() {
		s.count(side, len(b), at)
		return
	}
	if c.t.held+len(b) > maxHeld {
		c.t.lost[noRoom]++
		c.secureGap(side, len(b), at)
		return
	}
	s.count(side, len(b), at)
	switch {
	case side == asks && s.start.IsZero():
		s.start = at
	case side == answers && s.first.IsZero() && s.handshake.Idle(tls.Server):
		s.began = at
	}
	c.shake(func(h *tls.Handshake) { h.Data(sideOf(side), b) })
}

// secureGap skips missing bytes of TLS.
func (c *conn) secureGap(side, n int, at time.Time) {
	s := c.secure
	if s == nil {
		return
	}
	s.count(side, n, at)
	if !s.handshake.Done() {
		s.cut = true
		c.shake(func(h *tls.Handshake) { h.Gap(sideOf(side), n) })
	}
}

func (s *secure) count(side, n int, at time.Time) {
	s.bytes[side] += uint64(n)
	s.last = later(s.last, at)
}

// shake goes on with the handshake and does what follows from that.
func (c *conn) shake(goOn func(*tls.Handshake)) {
	s := c.secure
	h := &s.handshake
	before := h.Held()
	goOn(h)
	c.t.held += h.Held() - before
	if s.first.IsZero() && (h.Answered || h.Error.Why != "" && h.Error.By == tls.Server) {
		s.first = s.began
	}
	if h.Done() && c.t.early {
		c.tellTLS()
	}
}

// tellTLS makes the record of a TLS connection, once.
func (c *conn) tellTLS() {
	s := c.secure
	if s == nil {
		return
	}
	c.secure = nil
	h := &s.handshake
	c.t.held -= h.Held()
	if h.Client.Cut {
		c.t.lost[longHello]++
	}
	r := record.Request{
		Protocol: record.TLS, TLS: true, Start: s.start, HostName: strings.ToLower(h.Client.ServerName), ECH: h.Client.ECH,
		ALPN: h.Client.ALPN, Error: c.secureFate(s),
	}
	r.Time = s.last
	if !c.t.early {
		r.RequestBytes, r.ResponseBytes = s.bytes[asks], s.bytes[answers]
	}
	if h.Answered {
		r.TLSVersion, r.TLSCipher, r.TLSResumed = tls.VersionName(h.Server.Version), tls.CipherName(h.Server.Cipher), h.Resumed
		if h.Server.ALPN != "" {
			r.ALPN = []string{h.Server.ALPN}
		} else if h.Server.Version < tls.Encrypts {
			r.ALPN = nil // it chose none of them
		}
	}
	switch {
	case !h.Asked && (!s.cut || s.start.IsZero()):
		r.Start = s.began
	case !s.first.IsZero():
		r.LatencyMicros = uint64(max(0, s.first.Sub(s.start).Microseconds()))
	}
	c.t.tell(c, &r)
}

// secureFate says why a handshake failed, if it did.
func (c *conn) secureFate(s *secure) string {
	h := &s.handshake
	switch {
	case h.Error.Why != "":
		return h.Error.String()
	case h.Over && s.cut && h.Client.ServerName == "":
		return record.CutOff
	case h.Over && !h.Asked:
		return record.Unasked
	case h.Over:
		return ""
	case h.Warning.Why != "":
		return h.Warning.String()
	case s.cut:
		return record.CutOff
	case c.reset:
		return record.Reset
	case !h.Answered && s.bytes[answers] == 0:
		return record.Unanswered
	case c.flushed:
		return record.CutOff
	}
	return record.Unfinished
}
