package http

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/handshake"
)

// secured is what Go's own TLS says for shop.example.com, as edited.
func secured(t testing.TB, edit func(client, server *tls.Config)) []handshake.Said {
	t.Helper()
	good, trust := handshake.Identity(t, "shop.example.com")
	client := &tls.Config{RootCAs: trust, ServerName: "shop.example.com", NextProtos: []string{"h2", "http/1.1"}}
	server := &tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"http/1.1"}}
	if edit != nil {
		edit(client, server)
	}
	return handshake.Talk(t, client, server)
}

// hear has a talk go on with what was said.
func (k *talk) hear(said []handshake.Said) *talk {
	for _, s := range said {
		side := asks
		if s.Server {
			side = answers
		}
		k.say(side, string(s.Data))
	}
	return k
}

// amount is how many bytes each side said.
func amount(said []handshake.Said) (n [2]int) {
	for _, s := range said {
		if s.Server {
			n[answers] += len(s.Data)
		} else {
			n[asks] += len(s.Data)
		}
	}
	return n
}

// toldTLS is a batch in lines: between whom, name, protocols, version, error;
// the others as told has them.
func toldTLS(b *record.Batch) string {
	var s strings.Builder
	rest := *b
	rest.Requests = nil
	for _, r := range b.Requests {
		if r.Protocol != record.TLS {
			rest.Requests = append(rest.Requests, r)
			continue
		}
		words := fmt.Sprintf("tls :%d > :%d %s %s %s %s", r.SrcPort, r.DstPort, r.HostName, strings.Join(r.ALPN, ","), r.TLSVersion, r.Error)
		s.WriteString(strings.Join(strings.Fields(words), " ") + "\n")
	}
	return s.String() + told(&rest)
}

func checkTLS(t *testing.T, cfg Config, k *talk, want string) {
	t.Helper()
	if got := toldTLS(track(cfg, k.packets)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

const (
	ends     = "tls :40000 > :8080 "
	secured3 = ends + "shop.example.com h2,http/1.1 1.3\n"
	secured2 = ends + "shop.example.com http/1.1 1.2\n"
)

func only(version uint16) func(client, server *tls.Config) {
	return func(client, _ *tls.Config) { client.MaxVersion = version }
}

// A TLS connection is one row, however its bytes are cut.
func TestTLS(t *testing.T) {
	for _, c := range []struct {
		edit func(client, server *tls.Config)
		want string
	}{
		{nil, secured3},
		{only(tls.VersionTLS12), secured2},
		{
			func(client, server *tls.Config) { client.MaxVersion, server.NextProtos = tls.VersionTLS12, nil },
			ends + "shop.example.com 1.2\n",
		},
		{
			func(client, _ *tls.Config) { client.MaxVersion, client.RootCAs = tls.VersionTLS12, x509.NewCertPool() },
			ends + "shop.example.com http/1.1 1.2 bad_certificate by client\n",
		},
		{
			func(client, _ *tls.Config) { client.RootCAs = x509.NewCertPool() },
			ends + "shop.example.com h2,http/1.1 1.3 encrypted_alert by client\n",
		},
		{
			func(_, server *tls.Config) { server.NextProtos = []string{"spdy/1"} },
			ends + "shop.example.com h2,http/1.1 no_application_protocol by server\n",
		},
	} {
		said := secured(t, c.edit)
		for _, size := range []int{0, 1, 50} {
			checkTLS(t, Config{}, newTalk(size).hear(said).close(), c.want)
		}
	}
}

// Sizes are those of all that is said, latency is from hello to hello, however
// many the client has to say, or to the server's refusal.
func TestTLSNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		edit    func(client, server *tls.Config)
		latency uint64 // microseconds; each segment takes a millisecond
	}{
		"at once": {nil, 1_000},
		// The server asks for another hello and changes the cipher; so does the client, and says hello.
		"again":   {func(_, server *tls.Config) { server.CurvePreferences = []tls.CurveID{tls.CurveP521} }, 5_000},
		"refused": {func(_, server *tls.Config) { server.NextProtos = []string{"spdy/1"} }, 1_000},
	} {
		said := secured(t, c.edit)
		b := track(Config{}, newTalk(0).hear(said).close().packets)
		if len(b.Requests) != 1 {
			t.Fatalf("%s: got %d rows", name, len(b.Requests))
		}
		r, n := b.Requests[0], amount(said)
		if r.LatencyMicros != c.latency || r.RequestBytes != uint64(n[asks]) || r.ResponseBytes != uint64(n[answers]) {
			t.Errorf("%s: got %d us, %d and %d bytes, want %d, %d and %d", name, r.LatencyMicros, r.RequestBytes, r.ResponseBytes,
				c.latency, n[asks], n[answers])
		}
		if !r.Start.Equal(start.Add(2*time.Millisecond)) || !r.TLS || name == "at once" && r.TLSCipher != "TLS_AES_128_GCM_SHA256" {
			t.Errorf("%s: got start %v, tls %t, cipher %s", name, r.Start, r.TLS, r.TLSCipher)
		}
	}
}

