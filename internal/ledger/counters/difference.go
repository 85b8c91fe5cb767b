package counters

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Difference returns what was counted from one sample to a later one. Neither
// is changed, and the result shares what did not change with the later one.
func Difference(a, b *Sample) *Delta {
	d := &Delta{From: a.Start, To: b.Start, Lost: slices.Concat(a.Lost, b.Lost)}
	later := b.Start.Sub(a.Start)
	d.Host = hostDifference(&a.Host, &b.Host, later)
	starts, ends := window{}, window{}
	starts.take(a.Host.Reads)
	ends.take(b.Host.Reads)

	before := make(map[Place]*Namespace, len(a.Namespaces))
	for i := range a.Namespaces {
		before[a.Namespaces[i].Identity()] = &a.Namespaces[i]
	}
	for i := range b.Namespaces {
		n := &b.Namespaces[i]
		old, ok := before[n.Identity()]
		if !ok {
			d.Came = append(d.Came, n.Place)
			continue
		}
		delete(before, n.Identity())
		starts.take(old.Reads)
		ends.take(n.Reads)
		d.Namespaces = append(d.Namespaces, namespaceDifference(old, n, later))
	}
	for i := range a.Namespaces { // in its order
		if _, gone := before[a.Namespaces[i].Identity()]; gone {
			d.Gone = append(d.Gone, a.Namespaces[i].Place)
		}
	}
	d.Skew = max(starts.length(), ends.length())
	return d
}

// Identity is what makes two samples' namespaces the same.
func (p Place) Identity() Place {
	if p.Inode != 0 {
		return Place{Inode: p.Inode}
	}
	return p
}

// window is the time from the first read's start to the last one's end.
type window struct {
	first, last time.Duration
	any         bool
}

func (w *window) take(reads []Read) {
	for _, r := range reads {
		if !w.any || r.Start < w.first {
			w.first = r.Start
		}
		w.last = max(w.last, r.End)
		w.any = true
	}
}

func (w *window) length() time.Duration { return w.last - w.first }

// spans pairs the reads of the parts that both samples have.
func spans(a, b []Read, later time.Duration) []Span {
	var list []Span
	for _, to := range b {
		for _, from := range a {
			if from.Part == to.Part {
				list = append(list, Span{
					Part: to.Part, Start: (from.Start + from.End) / 2, End: later + (to.Start+to.End)/2,
					StartRead: from.End - from.Start, EndRead: to.End - to.Start,
				})
				break
			}
		}
	}
	return list
}

// maxResets bounds the resets of a namespace: when a module is reloaded all its
// counters begin anew.
const maxResets = 1024

// differ subtracts counters of one part.
type differ struct {
	part   Part
	resets []Reset
}

// wrapped reports whether a counter of 32 bits more likely went round than
// began anew: from its last quarter to its first.
func wrapped(a, b uint64) bool {
	return a <= math.MaxUint32 && a >= 3<<30 && b < 1<<30
}

// wide subtracts counters of 64 bits, which in some drivers and older kernels
// are of 32.
func (d *differ) wide(subject, counter string, a, b uint64) uint64 {
	if b >= a {
		return b - a
	}
	w := wrapped(a, b)
	if len(d.resets) < maxResets {
		d.resets = append(d.resets, Reset{Part: d.part, Subject: subject, Counter: counter, Before: a, After: b, Wrapped: w})
	}
	if w {
		return b + 1<<32 - a
	}
	return b
}

// narrow subtracts counters of 32 bits.
func (d *differ) narrow(subject, counter string, a, b uint32) uint32 {
	return uint32(d.wide(subject, counter, uint64(a), uint64(b)))
}

// counters subtracts named counters. One that only the later sample has was
// zero before: the kernel tells types of ICMP messages only once it saw some.
func (d *differ) counters(subject string, a, b Counters) Counters {
	out := Counters{Names: b.Names, Values: make([]uint64, len(b.Values))}
	same := len(a.Names) == len(b.Names) && (len(a.Names) == 0 || &a.Names[0] == &b.Names[0])
	for i, name := range b.Names {
		var before uint64
		if same {
			before = a.Values[i]
		} else {
			before, _ = a.Get(name)
		}
		out.Values[i] = d.wide(subject, name, before, b.Values[i])
	}
	return out
}

func (d *differ) queue(subject string, a, b QueueStats) QueueStats {
	b.Packets = d.wide(subject, "packets", a.Packets, b.Packets)
	b.Bytes = d.wide(subject, "bytes", a.Bytes, b.Bytes)
	b.Drops = d.narrow(subject, "drops", a.Drops, b.Drops)
	b.Overlimits = d.narrow(subject, "overlimits", a.Overlimits, b.Overlimits)
	b.Requeues = d.narrow(subject, "requeues", a.Requeues, b.Requeues)
	return b
}

