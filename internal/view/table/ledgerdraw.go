package table

import (
	"cmp"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Columns of a drawing beside its bars.
const (
	drawName   = 26
	drawNumber = 8
	drawUsual  = 80 // columns where the terminal's are not known
)

// drawn shows how packets spread: for each namespace and way a bar of what came,
// beneath it, from the right, what left it at each layer, and what went on. The
// bars of one book are of one scale.
func (m *LedgerSums) drawn(o *Options, g *signs) []string {
	var lines []string
	for _, b := range m.books(record.NetNSScope) {
		if b.came <= 0 {
			continue
		}
		lines = append(lines, m.drawBook(b, o, g)...)
	}
	return lines
}

// leak is what leaves a book at a layer.
type leak struct {
	entry *record.Entry
	n     int64
}

func (m *LedgerSums) drawBook(b *ledgerBooks, o *Options, g *signs) []string {
	total := cmp.Or(o.Width, drawUsual)
	room := max(total-drawName-drawNumber-2, 10)
	lines := []string{"", g.cut(spaceName(b, g)+", "+string(b.direction), o.Width)}
	for _, e := range b.total {
		if e.Line == record.Came && e.Packets > 0 && e.Packets < b.came {
			lines = append(lines, g.cut("  "+pad("+ "+g.clean(e.What), drawName-2, false)+strings.Repeat(" ", room)+pad(signed(e.Packets), drawNumber, true), o.Width))
		}
	}
	// What is cut up, or copied, becomes more, and what had waited comes out.
	all := b.came
	for _, e := range b.total {
		if (e.Line == record.Merged || e.Line == record.Waiting) && e.Packets < 0 {
			all -= e.Packets
			more := "+ cut or copied, " + g.clean(e.What)
			if e.Line == record.Waiting {
				more = "+ waited before"
			}
			lines = append(lines, g.cut("  "+pad(more, drawName-2, false)+strings.Repeat(" ", room)+pad(signed(-e.Packets), drawNumber, true), o.Width))
		}
	}
	left := all
	bar := func(name string, from, n int64, sgr string) string {
		start, end := scaled(from, all, room), scaled(from+n, all, room)
		text := strings.Repeat(" ", start) + blocks(n, end-start, g)
		if n > 0 && start >= room {
			text = strings.Repeat(" ", room-1) + blocks(n, 0, g)
		}
		text = pad(g.cutEnd(text, room), room, false)
		if o.Colour && sgr != "" {
			text = "\x1b[" + sgr + "m" + text + "\x1b[0m"
		}
		name = pad(g.cutEnd(name, drawName-1), drawName, false)
		return name + text + pad(signed(n), drawNumber, true)
	}
	lines = append(lines, bar("came", 0, all, ""))
	for _, step := range m.steps(b) {
		for _, l := range step.leaks {
			left -= l.n
			name, sgr := "  "+end(l.entry, g), ""
			if l.entry.Line == record.LostLine {
				name, sgr = "  lost "+g.clean(l.entry.What), paint(verdictRank(l.entry.Verdict))
			}
			lines = append(lines, bar(name, max(left, 0), l.n, sgr))
		}
		if step.name != "" && left > 0 {
			lines = append(lines, bar(step.name, 0, left, "2"))
		}
	}
	rest := b.sum(record.Remainder)
	sgr := ""
	if rest != 0 {
		sgr = "33"
	}
	return append(lines, bar("unexplained", 0, rest, sgr))
}

// end says where packets ended.
func end(e *record.Entry, g *signs) string {
	if e.What == "sent" || e.What == string(e.Line) {
		return e.What
	}
	return string(e.Line) + " " + g.clean(e.What)
}

// drawStep is what leaves at one layer, and the name of what goes on.
type drawStep struct {
	name  string
	leaks []leak
}

// steps orders what left a book by where, the ends last. Merging gains no row:
// it is no end.
func (m *LedgerSums) steps(b *ledgerBooks) []drawStep {
	order := []record.Layer{
		record.RingLayer, record.DriverLayer, record.XDPLayer, record.BacklogLayer, record.IngressLayer, record.BridgeLayer, record.NetfilterLayer,
		record.RoutingLayer, record.QdiscLayer, record.TransportLayer, record.SocketLayer,
	}
	if b.direction == record.Out {
		order = []record.Layer{record.SocketLayer, record.TransportLayer, record.NetfilterLayer, record.RoutingLayer, record.QdiscLayer, record.DriverLayer}
	}
	steps := make([]drawStep, 0, len(order)+1)
	var merged, ends drawStep
	for _, layer := range order {
		s := drawStep{}
		for _, e := range b.total {
			if e.Layer == layer && e.Packets > 0 {
				s.leaks = append(s.leaks, leak{e, e.Packets})
			}
		}
		if len(s.leaks) > 0 {
			s.name = "past " + string(layer)
			steps = append(steps, s)
		}
	}
	for _, e := range b.total {
		switch {
		case e.Line == record.Merged && e.Packets > 0, e.Line == record.Taken && e.Packets != 0, e.Line == record.Waiting && e.Packets > 0:
			if e.Layer == record.TotalLayer {
				merged.leaks = append(merged.leaks, leak{e, e.Packets})
			}
		case (e.Line == record.Delivered || e.Line == record.Forwarded) && e.Packets != 0:
			ends.leaks = append(ends.leaks, leak{e, e.Packets})
		}
	}
	return append([]drawStep{merged}, append(steps, ends)...)
}

// scaled is how many cells n of all takes in room.
func scaled(n, all int64, room int) int {
	if all <= 0 || n <= 0 {
		return 0
	}
	return int(min(n, all) * int64(room) / all)
}

// blocks is a bar; something is never shown as nothing.
func blocks(n int64, cells int, g *signs) string {
	full, thin := "█", "▏"
	if g.ascii {
		full, thin = "#", "|"
	}
	switch {
	case n == 0:
		return ""
	case cells <= 0:
		return thin
	}
	return strings.Repeat(full, cells)
}