// In small segments, too, latency is from first byte to first byte.
func TestTLSLatencyOfPieces(t *testing.T) {
	said := secured(t, nil)
	const size = 50
	want := uint64((len(said[0].Data)+size-1)/size) * 1_000
	b := track(Config{}, newTalk(size).hear(said).close().packets)
	if got := b.Requests[0].LatencyMicros; got != want {
		t.Errorf("got %d us, want %d", got, want)
	}
}

// The tunnel of a proxy tells both what it was asked for and what is inside,
// even if the client does not wait for it.
func TestTLSInTunnel(t *testing.T) {
	said := secured(t, nil)
	const ask, answer = "CONNECT shop.example.com:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 Go on\r\n\r\n"
	want := secured3 + "http/1.1 CONNECT shop.example.com:443 200 up 0 down 0\n"
	for _, size := range []int{0, 1, 3} {
		checkTLS(t, Config{}, newTalk(size).ask(ask).answer(answer).hear(said).close(), want)
		checkTLS(t, Config{}, newTalk(size).ask(ask).hear(said[:1]).answer(answer).hear(said[1:]).close(), want)
	}
	checkTLS(t, Config{}, newTalk(0).ask(ask).lose(answers, answer).hear(said).close(),
		secured3+"http/1.1 CONNECT shop.example.com:443 0 up 0 down 0 unanswered\nlost 22 tcp_streams: missing bytes\n")
	refused := "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
	checkTLS(t, Config{}, newTalk(0).ask(ask).hear(said[:1]).answer(refused).close(),
		ends+"shop.example.com h2,http/1.1 unanswered\nhttp/1.1 CONNECT shop.example.com:443 403 up 0 down 0\n")
	checkTLS(t, Config{}, newTalk(0).ask(ask).answer(answer).ask("EHLO a\r\n").answer("250\r\n").hear(said).close(), want)
}

// Other protocols have words of their own before TLS begins.
func TestTLSBehindWords(t *testing.T) {
	said := secured(t, only(tls.VersionTLS12))
	for _, k := range []*talk{
		newTalk(0).ask("\x00\x00\x00\x08\x04\xd2\x16\x2f").answer("S"),
		newTalk(0).answer("220 mail ESMTP\r\n").ask("EHLO a\r\n").answer("250-STARTTLS\r\n").ask("STARTTLS\r\n").answer("220 go\r\n"),
		newTalk(0).ask("\x05\x01\x00").answer("\x05\x00").ask("\x05\x01\x00\x03\x10shop.example.com\x01\xbb").answer("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"),
	} {
		checkTLS(t, Config{}, k.hear(said).close(), secured2)
	}
}

// From within a connection, whichever end was taken for the client.
func TestTLSMidway(t *testing.T) {
	said := secured(t, nil)
	checkTLS(t, Config{}, midwayTalk().hear(said).close(), secured3)
	k := midwayTalk().hear(said).close()
	for i := range k.packets {
		for _, a := range []*netip.AddrPort{&k.packets[i].Src, &k.packets[i].Dst} {
			*a = netip.AddrPortFrom(a.Addr(), map[uint16]uint16{40000: 443, 8080: 50000}[a.Port()])
		}
	}
	checkTLS(t, Config{}, k, "tls :443 > :50000 shop.example.com h2,http/1.1 1.3\n")
	checkTLS(t, Config{}, midwayTalk().hear(said[1:]).close(), ends+"1.3 unasked\n")
	checkTLS(t, Config{}, midwayTalk().hear(said[len(said)-2:]).close(), "lost 1 http: TLS connections joined midway\n")
}

