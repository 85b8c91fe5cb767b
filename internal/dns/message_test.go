package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// packed makes a message of lines of zone files: questions as "name type", the
// answers as they are, "; authority" and "; additional" before the others.
func packed(t testing.TB, change func(*dns.Msg), question string, records ...string) []byte {
	t.Helper()
	m := &dns.Msg{Compress: true}
	if n, qtype, ok := strings.Cut(question, " "); ok {
		m.SetQuestion(dns.Fqdn(n), dns.StringToType[qtype])
	}
	m.Id = 7
	section := &m.Answer
	for _, s := range records {
		switch s {
		case "; authority":
			section = &m.Ns
			continue
		case "; additional":
			section = &m.Extra
			continue
		}
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		*section = append(*section, rr)
	}
	m.Response = len(records) > 0
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// large is an answer with a record of each kind that is looked into.
func large(t testing.TB) []byte {
	return packed(t, func(m *dns.Msg) {
		m.Truncated = true
		m.SetEdns0(1232, false)
		m.Rcode = dns.RcodeBadCookie // of which Pack puts the higher bits into EDNS
	}, "WWW.Example.com A",
		"www.example.com. 300 CNAME web.example.com.", "web.example.com. 60 A 192.0.2.7", "web.example.com. 61 AAAA 2001:db8::7",
		"example.com. 70 MX 10 mail.example.com.", "_x._tcp.example.com. 70 SRV 1 2 80 srv.example.com.", `example.com. 70 TXT "v=spf1"`,
		`a\.b\ c.example.com. 70 PTR p.example.com.`, "example.com. 70 TYPE65280 \\# 2 0102",
		"; authority", "example.com. 80 NS .", "; additional", "ns.example.com. 90 A 192.0.2.53")
}

func TestDecode(t *testing.T) {
	var got Message
	if err := got.Decode(large(t)); err != nil {
		t.Fatal(err)
	}
	four, six := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	want := Message{
		ID: 7, Response: true, RCode: dns.RcodeBadCookie, Truncated: true, Counts: [4]uint16{1, 8, 1, 2},
		Questions: []Question{{"www.example.com", dns.TypeA, 1}},
		Records: []Record{
			{Answer, "www.example.com", dns.TypeCNAME, 1, 300, netip.Addr{}, "web.example.com"},
			{Answer, "web.example.com", dns.TypeA, 1, 60, four, ""},
			{Answer, "web.example.com", dns.TypeAAAA, 1, 61, six, ""},
			{Answer, "example.com", dns.TypeMX, 1, 70, netip.Addr{}, "mail.example.com"},
			{Answer, "_x._tcp.example.com", dns.TypeSRV, 1, 70, netip.Addr{}, "srv.example.com"},
			{Answer, "example.com", dns.TypeTXT, 1, 70, netip.Addr{}, ""},
			{Answer, `a\.b\ c.example.com`, dns.TypePTR, 1, 70, netip.Addr{}, "p.example.com"},
			{Answer, "example.com", 65280, 1, 70, netip.Addr{}, ""},
			{Authority, "example.com", dns.TypeNS, 1, 80, netip.Addr{}, "."},
			{Additional, "ns.example.com", dns.TypeA, 1, 90, netip.MustParseAddr("192.0.2.53"), ""},
			{Additional, ".", dns.TypeOPT, 1232, 1 << 24, netip.Addr{}, ""},
		},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	list, ttl := got.answers()
	if diff := cmp.Diff([]string{"web.example.com", "192.0.2.7", "2001:db8::7", "mail.example.com", "srv.example.com", "TXT", "p.example.com", "TYPE65280"}, list); diff != "" || ttl != 60 {
		t.Errorf("answers, TTL %d (-want +got):\n%s", ttl, diff)
	}
}

// TestDecodeCut cuts a message at every byte: what stands before is kept.
func TestDecodeCut(t *testing.T) {
	b := large(t)
	var m Message
	before := 0
	for n := range len(b) {
		if err := m.Decode(b[:n]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d of %d bytes: got %v, want ErrMalformed", n, len(b), err)
		}
		if len(m.Records) < before || len(m.Records) > before+1 {
			t.Errorf("%d of %d bytes: got %d records, and %d with a byte less", n, len(b), len(m.Records), before)
		}
		before = len(m.Records)
	}
	if before != 10 {
		t.Errorf("got %d records at last, want 10", before)
	}
}

func TestManyAnswers(t *testing.T) {
	var m Message
	for i := range maxAnswers + 5 {
		m.Records = append(m.Records, Record{Type: dns.TypeA, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), TTL: uint32(200 - i)})
	}
	list, ttl := m.answers()
	if len(list) != maxAnswers+1 || list[maxAnswers] != "5 more" || ttl != 96 {
		t.Errorf("got %d answers, the last %q, TTL %d", len(list), list[len(list)-1], ttl)
	}
}

func TestNames(t *testing.T) {
	for code, want := range map[uint16]string{0: "NOERROR", 3: "NXDOMAIN", 16: "BADVERS", 15: "RCODE15", 23: "BADCOOKIE"} {
		if got := rcodeName(code); got != want {
			t.Errorf("response code %d: got %s, want %s", code, got, want)
		}
	}
	for code, want := range map[uint16]string{1: "A", 65: "HTTPS", 255: "ANY", 65280: "TYPE65280"} {
		if got := typeName(code); got != want {
			t.Errorf("type %d: got %s, want %s", code, got, want)
		}
	}
}

// FuzzDecode compares with the library where both can read the message: it looks
// into the data of every record, but lets messages end too early.
func FuzzDecode(f *testing.F) {
	f.Add(large(f))
	f.Add(packed(f, nil, "example.com MX"))
	f.Add([]byte("\x00\x07\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01")) // a name that is its own end
	f.Fuzz(func(t *testing.T, b []byte) {
		var got Message
		var want dns.Msg
		if got.Decode(b) != nil || want.Unpack(b) != nil {
			return
		}
		records := len(want.Answer) + len(want.Ns) + len(want.Extra)
		if len(got.Questions) != len(want.Question) || len(got.Records) != records {
			t.Fatalf("got %d questions and %d records, want %d and %d", len(got.Questions), len(got.Records), len(want.Question), records)
		}
		if fmt.Sprint(got.ID, got.Response, got.Truncated, got.Opcode) != fmt.Sprint(want.Id, want.Response, want.Truncated, want.Opcode) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for i, q := range want.Question {
			if name := strings.ToLower(strings.TrimSuffix(q.Name, ".")); got.Questions[i].Name != name && q.Name != "." {
				t.Errorf("question %d: got %q, want %q", i, got.Questions[i].Name, name)
			}
		}
	})
}
