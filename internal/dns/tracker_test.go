package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

var begin = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

const (
	client  = "10.0.0.5:40000"
	server  = "10.0.0.53:53"
	group   = "224.0.0.251:5353"
	printer = "10.0.0.9:5353"
	laptop  = "10.0.0.5:5353"
)

// sent is a datagram.
func sent(ms int, src, dst string, b []byte) *packet.Packet {
	return &packet.Packet{
		Time: begin.Add(time.Duration(ms) * time.Millisecond), Proto: protoUDP,
		Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Payload: b,
	}
}

func numbered(id uint16, b []byte) []byte {
	binary.BigEndian.PutUint16(b, id)
	return b
}

// line says what a row tells.
func line(q *record.Query) string {
	s := fmt.Sprintf("%s %s:%d>%s:%d %s %s", q.Protocol, q.SrcAddr, q.SrcPort, q.DstAddr, q.DstPort, q.QName, q.QType)
	if q.Proto == "tcp" {
		s = "tcp " + s
	}
	add := func(name, value string) {
		if value != "" && value != "0" && value != "0s" && value != "false" {
			s += " " + name + value
		}
	}
	add("", q.RCode)
	add("", strings.Join(q.Answers, ","))
	add("ttl ", fmt.Sprint(q.TTL))
	add("after ", (time.Duration(q.LatencyMicros) * time.Microsecond).String())
	add("retries ", fmt.Sprint(q.Retries))
	add("truncated ", fmt.Sprint(q.Truncated))
	add("", q.Error)
	return s
}

// rows plays packets and rolls at the end of each second.
func rows(t testing.TB, list ...*packet.Packet) (lines []string, lost []record.Lost) {
	t.Helper()
	return played(t, New(Config{}), list...)
}

func played(t testing.TB, tr *Tracker, list ...*packet.Packet) (lines []string, lost []record.Lost) {
	t.Helper()
	var b record.Batch
	end := begin.Add(time.Second)
	for _, p := range list {
		for !p.Time.Before(end) {
			tr.Roll(end, false, &b)
			end = end.Add(time.Second)
		}
		tr.Packet(p)
	}
	tr.Roll(end, true, &b)
	for i := range b.Queries {
		lines = append(lines, line(&b.Queries[i]))
	}
	if tr.order.Len() != 0 || len(tr.questions) != 0 || len(tr.latest) != 0 || len(tr.mdns) != 0 || tr.held != 0 {
		t.Errorf("got %d, %d, %d and %d questions and %d bytes left behind", tr.order.Len(), len(tr.questions), len(tr.latest), len(tr.mdns), tr.held)
	}
	return lines, b.Lost
}