// How handshakes end before their end.
func TestTLSUnfinished(t *testing.T) {
	said := secured(t, nil)
	hello := func() *talk { return newTalk(0).hear(said[:1]) }
	const name = ends + "shop.example.com h2,http/1.1 "
	checkTLS(t, Config{}, hello(), name+"unanswered\n")
	checkTLS(t, Config{}, hello().close(), name+"unanswered\n")
	checkTLS(t, Config{}, hello().abort(), name+"reset\n")
	checkTLS(t, Config{}, hello().answer("HTTP/1.1 400 Bad Request\r\n\r\n").close(), name+"not_tls by server\n")
	checkTLS(t, Config{}, newTalk(0).hear(said[:2]).close(), name+"1.3 unfinished\n")
	checkTLS(t, Config{}, newTalk(0).hear(said[:2]), name+"1.3 cut\n")
	checkTLS(t, Config{}, newTalk(0).hear(said[:2]).ask("\x15\x03\x03\x00\x02\x01\x00").abort(), name+"1.3 close_notify by client\n")
	b := track(Config{}, newTalk(0).hear(said).abort().packets)
	if got := toldTLS(b); got != secured3 {
		t.Errorf("a reset behind the handshake: got %s", got)
	}
}

// What the capture has not: hellos tell what is there.
func TestTLSWithGaps(t *testing.T) {
	said := secured(t, nil)
	hello, rest := string(said[0].Data), said[1:]
	for n, want := range map[int]string{
		9: "1.3 cut", strings.Index(hello, "shop.example.com") + 16: "shop.example.com 1.3", len(hello) - 1: "shop.example.com h2,http/1.1 1.3",
	} {
		checkTLS(t, Config{}, newTalk(0).ask(hello[:n]).lose(asks, hello[n:]).hear(rest).close(),
			fmt.Sprintf("%s%s\nlost %d tcp_streams: missing bytes\n", ends, want, len(hello)-n))
	}
}

// Early rows come when the handshake is over, and once.
func TestTLSEarly(t *testing.T) {
	said := secured(t, nil)
	tr := New(Config{Early: true})
	k := newTalk(0).hear(said)
	var rows []int
	for i := range k.packets {
		tr.Packet(&k.packets[i])
		var b record.Batch
		tr.Roll(start, false, &b)
		for _, r := range b.Requests {
			if rows = append(rows, i); r.HostName != "shop.example.com" || r.Error != "" || r.RequestBytes+r.ResponseBytes != 0 {
				t.Errorf("got %+v", r)
			}
		}
	}
	var b record.Batch
	tr.Roll(start, true, &b)
	if len(rows) != 1 || rows[0] >= len(k.packets)-1 || len(b.Requests) != 0 || tr.pending != 0 || tr.held != 0 {
		t.Errorf("got rows behind packets %v of %d and %d in the end; %d wait, %d bytes are held", rows, len(k.packets), len(b.Requests), tr.pending, tr.held)
	}
}

// A hello that does not end is given up at its bound, and so are all that do not
// fit together.
func TestTLSBounds(t *testing.T) {
	const piece = 1 << 13
	long := "\x16\x03\x01\x40\x00\x01\x00\xff\x00" + strings.Repeat("x", 2*piece-9)
	packets := newTalk(piece).ask(long).packets
	tr := New(Config{})
	for _, part := range [][]packet.Packet{packets[:3], packets[3:]} { // the first pieces of all fit
		for i := range maxHeld/piece - 10 {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 40000)
			for _, p := range part {
				if p.Src.Port() == 8080 {
					p.Dst = from
				} else {
					p.Src = from
				}
				tr.Packet(&p)
			}
		}
	}
	if tr.held > maxHeld || tr.lost[noRoom] == 0 {
		t.Errorf("got %d bytes held, %d given up, want at most %d and some", tr.held, tr.lost[noRoom], maxHeld)
	}
	tr.Roll(start, true, &record.Batch{})
	if tr.held != 0 || tr.pending != 0 {
		t.Errorf("%d bytes are held and %d wait in the end", tr.held, tr.pending)
	}
	var many []string
	for range 20 {
		many = append(many, "p")
	}
	said := secured(t, func(client, _ *tls.Config) { client.NextProtos = append(many, "http/1.1") })
	checkTLS(t, Config{}, newTalk(0).hear(said).close(), ends+"shop.example.com "+strings.Repeat("p,", 15)+"p 1.3\n"+
		"lost 1 http: TLS hellos with a name over 255 bytes or over 16 protocols\n")
}

// HTTP that looks a little like it stays HTTP, and noise stays noise.
func TestNotTLS(t *testing.T) {
	checkTLS(t, Config{}, newTalk(1).ask("\x16\x03\x01\x00\x00\x01\x00GET / HTTP/1.1\r\n\r\n").close(), "")
	hello := string(secured(t, nil)[0].Data)
	checkTLS(t, Config{}, newTalk(0).ask("POST / HTTP/1.1\r\nContent-Length: "+fmt.Sprint(len(hello))+"\r\n\r\n").ask(hello).
		answer("HTTP/1.1 204 No\r\n\r\n").close(), fmt.Sprintf("http/1.1 POST / 204 up %d down 0\n", len(hello)))
}
