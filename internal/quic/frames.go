package quic

import (
	"slices"
	"strconv"

	"golang.org/x/crypto/cryptobyte"

	"github.com/netfate/netfate/internal/tls"
)

// Frames that first packets may hold (RFC 9000, section 12.4).
const (
	framePadding = 0x00
	framePing    = 0x01
	frameACK     = 0x02
	frameACKECN  = 0x03
	frameCrypto  = 0x06
	frameClose   = 0x1c
)

// frames does the frames of a side's packet, as far as they make sense.
func (c *conn) frames(t *Tracker, side tls.Side, b []byte) {
	s := cryptobyte.String(b)
	for !s.Empty() {
		kind, ok := readNumber(&s)
		if !ok {
			return
		}
		switch kind {
		case framePadding, framePing:
		case frameACK, frameACKECN:
			ok = skipACK(&s, kind)
		case frameCrypto:
			ok = c.crypto(t, side, &s)
		case frameClose:
			c.close(side, &s)
			return // what follows says the same
		default:
			return
		}
		if !ok {
			return
		}
	}
}

func skipACK(s *cryptobyte.String, kind uint64) bool {
	var n [4]uint64 // the largest, delay, how many ranges follow, the first one
	for i := range n {
		var ok bool
		if n[i], ok = readNumber(s); !ok {
			return false
		}
	}
	numbers := 2 * min(n[2], uint64(len(*s)))
	if kind == frameACKECN {
		numbers += 3
	}
	for range numbers {
		if _, ok := readNumber(s); !ok {
			return false
		}
	}
	return true
}

// crypto takes in a piece of what TLS says.
func (c *conn) crypto(t *Tracker, side tls.Side, s *cryptobyte.String) bool {
	from, ok := readNumber(s)
	if !ok {
		return false
	}
	n, ok := readNumber(s)
	var b []byte
	if !ok || n > uint64(len(*s)) || !s.ReadBytes(&b, int(n)) {
		return false
	}
	if !c.said[side].add(from, b, maxHeld-t.held, func(b []byte) { c.handshake.Message(side, b) }) {
		t.lost[noRoom]++
		c.cut = true
	}
	return true
}

// close notes why a side gives up.
func (c *conn) close(by tls.Side, s *cryptobyte.String) {
	code, ok := readNumber(s)
	if !ok {
		return
	}
	const ofTLS = 0x100 // RFC 9001, section 4.8
	switch {
	case code >= ofTLS && code < 2*ofTLS:
		c.handshake.Refuse(by, uint8(code), "")
	case code > 0:
		c.handshake.Refuse(by, 0, errorName(code))
	}
}

// errorName names an error of the transport as RFC 9000, section 20.1, does,
// those that end handshakes, and others by their number.
func errorName(code uint64) string {
	names := map[uint64]string{
		1: "internal_error", 2: "connection_refused", 8: "transport_parameter_error", 10: "protocol_violation", 11: "invalid_token",
		13: "crypto_buffer_exceeded", 17: "version_negotiation_error",
	}
	if name, ok := names[code]; ok {
		return name
	}
	return "quic_error_" + strconv.FormatUint(code, 10)
}

// messages puts what a side's TLS says in order.
type messages struct {
	next    uint64 // byte that is due
	waiting []piece
	held    int // bytes in waiting
}

type piece struct {
	from uint64
	data []byte
}

// add takes in bytes that begin at from, and gives to deliver what is due. It
// holds at most room bytes, and reports whether it could.
func (m *messages) add(from uint64, b []byte, room int, deliver func([]byte)) bool {
	if from > m.next {
		if len(b) > room || len(m.waiting) >= maxPieces || from+uint64(len(b))-m.next > maxReach {
			return false
		}
		if !slices.ContainsFunc(m.waiting, func(p piece) bool { return p.from == from && len(p.data) >= len(b) }) {
			m.waiting = append(m.waiting, piece{from, slices.Clone(b)})
			m.held += len(b)
		}
		return true
	}
	m.take(from, b, deliver)
	for i := 0; i < len(m.waiting); i++ {
		if p := m.waiting[i]; p.from <= m.next {
			m.waiting = slices.Delete(m.waiting, i, i+1)
			m.held -= len(p.data)
			m.take(p.from, p.data, deliver)
			i = -1 // which may have been missing before others
		}
	}
	return true
}

// take delivers what is new of bytes that begin at from, or before.
func (m *messages) take(from uint64, b []byte, deliver func([]byte)) {
	if end := from + uint64(len(b)); end > m.next {
		b = b[m.next-from:]
		m.next = end
		deliver(b)
	}
}
