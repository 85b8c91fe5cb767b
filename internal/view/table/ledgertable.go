package table

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Lines draws the view that was asked for.
func (m *LedgerSums) Lines(o Options) []string {
	g := o.signs()
	if m.epoch == 0 {
		return []string{"ledger: nothing was seen yet"}
	}
	lines := g.pack("", m.headline(&g), ": ", o.Width)
	switch m.by {
	case ledgerLayers:
		lines = append(lines, m.layerLines(&o, &g)...)
	case ledgerDraw:
		lines = append(lines, m.drawn(&o, &g)...)
	default:
		lines = append(lines, m.sumLines(&o, &g)...)
		lines = append(lines, m.lossLines(&o, &g)...)
	}
	if m.folded > 0 {
		lines = append(lines, g.cut(fmt.Sprintf("%s of the books found no room here; -o json has all", plural(m.folded, "line")), o.Width))
	}
	return append(lines, m.lost.lines(&o)...)
}

// headline says what the books are of, and whether they balance.
func (m *LedgerSums) headline(g *signs) []string {
	s := "ledger"
	if m.host != "" {
		s += " of " + g.clean(m.host)
	}
	s += " at " + m.end.UTC().Format("15:04:05") + " UTC, over " + lasting(m.span(true))
	var off int64
	open, all := 0, 0
	for _, scope := range []record.Scope{record.InterfaceScope, record.NetNSScope} {
		for _, b := range m.books(scope) {
			all++
			if b.rests != 0 {
				open++
				off += b.rests
			}
		}
	}
	if m.folded > 0 {
		return []string{s, "whether all balances is not known, since not all lines found room"}
	}
	if open == 0 {
		return []string{s, "all balances"}
	}
	missing := fmt.Sprintf("%s unexplained in %d of %s", count(uint64(off)), open, plural(uint64(all), "book"))
	if m.skew > 0 {
		missing += fmt.Sprintf(" (readings differ by up to %s)", took(uint64(m.skew.Microseconds())))
	}
	return []string{s, missing}
}

// signed writes a number that may be negative.
func signed(n int64) string {
	if n < 0 {
		return "-" + count(uint64(-n))
	}
	return count(uint64(n))
}

// some is signed, with a dash for nothing.
func some(n int64) string {
	if n == 0 {
		return "-"
	}
	return signed(n)
}

func spaceName(b *ledgerBooks, g *signs) string {
	if b.scope == record.HostScope {
		return "all together"
	}
	return g.clean(cmp.Or(b.name, strconv.FormatUint(uint64(b.netns), 10)))
}

// sumLines is a row for each namespace and direction.
func (m *LedgerSums) sumLines(o *Options, g *signs) []string {
	t := grid{signs: *g, colour: o.Colour, memory: o.memory, columns: spaceColumns()}
	list := m.books(record.NetNSScope)
	quiet := 0
	if len(list) > 2 {
		list = append(list, m.books(record.HostScope)...)
	}
	limit := len(list)
	if o.Rows > 0 {
		limit = o.Rows
	} else if o.height > 0 {
		limit = max(o.height/2-3, 2)
	}
	left := 0
	for _, b := range list {
		if b.quiet() {
			quiet++
			continue
		}
		if len(t.rows) >= limit {
			left++
			continue
		}
		t.rows = append(t.rows, spaceRow(b, g))
	}
	if len(t.rows) == 0 {
		return []string{"no packet came or went"}
	}
	title, blocks := t.lines(o.Width)
	lines := []string{title}
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	if left > 0 {
		lines = append(lines, g.cut(fmt.Sprintf("not shown: %s; %s", plural(uint64(left), "row"), more(limit, o)), o.Width))
	}
	return lines
}

func spaceColumns() []column {
	return []column{
		{title: "NAMESPACE", middle: true, min: 12}, {title: "WAY"}, {title: "CAME", right: true}, {title: "DELIVERED", right: true, label: "delivered ", rank: 1},
		{title: "FORWARDED", right: true, label: "forwarded ", rank: 2}, {title: "OTHER", right: true, label: "other ", rank: 2}, {title: "LOST", right: true}, {title: "UNEXPLAINED", right: true},
	}
}

// spaceRow is a namespace and direction.
func spaceRow(b *ledgerBooks, g *signs) row {
	rest := b.sum(record.Remainder)
	r := row{cells: []cell{
		{text: spaceName(b, g)}, {text: string(b.direction)}, signedCell(b.came), someCell(b.sum(record.Delivered)), someCell(b.sum(record.Forwarded)),
		someCell(b.sum(record.Taken, record.Merged, record.Ignored, record.Waiting)), someCell(b.sum(record.LostLine)), signedCell(rest),
	}}
	if rest != 0 {
		r.paint = "33"
	}
	return r
}

