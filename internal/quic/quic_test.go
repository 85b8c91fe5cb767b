package quic

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

const offer = "quic shop.example.com h3,hq-interop "

// quic-go's client and server in both versions, as they come to terms and as they
// do not.
func TestConnections(t *testing.T) {
	for _, version := range []quic.Version{quic.Version1, quic.Version2} {
		for name, c := range map[string]struct {
			edit func(*settings)
			want string
		}{
			"usual":       {func(*settings) {}, offer + "1.3"},
			"retry":       {func(s *settings) { s.retry = true }, offer + "1.3"},
			"hello again": {func(s *settings) { s.server.CurvePreferences = []tls.CurveID{tls.CurveP521} }, offer + "1.3"},
			"no name": {func(s *settings) {
				s.client.ServerName, s.client.InsecureSkipVerify = "10.0.0.2", true
			}, "quic  h3,hq-interop 1.3"},
			"no protocol": {func(s *settings) { s.server.NextProtos = []string{"spdy/1"} }, offer + " no_application_protocol by server"},
			// Once the server has answered, clients encrypt why they leave; some say it in the clear as well, before
			// the server hangs up on who says nothing more.
			"stranger": {
				func(s *settings) { s.client.RootCAs = x509.NewCertPool() },
				offer + "1.3 unfinished|" + offer + "1.3 bad_certificate by client|" + offer + "1.3 connection_refused by server",
			},
			"deaf": {func(s *settings) { s.deaf = true }, offer + " unanswered"},
		} {
			t.Run(fmt.Sprint(version, " ", name), func(t *testing.T) {
				s := usual(t, version)
				c.edit(&s)
				packets := speak(t, s)
				for _, early := range []bool{false, true} {
					b, tr := track(Config{Early: early}, packets)
					if got := told(b); !slices.Contains(strings.Split(c.want, "|"), strings.TrimSuffix(got, "\n")) {
						t.Errorf("early %v: got %swant %s", early, got, c.want)
					}
					if tr.held != 0 || tr.conns.Len() != 0 {
						t.Errorf("early %v: %d bytes and %d connections are held in the end", early, tr.held, tr.conns.Len())
					}
				}
			})
		}
	}
}

// beginning returns what the client says until it is answered, its hello, and all
// the rest.
func beginning(t *testing.T, packets []packet.Packet) (hello, rest []packet.Packet) {
	t.Helper()
	tr := New(Config{})
	for i, p := range packets {
		tr.Packet(&packets[i])
		if _, c, ok := tr.conns.GetOldest(); ok && !c.handshake.Answered && p.Src.Port() != 443 {
			hello = append(hello, p)
		} else {
			rest = append(rest, p)
		}
	}
	if len(hello) < 2 {
		t.Fatalf("got %d packets before an answer, want a hello in several", len(hello))
	}
	return hello, rest
}

// blind returns those of a client's packets that it sent before it knew how the
// server calls the connection, and the others.
func blind(packets []packet.Packet) (before, after []packet.Packet) {
	first, _, _ := readLong(packets[0].Payload)
	for _, p := range packets {
		if one, _, _ := readLong(p.Payload); bytes.Equal(one.dst, first.dst) {
			before = append(before, p)
		} else {
			after = append(after, p)
		}
	}
	return before, after
}

// A row has the ends, the times and the bytes of all datagrams; early, no bytes,
// as soon as the handshake is over, and nothing a second time.
func TestRecord(t *testing.T) {
	packets := speak(t, usual(t, quic.Version1))
	var sizes [2]uint64
	for _, p := range packets {
		side := 0
		if p.Src.Port() == 443 {
			side = 1
		}
		sizes[side] += uint64(len(p.Payload))
	}
	answered := answerOf(packets)
	for i := range packets {
		packets[i].Interface, packets[i].Space = "eth0", 7
	}
	b, _ := track(Config{}, packets)
	if len(b.Requests) != 1 {
		t.Fatalf("got %s", told(b))
	}
	r := b.Requests[0]
	want := record.Request{
		Protocol: record.QUIC, TLS: true, Start: start, HostName: "shop.example.com", ALPN: []string{"h3", "hq-interop"}, TLSVersion: "1.3",
		TLSCipher: r.TLSCipher, RequestBytes: sizes[0], ResponseBytes: sizes[1], LatencyMicros: uint64(answered.Sub(start).Microseconds()),
	}
	want.Time, want.Proto, want.IfName, want.NetNS = packets[len(packets)-1].Time, "udp", "eth0", 7
	want.SrcAddr, want.SrcPort = netip.MustParseAddr("10.0.0.1"), 40000
	want.DstAddr, want.DstPort = netip.MustParseAddr("10.0.0.2"), 443
	if got := fmt.Sprintf("%+v", r); got != fmt.Sprintf("%+v", want) || !strings.HasPrefix(r.TLSCipher, "TLS_") {
		t.Errorf("got  %s\nwant %+v", got, want)
	}

	tr := New(Config{Early: true})
	tellsAt := -1
	for i := range packets {
		tr.Packet(&packets[i])
		var b record.Batch
		if tr.Roll(packets[i].Time, false, &b); len(b.Requests) > 0 {
			if r := b.Requests[0]; tellsAt >= 0 || r.RequestBytes != 0 || r.ResponseBytes != 0 || r.Error != "" {
				t.Errorf("packet %d: got %+v, and one at packet %d", i, r, tellsAt)
			}
			tellsAt = i
		}
	}
	if tellsAt < 0 || tellsAt == len(packets)-1 {
		t.Errorf("got a row at packet %d of %d, want it before the end", tellsAt, len(packets))
	}
	for i := range packets { // as on a second interface
		tr.Packet(&packets[i])
	}
	var again record.Batch
	if tr.Roll(start.Add(time.Hour), true, &again); len(again.Requests) > 0 {
		t.Errorf("heard again: got %s", told(&again))
	}
}

