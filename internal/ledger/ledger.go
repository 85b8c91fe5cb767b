package ledger

import (
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

// Interval is what one interval brought. Nothing in it is changed.
type Interval struct {
	Host string
	// From and To are the samples at its ends.
	From, To *counters.Sample
	// Drops and Flows are what the sensors saw between them.
	Drops []record.Drop
	Flows []record.Flow
	// Watched says that the drop sensor was on, so that its silence means
	// something.
	Watched bool
	// Look reads live facts about a loss; nil reads none.
	Look func(Question) []evidence.Fact
	// Home is the namespace that commands run in unless they say another.
	Home uint32
	// Skew is how far apart the readings of sensors and counters were.
	Skew time.Duration
}

// Ledger balances intervals, one after the other. Build it with [New]; it is not
// safe for concurrent use.
type Ledger struct {
	causes  []cause
	regions []region
	book    *verdict.Book
	// beliefs are what was believed so far of lines that no counter has, by
	// namespace and line; those of namespaces that are gone are forgotten.
	beliefs map[counters.Place]map[string]*belief
}

// New returns a ledger that judges losses by the book.
func New(book *verdict.Book) *Ledger {
	return &Ledger{causes: causes(), regions: regions(), book: book}
}

// Balance returns the books of an interval: for each namespace those of its
// interfaces, its own, layer by layer, and their sum, and last those of the host.
func (l *Ledger) Balance(i *Interval) []record.Entry {
	d := counters.Difference(i.From, i.To)
	flows, drops := map[uint32][]*record.Flow{}, map[uint32][]*record.Drop{}
	for k := range i.Flows {
		flows[i.Flows[k].NetNS] = append(flows[i.Flows[k].NetNS], &i.Flows[k])
	}
	for k := range i.Drops {
		drops[i.Drops[k].NetNS] = append(drops[i.Drops[k].NetNS], &i.Drops[k])
	}
	var out []record.Entry
	known := map[uint32]bool{}
	beliefs := l.beliefs
	l.beliefs = map[counters.Place]map[string]*belief{}
	for k := range d.Namespaces {
		n := &d.Namespaces[k]
		kept := beliefs[n.Identity()]
		if kept == nil {
			kept = map[string]*belief{}
		}
		l.beliefs[n.Identity()] = kept
		known[n.Inode] = true
		b := l.newBook(i, n, before(i.From, n))
		b.skew, b.kept = d.Skew+i.Skew, kept
		b.flows(flows[n.Inode])
		b.drops(drops[n.Inode])
		out = append(out, b.balance()...)
	}
	out = append(out, l.host(i, d, out, lostNamespaces(i.Drops, known))...)
	for k := range out {
		e := &out[k]
		e.Time, e.Start, e.Host, e.SkewMicros = i.To.Start.UTC(), i.From.Start.UTC(), i.Host, uint64((d.Skew + i.Skew).Microseconds())
	}
	return out
}

// before finds a namespace in the earlier sample.
func before(s *counters.Sample, n *counters.NamespaceDelta) *counters.Namespace {
	for i := range s.Namespaces {
		if o := &s.Namespaces[i]; o.Inode == n.Inode && (n.Inode != 0 || o.Path == n.Path) {
			return o
		}
	}
	return nil
}

// lostNamespaces returns the drops of which no book knows the namespace, and
// that are packets.
func lostNamespaces(drops []record.Drop, known map[uint32]bool) []*record.Drop {
	var list []*record.Drop
	for i := range drops {
		if d := &drops[i]; !known[d.NetNS] && d.Proto != "" && d.Verdict != record.Benign {
			list = append(list, d)
		}
	}
	return list
}

// passage is what crossed an interface, as the flow sensor saw it.
type passage struct {
	inBuffers, inPackets   uint64
	outBuffers, outPackets uint64
	foreignIn, foreignOut  uint64 // buffers of protocols that are not IP
	groupIn, groupOut      uint64 // buffers to many hosts, or of such a protocol: a bridge copies them
	tcpOut, tcpOutPackets  uint64
}

// book is what is balanced of one namespace.
type book struct {
	*Ledger
	*counters.NamespaceDelta
	interval *Interval
	before   *counters.Namespace // nil if it is new
	skew     time.Duration
	links    map[string]*passage
	others   int64 // buffers received of IP protocols that nothing counts, less those forwarded
	losses   []*loss
	bare     []*record.Drop // of which no reason is known, until the counters tell
	// redirected are frames that XDP gave to devices, and that none of these is
	// known to have sent yet.
	redirected int64
	kept       map[string]*belief // of the namespace, from one interval to the next
}

func (l *Ledger) newBook(i *Interval, n *counters.NamespaceDelta, old *counters.Namespace) *book {
	b := &book{Ledger: l, NamespaceDelta: n, interval: i, before: old, links: map[string]*passage{}}
	for k := range n.Interfaces {
		b.links[n.Interfaces[k].Name] = &passage{}
	}
	return b
}

// isIP reports whether a record's protocol is one that IP carries.
func isIP(proto string) bool {
	switch proto {
	case "", "arp", "llc", "lldp", "mpls", "pppoe", "eapol", "lacp":
		return false
	}
	return !strings.HasPrefix(proto, "0x")
}

// counted reports whether the transport's counters know a protocol.
func counted(proto string) bool {
	switch proto {
	case "tcp", "udp", "udplite", "icmp", "icmpv6", "ipv4", "ipv6": // the last two are unknown ones of a full table
		return true
	}
	return false
}

func (b *book) flows(list []*record.Flow) {
	for _, f := range list {
		p := b.links[f.IfName]
		if p == nil {
			p = &passage{}
			b.links[f.IfName] = p
		}
		p.inBuffers += f.BuffersIn
		p.inPackets += f.PacketsIn
		p.outBuffers += f.BuffersOut
		p.outPackets += f.PacketsOut
		switch {
		case !isIP(f.Proto):
			p.foreignIn += f.BuffersIn
			p.foreignOut += f.BuffersOut
		case f.Proto == "tcp":
			p.tcpOut += f.BuffersOut
			p.tcpOutPackets += f.PacketsOut
		case !counted(f.Proto) && !b.isPort(f.IfName):
			b.others += int64(f.BuffersIn)
			if f.Direction == record.Forward { // it was received on another device, or on this one
				b.others -= int64(f.BuffersOut)
			}
		}
		if !isIP(f.Proto) || f.DstAddr.IsMulticast() || f.SrcAddr.IsMulticast() || limited(f) {
			p.groupIn += f.BuffersIn
			p.groupOut += f.BuffersOut
		}
	}
}

// limited reports whether a flow is of IPv4's limited broadcast.
func limited(f *record.Flow) bool {
	const all = "255.255.255.255"
	return f.DstAddr.Is4() && f.DstAddr.String() == all || f.SrcAddr.Is4() && f.SrcAddr.String() == all
}

// link finds an interface by its name.
func (b *book) link(name string) *counters.Interface {
	for i := range b.Interfaces {
		if b.Interfaces[i].Name == name {
			return &b.Interfaces[i]
		}
	}
	return nil
}

// isPort reports whether an interface is a bridge's.
func (b *book) isPort(name string) bool {
	l := b.link(name)
	if l == nil || l.Master == 0 {
		return false
	}
	m := b.Interface(l.Master)
	return m != nil && m.Kind == "bridge"
}

// sum adds counters up; one with a minus is taken off. False if none of them is
// there.
func (b *book) sum(names ...string) (n uint64, ok bool) {
	var plus, minus uint64
	for _, name := range names {
		if off, is := strings.CutPrefix(name, "-"); is {
			v, _ := b.Counter(off)
			minus += v
			continue
		}
		v, there := b.Counter(name)
		plus += v
		ok = ok || there
	}
	return plus - min(plus, minus), ok
}

// get is sum for those that are zero where they are missing.
func (b *book) get(names ...string) int64 {
	n, _ := b.sum(names...)
	return int64(n)
}

// balance makes all entries of the namespace.
func (b *book) balance() []record.Entry {
	b.count()
	for i := range b.Interfaces {
		b.redirected += int64(driver(&b.Interfaces[i], "xdp_redirect") + driver(&b.Interfaces[i], "xdp_tx"))
	}
	var out []record.Entry
	var ins, outs []*desk
	for i := range b.Interfaces {
		l := &b.Interfaces[i]
		in, sent := b.received(l), b.sent(l)
		for _, d := range []*desk{in, b.queued(l), sent} {
			if d != nil {
				out = append(out, b.named(d.lines, record.InterfaceScope, l.Name)...)
			}
		}
		if in != nil {
			ins = append(ins, in)
		}
		if sent != nil {
			outs = append(outs, sent)
		}
	}
	stack, rest := b.stack(), b.rest()
	across := b.bridged(stack)
	ins = append(ins, stack, b.network(), b.delivered())
	outs = append([]*desk{b.leaving(), b.queues()}, outs...)
	for _, d := range slices.Concat(ins[len(ins)-3:], []*desk{across}, outs[:2], rest) {
		if d != nil {
			out = append(out, b.named(d.lines, record.NetNSScope, "")...)
		}
	}
	out = append(out, b.named(sumUp(record.In, append(ins, across)), record.NetNSScope, "")...)
	return append(out, b.named(sumUp(record.Out, outs), record.NetNSScope, "")...)
}

// named puts a station's lines under the names of the book; none if nothing came
// and nothing went.
func (b *book) named(lines []record.Entry, scope record.Scope, ifname string) []record.Entry {
	if !slices.ContainsFunc(lines, func(e record.Entry) bool { return e.Packets != 0 }) {
		return nil
	}
	for i := range lines {
		lines[i].Scope, lines[i].NetNS, lines[i].NetNSName = scope, b.Inode, b.Name
		if ifname != "" {
			lines[i].IfName = ifname
		}
	}
	return lines
}