func hostDifference(a, b *Host, later time.Duration) HostDelta {
	h := HostDelta{Host: *b, Spans: spans(a.Reads, b.Reads, later)}
	d := differ{part: PartSoftnet}
	if len(a.Gaps) > 0 {
		h.Gaps = append(slices.Clone(b.Gaps), earlier(a.Gaps)...)
		h.Softnet = nil
		return h
	}
	before := index(a.Softnet, func(s *Softnet) uint32 { return s.CPU })
	h.Softnet = slices.Clone(b.Softnet)
	for i := range h.Softnet {
		s := &h.Softnet[i]
		old, ok := before[s.CPU]
		if !ok {
			continue
		}
		cpu := fmt.Sprintf("CPU %d", s.CPU)
		s.Processed = d.narrow(cpu, "processed", old.Processed, s.Processed)
		s.Dropped = d.narrow(cpu, "dropped", old.Dropped, s.Dropped)
		s.Squeezed = d.narrow(cpu, "squeezed", old.Squeezed, s.Squeezed)
		s.RPS = d.narrow(cpu, "rps", old.RPS, s.RPS)
		s.FlowLimit = d.narrow(cpu, "flow_limit", old.FlowLimit, s.FlowLimit)
	}
	h.Resets = d.resets
	return h
}

// earlier turns the gaps of the earlier sample into those of a difference.
func earlier(gaps []Gap) []Gap {
	var out []Gap
	for _, g := range gaps {
		g.Why = "in the earlier sample: " + g.Why
		out = append(out, g)
	}
	return out
}

// index finds elements of a list by a key.
func index[K comparable, T any](list []T, key func(*T) K) map[K]*T {
	m := make(map[K]*T, len(list))
	for i := range list {
		m[key(&list[i])] = &list[i]
	}
	return m
}

func namespaceDifference(a, b *Namespace, later time.Duration) NamespaceDelta {
	n := NamespaceDelta{Namespace: *b, Spans: spans(a.Reads, b.Reads, later)}
	n.Gaps = append(slices.Clone(b.Gaps), earlier(a.Gaps)...)
	starts, ends := window{}, window{}
	starts.take(a.Reads)
	ends.take(b.Reads)
	n.Skew = max(starts.length(), ends.length())

	// A part that either sample lacks as a whole has no difference.
	missing := map[Part]bool{}
	for _, g := range slices.Concat(a.Gaps, b.Gaps) {
		if g.Subject == "" {
			missing[g.Part] = true
		}
	}
	part := func(p Part, leaveOut func(), subtract func(d *differ)) {
		if missing[p] || missing[PartNamespace] {
			leaveOut()
			return
		}
		d := differ{part: p}
		subtract(&d)
		n.Resets = append(n.Resets, d.resets[:min(len(d.resets), max(maxResets-len(n.Resets), 0))]...)
	}
	names := ifnames(index(b.Interfaces, func(l *Interface) uint32 { return l.Index }))
	part(PartLinks, func() { n.Interfaces = nil }, func(d *differ) { linkDifference(d, a, b, &n) })
	part(PartQdiscs, func() { n.Qdiscs = nil }, func(d *differ) { qdiscDifference(d, a, b, &n, names) })
	part(PartClasses, func() { n.Classes = nil }, func(d *differ) { classDifference(d, a, b, &n, names) })
	part(PartFilters, func() { n.Filters = nil }, func(d *differ) { filterDifference(d, a, b, &n, names) })
	for _, c := range []struct {
		part     Part
		a, b, to *Counters
	}{
		{PartSNMP, &a.SNMP, &b.SNMP, &n.SNMP}, {PartSNMP6, &a.SNMP6, &b.SNMP6, &n.SNMP6},
		{PartNetstat, &a.Netstat, &b.Netstat, &n.Netstat}, {PartXfrm, &a.Xfrm, &b.Xfrm, &n.Xfrm},
	} {
		part(c.part, func() { *c.to = Counters{} }, func(d *differ) { *c.to = d.counters("", *c.a, *c.b) })
	}
	socketDifference(part, a, b, &n)
	part(PartListeners, func() { n.Listeners = nil }, func(d *differ) {
		before := index(a.Listeners, func(l *Listener) uint64 { return l.Cookie })
		n.Listeners = slices.Clone(b.Listeners)
		for i := range n.Listeners {
			if old, ok := before[n.Listeners[i].Cookie]; ok {
				n.Listeners[i].Drops = d.narrow(n.Listeners[i].Local.String(), "drops", old.Drops, n.Listeners[i].Drops)
			}
		}
	})
	part(PartConntrack, func() { n.Conntrack = nil }, func(d *differ) { n.Conntrack = conntrackDifference(d, a.Conntrack, b.Conntrack) })
	part(PartNFT, func() { n.NFT = NFT{} }, func(d *differ) { n.NFT = nftDifference(d, &a.NFT, &b.NFT) })
	return n
}