// What the client says until it is answered may come in any order, and twice.
func TestAnyOrder(t *testing.T) {
	for _, version := range []quic.Version{quic.Version1, quic.Version2} {
		hello, rest := beginning(t, speak(t, usual(t, version)))
		first, then := blind(hello)
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, 0))
			mixed := slices.Concat(first, first)
			random.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			if b, _ := track(Config{}, slices.Concat(mixed, then, rest)); told(b) != offer+"1.3\n" {
				t.Errorf("%v, seed %d: got %s", version, seed, told(b))
			}
		}
	}
}

// answerOf returns when the first datagram came that a hello of the server's fits in.
func answerOf(packets []packet.Packet) time.Time {
	return packets[slices.IndexFunc(packets, func(p packet.Packet) bool { return p.Src.Port() == 443 && len(p.Payload) > 200 })].Time
}

// Pieces come in any order, twice, and over each other's ends.
func TestMessages(t *testing.T) {
	const text = "the quick brown fox jumps over the lazy dog"
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var from []int
		for at := range text {
			from = append(from, at, at)
		}
		random.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		var m messages
		got := ""
		for _, at := range from {
			end := min(at+1+random.IntN(3), len(text))
			if !m.add(uint64(at), []byte(text[at:end]), maxHeld, func(b []byte) { got += string(b) }) {
				t.Fatalf("seed %d: got no room for %d", seed, at)
			}
		}
		if got != text || m.held != 0 || len(m.waiting) != 0 {
			t.Errorf("seed %d: got %q, %d bytes of %d pieces held", seed, got, m.held, len(m.waiting))
		}
	}
}

// Ends that are used again have another connection, and one that went silent is
// told.
func TestUsedAgain(t *testing.T) {
	s := usual(t, quic.Version1)
	first := speak(t, s)
	s.client.ServerName = "other.example.com"
	s.client.InsecureSkipVerify = true
	second := speak(t, s)
	b, _ := track(Config{}, append(first, second...))
	if got, want := told(b), offer+"1.3\n"+strings.Replace(offer, "shop", "other", 1)+"1.3\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
	tr := New(Config{})
	for i := range first {
		tr.Packet(&first[i])
	}
	last := first[len(first)-1].Time
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{idle - 1, ""}, {idle, offer + "1.3\n"}, {2 * idle, ""}} {
		var b record.Batch
		tr.Roll(last.Add(c.after), false, &b)
		if got := told(&b); got != c.want {
			t.Errorf("silent for %v: got %q, want %q", c.after, got, c.want)
		}
	}
}

// What was missed, cut or damaged is told as far as it goes.
func TestMissing(t *testing.T) {
	hello, rest := beginning(t, speak(t, usual(t, quic.Version1)))
	rest = slices.DeleteFunc(rest, func(p packet.Packet) bool { // a hello that was sent again
		one, _, long := readLong(p.Payload)
		return p.Src.Port() != 443 && long && one.kind == kindInitial
	})
	cut := slices.Clone(hello)
	for i := 1; i < len(cut); i++ {
		cut[i].Missing, cut[i].Payload = len(cut[i].Payload)-100, cut[i].Payload[:100]
	}
	damaged := slices.Clone(hello)
	for i := range damaged {
		damaged[i].Payload = slices.Clone(damaged[i].Payload)
		damaged[i].Payload[len(damaged[i].Payload)/2] ^= 1
	}
	const missed = "lost %d quic: first packets of connections whose beginning was missed, or cut\n"
	for name, c := range map[string]struct {
		packets []packet.Packet
		want    string
	}{
		"the end":    {hello, offer + " unanswered\n"},
		"the second": {slices.Concat(hello[:1], rest), ""},
		"cut":        {slices.Concat(cut, rest), ""},
		"damaged":    {damaged, fmt.Sprintf(missed, len(damaged))},
	} {
		b, tr := track(Config{}, c.packets)
		got := told(b)
		if c.want == "" { // what there is of the name depends on where the hello was cut
			if len(b.Requests) != 1 || b.Requests[0].Error != record.CutOff {
				t.Errorf("%s: got %swant it to be cut", name, got)
			}
		} else if got != c.want {
			t.Errorf("%s: got %swant %s", name, got, c.want)
		}
		if tr.held != 0 {
			t.Errorf("%s: %d bytes are held in the end", name, tr.held)
		}
	}
}

// The keys of the RFCs' examples: RFC 9001, appendix A.1; RFC 9369, appendix A.1.
func TestKeys(t *testing.T) {
	id, err := hex.DecodeString("8394c8f03e515708")
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[uint32]string{version1: "fa044b2f42a3fd3b46fb255c 0ac1493ca1905853b0bba03e", version2: "91f73e2351d8fa91660e909f dd13c276499c0249d3310652"} {
		client, server := newKeys(version, id)
		if got := fmt.Sprintf("%x %x", client.iv, server.iv); got != want {
			t.Errorf("version %#x: got %s, want %s", version, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		next, end uint64
		size      int
		want      uint64
	}{
		{0, 0, 1, 0}, {0, 200, 1, 200}, {0xa82f30eb, 0x9b32, 2, 0xa82f9b32}, // the last one of RFC 9000, appendix A.3
		{255, 0, 1, 256}, {257, 255, 1, 255}, {1 << 20, 0xffff, 2, 1<<20 - 1},
	} {
		if got := whole(c.next, c.end, c.size); got != c.want {
			t.Errorf("%#x in %d bytes, where %#x is due: got %#x, want %#x", c.end, c.size, c.next, got, c.want)
		}
	}
}
