package agent

import (
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	httpsensor "github.com/netfate/netfate/internal/sensor/http"
	"github.com/netfate/netfate/internal/stream"
)

// requests reads what is asked of web servers. It belongs to the pump.
type requests struct {
	sensor  *httpsensor.Sensor
	tracker *http.Tracker
	shed    shedder
	meter   usageMeter
	holders holders
	packet  packet.Packet
	event   decode.PacketEvent
}

// loopback is the index of lo in each netns.
const loopback = 1

// overtaken is how long bytes wait for earlier ones: what is sent again comes
// sooner, and what the ring had no room for never does.
const overtaken = 5 * time.Second

func newRequests(sensor *httpsensor.Sensor, cfg *Config) requests {
	return requests{
		sensor:  sensor,
		tracker: http.New(http.Config{Secrets: cfg.Secrets, Early: true, Limits: stream.Limits{Wait: overtaken}}),
		holders: newHolders(),
		shed:    shedder{budget: cfg.Budget},
	}
}

// read takes in the segments that wait in the ring, and lets the programs copy
// less where too many do.
func (q *requests) read(l *live) error {
	now := time.Now()
	q.holders.turn(now)
	if err := q.adapt(now); err != nil {
		return err
	}
	for {
		payload, ok, err := q.sensor.Next(now, &q.event)
		if err != nil || !ok {
			return err
		}
		q.take(l, &q.event, payload, l.clock.Wall(q.event.Time))
	}
}

func (q *requests) take(l *live, e *decode.PacketEvent, payload []byte, at time.Time) {
	src, dst := ends(&e.Tuple)
	q.packet = packet.Packet{
		Time: at, Proto: protoTCP, Src: src, Dst: dst, Seq: e.Seq, Ack: e.Ack, Flags: e.TCPFlags, Window: e.Window,
		Payload: payload, Missing: int(e.Missing), Skipped: int(e.Skipped),
	}
	if e.IfIndex == loopback {
		q.packet.Space = e.NetNS
	}
	if e.OneIn > 1 {
		q.packet.OneIn = e.OneIn
	}
	q.holders.remember(e, &q.packet)
	if e.TCPFlags&packet.SYN != 0 {
		q.begin(e)
		return
	}
	if len(payload) > 0 && payload[0] == handshake && l.plaintext.sensor != nil {
		l.plaintext.sensor.Look(e.Owner.PID)
	}
	q.tracker.Packet(&q.packet)
}

// handshake is the type of the records that TLS begins with.
const handshake = 22

// begin tells the tracker of both SYNs of a connection that begins: the row has
// the number of its sender's, and that of the first byte it expects.
func (q *requests) begin(e *decode.PacketEvent) {
	syn, answer := q.packet, q.packet
	answer.Src, answer.Dst, answer.Seq, answer.Ack = syn.Dst, syn.Src, e.Ack-1, e.Seq+1
	if e.TCPFlags&packet.ACK != 0 { // it is the server that speaks
		syn, answer = answer, syn
	}
	syn.Flags, answer.Flags = packet.SYN, packet.SYN|packet.ACK
	q.tracker.Packet(&syn)
	q.tracker.Packet(&answer)
}

// meterTime is for how long it is measured how busy the host is: its clock ticks a
// hundred times a second.
const meterTime = 200 * time.Millisecond

// adapt lets the programs copy less, or more again.
func (q *requests) adapt(now time.Time) error {
	waiting, size := q.sensor.Waiting()
	changed := q.shed.ring(now, waiting, size)
	due, err := q.meter.due(now, q.shed.budget)
	if err != nil {
		return err
	}
	if due {
		l, ok, err := q.meter.read(now)
		if err != nil {
			return err
		}
		changed = ok && q.shed.load(now, l) || changed
	}
	if !changed {
		return nil
	}
	return q.sensor.Keep(q.shed.keep())
}

// roll adds the requests that ended to b, without their names; with over, all. Those
// that were not read are told, by those that stand for them.
func (q *requests) roll(b *record.Batch, over bool) {
	q.tracker.Roll(b.End, over, b)
	var unread uint64
	for i := range b.Requests {
		unread += uint64(max(b.Requests[i].OneIn, 1) - 1)
	}
	if unread > 0 {
		b.Lost = append(b.Lost, record.Lost{
			Time: b.End, Place: "requests", Reason: "sampled, as the host is busy", Count: unread,
			Effect: "others stand for them, so numbers of requests are estimates; more is read with a larger budget",
		})
	}
}

// holder finds whose a request is. Until then its netns is what tells its
// connection from others with the same addresses.
func (l *live) holder(r *record.Request) (origin, bool) {
	if r.TLS && r.Protocol != record.TLS {
		return l.plaintext.holders.origin(r, r.NetNS)
	}
	return l.requests.holders.origin(r, r.NetNS)
}

// wantRequests asks the enrichers for what the requests of this interval will
// need.
func (l *live) wantRequests(list []record.Request) {
	for i := range list {
		if o, ok := l.holder(&list[i]); ok {
			l.names.want(o.netns, o.ifindex, o.owner)
		}
	}
}

// nameRequests puts names to them.
func (l *live) nameRequests(list []record.Request) {
	for i := range list {
		r := &list[i]
		r.Host = l.names.host
		o, ok := l.holder(r)
		r.NetNS = 0
		if ok {
			r.Side = o.side
			l.names.where(&r.Endpoints, o.netns, o.ifindex)
			r.Owner = l.names.owner(o.owner)
		}
		hideMadeUp(&r.Endpoints)
	}
}
