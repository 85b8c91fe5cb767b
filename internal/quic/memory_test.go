package quic

import (
	"net/netip"
	"runtime"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/test/need"
)

// 20,000 connections that begin and are not answered, and as many that are open:
// what each costs is known, with the keys of 4,096.
func TestMemoryOfOpenConnections(t *testing.T) {
	need.Time(t)
	const conns = 20_000
	k, _ := newKeys(version1, id)
	open := speak(t, usual(t, quic.Version1))
	for name, c := range map[string]struct {
		packets []packet.Packet
		perConn int
	}{
		"not answered": {[]packet.Packet{*first(k, 1000, 0, []byte{framePing, 0, 0, 0})}, 1_700},
		"open":         {open, 1_200},
	} {
		before := heap()
		tr := New(Config{})
		for i := range conns {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), 40000+uint16(i&0xff))
			for _, p := range c.packets {
				if p.Src.Port() == 443 {
					p.Dst = from
				} else {
					p.Src = from
				}
				tr.Packet(&p)
			}
		}
		got := heap() - before
		t.Logf("%s: %d bytes for each of %d connections", name, got/conns, conns)
		if tr.conns.Len() != conns || got > conns*c.perConn {
			t.Errorf("%s: got %d bytes for each of %d connections, want at most %d of %d", name, got/conns, tr.conns.Len(), c.perConn, conns)
		}
		runtime.KeepAlive(tr)
	}
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