func linkDifference(d *differ, a, b *Namespace, n *NamespaceDelta) {
	before := index(a.Interfaces, func(l *Interface) uint32 { return l.Index })
	n.Interfaces = slices.Clone(b.Interfaces)
	for i := range n.Interfaces {
		link := &n.Interfaces[i]
		old, ok := before[link.Index]
		if !ok || old.Kind != link.Kind {
			n.Came = append(n.Came, b.Interfaces[i])
			continue
		}
		delete(before, link.Index)
		was := old.Stats.counters()
		for j, to := range link.Stats.counters() {
			*to = d.wide(link.Name, linkStatsNames[j], *was[j], *to)
		}
		if len(link.Driver.Names) > 0 && len(old.Driver.Names) == 0 {
			link.Driver = Counters{}
			n.Gaps = append(n.Gaps, Gap{Part: PartEthtool, Subject: link.Name, Why: "the earlier sample has none of its driver: it had no XDP program then, or they could not be read"})
			continue
		}
		drivers := differ{part: PartEthtool}
		link.Driver = drivers.counters(link.Name, old.Driver, link.Driver)
		d.resets = append(d.resets, drivers.resets...)
	}
	for i := range a.Interfaces {
		if _, gone := before[a.Interfaces[i].Index]; gone {
			n.Gone = append(n.Gone, a.Interfaces[i])
		}
	}
}

// tcKey is what makes a qdisc or class the same.
type tcKey struct {
	index, handle, parent uint32
	kind                  string
}

// ifnames finds the names of interfaces, for resets.
type ifnames map[uint32]*Interface

func (n ifnames) of(index uint32) string {
	if link := n[index]; link != nil {
		return link.Name
	}
	return fmt.Sprintf("interface %d", index)
}

// handle writes a number of tc as tc(8) does.
func handle(h uint32) string { return fmt.Sprintf("%x:%x", h>>16, h&0xffff) }

func qdiscDifference(d *differ, a, b *Namespace, n *NamespaceDelta, names ifnames) {
	before := index(a.Qdiscs, func(q *Qdisc) tcKey { return tcKey{q.Index, q.Handle, q.Parent, q.Kind} })
	n.Qdiscs = slices.Clone(b.Qdiscs)
	for i := range n.Qdiscs {
		q := &n.Qdiscs[i]
		if old, ok := before[tcKey{q.Index, q.Handle, q.Parent, q.Kind}]; ok {
			q.Stats = d.queue(names.of(q.Index)+" "+q.Kind+" "+handle(q.Handle), old.Stats, q.Stats)
		}
	}
}

func classDifference(d *differ, a, b *Namespace, n *NamespaceDelta, names ifnames) {
	before := index(a.Classes, func(c *Class) tcKey { return tcKey{c.Index, c.Handle, c.Parent, c.Kind} })
	n.Classes = slices.Clone(b.Classes)
	for i := range n.Classes {
		c := &n.Classes[i]
		if old, ok := before[tcKey{c.Index, c.Handle, c.Parent, c.Kind}]; ok {
			c.Stats = d.queue(names.of(c.Index)+" "+c.Kind+" "+handle(c.Handle), old.Stats, c.Stats)
		}
	}
}

func filterDifference(d *differ, a, b *Namespace, n *NamespaceDelta, names ifnames) {
	type filterKey struct {
		index, parent, handle uint32
		priority, protocol    uint16
		kind                  string
	}
	key := func(f *Filter) filterKey {
		return filterKey{f.Index, f.Parent, f.Handle, f.Priority, f.Protocol, f.Kind}
	}
	before := index(a.Filters, key)
	n.Filters = slices.Clone(b.Filters)
	for i := range n.Filters {
		f := &n.Filters[i]
		old, ok := before[key(f)]
		if !ok {
			continue
		}
		f.Actions = slices.Clone(f.Actions)
		for j := range f.Actions {
			act := &f.Actions[j]
			if j < len(old.Actions) && old.Actions[j].Kind == act.Kind && old.Actions[j].Index == act.Index {
				act.Stats = d.queue(fmt.Sprintf("%s %s %s", names.of(f.Index), f.Kind, act.Kind), old.Actions[j].Stats, act.Stats)
			}
		}
	}
}

