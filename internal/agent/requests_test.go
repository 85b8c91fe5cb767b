package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

// segment is a row of the HTTP sensor: what the socket of pid sent or received.
func segment(src, dst string, dir uint8, pid, seq uint32, flags uint8) *decode.PacketEvent {
	t := tupleOf(src, dst)
	t.Proto = protoTCP
	return &decode.PacketEvent{
		Tuple: t, Dir: dir, Seq: seq, TCPFlags: flags, NetNS: 4026532001, IfIndex: 2,
		Owner: decode.OwnerRef{PID: pid, Start: 1, NetNS: 4026532000},
	}
}

// TestWhoAsksTheWeb: a request is its client's, whether the client's socket or the
// server's tells of it, and of the netns where it was seen.
func TestWhoAsksTheWeb(t *testing.T) {
	const from, to = "10.0.0.5:40000", "10.0.0.9:80"
	const request, response = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"
	for name, c := range map[string]struct {
		out  uint8 // direction of the request
		loop bool
		side record.Side
	}{
		"client": {decode.PacketOut, false, record.Client}, "server": {0, false, record.Server}, "client on lo": {decode.PacketOut, true, record.Client},
	} {
		l := &live{requests: newRequests(nil, &Config{})}
		take := func(e *decode.PacketEvent, payload string) {
			if c.loop {
				e.IfIndex = loopback
			}
			l.requests.take(l, e, []byte(payload), time.Unix(1, 0))
		}
		begin := segment(from, to, c.out, 7, 999, packet.SYN)
		begin.Ack = 5000
		take(begin, "")
		sampled := segment(from, to, c.out, 7, 1000, packet.ACK)
		sampled.OneIn = 8
		take(sampled, request)
		take(segment(to, from, decode.PacketOut-c.out, 7, 5000, packet.ACK), response)
		b := &record.Batch{End: time.Unix(2, 0)}
		l.requests.roll(b, true)
		if len(b.Lost) != 1 || b.Lost[0].Count != 7 {
			t.Errorf("%s: got %v lost, want the 7 that were not read", name, b.Lost)
		}
		if len(b.Requests) != 1 {
			t.Errorf("%s: got %d requests, want 1", name, len(b.Requests))
			continue
		}
		r := &b.Requests[0]
		o, ok := l.holder(r)
		if !ok || o.side != c.side || o.owner.PID != 7 || o.netns != 4026532001 || r.Status != 204 || r.OneIn != 8 || r.Path != "/a" {
			t.Errorf("%s: got %+v of %+v", name, *r, o)
		}
	}
}

// BenchmarkRequest reads requests and their responses, as rows of the sensor over
// connections that are kept: how many a second one core reads. It ends with the
// records, names apart.
func BenchmarkRequest(b *testing.B) {
	const conns = 64
	request := []byte("GET /item/4711/of/4 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nCookie: session=0123456789abcdef\r\n\r\n")
	response := []byte("HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/html\r\nContent-Length: 612\r\n\r\n" + string(make([]byte, 612)))
	l := &live{requests: newRequests(nil, &Config{})}
	var asks, answers [conns]*decode.PacketEvent
	for i := range conns {
		from := fmt.Sprintf("10.0.0.5:%d", 40000+i)
		begin := segment(from, "10.0.0.9:80", decode.PacketOut, 7, 999, packet.SYN)
		begin.Ack = 5000
		l.requests.take(l, begin, nil, time.Unix(1, 0))
		asks[i] = segment(from, "10.0.0.9:80", decode.PacketOut, 7, 1000, packet.ACK)
		answers[i] = segment("10.0.0.9:80", from, 0, 7, 5000, packet.ACK)
	}
	told := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := time.Unix(1, int64(i)*1000)
		ask, answer := asks[i%conns], answers[i%conns]
		l.requests.take(l, ask, request, at)
		l.requests.take(l, answer, response, at)
		ask.Seq += uint32(len(request))
		answer.Seq += uint32(len(response))
		if i%10_000 == 9_999 {
			batch := &record.Batch{End: at}
			l.requests.tracker.Roll(at, false, batch)
			told += len(batch.Requests)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	if b.N > 20_000 && told < b.N-10_000 {
		b.Errorf("%d of %d requests were told", told, b.N)
	}
}
