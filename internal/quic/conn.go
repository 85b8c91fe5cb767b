package quic

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/tls"
)

// conn is one connection.
type conn struct {
	client, server netip.AddrPort
	space          uint32
	iface          string
	version        uint32
	id             []byte    // that the client made up for the server
	next           [2]uint64 // by side: behind the largest number of a packet
	said           [2]messages
	handshake      tls.Handshake
	start          time.Time // first packet of the client
	began          time.Time // of what the server is saying
	first          time.Time // first packet of its answer
	last           time.Time
	bytes          [2]uint64 // of datagrams, by side
	cut            bool      // some of what TLS says is missing
	told           bool
}

// datagram reads the packets of a datagram.
func (t *Tracker) datagram(c *conn, side tls.Side, p *packet.Packet) {
	c.last = later(c.last, p.Time)
	c.bytes[side] += uint64(len(p.Payload) + p.Missing)
	before := c.held()
	rest := p.Payload
	for len(rest) > 0 && !c.done() {
		one, behind, ok := readLong(rest)
		switch {
		case ok && one.kind == kindInitial:
			t.initial(c, side, &one, p.Time)
		case !ok && side == tls.Client && rest[0]&(longHeader|fixedBit) == fixedBit:
			// It has what only comes behind the end of its handshake.
			if c.handshake.Answered {
				c.handshake.Finish()
			}
		}
		rest = behind
	}
	t.held += c.held() - before
	if c.done() {
		t.finish(c)
		if t.early {
			t.tell(c, "")
		}
	}
}

func (c *conn) done() bool { return c.handshake.Done() }

// initial reads a packet of the handshake's beginning.
func (t *Tracker) initial(c *conn, side tls.Side, p *long, at time.Time) {
	payload, ok := t.open(t.keysOf(c)[side], &c.next[side], p)
	if !ok && side == tls.Client && !c.handshake.Answered && !bytes.Equal(p.dst, c.id) {
		// A server that sent Retry has named itself, which makes other keys.
		client, server := newKeys(p.version, p.dst)
		if payload, ok = t.open(client, &c.next[side], p); ok {
			c.id = bytes.Clone(p.dst)
			t.keys.Add(c, [2]*keys{client, server})
		}
	}
	if !ok {
		if p.cut {
			c.cut = true
		}
		return
	}
	if side == tls.Server && !c.handshake.Answered && c.said[tls.Server].held == 0 && c.handshake.Idle(tls.Server) {
		c.began = at
	}
	c.frames(t, side, payload)
	if c.first.IsZero() && (c.handshake.Answered || c.handshake.Error.Why != "" && c.handshake.Error.By == tls.Server) {
		c.first = c.began
	}
}

// open decrypts into memory that all share.
func (t *Tracker) open(k *keys, next *uint64, p *long) (payload []byte, ok bool) {
	t.buf, payload, ok = k.open(p, next, t.buf)
	return payload, ok
}

// keysOf returns the keys of a connection, made again if they were let go.
func (t *Tracker) keysOf(c *conn) [2]*keys {
	both, ok := t.keys.Get(c)
	if !ok {
		both[tls.Client], both[tls.Server] = newKeys(c.version, c.id)
		t.keys.Add(c, both)
	}
	return both
}

// held is how many bytes it keeps for later.
func (c *conn) held() int {
	return c.said[tls.Client].held + c.said[tls.Server].held + c.handshake.Held()
}

// finish lets go of what reading on would take.
func (t *Tracker) finish(c *conn) {
	t.held -= c.held()
	c.said = [2]messages{}
	t.keys.Remove(c)
}

// end tells a connection for good.
func (t *Tracker) end(c *conn, otherwise string) {
	t.finish(c)
	t.tell(c, otherwise)
}

// tell makes the record of a connection, once. What can not be known of its end
// is what it says otherwise.
func (t *Tracker) tell(c *conn, otherwise string) {
	if c.told {
		return
	}
	c.told = true
	if len(t.done) >= maxDone {
		t.lost[tooManyDone]++
		return
	}
	h := &c.handshake
	if h.Client.Cut {
		t.lost[longHello]++
	}
	r := record.Request{
		Protocol: record.QUIC, TLS: true, Start: c.start, HostName: strings.ToLower(h.Client.ServerName), ECH: h.Client.ECH,
		ALPN: h.Client.ALPN, Error: c.fate(otherwise),
	}
	r.Time = c.last
	if !t.early {
		r.RequestBytes, r.ResponseBytes = c.bytes[tls.Client], c.bytes[tls.Server]
	}
	if h.Answered {
		r.TLSVersion, r.TLSCipher, r.TLSResumed = tls.VersionName(h.Server.Version), tls.CipherName(h.Server.Cipher), h.Resumed
	}
	if !c.first.IsZero() {
		r.LatencyMicros = uint64(max(0, c.first.Sub(c.start).Microseconds()))
	}
	r.Proto, r.IfName, r.NetNS = "udp", c.iface, c.space
	r.SrcAddr, r.SrcPort, r.DstAddr, r.DstPort = c.client.Addr(), c.client.Port(), c.server.Addr(), c.server.Port()
	t.done = append(t.done, r)
}

// fate says why a handshake failed, if it did.
func (c *conn) fate(otherwise string) string {
	h := &c.handshake
	switch {
	case h.Error.Why != "":
		return h.Error.String()
	case h.Over && h.Asked:
		return ""
	case h.Over, c.cut: // its hello is not whole
		return record.CutOff
	case c.bytes[tls.Server] == 0:
		return record.Unanswered
	}
	return otherwise
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
