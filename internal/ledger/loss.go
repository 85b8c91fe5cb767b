package ledger

import (
	"cmp"
	"slices"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

// loss is a kind of loss with its numbers. Seen is in buffers, seenPackets in
// packets of the wire.
type loss struct {
	cause
	ifname            string
	seen, seenPackets uint64
	counted           *uint64
	most              *record.Drop   // the row that lost most
	rows              []*record.Drop // at most maxRows
	benign            bool           // all that was seen is
}

// number is how many packets were lost: what is counted, since that is read
// together with what it is compared with, else what was seen.
func (l *loss) number() uint64 {
	switch {
	case l.counted == nil:
		return l.seen
	case l.partial:
		return max(*l.counted, l.seen)
	}
	return *l.counted
}

// add takes in buffers that a row of the sensor counted, all of them or a part.
func (l *loss) add(d *record.Drop, buffers uint64) {
	l.benign = d.Verdict == record.Benign && (l.seen == 0 || l.benign)
	l.seen += buffers
	if buffers == d.Buffers {
		l.seenPackets += d.Packets
	} else {
		l.seenPackets += uint64(float64(d.Packets) * float64(buffers) / float64(d.Buffers))
	}
	if l.most == nil || d.Buffers > l.most.Buffers {
		l.most = d
	}
	if len(l.rows) < maxRows {
		l.rows = append(l.rows, d)
	}
}

// drops takes in what the sensor saw. What has no reason waits for the counters.
func (b *book) drops(list []*record.Drop) {
	for _, d := range list {
		switch {
		case d.Proto == "": // no packet: of a Unix or netlink socket
		case reasonOf(d) == "":
			b.bare = append(b.bare, d)
		default:
			b.drop(d, d.Buffers, b.classify(d))
		}
	}
}

func (b *book) drop(d *record.Drop, buffers uint64, c cause) {
	if at := b.link(d.IfName); c.station == device && (at == nil || stacked(at)) {
		c.station, c.perLink = elsewhere, false // of an interface that is gone, or not balanced
	}
	// Behind the transport's counters, what is freed benignly has been
	// delivered before: duplicates, what closed sockets held.
	if d.Verdict == record.Benign && len(c.counters) == 0 && (c.station == transport || c.station == elsewhere) {
		return
	}
	b.loss(c, d.IfName).add(d, buffers)
}

// share finds out what the drops without a reason are, which before 5.17 are all:
// what a counter counts that is freed at their place is of it, as far as it goes.
func (b *book) share() {
	for _, d := range b.bare {
		usual, rest := b.classify(d), d.Buffers
		var last *loss
		for _, l := range b.counters(d, &usual) {
			n := min(rest, *l.counted-min(*l.counted, l.seen))
			if n > 0 {
				l.add(d, n)
				rest -= n
			}
			last = l
		}
		switch {
		case rest == 0:
		case last != nil && rest <= b.meanwhile(d.Buffers): // counted, in the interval before or behind this one
			last.add(d, rest)
		default:
			b.drop(d, rest, b.otherwise(d, usual))
		}
	}
	b.bare = nil
}

// counters returns the losses that counters tell, of which a drop without a
// reason may be.
func (b *book) counters(d *record.Drop, usual *cause) (list []*loss) {
	place := placeOf(d)
	for i := range b.causes {
		c := &b.causes[i]
		full := c.what == "FULL_RING" && usual.station == device && usual.direction == record.Out
		if !hasPrefix(place, c.bare...) && !full || c.direction == record.Out && d.Direction == record.In {
			continue
		}
		for _, l := range b.losses {
			if l.station == c.station && l.direction == c.direction && l.what == c.what && l.counted != nil && *l.counted > 0 && (!c.perLink || l.ifname == d.IfName) {
				list = append(list, l)
			}
		}
	}
	return list
}

// otherwise returns what a drop is that neither a reason nor a counter tells.
func (b *book) otherwise(d *record.Drop, usual cause) cause {
	for i := range b.causes {
		if c := &b.causes[i]; hasPrefix(placeOf(d), c.otherwise...) && d.Reason == "" {
			return *c
		}
	}
	return usual
}

// meanwhile is how many of so many may have passed while sensors and counters
// were read.
func (b *book) meanwhile(n uint64) uint64 {
	length := b.interval.To.Start.Sub(b.interval.From.Start)
	if length <= 0 {
		return 0
	}
	return uint64(float64(n) * min(b.skew.Seconds()/length.Seconds(), 1))
}

// loss finds or makes the line of a cause.
func (b *book) loss(c cause, ifname string) *loss {
	if !c.perLink {
		ifname = ""
	}
	for _, l := range b.losses {
		if l.station == c.station && l.direction == c.direction && l.what == c.what && l.layer == c.layer && l.ifname == ifname &&
			(slices.Equal(l.counters, c.counters) || c.perLink && len(c.counters) == 0) {
			return l
		}
	}
	l := &loss{cause: c, ifname: ifname}
	b.losses = append(b.losses, l)
	return l
}

// count puts the counters to the losses, those that nobody saw included.
func (b *book) count() {
	for _, c := range b.causes {
		if n, ok := b.sum(c.counters...); ok {
			b.tell(b.loss(c, ""), c.counters, n)
		}
	}
	for i := range b.Interfaces {
		b.countLink(&b.Interfaces[i])
	}
	for i := range b.SocketSums {
		// A full raw socket is passed by before the copy for it is made.
		if s := &b.SocketSums[i]; s.Protocol == "raw" {
			c := cause{station: taps, direction: record.In, layer: record.SocketLayer, what: "SOCKET_RCVBUFF", counters: []string{rawDrops}}
			b.tell(b.loss(c, ""), c.counters, s.Drops)
		}
	}
	b.share()
	b.losses = slices.DeleteFunc(b.losses, func(l *loss) bool { return l.number() == 0 && l.seen == 0 })
	slices.SortStableFunc(b.losses, func(x, y *loss) int { return cmp.Compare(y.number(), x.number()) })
}

func (b *book) tell(l *loss, names []string, n uint64) {
	l.counters, l.counted = names, &n
}

// of returns the losses of a station; of an interface where they are by
// interface.
func (b *book) of(station string, direction record.Direction, ifname string) (list []*loss) {
	for _, l := range b.losses {
		if l.station == station && l.direction == direction && (ifname == "" || l.ifname == ifname) {
			list = append(list, l)
		}
	}
	return list
}

// describe says what a loss means, what of this host explains it, and what to do
// about it.
func (b *book) describe(e *record.Entry, l *loss) {
	entry := b.entry(l.what)
	if m := l.most; m != nil {
		e.Location, e.PID, e.Comm, e.ContainerName = m.Location, m.PID, m.Comm, m.ContainerName
	}
	if l.most == nil && entry.Reason == "" && entry.Why != "" {
		e.Verdict, e.Why = entry.Verdict, entry.Why
	} else {
		e.Verdict, e.Why = b.judge(l)
	}
	e.Fact = b.fact(l)
	b.prove(e, l, &entry)
}

func (b *book) judge(l *loss) (record.Verdict, string) {
	c := verdict.Case{Reason: l.what, Direction: l.direction}
	m := l.most
	if m == nil {
		j := b.book().Judge(c)
		return j.Verdict, j.Why
	}
	c = verdict.Case{Reason: m.Reason, Subsystem: m.Subsystem, Place: placeOf(m), Proto: m.Proto, SocketState: m.SocketState, Direction: m.Direction}
	known := m.Verdict
	if reasonOf(m) == "" && l.what != unspecified { // the counters tell more than the row
		c.Reason, known = l.what, ""
	}
	j := b.book().Judge(c)
	return cmp.Or(known, j.Verdict), j.Why
}

func (b *book) book() *verdict.Book { return b.Ledger.book }
