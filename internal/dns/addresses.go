package dns

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Addresses is what somebody was told of a name.
type Addresses struct {
	// Name is the one that was asked for, whatever aliases (CNAME) led on from it.
	Name   string
	Client netip.AddrPort
	TCP    bool
	// Addrs are good until the call returns.
	Addrs []netip.Addr
	// TTL is the smallest time to live among the answers, in seconds.
	TTL uint32
}

// maxAliases bounds how many names are followed from the one that was asked for:
// more than any resolver does.
const maxAliases = 16

// addresses returns those that the message gives the name, by way of its aliases:
// other records in it may be of anything.
func (m *Message) addresses(of string) (list []netip.Addr) {
	names := append(make([]string, 0, maxAliases), of)
	for more := true; more; {
		more = false
		for i := range m.Records {
			r := &m.Records[i]
			if r.Section == Answer && r.Type == dns.TypeCNAME && len(names) < maxAliases &&
				slices.Contains(names, r.Name) && !slices.Contains(names, r.Target) {
				names, more = append(names, r.Target), true
			}
		}
	}
	for i := range m.Records {
		if r := &m.Records[i]; r.Section == Answer && r.Addr.IsValid() && slices.Contains(names, r.Name) {
			list = append(list, r.Addr.Unmap())
		}
	}
	return list
}

// report says what the message tells of the addresses of a name, to whom asked
// for it: in mDNS and LLMNR everybody may answer, so those do not count.
func (t *Tracker) report(a arrival, fault string) {
	if t.told == nil || a.kind != unicast || fault != "" || len(t.message.Questions) == 0 {
		return
	}
	q := t.message.Questions[0]
	if q.Type != dns.TypeA && q.Type != dns.TypeAAAA {
		return
	}
	if list := t.message.addresses(q.Name); len(list) > 0 {
		_, ttl := t.message.answers()
		t.told(&Addresses{Name: q.Name, Client: a.dst, TCP: a.tcp, Addrs: list, TTL: ttl})
	}
}