func TestTracker(t *testing.T) {
	ask := func(id uint16, question string) []byte { return numbered(id, packed(t, nil, question)) }
	say := func(id uint16, question string, answers ...string) []byte {
		return numbered(id, packed(t, func(m *dns.Msg) { m.Response = true }, question, answers...))
	}
	a := "web.example.com. 60 A 192.0.2.7"
	is := "dns 10.0.0.5:40000>10.0.0.53:53 web.example.com A"
	cutting := sent(10, server, client, say(1, "web.example.com A", a)[:40])
	cutting.Missing = 5
	refused := packed(t, func(m *dns.Msg) { m.Response, m.Rcode, m.Question = true, dns.RcodeFormatError, nil }, "x A")
	short := packed(t, func(m *dns.Msg) { m.Response, m.Truncated = true, true }, "web.example.com A")
	link, peer := "[fe80::1]:50000", "[fe80::2]:5355"
	for name, c := range map[string]struct {
		packets []*packet.Packet
		want    []string
	}{
		"answered": {[]*packet.Packet{sent(0, client, server, ask(1, "web.example.com A")), sent(10, server, client, say(1, "WEB.example.com A", a))},
			[]string{is + " NOERROR 192.0.2.7 ttl 60 after 10ms"}},
		"two at once, the second first": {[]*packet.Packet{
			sent(0, client, server, ask(1, "web.example.com A")), sent(1, client, server, ask(2, "web.example.com AAAA")),
			sent(3, server, client, say(2, "web.example.com AAAA")), sent(5, server, client, say(1, "web.example.com A", a))},
			[]string{"dns 10.0.0.5:40000>10.0.0.53:53 web.example.com AAAA NOERROR after 2ms", is + " NOERROR 192.0.2.7 ttl 60 after 5ms"}},
		"asked again, answered twice": {[]*packet.Packet{
			sent(0, client, server, ask(1, "web.example.com A")), sent(5001, client, server, ask(1, "web.example.com A")),
			sent(5010, server, client, say(1, "web.example.com A", a)), sent(5020, server, client, say(1, "web.example.com A", a))},
			[]string{is + " NOERROR 192.0.2.7 ttl 60 after 5.01s retries 1"}},
		"unanswered in time": {[]*packet.Packet{
			sent(0, client, server, ask(1, "web.example.com A")), sent(6000, server, client, say(1, "web.example.com A", a))},
			[]string{is + " unanswered", is + " NOERROR 192.0.2.7 ttl 60 unasked"}},
		"unanswered at the end": {[]*packet.Packet{sent(0, client, server, ask(1, "web.example.com A"))}, []string{is + " unanswered"}},
		"another number":        {[]*packet.Packet{sent(0, client, server, ask(1, "web.example.com A")), sent(1, server, client, say(2, "web.example.com A", a))}, []string{is + " NOERROR 192.0.2.7 ttl 60 unasked", is + " unanswered"}},
		"another name":          {[]*packet.Packet{sent(0, client, server, ask(1, "web.example.com A")), sent(1, server, client, say(1, "evil.example.com A"))}, []string{"dns 10.0.0.5:40000>10.0.0.53:53 evil.example.com A NOERROR unasked", is + " unanswered"}},
		"the number again": {[]*packet.Packet{
			sent(0, client, server, ask(1, "web.example.com A")), sent(1, server, client, say(1, "web.example.com A", a)),
			sent(100, client, server, ask(1, "web.example.com A")), sent(102, server, client, say(1, "web.example.com A", a))},
			[]string{is + " NOERROR 192.0.2.7 ttl 60 after 1ms", is + " NOERROR 192.0.2.7 ttl 60 after 2ms"}},
		"seen on two interfaces": {[]*packet.Packet{
			sent(0, client, server, ask(1, "web.example.com A")), sent(0, client, server, ask(1, "web.example.com A")),
			sent(2, server, client, say(1, "web.example.com A", a)), sent(2, server, client, say(1, "web.example.com A", a))},
			[]string{is + " NOERROR 192.0.2.7 ttl 60 after 2ms"}},
		"malformed, refused without a question": {[]*packet.Packet{
			sent(0, client, server, ask(7, "web.example.com A")[:20]), sent(3, server, client, refused)},
			[]string{"dns 10.0.0.5:40000>10.0.0.53:53   FORMERR after 3ms malformed"}},
		"malformed answer": {[]*packet.Packet{sent(0, client, server, ask(1, "web.example.com A")), sent(10, server, client, say(1, "web.example.com A", a)[:40])},
			[]string{is + " NOERROR after 10ms malformed"}},
		"no DNS":              {[]*packet.Packet{sent(0, client, server, []byte("hello"))}, []string{"dns 10.0.0.5:40000>10.0.0.53:53   malformed"}},
		"cut by who captured": {[]*packet.Packet{sent(0, client, server, ask(1, "web.example.com A")), cutting}, []string{is + " NOERROR after 10ms cut"}},
		"truncated":           {[]*packet.Packet{sent(0, client, server, ask(7, "web.example.com A")), sent(1, server, client, short)}, []string{is + " NOERROR after 1ms truncated true"}},
		"other ports":         {[]*packet.Packet{sent(0, client, "10.0.0.53:54", ask(1, "web.example.com A"))}, nil},
		"LLMNR": {[]*packet.Packet{sent(0, link, "[ff02::1:3]:5355", ask(1, "laptop A")), sent(4, peer, link, say(1, "laptop A", "laptop. 30 A 10.0.0.5"))},
			[]string{"llmnr fe80::1:50000>ff02::1:3:5355 laptop A NOERROR 10.0.0.5 ttl 30 after 4ms"}},
		"mDNS": {[]*packet.Packet{
			sent(0, laptop, group, ask(0, "_ipp._tcp.local PTR")), sent(1, "10.0.0.6:5353", group, ask(0, "_ipp._tcp.local PTR")),
			sent(2, laptop, group, ask(0, "nobody.local A")), sent(20, printer, group, say(0, "", "_ipp._tcp.local. 120 PTR p._ipp._tcp.local.")),
			sent(30, printer, group, say(0, "", "p.local. 120 A 10.0.0.9"))},
			[]string{"mdns 10.0.0.5:5353>224.0.0.251:5353 _ipp._tcp.local PTR NOERROR p._ipp._tcp.local ttl 120 after 20ms",
				"mdns 10.0.0.6:5353>224.0.0.251:5353 _ipp._tcp.local PTR NOERROR p._ipp._tcp.local ttl 120 after 19ms",
				"mdns 10.0.0.5:5353>224.0.0.251:5353 nobody.local A unanswered"}},
		"mDNS, answer to one of two": {[]*packet.Packet{
			sent(0, laptop, group, ask(0, "p.local ANY")), sent(1, "10.0.0.6:5353", group, ask(0, "p.local ANY")), sent(20, printer, laptop, say(0, "", "p.local. 120 A 10.0.0.9"))},
			[]string{"mdns 10.0.0.5:5353>224.0.0.251:5353 p.local ANY NOERROR 10.0.0.9 ttl 120 after 20ms", "mdns 10.0.0.6:5353>224.0.0.251:5353 p.local ANY unanswered"}},
	} {
		got, lost := rows(t, c.packets...)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if len(lost) > 0 {
			t.Errorf("%s: got %+v lost", name, lost)
		}
	}
}

