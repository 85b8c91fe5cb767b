package dns

import (
	"encoding/binary"
	"time"

	"github.com/netfate/netfate/internal/stream"
)

// maxHeld bounds the bytes of messages that are not whole, over all connections.
const maxHeld = 16 << 20

// open reads a connection of DNS over TCP.
func (t *Tracker) open(c *stream.Conn) stream.Reader {
	return &messages{held: &t.held, deaf: &t.deaf, each: func(d stream.Dir, b []byte, at time.Time) bool {
		a := arrival{kind: unicast, tcp: true, src: c.Client, dst: c.Server, at: at, iface: c.Interface}
		if c.Server.Port() == portLLMNR || c.Client.Port() == portLLMNR {
			a.kind = llmnr
		}
		if d == stream.Down {
			a.src, a.dst = a.dst, a.src
		}
		return t.take(a, b)
	}}
}

const portLLMNR = 5355

// messages splits the bytes of a connection where lengths say (RFC 1035, section
// 4.2.2). It is a stream.Reader.
type messages struct {
	// each takes in a message, good until it returns, and reports whether it could
	// be read: if not, the lengths are not to be trusted any more.
	each func(d stream.Dir, b []byte, at time.Time) bool
	held *int    // bytes in parts, of all connections
	deaf *uint64 // directions given up, of all connections

	parts  [2][]byte // what came of the next message
	closed [2]bool
}

// Data takes in the next bytes.
func (m *messages) Data(d stream.Dir, b []byte, at time.Time) {
	if m.closed[d] {
		return
	}
	*m.held -= len(m.parts[d])
	if len(m.parts[d]) > 0 {
		m.parts[d] = append(m.parts[d], b...)
		b = m.parts[d]
	}
	for len(b) >= 2 {
		end := 2 + int(binary.BigEndian.Uint16(b))
		if len(b) < end {
			break
		}
		if !m.each(d, b[2:end], at) {
			m.giveUp(d)
			return
		}
		b = b[end:]
	}
	if *m.held+len(b) > maxHeld {
		m.giveUp(d)
		return
	}
	m.parts[d] = append(m.parts[d][:0], b...)
	*m.held += len(b)
	if len(b) == 0 {
		m.parts[d] = nil // connections may stay idle for long
	}
}

// Gap loses the place: there is no telling where the next message begins.
func (m *messages) Skip(d stream.Dir, n int, at time.Time) { m.Gap(d, n, at) }

func (m *messages) Gap(d stream.Dir, _ int, _ time.Time) {
	if !m.closed[d] {
		*m.held -= len(m.parts[d])
		m.giveUp(d)
	}
}

// End forgets a message that will not be whole.
func (m *messages) End(d stream.Dir, _ stream.End, _ time.Time) {
	if !m.closed[d] {
		*m.held -= len(m.parts[d])
	}
	m.parts[d], m.closed[d] = nil, true
}

func (m *messages) giveUp(d stream.Dir) {
	m.parts[d], m.closed[d] = nil, true
	*m.deaf++
}
