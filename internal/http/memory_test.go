package http

import (
	"net/netip"
	"runtime"
	"testing"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// 100,000 open connections, each with an answered request, one that waits, and
// a piece of a head: what each costs is known.
func TestMemoryOfOpenConnections(t *testing.T) {
	need.Time(t)
	const conns, perConn = 100_000, 1_200
	before := heap()
	tr := New(Config{})
	k := newTalk(0)
	k.ask("GET /a HTTP/1.1\r\nHost: example.org\r\n\r\n").answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").
		ask("GET /b HTTP/1.1\r\nHost: example.org\r\n\r\n").answer("HTTP/1.1 200 OK\r\n")
	for i := range conns {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(40000+i&0xff))
		for n := range k.packets {
			p := k.packets[n]
			if n == 1 || n == 3 || n == 5 {
				p.Dst = from
			} else {
				p.Src = from
			}
			tr.Packet(&p)
		}
		if i%10_000 == 0 {
			tr.Roll(start, false, &record.Batch{})
		}
	}
	tr.Roll(start, false, &record.Batch{})
	if tr.pending != conns {
		t.Fatalf("got %d requests that wait, want %d", tr.pending, conns)
	}
	got := heap() - before
	t.Logf("%d bytes for each of %d connections", got/conns, conns)
	if got > conns*perConn {
		t.Errorf("got %d bytes for each of %d connections, want at most %d", got/conns, conns, perConn)
	}
	runtime.KeepAlive(tr)
}

// 100,000 open TLS connections whose handshake is over, as captures hold them
// until they end.
func TestMemoryOfTLS(t *testing.T) {
	need.Time(t)
	const conns, perConn = 100_000, 1_300
	before := heap()
	tr := New(Config{})
	k := newTalk(0).hear(secured(t, nil))
	for i := range conns {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(40000+i&0xff))
		for n := range k.packets {
			p := k.packets[n]
			if p.Src.Port() == 8080 {
				p.Dst = from
			} else {
				p.Src = from
			}
			tr.Packet(&p)
		}
	}
	tr.Roll(start, false, &record.Batch{})
	if tr.pending != conns || tr.held != 0 {
		t.Fatalf("got %d connections, %d bytes of hellos, want %d and none", tr.pending, tr.held, conns)
	}
	got := heap() - before
	t.Logf("%d bytes for each of %d connections", got/conns, conns)
	if got > conns*perConn {
		t.Errorf("got %d bytes for each of %d connections, want at most %d", got/conns, conns, perConn)
	}
	runtime.KeepAlive(tr)
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
