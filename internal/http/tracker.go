// Package http reads HTTP conversations from TCP streams: HTTP/1.x on any port,
// recognized by its first bytes, and HTTP/2 from its preface or an upgrade,
// with gRPC. Each request becomes one [record.Request] with its response. So does
// each connection of TLS, whose requests it cannot read: by its handshake, from
// the first byte, in the tunnel of a proxy, or behind the words that other
// protocols change to TLS with.
//
// It watches others talk and may miss bytes, so it is as lenient as browsers
// are, and says what it could not follow. Bodies are counted and not kept; of
// heads only what a record shows is. It is pure: time is that of the packets.
package http

import (
	"bytes"
	"time"

	"golang.org/x/net/http2"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/stream"
)

// The bounds, beside those of stream.Limits. What they cost is counted.
const (
	maxHead     = 64 << 10 // bytes of a head, or of an HTTP/2 frame that is none of DATA
	maxHeld     = 64 << 20 // bytes of heads that have not come whole, over all connections
	maxPending  = 262_144  // requests without their whole response, over all connections
	maxPipeline = 1_024    // the same of one connection
	maxDone     = 131_072  // requests between two calls of Roll, about 600 bytes each
	maxText     = 4 << 10  // bytes of a path, query or host
	maxMethod   = 32       // bytes of a method
)

// idle is how long a connection may be silent.
const idle = 10 * time.Minute

// Config says what is kept. The zero value keeps no secrets.
type Config struct {
	Secrets bool // queries are kept
	// Early tells TLS connections when their handshake is over: for whoever waits
	// for names. Else they are told when they end, with all their bytes.
	Early  bool
	TLS    bool          // packets are what TLS carried
	Limits stream.Limits // of TCP
}

// Tracker turns packets into requests. It is for one goroutine.
type Tracker struct {
	secrets bool
	early   bool
	tls     bool
	streams *stream.Assembler
	done    []record.Request
	held    int    // bytes in conn.half.buf and of hellos
	pending int    // exchanges in all queues, TLS connections that are not told
	oneIn   uint32 // the present packet stands for so many
	lost    [causes]uint64

	// For all connections, which take turns.
	frames *http2.Framer
	frame  bytes.Reader

	// trace is told each head, for tests; nil otherwise.
	trace func(c *conn, h *head, isRequest bool)
}

// New returns a tracker that has seen nothing.
func New(cfg Config) *Tracker {
	t := &Tracker{secrets: cfg.Secrets, early: cfg.Early, tls: cfg.TLS}
	if cfg.Limits.Idle <= 0 {
		cfg.Limits.Idle = idle
	}
	t.streams = stream.New(cfg.Limits, func(c *stream.Conn) stream.Reader { return newConn(t, c) })
	t.frames = http2.NewFramer(nil, &t.frame)
	t.frames.AllowIllegalReads = true // its memory of the last frame is of another connection
	t.frames.SetMaxReadFrameSize(maxHead)
	return t
}

// Packet takes a packet; what is not TCP is ignored.
func (t *Tracker) Packet(p *packet.Packet) {
	t.oneIn = p.OneIn
	t.streams.Add(p)
}

// Roll adds to b the requests that are finished: answered whole, or never to
// be. With end, those that are open are finished as they are.
func (t *Tracker) Roll(now time.Time, end bool, b *record.Batch) {
	before := now.Add(-idle)
	if end {
		before = time.Time{}
	}
	t.streams.Flush(before)
	if b.Requests == nil {
		b.Requests = t.done // a busy second's are not copied
	} else {
		b.Requests = append(b.Requests, t.done...)
	}
	t.done = make([]record.Request, 0, len(t.done)) // the next second is like this one
	for _, l := range append(t.streams.Lost(), t.takeLost()...) {
		l.Time = now
		b.Lost = append(b.Lost, l)
	}
}

// cause is why something was not read.
type cause uint8

const (
	longHead cause = iota
	noRoom
	tooManyPending
	tooManyDone
	longText
	strayBytes
	midway
	midwayH2
	brokenH2
	cutH2
	midwayTLS
	longHello
	causes
)

// takeLost returns what was lost since the last call.
func (t *Tracker) takeLost() []record.Lost {
	reasons := [causes]struct{ reason, effect string }{
		longHead:       {"heads longer than 64 KiB", "their messages are malformed, the next ones are looked for"},
		noRoom:         {"heads that came in pieces, no memory to join them", "their messages are cut"},
		tooManyPending: {"requests given up, too many wait for responses", "they show as unanswered"},
		tooManyDone:    {"requests, too many in one interval", "they are in no row"},
		longText:       {"hosts, paths and queries longer than 4 KiB", "their ends are missing"},
		strayBytes:     {"segments that are in no message", "requests may be missing"},
		midway:         {"connections joined midway", "what they said before is missing"},
		midwayH2:       {"HTTP/2 connections joined midway", "their requests are not told: the heads refer to what was said before"},
		brokenH2:       {"HTTP/2 connections with frames that cannot be read", "their further requests are missing"},
		cutH2:          {"HTTP/2 connections with missing bytes", "their further requests are missing"},
		midwayTLS:      {"TLS connections joined midway", "they are in no row: their names were said before"},
		longHello:      {"TLS hellos with a name over 255 bytes or over 16 protocols", "the rest of these is missing"},
	}
	var lost []record.Lost
	for c, n := range t.lost {
		if n > 0 {
			lost = append(lost, record.Lost{Place: "http", Reason: reasons[c].reason, Count: n, Effect: reasons[c].effect})
		}
	}
	t.lost = [causes]uint64{}
	return lost
}
