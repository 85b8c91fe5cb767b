package quic

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

var id = []byte("a client") // makes the keys

// first makes a client's packet of frames, from a port.
func first(k *keys, port uint16, number uint32, frames []byte) *packet.Packet {
	return &packet.Packet{
		Time: start, Proto: protoUDP, Src: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Dst: netip.MustParseAddrPort(serverEnd),
		Payload: seal(version1, id, k, number, frames),
	}
}

// crypto is a frame of what TLS says from a byte on.
func crypto(from uint32, b []byte) []byte {
	f := binary.BigEndian.AppendUint32([]byte{frameCrypto}, from|0x8000_0000)
	return append(binary.BigEndian.AppendUint16(f, uint16(len(b))|0x4000), b...)
}

// Pieces that wait for earlier ones are bounded: in number and in how far they
// are ahead for each side, and in bytes over all. What finds no room is counted.
func TestPiecesAreBounded(t *testing.T) {
	k, _ := newKeys(version1, id)
	tr := New(Config{})
	for i := range uint32(maxPieces + 3) {
		tr.Packet(first(k, 1000, i, crypto(100+2*i, []byte("x"))))
	}
	if tr.held != maxPieces || tr.lost[noRoom] != 3 {
		t.Errorf("small ones: got %d held, %d without room, want %d and 3", tr.held, tr.lost[noRoom], maxPieces)
	}
	tr.Packet(first(k, 1001, 0, crypto(maxReach-9, []byte("the end!!"))))
	tr.Packet(first(k, 1001, 1, crypto(maxReach-8, []byte("too far!!"))))
	if tr.held != maxPieces+9 || tr.lost[noRoom] != 4 {
		t.Errorf("far ones: got %d held, %d without room, want %d and 4", tr.held, tr.lost[noRoom], maxPieces+9)
	}

	tr = New(Config{})
	const size, conns = 1000, 300
	for port := range uint16(conns) {
		for i := range uint32(maxPieces - 4) {
			tr.Packet(first(k, 1000+port, i, crypto(100+size*i, make([]byte, size))))
		}
	}
	const fit = maxHeld / size
	if tr.held != fit*size || tr.lost[noRoom] != conns*(maxPieces-4)-fit {
		t.Errorf("large ones: got %d held, %d without room, want %d and %d", tr.held, tr.lost[noRoom], fit*size, conns*(maxPieces-4)-fit)
	}
	tr.Roll(start, true, &record.Batch{})
	if tr.held != 0 {
		t.Errorf("%d bytes are held in the end", tr.held)
	}
}

// Of too many connections the one that was silent the longest is told, and of
// too many rows for one batch the last ones are counted.
func TestConnectionsAreBounded(t *testing.T) {
	need.Time(t)
	k, _ := newKeys(version1, id)
	tr := New(Config{})
	tr.done = make([]record.Request, maxDone-2)
	p := first(k, 1000, 0, []byte{framePing, 0, 0, 0})
	for n := range maxConns + 5 {
		p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 16), byte(n >> 8)}), 1000+uint16(n&0xff))
		p.Time = start.Add(time.Duration(n))
		tr.Packet(p)
		if n == maxConns && (len(tr.done) != maxDone-1 || !tr.done[maxDone-2].Start.Equal(start)) {
			t.Fatalf("got %d told, want the first", len(tr.done)-maxDone+2)
		}
	}
	if tr.conns.Len() != maxConns || tr.lost[tooMany] != 5 {
		t.Errorf("got %d connections, %d too many, want %d and 5", tr.conns.Len(), tr.lost[tooMany], maxConns)
	}
	if len(tr.done) != maxDone || tr.lost[tooManyDone] != 3 {
		t.Errorf("got %d rows, %d too many, want %d and 3", len(tr.done), tr.lost[tooManyDone], maxDone)
	}
	var b record.Batch
	tr.Roll(start, false, &b)
	if len(b.Requests) != maxDone || len(b.Lost) != 2 {
		t.Errorf("got %d rows, lost %v", len(b.Requests), b.Lost)
	}
}

// Connections whose keys others have pushed out are read on.
func TestKeysAreBounded(t *testing.T) {
	k, _ := newKeys(version1, id)
	tr := New(Config{})
	for _, p := range speak(t, usual(t, quic.Version1)) {
		tr.Packet(&p)
		for n := range uint16(maxKeys) {
			tr.Packet(first(k, 1000+n, 0, []byte{framePing, 0, 0, 0}))
		}
		if tr.keys.Len() > maxKeys {
			t.Fatalf("got the keys of %d connections, want those of %d", tr.keys.Len(), maxKeys)
		}
	}
	_, c, _ := tr.conns.GetOldest()
	if c.client.String() != clientEnd || c.handshake.Client.ServerName != "shop.example.com" || !c.handshake.Over {
		t.Errorf("got %v, which asks for %q", c.client, c.handshake.Client.ServerName)
	}
}

// FuzzFrames reads a packet of any frames, and one of the other side: there is one row,
// and nothing is held in the end.
func FuzzFrames(f *testing.F) {
	hello := append([]byte{1, 0, 0, 44, 3, 3}, make([]byte, 42)...)
	f.Add(crypto(0, hello[:20]), crypto(20, hello[20:]), false)
	f.Add(append([]byte{framePadding, framePing, frameACK, 5, 0, 1, 0, 0, 3}, crypto(0, hello)...), []byte{frameClose, 0x41, 0x78, 0, 0}, true)
	f.Add([]byte{frameACKECN, 5, 0, 0, 0, 1, 2, 3, frameClose, 2, 0, 0}, crypto(3, hello[3:]), true)
	client, server := newKeys(version1, id)
	f.Fuzz(func(t *testing.T, a, b []byte, answers bool) {
		const room = 1000 // of a packet
		if len(a) > room || len(b) > room {
			return
		}
		pad := make([]byte, 4)
		one, two := first(client, 1000, 1, append(a, pad...)), first(client, 1000, 2, append(b, pad...))
		if answers {
			two.Src, two.Dst, two.Payload = two.Dst, two.Src, seal(version1, nil, server, 0, append(b, pad...))
		}
		batch, tr := track(Config{}, []packet.Packet{*one, *two})
		if tr.held != 0 || len(batch.Requests) != 1 {
			t.Errorf("got %d bytes held in the end and %d rows", tr.held, len(batch.Requests))
		}
	})
}

// FuzzHeaders reads datagrams of any bytes.
func FuzzHeaders(f *testing.F) {
	client, _ := newKeys(version1, id)
	f.Add(seal(version1, id, client, 0, crypto(0, []byte{1, 0, 0, 44})))
	f.Add([]byte("\xf0\x00\x00\x00\x01\x00\x00retry"))
	f.Add([]byte("\x40short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; ; {
			one, behind, ok := readLong(rest)
			if !ok {
				break
			}
			if len(one.packet)+len(behind) > len(rest) || one.number > len(rest) || len(behind) >= len(rest) {
				t.Fatalf("got a packet of %d bytes and %d behind it, of %d", len(one.packet), len(behind), len(rest))
			}
			rest = behind
		}
		p := first(client, 1000, 0, []byte{framePing, 0, 0, 0})
		q := *p
		q.Payload = b
		if _, tr := track(Config{}, []packet.Packet{*p, q, q}); tr.held != 0 {
			t.Errorf("got %d bytes held in the end", tr.held)
		}
	})
}
