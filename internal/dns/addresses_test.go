package dns

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/netfate/netfate/internal/packet"
)

func TestAddresses(t *testing.T) {
	ask := func(id uint16, question string) []byte { return numbered(id, packed(t, nil, question)) }
	say := func(id uint16, question string, answers ...string) []byte {
		return numbered(id, packed(t, func(m *dns.Msg) { m.Response = true }, question, answers...))
	}
	const a, local = "web.example.com. 60 A 192.0.2.7", "127.0.0.11:53"
	talk := func(question string, answers ...string) []*packet.Packet {
		return []*packet.Packet{sent(0, client, server, ask(1, question)), sent(1, server, client, say(1, question, answers...))}
	}
	for name, c := range map[string]struct {
		packets []*packet.Packet
		want    []string
	}{
		"address":       {talk("Web.Example.com A", a), []string{"web.example.com 10.0.0.5:40000 udp [192.0.2.7] 60"}},
		"IPv6":          {talk("web.example.com AAAA", "web.example.com. 5 AAAA 2001:db8::7"), []string{"web.example.com 10.0.0.5:40000 udp [2001:db8::7] 5"}},
		"several":       {talk("web.example.com A", a, "web.example.com. 30 A 192.0.2.8"), []string{"web.example.com 10.0.0.5:40000 udp [192.0.2.7 192.0.2.8] 30"}},
		"none":          {talk("web.example.com A"), nil},
		"other type":    {talk("web.example.com MX", "web.example.com. 60 MX 1 mail.example.com.", "web.example.com. 60 A 192.0.2.7"), nil},
		"another's":     {talk("web.example.com A", "bank.example. 60 A 192.0.2.66"), nil},
		"aliases":       {talk("www.example.com A", "www.example.com. 9 CNAME cdn.example.net.", "cdn.example.net. 60 CNAME web.example.com.", a), []string{"www.example.com 10.0.0.5:40000 udp [192.0.2.7] 9"}},
		"aliases after": {talk("www.example.com A", a, "cdn.example.net. 60 CNAME web.example.com.", "www.example.com. 60 CNAME cdn.example.net."), []string{"www.example.com 10.0.0.5:40000 udp [192.0.2.7] 60"}},
		"aliases round": {talk("www.example.com A", "www.example.com. 9 CNAME b.example.", "b.example. 9 CNAME www.example.com."), nil},
		"asked once, answered twice": {append(talk("web.example.com A", a), sent(2, server, client, say(1, "web.example.com A", "web.example.com. 60 A 192.0.2.66"))),
			[]string{"web.example.com 10.0.0.5:40000 udp [192.0.2.7] 60"}},
		"unasked":              {[]*packet.Packet{sent(0, server, client, say(1, "web.example.com A", a))}, nil},
		"unasked, from within": {[]*packet.Packet{sent(0, local, "127.0.0.1:40000", say(1, "web.example.com A", a))}, []string{"web.example.com 127.0.0.1:40000 udp [192.0.2.7] 60"}},
		"mDNS":                 {[]*packet.Packet{sent(0, laptop, group, ask(0, "web.local A")), sent(1, printer, group, say(0, "web.local A", "web.local. 60 A 192.0.2.7"))}, nil},
	} {
		var got []string
		tr := New(Config{Told: func(a *Addresses) {
			proto := "udp"
			if a.TCP {
				proto = "tcp"
			}
			got = append(got, fmt.Sprint(a.Name, " ", a.Client, " ", proto, " ", a.Addrs, " ", a.TTL))
		}})
		played(t, tr, c.packets...)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