// lossLines is a block for each loss: how many, where, why, and what to do.
func (m *LedgerSums) lossLines(o *Options, g *signs) []string {
	list := m.losses()
	if len(list) == 0 {
		return []string{"", "nothing was lost"}
	}
	t := grid{signs: *g, colour: o.Colour, columns: bookedColumns()}
	for _, e := range list {
		t.rows = append(t.rows, bookedRow(e, g, proofs(e, o)))
	}
	title, blocks := t.lines(o.Width)
	lines := []string{"", title}
	limit := len(blocks)
	if o.height > 0 {
		limit = max((o.height-8)/7, 1)
	}
	if o.Rows > 0 {
		limit = o.Rows
	}
	for _, block := range blocks[:min(limit, len(blocks))] {
		lines = append(lines, block...)
	}
	if n := len(blocks) - limit; n > 0 {
		lines = append(lines, g.cut(fmt.Sprintf("not shown: %s; %s", plural(uint64(n), "loss row"), more(limit, o)), o.Width))
	}
	return lines
}

// proofs are the live facts about a loss; where lines are few, the first two.
func proofs(e *record.Entry, o *Options) []string {
	if o.height > 0 {
		return e.Evidence[:min(len(e.Evidence), 2)]
	}
	return e.Evidence
}

func bookedColumns() []column {
	return []column{
		{title: "LOST", right: true}, {title: "NAMESPACE", middle: true, min: 10}, {title: "WAY"}, {title: "LAYER"}, {title: "REASON", min: 14},
		{title: "SEEN BY"}, {title: "PLACE", middle: true, min: 16, rank: 1}, {title: "WHOSE", rank: 2},
	}
}

// bookedRow is a loss, and beneath it why, what was found out, and what to do.
func bookedRow(e *record.Entry, g *signs, proofs []string) row {
	cells := plainCells("", g.clean(cmp.Or(e.NetNSName, "-")), string(e.Direction), string(e.Layer), g.clean(e.What), agreement(e, g),
		g.clean(e.Location), ownerName(&record.Owner{PID: e.PID, Comm: e.Comm}, g))
	cells[0] = signedCell(e.Packets)
	if e.IfName != "" {
		cells[3].text += " " + g.clean(e.IfName)
	}
	r := row{paint: paint(verdictRank(e.Verdict)), cells: cells}
	for _, s := range slices.Concat([]string{e.Why, e.Fact}, proofs, []string{commandLine(e.Command)}) {
		if s != "" {
			r.below = append(r.below, g.clean(s))
		}
	}
	return r
}

func commandLine(s string) string {
	if s == "" {
		return ""
	}
	return "$ " + s
}

// agreement says who knows of a loss: the kernel's counters, the drop sensor, or
// both, and what either says where they differ.
func agreement(e *record.Entry, g *signs) string {
	unequal := " ≠ "
	if g.ascii {
		unequal = " != "
	}
	switch {
	case e.Counted != nil && e.Seen != nil && *e.Counted == *e.Seen:
		return "both"
	case e.Counted != nil && e.Seen != nil:
		return "counter " + count(*e.Counted) + unequal + count(*e.Seen) + " sensor"
	case e.Counted != nil:
		return "counter"
	case e.Seen != nil:
		return "sensor"
	}
	return "-"
}

// layerLines is every line of every station.
func (m *LedgerSums) layerLines(o *Options, g *signs) []string {
	var lines []string
	for _, scope := range []record.Scope{record.NetNSScope, record.HostScope} {
		for _, b := range m.books(scope) {
			entries := b.stations
			if scope == record.NetNSScope {
				entries = append(m.interfaces(b), entries...)
			}
			if len(entries) == 0 {
				continue
			}
			t := grid{signs: *g, colour: o.Colour, flat: true, columns: []column{
				{title: "STATION", min: 12}, {title: "LINE"}, {title: "PACKETS", right: true}, {title: "WHAT", min: 16},
				{title: "UNIT", rank: 2}, {title: "SEEN BY", rank: 3}, {title: "COUNTERS", rank: 4, min: 20},
			}}
			at := ""
			for _, e := range entries {
				station := strings.TrimSpace(e.Station + " " + e.IfName)
				if e.Line == record.LostLine && scope == record.NetNSScope && e.Scope != record.InterfaceScope {
					station = e.Station
				}
				name := station
				if station == at {
					name = ""
				}
				at = station
				r := row{cells: plainCells(g.clean(name), string(e.Line), strconv.FormatInt(e.Packets, 10), g.clean(e.What), e.Unit, "", g.clean(e.Counter))}
				if e.Line == record.LostLine {
					r.cells[5].text = agreement(e, g)
					r.paint = "31"
				}
				if e.Line == record.Remainder && e.Packets != 0 {
					r.paint = "33"
				}
				t.rows = append(t.rows, r)
			}
			title, blocks := t.lines(o.Width)
			lines = append(lines, "", g.cut(spaceName(b, g)+", "+string(b.direction), o.Width), title)
			for _, block := range blocks {
				lines = append(lines, block...)
			}
		}
	}
	return lines
}

// interfaces returns the lines of a namespace's interfaces in one direction.
func (m *LedgerSums) interfaces(b *ledgerBooks) (list []*record.Entry) {
	for _, k := range m.order {
		if k.scope == record.InterfaceScope && k.netns == b.netns && k.direction == b.direction {
			list = append(list, m.lines[k])
		}
	}
	return list
}
