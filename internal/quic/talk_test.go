package quic

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/handshake"
)

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// The ends of a talk, as packets have them.
const (
	clientEnd = "10.0.0.1:40000"
	serverEnd = "10.0.0.2:443"
)

// settings are how two speak QUIC.
type settings struct {
	client, server *tls.Config
	version        quic.Version
	retry          bool // the server has the client prove its address
	deaf           bool // the server hears nothing
}

// relay passes datagrams on between a client and a server, and notes them.
type relay struct {
	mu     sync.Mutex
	noted  []packet.Packet
	client net.Addr
}

func (r *relay) note(side int, b []byte) {
	ends := [2]netip.AddrPort{netip.MustParseAddrPort(clientEnd), netip.MustParseAddrPort(serverEnd)}
	r.noted = append(r.noted, packet.Packet{
		Time: start.Add(time.Duration(len(r.noted)) * time.Millisecond), Proto: protoUDP, Src: ends[side], Dst: ends[1-side], Payload: bytes.Clone(b),
	})
}

// run passes on what comes at front and back, until both are closed.
func (r *relay) run(front, back net.PacketConn, server net.Addr, deaf bool) *sync.WaitGroup {
	var wait sync.WaitGroup
	pass := func(side int, from, to net.PacketConn) {
		for b := make([]byte, 2048); ; {
			n, addr, err := from.ReadFrom(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.note(side, b[:n])
			receiver := server
			if side == 0 {
				r.client = addr
			} else {
				receiver = r.client
			}
			r.mu.Unlock()
			if side == 0 && deaf {
				continue
			}
			_, _ = to.WriteTo(b[:n], receiver) // what is lost is sent again
		}
	}
	wait.Go(func() { pass(0, front, back) })
	wait.Go(func() { pass(1, back, front) })
	return &wait
}

// speak has quic-go's client and server speak, with an echoed word if they come
// to terms, and returns what was on the wire.
func speak(t testing.TB, s settings) []packet.Packet {
	t.Helper()
	socket := func() net.PacketConn {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	front, back, server := socket(), socket(), socket()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conf := &quic.Config{Versions: []quic.Version{s.version}, HandshakeIdleTimeout: 10 * time.Second}
	if s.deaf {
		conf.HandshakeIdleTimeout = 300 * time.Millisecond
	}
	transport := &quic.Transport{Conn: server, VerifySourceAddress: func(net.Addr) bool { return s.retry }}
	listener, err := transport.Listen(s.server, conf)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		c, err := listener.Accept(ctx)
		if err != nil {
			return
		}
		if stream, err := c.AcceptStream(ctx); err == nil {
			_, _ = io.Copy(stream, stream) // whatever goes wrong is what the test is about
			_ = stream.Close()
		}
		<-c.Context().Done()
	})
	r := &relay{}
	relaying := r.run(front, back, server.LocalAddr(), s.deaf)
	if c, err := quic.DialAddr(ctx, front.LocalAddr().String(), s.client, conf); err == nil {
		if stream, err := c.OpenStreamSync(ctx); err == nil {
			_, _ = stream.Write([]byte("hello"))
			_, _ = io.ReadFull(stream, make([]byte, 5))
		}
		_ = c.CloseWithError(0, "")
	}
	_ = listener.Close()
	serving.Wait()
	_ = transport.Close()
	for _, c := range []net.PacketConn{front, back, server} {
		_ = c.Close()
	}
	relaying.Wait()
	return r.noted
}

// usual are settings that work.
func usual(t testing.TB, version quic.Version) settings {
	t.Helper()
	identity, trust := handshake.Identity(t, "shop.example.com")
	return settings{
		client:  &tls.Config{RootCAs: trust, ServerName: "shop.example.com", NextProtos: []string{"h3", "hq-interop"}},
		server:  &tls.Config{Certificates: []tls.Certificate{identity}, NextProtos: []string{"hq-interop"}},
		version: version,
	}
}

// track reads packets to the end.
func track(cfg Config, packets []packet.Packet) (*record.Batch, *Tracker) {
	t := New(cfg)
	for i := range packets {
		t.Packet(&packets[i])
	}
	var b record.Batch
	t.Roll(start.Add(time.Hour), true, &b)
	return &b, t
}

// told is a batch in lines: name, protocols, version, error.
func told(b *record.Batch) string {
	var s strings.Builder
	for _, r := range b.Requests {
		fmt.Fprintln(&s, strings.TrimRight(fmt.Sprintf("%s %s %s %s %s", r.Protocol, r.HostName, strings.Join(r.ALPN, ","), r.TLSVersion, r.Error), " "))
	}
	for _, l := range b.Lost {
		fmt.Fprintf(&s, "lost %d %s: %s\n", l.Count, l.Place, l.Reason)
	}
	return s.String()
}

// seal makes a first packet of frames, which quic-go would never send.
func seal(version uint32, id []byte, k *keys, number uint32, frames []byte) []byte {
	first := byte(longHeader | fixedBit | 3) // a number of four bytes
	if version == version2 {
		first |= 1 << 4
	}
	b := binary.BigEndian.AppendUint32([]byte{first}, version)
	b = append(append(b, byte(len(id))), id...)
	b = append(b, 0, 0) // no id of its own, no token
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(frames)+k.payload.Overhead())|0x4000)
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, number)
	nonce := k.iv
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^uint64(number))
	b = append(b, k.payload.Seal(nil, nonce[:], frames, b)...)
	var mask [16]byte
	k.header.Encrypt(mask[:], b[at+4:][:16])
	b[0] ^= mask[0] & 0xf
	for i := range 4 {
		b[at+i] ^= mask[1+i]
	}
	return b
}
