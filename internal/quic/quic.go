// Package quic reads the beginnings of QUIC connections, which are encrypted
// with keys that everybody can make: the hellos of TLS in them, with who is asked
// for. Each connection becomes one [record.Request], as those of TLS do in package
// http: what is said inside cannot be read.
//
// It knows the versions 1 and 2 of QUIC, on any port. A connection is what goes
// between two ends from a client's first packet on, whatever becomes of its ids;
// one that moves to other ends is silent there. It is pure: time is that of the packets.
package quic

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/tls"
)

// The bounds. What they cost is counted.
const (
	maxConns  = 65_536   // connections, about 1 KB each
	maxKeys   = 4_096    // of these that have their keys at hand, 2.7 KB; others make them again
	maxHeld   = 16 << 20 // bytes of hellos that have not come whole, over all connections
	maxPieces = 64       // of a side's hello, that wait for earlier ones
	maxReach  = 64 << 10 // bytes that a piece may be ahead
	maxDone   = 131_072  // connections told between two calls of Roll
)

// idle is how long a connection may be silent: who has nothing to say keeps it
// alive, most of them within 30 seconds.
const idle = time.Minute

// protoUDP is IP's number for UDP.
const protoUDP = 17

// Config says when connections are told.
type Config struct {
	// Early tells them when their handshake is over: for whoever waits for names.
	// Else they are told when they end, with all their bytes.
	Early bool
}

// Tracker turns packets into rows. It is for one goroutine.
type Tracker struct {
	early bool
	conns *simplelru.LRU[key, *conn]
	keys  *simplelru.LRU[*conn, [2]*keys]
	done  []record.Request
	held  int    // bytes of hellos
	buf   []byte // of the packet at hand, decrypted
	lost  [causes]uint64
}

// key is a connection by its ends, the smaller first.
type key struct {
	a, b  netip.AddrPort
	space uint32
}

// New returns a tracker that has seen nothing.
func New(cfg Config) *Tracker {
	return &Tracker{early: cfg.Early, conns: latest[key, *conn](maxConns), keys: latest[*conn, [2]*keys](maxKeys)}
}

// latest is a map that has so many entries at most.
func latest[K comparable, V any](size int) *simplelru.LRU[K, V] {
	l, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic(err) // the bound is above 0
	}
	return l
}

// Packet takes a packet; what is not QUIC is ignored.
func (t *Tracker) Packet(p *packet.Packet) {
	if p.Proto != protoUDP || len(p.Payload) == 0 || !p.Src.IsValid() || !p.Dst.IsValid() {
		return
	}
	k := key{p.Src, p.Dst, p.Space}
	if p.Src.Compare(p.Dst) > 0 {
		k.a, k.b = p.Dst, p.Src
	}
	c, known := t.conns.Get(k)
	if !known || c.done() && p.Src == c.client {
		if fresh := t.begins(p, c); fresh != nil {
			t.replace(k, fresh)
			c, known = fresh, true
		}
	}
	switch {
	case !known:
	case p.Src == c.client:
		t.datagram(c, tls.Client, p)
	default:
		t.datagram(c, tls.Server, p)
	}
}

// begins returns the connection that a packet begins, other than the one that its
// ends have had; nil if it begins none.
func (t *Tracker) begins(p *packet.Packet, before *conn) *conn {
	one, _, ok := readLong(p.Payload)
	if !ok || one.kind != kindInitial || before != nil && bytes.Equal(one.dst, before.id) {
		return nil
	}
	client, server := newKeys(one.version, one.dst)
	var next uint64
	if _, ok := t.open(client, &next, &one); !ok {
		if before == nil {
			t.lost[undecipherable]++
		}
		return nil
	}
	c := &conn{
		client: p.Src, server: p.Dst, space: p.Space, iface: p.Interface, version: one.version, id: bytes.Clone(one.dst), start: p.Time,
	}
	t.keys.Add(c, [2]*keys{client, server})
	return c
}

// replace puts a connection in the place of the one that its ends have had, or
// of the one that was silent the longest.
func (t *Tracker) replace(k key, c *conn) {
	if old, ok := t.conns.Peek(k); ok {
		t.end(old, record.Unfinished)
	} else if t.conns.Len() >= maxConns {
		t.lost[tooMany]++
		if _, oldest, ok := t.conns.RemoveOldest(); ok {
			t.end(oldest, record.CutOff)
		}
	}
	t.conns.Add(k, c)
}

// Roll adds to b the connections that are to be told. With end, those that are
// open are told as they are.
func (t *Tracker) Roll(now time.Time, end bool, b *record.Batch) {
	for {
		k, c, ok := t.conns.GetOldest()
		if !ok || !end && now.Sub(c.last) < idle {
			break
		}
		otherwise := record.Unfinished
		if now.Sub(c.last) < idle {
			otherwise = record.CutOff
		}
		t.end(c, otherwise)
		t.conns.Remove(k)
	}
	b.Requests = append(b.Requests, t.done...)
	t.done = nil
	for _, l := range t.takeLost() {
		l.Time = now
		b.Lost = append(b.Lost, l)
	}
}

// cause is why something was not read.
type cause uint8

const (
	undecipherable cause = iota
	tooMany
	noRoom
	tooManyDone
	longHello
	causes
)

// takeLost returns what was lost since the last call.
func (t *Tracker) takeLost() []record.Lost {
	reasons := [causes]struct{ reason, effect string }{
		undecipherable: {"first packets of connections whose beginning was missed, or cut", "they are in no row"},
		tooMany:        {"connections that were silent the longest, too many are open", "they are told as they are"},
		noRoom:         {"pieces of hellos that came too far ahead of others", "names may be missing"},
		tooManyDone:    {"connections, too many in one interval", "they are in no row"},
		longHello:      {"hellos with a name over 255 bytes or over 16 protocols", "the rest of these is missing"},
	}
	var lost []record.Lost
	for c, n := range t.lost {
		if n > 0 {
			lost = append(lost, record.Lost{Place: "quic", Reason: reasons[c].reason, Count: n, Effect: reasons[c].effect})
		}
	}
	t.lost = [causes]uint64{}
	return lost
}
