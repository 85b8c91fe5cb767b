package agent

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/dns"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	dnssensor "github.com/netfate/netfate/internal/sensor/dns"
)

// queries reads what sockets ask name servers. It belongs to the pump.
type queries struct {
	sensor  *dnssensor.Sensor
	tracker *dns.Tracker

	askers aging[asker, origin]
	passed aging[passing, int] // datagrams that a socket here sent and none has received yet
	seed   maphash.Seed
	packet packet.Packet
	now    uint64 // of the event that is taken in, CLOCK_MONOTONIC ns
	event  decode.PacketEvent
}

// asker is a client's end of a conversation.
type asker struct {
	netip.AddrPort
	proto uint8
}

// origin is what the kernel knows of one end of a conversation.
type origin struct {
	owner          decode.OwnerRef
	netns, ifindex uint32
	side           record.Side
}

// passing is a datagram on its way between two sockets of this host.
type passing struct {
	src, dst netip.AddrPort
	payload  uint64 // hash
}

// patient is how long an asker is remembered at least: longer than its answer is
// waited for.
const patient = 10 * time.Second

func newQueries(sensor *dnssensor.Sensor, told func(*dns.Addresses)) queries {
	return queries{
		sensor: sensor, tracker: dns.New(dns.Config{Once: true, Told: told}), seed: maphash.MakeSeed(),
		askers: aging[asker, origin]{patience: patient}, passed: aging[passing, int]{patience: patient},
	}
}

// read takes in the messages that wait in the ring.
func (q *queries) read(l *live) error {
	now := time.Now()
	q.askers.turn(now)
	q.passed.turn(now)
	for {
		payload, ok, err := q.sensor.Next(now, &q.event)
		if err != nil || !ok {
			return err
		}
		q.take(&q.event, payload, l.clock.Wall(q.event.Time))
	}
}

func (q *queries) take(e *decode.PacketEvent, payload []byte, at time.Time) {
	q.now = e.Time
	src, dst := ends(&e.Tuple)
	if e.Proto == protoUDP && q.twice(e, passing{src, dst, maphash.Bytes(q.seed, payload)}) {
		return
	}
	q.remember(e, src, dst)
	q.packet = packet.Packet{
		Time: at, Proto: e.Proto, Src: src, Dst: dst, Seq: e.Seq, Ack: e.Ack, Flags: e.TCPFlags, Window: e.Window,
		Payload: payload, Missing: int(e.Missing),
	}
	q.tracker.Packet(&q.packet)
}

// twice reports whether a datagram was seen when it was sent. The same question
// asked again is sent again.
func (q *queries) twice(e *decode.PacketEvent, p passing) bool {
	if e.Dir == decode.PacketOut {
		n, _ := q.passed.get(p)
		q.passed.put(p, n+1)
		return false
	}
	n, _ := q.passed.get(p)
	if n > 0 {
		q.passed.put(p, n-1)
	}
	return n > 0
}

// remember keeps who is at the client's end: its own socket knows best.
func (q *queries) remember(e *decode.PacketEvent, src, dst netip.AddrPort) {
	client, asks := src, isServer(dst.Port())
	if !asks {
		client = dst
	}
	o := origin{e.Owner, e.NetNS, e.IfIndex, record.Client}
	if asks != (e.Dir == decode.PacketOut) {
		o.side = record.Server // the question came in, or the answer goes out
	}
	key := asker{client, e.Proto}
	own := o.side == record.Client && o.owner.PID != 0 // also where the port was another's a moment ago
	if have, ok := q.askers.get(key); ok && !own && (have.side == record.Client || o.side == record.Server) && have.owner.PID != 0 {
		return
	}
	q.askers.put(key, o)
}

func isServer(port uint16) bool { return port == 53 || port == 5353 || port == 5355 }

const protoUDP = 17

func ends(t *decode.Tuple) (src, dst netip.AddrPort) {
	return netip.AddrPortFrom(netip.AddrFrom16(t.Src).Unmap(), t.SrcPort), netip.AddrPortFrom(netip.AddrFrom16(t.Dst).Unmap(), t.DstPort)
}

// roll adds the queries that ended to b, without their names; with over, all: what
// is not answered never will be.
func (q *queries) roll(b *record.Batch, over bool) { q.tracker.Roll(b.End, over, b) }

func (q *queries) origin(r *record.Query) (origin, bool) {
	key := asker{netip.AddrPortFrom(r.SrcAddr, r.SrcPort), protoUDP}
	if r.Proto == "tcp" {
		key.proto = protoTCP
	}
	return q.askers.get(key)
}

const protoTCP = 6

// wantQueries asks the enrichers for what the queries of this interval will need.
func (l *live) wantQueries(list []record.Query) {
	for i := range list {
		if o, ok := l.queries.origin(&list[i]); ok {
			l.names.want(o.netns, o.ifindex, o.owner)
		}
	}
}

// nameQueries puts names to them.
func (l *live) nameQueries(list []record.Query) {
	for i := range list {
		r := &list[i]
		r.Host = l.names.host
		o, ok := l.queries.origin(r)
		if !ok {
			continue
		}
		r.Side = o.side
		l.names.where(&r.Endpoints, o.netns, o.ifindex)
		r.Owner = l.names.owner(o.owner)
	}
}
