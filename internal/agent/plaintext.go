package agent

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	tlssensor "github.com/netfate/netfate/internal/sensor/tls"
	"github.com/netfate/netfate/internal/stream"
)

// plaintext reads requests inside TLS. It belongs to the pump.
//
// To the tracker each call of a TLS library is a segment. If both ends are on
// this host, both say the same, which counts once, as a segment that was sent
// again.
type plaintext struct {
	sensor  *tlssensor.Sensor
	tracker *http.Tracker
	whole   aging[uint64, bool] // connections that were seen from their beginning
	holders holders
	waiting []record.Request // handshakes that may turn out to be of what is read
	looked  time.Time        // for new processes

	packet packet.Packet
	event  decode.PacketEvent
}

func newPlaintext(sensor *tlssensor.Sensor, cfg *Config) plaintext {
	return plaintext{
		sensor:  sensor,
		tracker: http.New(http.Config{Secrets: cfg.Secrets, TLS: true, Limits: stream.Limits{Wait: overtaken}}),
		whole:   aging[uint64, bool]{patience: silence},
		holders: newHolders(),
	}
}

// discovery is how often new processes are looked for.
const discovery = time.Second

// read takes in what waits in the ring.
func (q *plaintext) read(l *live) error {
	now := time.Now()
	q.whole.turn(now)
	q.holders.turn(now)
	if now.Sub(q.looked) >= discovery {
		q.looked = now
		if err := q.sensor.Discover(); err != nil {
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

func (q *plaintext) take(e *decode.PacketEvent, payload []byte, at time.Time) {
	src, dst := ends(&e.Tuple)
	if !src.Addr().IsValid() || src.Addr().IsUnspecified() {
		src, dst = madeUp(e)
	}
	q.packet = packet.Packet{
		Time: at, Proto: protoTCP, Src: src, Dst: dst, Seq: e.Seq, Ack: e.Ack, Flags: e.TCPFlags,
		Payload: payload, Missing: int(e.Missing), Skipped: int(e.Skipped),
	}
	if e.TCPFlags&packet.SYN != 0 {
		q.whole.put(e.Conn, true)
	}
	if _, ok := q.whole.get(e.Conn); !ok {
		// Its bytes are counted from the middle: they are not those that the other
		// end counts.
		q.packet.Space = uint32(e.Conn>>32) ^ uint32(e.Conn)
	} else if src.Addr().IsLoopback() {
		q.packet.Space = max(e.NetNS, e.Owner.NetNS)
	}
	q.holders.remember(e, &q.packet)
	if e.TCPFlags&packet.SYN != 0 {
		q.begin(e.Dir)
	}
	q.tracker.Packet(&q.packet)
}

// begin tells the tracker that a connection begins, by the first that either side
// says.
func (q *plaintext) begin(dir uint8) {
	syn, answer := q.packet, q.packet
	syn.Payload, syn.Missing, syn.Skipped = nil, 0, 0
	syn.Seq, syn.Ack, syn.Flags = ^uint32(0), 0, packet.SYN
	if q.packet.Seq != 0 {
		syn.Seq = q.packet.Seq - 1
	}
	answer = syn
	answer.Src, answer.Dst, answer.Seq, answer.Flags = syn.Dst, syn.Src, ^uint32(0), packet.SYN|packet.ACK
	if serverSays(dir, q.packet.Payload) {
		syn.Src, syn.Dst, answer.Src, answer.Dst = answer.Src, answer.Dst, syn.Src, syn.Dst
	}
	q.tracker.Packet(&syn)
	q.tracker.Packet(&answer)
	q.packet.Flags &^= packet.SYN
}

// serverSays reports whether b is what a server said, by what the library knows of
// the process, or else by how servers begin, of HTTP/1 and HTTP/2.
func serverSays(dir uint8, b []byte) bool {
	sent := dir&decode.PacketOut != 0
	switch {
	case dir&decode.PacketServer != 0:
		return sent
	case dir&decode.PacketClient != 0:
		return !sent
	}
	return bytes.HasPrefix(b, []byte("HTTP/")) || len(b) > 4 && b[0] == 0 && b[3] == 4 && b[4] == 0
}

// nowhere is where the ends of connections are made up that have none: in the
// range that RFC 6666 sets aside for what is thrown away.
func nowhere() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 1}), 64) }

// madeUp returns ends for a connection whose socket is not known.
func madeUp(e *decode.PacketEvent) (src, dst netip.AddrPort) {
	a := nowhere().Addr().As16()
	binary.BigEndian.PutUint64(a[8:], e.Conn)
	local, remote := netip.AddrPortFrom(netip.AddrFrom16(a), 1), netip.AddrPortFrom(netip.AddrFrom16(a), 2)
	if e.Dir&decode.PacketOut != 0 {
		return local, remote
	}
	return remote, local
}

// hideMadeUp takes ends out that were made up.
func hideMadeUp(e *record.Endpoints) {
	if nowhere().Contains(e.SrcAddr) {
		e.SrcAddr, e.SrcPort, e.DstAddr, e.DstPort = netip.Addr{}, 0, netip.Addr{}, 0
	}
}

// roll adds the requests that ended to b, and takes the handshakes out of it of
// what is read. A handshake waits for one interval for what follows it.
func (q *plaintext) roll(b *record.Batch, over bool) {
	var others, fresh []record.Request
	for i := range b.Requests {
		if r := &b.Requests[i]; r.Protocol == record.TLS && r.Error == "" {
			fresh = append(fresh, *r)
		} else {
			others = append(others, *r)
		}
	}
	if over {
		q.waiting, fresh = append(q.waiting, fresh...), nil
	}
	b.Requests = others
	for i := range q.waiting {
		if !q.reads(&q.waiting[i]) {
			b.Requests = append(b.Requests, q.waiting[i])
		}
	}
	q.waiting = fresh
	q.tracker.Roll(b.End, over, b)
}

// reads reports whether what is said on a connection of TLS is read.
func (q *plaintext) reads(r *record.Request) bool {
	space := uint32(0)
	if r.SrcAddr.IsLoopback() {
		space = r.NetNS
	}
	_, ok := q.holders.origin(r, space)
	return ok
}
