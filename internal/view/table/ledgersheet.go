package table

import (
	"cmp"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// spaceKey tells a namespace and direction of the ledger.
type spaceKey struct {
	scope     record.Scope
	netns     uint32
	direction record.Direction
}

// Books returns the namespaces that have anything to tell.
func (m *LedgerSums) Books(o Options) *Sheet {
	g := o.signs()
	s := m.sheet(spaceColumns(), &o)
	list := m.books(record.NetNSScope)
	if len(list) > 2 {
		list = append(list, m.books(record.HostScope)...)
	}
	for _, b := range list {
		if !b.quiet() {
			s.add(Row{Key: spaceKey{b.scope, b.netns, b.direction}, row: spaceRow(b, &g)})
		}
	}
	return s
}

// Losses returns the losses of all namespaces, the gravest first.
func (m *LedgerSums) Losses(o Options) *Sheet {
	g := o.signs()
	s := m.sheet(bookedColumns(), &o)
	for _, e := range m.losses() {
		s.add(Row{Key: e, Drop: booked(e), row: bookedRow(e, &g, e.Evidence)})
	}
	return s
}

// booked is a loss as the drop sensor would tell it.
func booked(e *record.Entry) *record.Drop {
	d := &record.Drop{Reason: e.What, Location: e.Location, Verdict: e.Verdict, Direction: e.Direction, Packets: uint64(max(e.Packets, 0))}
	d.Time, d.Host, d.NetNS, d.NetNSName, d.IfName, d.PID, d.Comm = e.Time, e.Host, e.NetNS, e.NetNSName, e.IfName, e.PID, e.Comm
	return d
}

func (m *LedgerSums) sheet(columns []column, o *Options) *Sheet {
	g := o.signs()
	if m.epoch == 0 {
		return newSheet("ledger: nothing was seen yet", columns, nil, nil, o)
	}
	head := m.headline(&g)
	lost := m.lost.lines(o)
	foot := append(lost[:len(lost):len(lost)], g.cut(strings.Join(head[1:], ": "), o.Width))
	if m.folded > 0 {
		foot = append(foot, g.cut(plural(m.folded, "line")+" of the books found no room here", o.Width))
	}
	return newSheet(head[0], columns, lost, foot, o)
}

// Layers returns every line of every layer.
func (m *LedgerSums) Layers(o Options) []string {
	g := o.signs()
	return m.layerLines(&o, &g)
}

// Drawing returns bars of what came to each namespace, and what left it at each
// layer.
func (m *LedgerSums) Drawing(o Options) []string {
	g := o.signs()
	return m.drawn(&o, &g)
}

// Columns of the host's bars.
const (
	barsName = 12
	barsLost = 12
)

// Bars returns, for each way, a line of what came and what became of it, and a
// bar for each layer that lost any: what came to it, and the part that it lost.
// They are the host's, or, if its sums are not known, of the busiest namespace.
func (m *LedgerSums) Bars(o Options) [][]string {
	g := o.signs()
	list := m.books(record.HostScope)
	if len(list) == 0 {
		list = m.books(record.NetNSScope)
		list = list[:min(2, len(list))]
	}
	var ways [][]string
	for _, b := range list {
		if b.came > 0 {
			ways = append(ways, m.bars(b, &o, &g))
		}
	}
	return ways
}

func (m *LedgerSums) bars(b *ledgerBooks, o *Options, g *signs) []string {
	name := pad(string(b.direction), 4, false)
	if b.scope != record.HostScope {
		name = spaceName(b, g) + " " + name
	}
	parts := []string{name + signed(b.came) + " came"}
	for _, p := range []struct {
		n    int64
		what string
	}{
		{b.sum(record.Delivered), "delivered"}, {b.sum(record.Forwarded), "forwarded"}, {b.sum(record.LostLine), "lost"}, {b.sum(record.Remainder), "unexplained"},
	} {
		if p.n != 0 || p.what == "lost" {
			parts = append(parts, signed(p.n)+" "+p.what)
		}
	}
	lines := []string{g.cut(strings.Join(parts, g.dot), o.Width)}
	left := b.came
	for _, step := range m.steps(b) {
		came, lost, worst := left, int64(0), (*record.Entry)(nil)
		for _, l := range step.leaks {
			left -= l.n
			if l.entry.Line == record.LostLine {
				lost += l.n
				if worst == nil || l.n > worst.Packets {
					worst = l.entry
				}
			}
		}
		if worst != nil {
			lines = append(lines, layerBar(worst, came, lost, b.came, o, g))
		}
	}
	return lines
}

// layerBar is the bar of a layer to which came packets of all, of which it lost
// some, most of them as worst says.
func layerBar(worst *record.Entry, came, lost, all int64, o *Options, g *signs) string {
	room := max(cmp.Or(o.Width, drawUsual)/2-barsName-barsLost, 10)
	gone := max(scaled(lost, all, room), 1)
	kept := max(min(scaled(came, all, room), room)-gone, 0)
	full, empty := "█", "░"
	if g.ascii {
		full, empty = "#", "."
	}
	bar := strings.Repeat(empty, gone)
	if o.Colour {
		bar = "\x1b[" + paint(verdictRank(worst.Verdict)) + "m" + bar + "\x1b[0m"
	}
	line := "  " + pad(string(worst.Layer), barsName-2, false) + strings.Repeat(full, kept) + bar + strings.Repeat(" ", max(room-kept-gone, 0)) +
		pad(signed(lost)+" lost", barsLost, true) + "  "
	return line + g.cutEnd(g.clean(worst.What), max(cmp.Or(o.Width, drawUsual)-barsName-room-barsLost-2, 0))
}