// TestBounds asks more than is held, and more than fits between two batches.
func TestBounds(t *testing.T) {
	var list []*packet.Packet
	for i := range 110 {
		list = append(list, sent(2*i, client, server, numbered(uint16(i), packed(t, nil, "web.example.com A"))))
	}
	for place, set := range map[string]func(*Tracker){
		"dns_questions": func(tr *Tracker) { tr.most.questions = 100 },
		"dns_rows":      func(tr *Tracker) { tr.most.rows = 100 },
	} {
		tr := New(Config{})
		set(tr)
		got, lost := played(t, tr, list...)
		if len(got) != 100 || len(lost) != 1 || lost[0].Place != place || lost[0].Count != 10 {
			t.Errorf("%s: got %d rows and %+v lost, want 100, and 10", place, len(got), lost)
		}
	}

	list = nil
	for i := range maxAskers + 3 {
		p := sent(0, laptop, group, packed(t, nil, "p.local A"))
		p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 5353)
		list = append(list, p)
	}
	if got, lost := rows(t, list...); len(got) != maxAskers || len(lost) != 1 || lost[0].Count != 3 {
		t.Errorf("mDNS: got %d rows and %+v lost, want %d and 3 questions", len(got), lost, maxAskers)
	}
}

// FuzzTracker looks that nothing is left behind, whatever comes, and that who is told
// addresses is told of some.
func FuzzTracker(f *testing.F) {
	f.Add(packed(f, nil, "web.example.com A"), large(f), uint16(53), uint16(40000))
	f.Add(packed(f, nil, "p.local ANY"), packed(f, nil, "", "p.local. 120 A 10.0.0.9"), uint16(5353), uint16(5353))
	f.Fuzz(func(t *testing.T, one, two []byte, sport, dport uint16) {
		from, to := fmt.Sprintf("10.0.0.1:%d", sport), fmt.Sprintf("10.0.0.2:%d", dport)
		tr := New(Config{Told: func(a *Addresses) {
			if a.Name == "" || len(a.Addrs) == 0 || !a.Client.IsValid() {
				t.Errorf("got %+v, want a name, its addresses, and who asked", a)
			}
		}})
		played(t, tr, sent(0, from, to, one), sent(10, to, from, two), sent(20, from, group, one), sent(7000, from, to, two))
	})
}

// BenchmarkTracker is a question and its answer, with eight records.
func BenchmarkTracker(b *testing.B) {
	question := sent(0, client, server, packed(b, nil, "www.example.com A"))
	answer := sent(1, server, client, large(b))
	tr := New(Config{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := begin.Add(time.Duration(i) * 20 * time.Microsecond)
		question.Time, answer.Time = at, at.Add(time.Millisecond)
		binary.BigEndian.PutUint16(question.Payload, uint16(i))
		binary.BigEndian.PutUint16(answer.Payload, uint16(i))
		tr.Packet(question)
		tr.Packet(answer)
		if i%50_000 == 0 {
			tr.Roll(at, false, &record.Batch{})
		}
	}
	if tr.lost.rows > 0 {
		b.Errorf("got %d rows lost", tr.lost.rows)
	}
}

// TestSoonAgain: the same question soon again is the same packet, seen on another
// interface, unless it was answered meanwhile, or packets come once.
func TestSoonAgain(t *testing.T) {
	for _, c := range []struct {
		name     string
		once     bool
		answered bool
		rows     int
		retries  uint32
	}{
		{"another interface", false, false, 1, 0},
		{"asked again", true, false, 1, 1},
		{"answered, and asked by the same number", false, true, 2, 0},
	} {
		tracker := New(Config{Once: c.once})
		ask := func(at time.Time, response bool) {
			m := new(dns.Msg)
			m.SetQuestion("example.com.", dns.TypeA)
			m.Id, m.Response = 7, response
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			p := packet.Packet{
				Time: at, Proto: 17, Payload: b,
				Src: netip.MustParseAddrPort("10.0.0.5:4000"), Dst: netip.MustParseAddrPort("10.0.0.9:53"),
			}
			if response {
				p.Src, p.Dst = p.Dst, p.Src
			}
			tracker.Packet(&p)
		}
		start := time.Unix(1, 0)
		ask(start, false)
		if c.answered {
			ask(start.Add(time.Microsecond), true)
		}
		ask(start.Add(10*time.Microsecond), false)
		var b record.Batch
		tracker.Roll(start.Add(time.Minute), true, &b)
		var retries uint32
		for i := range b.Queries {
			retries += b.Queries[i].Retries
		}
		if len(b.Queries) != c.rows || retries != c.retries {
			t.Errorf("%s: got %d rows and %d retries, want %d and %d", c.name, len(b.Queries), retries, c.rows, c.retries)
		}
	}
}
