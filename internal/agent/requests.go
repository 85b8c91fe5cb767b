package agent

import (
	"net/netip"
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

	ends   aging[end, origin]
	packet packet.Packet
	event  decode.PacketEvent
}

// end is one end of a connection, where a socket of this host is.
type end struct {
	local, remote netip.AddrPort
	space         uint32
}

// loopback is the index of lo in each netns.
const loopback = 1

// silence is how long a connection may say nothing before its owner is forgotten:
// as long as it takes until the connection is.
const silence = 10 * time.Minute

// overtaken is how long bytes wait for earlier ones: what is sent again comes
// sooner, and what the ring had no room for never does.
const overtaken = 5 * time.Second

func newRequests(sensor *httpsensor.Sensor, cfg *Config) requests {
	return requests{
		sensor:  sensor,
		tracker: http.New(http.Config{Secrets: cfg.Secrets, Early: true, Limits: stream.Limits{Wait: overtaken}}),
		ends:    aging[end, origin]{patience: silence},
		shed:    shedder{budget: cfg.Budget},
	}
}

// read takes in the segments that wait in the ring, and lets the programs copy
// less where too many do.
func (q *requests) read(l *live) error {
	now := time.Now()
	q.ends.turn(now)
	waiting, size := q.sensor.Waiting()
	if q.shed.ring(now, waiting, size) {
		if err := q.sensor.Keep(q.shed.keep()); err != nil {
			return err
		}
	}
	for {
		payload, ok, err := q.sensor.Next(now, &q.event)
		if err != nil || !ok {
			return err
		}
		q.take(&q.event, payload, l.clock.Wall(q.event.Time))
	}
}

func (q *requests) take(e *decode.PacketEvent, payload []byte, at time.Time) {
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
	q.remember(e)
	if e.TCPFlags&packet.SYN != 0 {
		q.begin(e)
		return
	}
	q.tracker.Packet(&q.packet)
}

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

// remember keeps whose the socket is that told of the present packet.
func (q *requests) remember(e *decode.PacketEvent) {
	here := end{q.packet.Src, q.packet.Dst, q.packet.Space}
	if e.Dir&decode.PacketOut == 0 {
		here.local, here.remote = here.remote, here.local
	}
	if o, ok := q.ends.young[here]; ok && o.owner.PID != 0 {
		return
	}
	q.ends.put(here, origin{owner: e.Owner, netns: e.NetNS, ifindex: e.IfIndex})
}

// origin finds the socket of this host that a request is of: the client's, if
// both are.
func (q *requests) origin(r *record.Request) (origin, bool) {
	src, dst := netip.AddrPortFrom(r.SrcAddr, r.SrcPort), netip.AddrPortFrom(r.DstAddr, r.DstPort)
	if o, ok := q.ends.get(end{src, dst, r.NetNS}); ok {
		o.side = record.Client
		return o, true
	}
	o, ok := q.ends.get(end{dst, src, r.NetNS})
	o.side = record.Server
	return o, ok
}

// roll adds the requests that ended to b, without their names; with over, all. It
// looks whether the host can bear as much in the next interval.
func (q *requests) roll(b *record.Batch, over bool) error {
	q.tracker.Roll(b.End, over, b)
	l, ok, err := q.meter.read(time.Now())
	if err != nil || !ok || !q.shed.load(time.Now(), l) {
		return err
	}
	return q.sensor.Keep(q.shed.keep())
}

// wantRequests asks the enrichers for what the requests of this interval will
// need.
func (l *live) wantRequests(list []record.Request) {
	for i := range list {
		if o, ok := l.requests.origin(&list[i]); ok {
			l.names.want(o.netns, o.ifindex, o.owner)
		}
	}
}

// nameRequests puts names to them.
func (l *live) nameRequests(list []record.Request) {
	for i := range list {
		r := &list[i]
		r.Host = l.names.host
		o, ok := l.requests.origin(r)
		if !ok {
			continue
		}
		r.Side = o.side
		l.names.where(&r.Endpoints, o.netns, o.ifindex)
		r.Owner = l.names.owner(o.owner)
	}
}
