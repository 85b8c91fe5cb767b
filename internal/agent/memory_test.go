package agent

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// TestMemoryOfOpenConnections opens 100,000 connections, by rows as the sensor's
// ring brings them, each with an answered request and one whose response is within
// its head: what each costs is known, with whose it is, and none is forgotten.
func TestMemoryOfOpenConnections(t *testing.T) {
	need.Time(t)
	const conns, perConn = 100_000, 1_500
	const ask, again = "GET /a HTTP/1.1\r\nHost: example.org\r\n\r\n", "GET /b HTTP/1.1\r\nHost: example.org\r\n\r\n"
	const answer, half = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\n"
	before := heap()
	l := &live{requests: newRequests(nil, &Config{})}
	rows, nobodys := 0, 0
	roll := func(at time.Time, over bool) {
		b := &record.Batch{End: at}
		l.requests.roll(b, over)
		rows += len(b.Requests)
		for i := range b.Requests {
			if o, ok := l.holder(&b.Requests[i]); !ok || o.owner.PID == 0 {
				nobodys++
			}
		}
		for _, lost := range b.Lost {
			t.Errorf("lost: %+v", lost)
		}
	}
	take := func(i int, dir uint8, seq uint32, flags uint8, payload string) {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), 40000+uint16(i&0xff))
		dst := netip.MustParseAddrPort("10.9.0.1:80")
		if dir != decode.PacketOut {
			src, dst = dst, src
		}
		e := segment(src.String(), dst.String(), dir, 1+uint32(i), seq, flags)
		if flags&packet.SYN != 0 {
			e.Ack = 5000
		}
		l.requests.take(l, e, []byte(payload), time.Unix(1, 0).Add(time.Duration(i)*time.Microsecond))
	}
	for i := range conns {
		take(i, decode.PacketOut, 999, packet.SYN, "")
		take(i, decode.PacketOut, 1000, packet.ACK, ask)
		take(i, 0, 5000, packet.ACK, answer)
		take(i, decode.PacketOut, 1000+uint32(len(ask)), packet.ACK, again)
		take(i, 0, 5000+uint32(len(answer)), packet.ACK, half)
		if i%10_000 == 0 {
			roll(time.Unix(2, 0), false)
		}
	}
	roll(time.Unix(2, 0), false)
	got := heap() - before
	t.Logf("%d bytes for each of %d connections", got/conns, conns)
	if got > conns*perConn {
		t.Errorf("got %d bytes for each of %d connections, want at most %d", got/conns, conns, perConn)
	}
	if rows != conns || nobodys != 0 {
		t.Errorf("got %d answered requests, %d of them nobody's, want %d and none", rows, nobodys, conns)
	}
	roll(time.Unix(3, 0), true)
	if rows != 2*conns || nobodys != 0 {
		t.Errorf("got %d requests in the end, %d of them nobody's, want %d and none", rows, nobodys, 2*conns)
	}
}

// heap returns the bytes in use, without what is garbage.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