// socketDifference subtracts the sockets' drops, a protocol at a time.
func socketDifference(part func(Part, func(), func(*differ)), a, b *Namespace, n *NamespaceDelta) {
	type socketKey struct {
		protocol string
		cookie   uint64
		inode    uint32 // of those without a cookie
	}
	key := func(s *Socket) socketKey {
		if s.Cookie != 0 {
			return socketKey{s.Protocol, s.Cookie, 0}
		}
		return socketKey{s.Protocol, 0, s.Inode}
	}
	before, after := index(a.Sockets, key), index(b.Sockets, key)
	sums := index(a.SocketSums, func(s *SocketSum) string { return s.Protocol })
	n.Sockets, n.SocketSums = nil, nil
	for _, sum := range b.SocketSums {
		old, ok := sums[sum.Protocol]
		if !ok {
			continue
		}
		of := map[string]Part{"raw": PartRaw, "packet": PartPacket, "netlink": PartNetlink}[sum.Protocol]
		if of == "" {
			of = PartUDP
		}
		part(of, func() {}, func(d *differ) {
			sum.RestDrops -= min(sum.RestDrops, old.RestDrops)
			sum.Drops = sum.RestDrops
			for i := range b.Sockets {
				s := b.Sockets[i]
				was, known := before[key(&s)]
				switch {
				case s.Protocol != sum.Protocol:
					continue
				case known:
					s.Drops = d.narrow(fmt.Sprintf("%s socket %d", s.Protocol, s.Inode), "drops", was.Drops, s.Drops)
				case old.RestSockets > 0:
					continue // it may have been among those without room, so what is new of it is unknown
				}
				sum.Drops += uint64(s.Drops)
				n.Sockets = append(n.Sockets, s)
			}
			for i := range a.Sockets {
				s := &a.Sockets[i]
				if _, still := after[key(s)]; !still && s.Protocol == sum.Protocol && sum.RestSockets == 0 {
					n.SocketsGone = append(n.SocketsGone, *s)
				}
			}
			n.SocketSums = append(n.SocketSums, sum)
		})
	}
}

func conntrackDifference(d *differ, a, b *Conntrack) *Conntrack {
	if a == nil || b == nil { // it began meanwhile, or is over
		return b
	}
	out := *b
	out.CPUs = slices.Clone(b.CPUs)
	before := index(a.CPUs, func(c *ConntrackCPU) uint32 { return c.CPU })
	for i := range out.CPUs {
		c := &out.CPUs[i]
		old, ok := before[c.CPU]
		if !ok {
			continue
		}
		cpu := fmt.Sprintf("CPU %d", c.CPU)
		for _, f := range []struct {
			name string
			was  uint32
			to   *uint32
		}{
			{"found", old.Found, &c.Found}, {"invalid", old.Invalid, &c.Invalid}, {"insert", old.Insert, &c.Insert},
			{"insert_failed", old.InsertFailed, &c.InsertFailed}, {"drop", old.Drop, &c.Drop}, {"early_drop", old.EarlyDrop, &c.EarlyDrop},
			{"error", old.Error, &c.Error}, {"search_restart", old.SearchRestart, &c.SearchRestart},
			{"clash_resolve", old.ClashResolve, &c.ClashResolve}, {"chaintoolong", old.ChainTooLong, &c.ChainTooLong},
		} {
			*f.to = d.narrow(cpu, f.name, f.was, *f.to)
		}
	}
	return &out
}

func nftDifference(d *differ, a, b *NFT) NFT {
	// A handle is used again once its table was made anew; then the rule is
	// another if its words are.
	type ruleKey struct {
		family, table, chain, text string
		handle                     uint64
	}
	key := func(r *NFTRule) ruleKey { return ruleKey{r.Family, r.Table, r.Chain, r.Text, r.Handle} }
	out := NFT{Policies: b.Policies, Rules: slices.Clone(b.Rules), Counters: slices.Clone(b.Counters)}
	rules := index(a.Rules, key)
	for i := range out.Rules {
		r := &out.Rules[i]
		if old, ok := rules[key(r)]; ok {
			subject := fmt.Sprintf("%s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle)
			r.Packets, r.Bytes = d.wide(subject, "packets", old.Packets, r.Packets), d.wide(subject, "bytes", old.Bytes, r.Bytes)
		}
	}
	type counterKey struct{ family, table, name string }
	counters := index(a.Counters, func(c *NFTCounter) counterKey { return counterKey{c.Family, c.Table, c.Name} })
	for i := range out.Counters {
		c := &out.Counters[i]
		if old, ok := counters[counterKey{c.Family, c.Table, c.Name}]; ok {
			subject := fmt.Sprintf("%s %s %s", c.Family, c.Table, c.Name)
			c.Packets, c.Bytes = d.wide(subject, "packets", old.Packets, c.Packets), d.wide(subject, "bytes", old.Bytes, c.Bytes)
		}
	}
	return out
}
