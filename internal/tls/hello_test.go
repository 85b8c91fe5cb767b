package tls_test

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/tls"
	"github.com/netfate/netfate/test/handshake"
)

// player is a connection that says one thing and takes anything.
type player struct {
	net.Conn
	said    *bytes.Reader
	written bytes.Buffer
}

func (p *player) Read(b []byte) (int, error)       { return p.said.Read(b) }
func (p *player) Write(b []byte) (int, error)      { return p.written.Write(b) }
func (p *player) Close() error                     { return nil }
func (p *player) SetDeadline(time.Time) error      { return nil }
func (p *player) SetWriteDeadline(time.Time) error { return nil }

// helloOf returns what a client of Go's begins with.
func helloOf(t testing.TB, c *stdtls.Config) []byte {
	t.Helper()
	c.InsecureSkipVerify = true
	p := &player{said: bytes.NewReader(nil)}
	if err := stdtls.Client(p, c).HandshakeContext(context.Background()); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end of what is said", err)
	}
	return p.written.Bytes()
}

// goReads returns what Go's own server reads in a hello, nil if it refuses it.
func goReads(hello []byte) *stdtls.ClientHelloInfo {
	var got *stdtls.ClientHelloInfo
	enough := errors.New("that is all")
	_ = stdtls.Server(&player{said: bytes.NewReader(hello)}, &stdtls.Config{
		GetConfigForClient: func(i *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
			got = i
			return nil, enough
		},
	}).HandshakeContext(context.Background())
	return got
}

// likeGo compares with what Go reads.
func likeGo(t *testing.T, hello []byte, h *tls.Handshake) {
	t.Helper()
	want := goReads(hello)
	if want == nil {
		return
	}
	if !h.Asked || h.Error.Why != "" || h.Client.ServerName != want.ServerName && !h.Client.Cut {
		t.Errorf("got %q, asked %t, %s; Go reads %q", h.Client.ServerName, h.Asked, h.Error, want.ServerName)
	}
	protocols := slices.DeleteFunc(slices.Clone(want.SupportedProtos), func(p string) bool {
		return len(p) == 2 && p[0] == p[1] && p[0]&0xf == 0xa // GREASE
	})
	if !h.Client.Cut && !slices.Equal(h.Client.ALPN, protocols) {
		t.Errorf("got %q, Go reads %q", h.Client.ALPN, protocols)
	}
}

// The hellos of Go's client in many dresses are read as Go's server reads them.
func TestClientHelloLikeGo(t *testing.T) {
	for _, c := range []*stdtls.Config{
		{}, {ServerName: "a.example"}, {ServerName: "203.0.113.9"}, {ServerName: strings.Repeat("a.", 120) + "example"},
		{ServerName: "a.example", NextProtos: []string{"h2"}}, {NextProtos: []string{"\x0a\x0a", "http/1.1", "\xff, odd"}},
		{ServerName: "a.example", MaxVersion: stdtls.VersionTLS12}, {MinVersion: stdtls.VersionTLS10, MaxVersion: stdtls.VersionTLS10},
		{ServerName: "a.example", CurvePreferences: []stdtls.CurveID{stdtls.X25519MLKEM768}},
	} {
		hello := helloOf(t, c)
		h := &tls.Handshake{}
		h.Data(tls.Client, hello)
		if goReads(hello) == nil {
			t.Fatalf("Go refuses its own hello for %q", c.ServerName)
		}
		likeGo(t, hello, h)
	}
}

// TestBounds holds that what a hello can make us keep is bounded, and that it is said.
func TestBounds(t *testing.T) {
	many := make([]string, 300)
	for i := range many {
		many[i] = "p"
	}
	h := &tls.Handshake{}
	h.Data(tls.Client, helloOf(t, &stdtls.Config{NextProtos: many}))
	if len(h.Client.ALPN) != 16 || !h.Client.Cut {
		t.Errorf("got %d protocols, cut %t, want 16 and true", len(h.Client.ALPN), h.Client.Cut)
	}
	h = &tls.Handshake{}
	h.Data(tls.Client, helloOf(t, &stdtls.Config{ServerName: strings.Repeat("long.", 60) + "example"}))
	if len(h.Client.ServerName) != 255 || !h.Client.Cut {
		t.Errorf("got %d bytes of a name, cut %t, want 255 and true", len(h.Client.ServerName), h.Client.Cut)
	}
}

// FuzzClientHello reads anything as one hello in one record: whatever Go's own
// server takes we read in the same way.
func FuzzClientHello(f *testing.F) {
	for _, c := range []*stdtls.Config{{}, {ServerName: "a.example", NextProtos: []string{"h2", "http/1.1"}}, {MaxVersion: stdtls.VersionTLS12}} {
		f.Add(helloOf(f, c)[5:])
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > 16<<10 {
			return
		}
		record := append([]byte{22, 3, 1, byte(len(message) >> 8), byte(len(message))}, message...)
		h := &tls.Handshake{}
		h.Data(tls.Client, record)
		if len(h.Client.ServerName) > 255 || len(h.Client.ALPN) > 16 {
			t.Fatalf("%d bytes of a name, %d protocols", len(h.Client.ServerName), len(h.Client.ALPN))
		}
		likeGo(t, record, h)
	})
}

// FuzzHandshake reads anything of both sides, and the same whichever way it is
// cut.
func FuzzHandshake(f *testing.F) {
	good, trust := handshake.Identity(f, "a.example")
	for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
		var sides [2][]byte
		for _, s := range handshake.Talk(f, &stdtls.Config{RootCAs: trust, ServerName: "a.example", MaxVersion: version},
			&stdtls.Config{Certificates: []stdtls.Certificate{good}}) {
			sides[from(s)] = append(sides[from(s)], s.Data...)
		}
		f.Add(sides[0], sides[1])
	}
	f.Fuzz(func(t *testing.T, client, server []byte) {
		all := []handshake.Said{{Data: client}, {Server: true, Data: server}}
		whole := read(all, 0)
		for _, size := range []int{1, 7} {
			if diff := cmp.Diff(told(whole), told(read(all, size))); diff != "" {
				t.Fatalf("in pieces of %d (-whole +cut):\n%s", size, diff)
			}
		}
		holes := &tls.Handshake{}
		for i, b := range slices.Concat(client, server) {
			if from := tls.Side(i & 1); b%5 == 0 {
				holes.Gap(from, int(b)%3)
			} else {
				holes.Data(from, client[min(i, len(client)):min(i+int(b), len(client))])
			}
		}
		if whole.Held() > len(client)+len(server) || whole.Done() && whole.Held() > 0 {
			t.Fatalf("%d bytes are held", whole.Held())
		}
	})
}
