package table

import (
	"fmt"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Lines draws the table that o asks for: a heading, the rows, what they add up
// to, and whatever is left out or lost.
func (m *RequestSums) Lines(o Options) []string {
	g := grid{columns: m.columns(), signs: o.signs(), colour: o.Colour, memory: o.memory, flat: true}
	rows := m.all(o.Once)
	foot := m.footer(&o, &g.signs)
	n := len(rows)
	if o.Rows > 0 {
		n = min(n, o.Rows)
	}
	if o.height > 0 {
		// Heading, title, one line for "not shown", one for the cursor.
		n = min(n, max(o.height-len(foot)-4, 1))
	}
	for _, r := range rows[:n] {
		g.rows = append(g.rows, row{cells: m.cells(r, &o, &g.signs)})
	}
	title, blocks := g.lines(o.Width)
	lines := []string{g.signs.cut(heading("requests by "+m.by, &m.clock, o.Once, &g.signs), o.Width)}
	if n > 0 {
		lines = append(lines, title)
	}
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	if n < len(rows) {
		var rest uint64
		for _, r := range rows[n:] {
			rest += r.sum.requests
		}
		lines = append(lines, g.signs.cut(fmt.Sprintf("not shown: %s, %s; %s", plural(uint64(len(rows)-n), "row"),
			plural(rest, "request"), more(n, &o)), o.Width))
	}
	return append(lines, foot...)
}

func (m *RequestSums) columns() []column {
	key := column{title: strings.ToUpper(m.by), middle: true, min: 24}
	if m.by == byPath {
		key.title = "REQUEST"
	}
	if m.counts {
		return []column{key, {title: "REQUESTS", right: true}, {title: "RATE", right: true, rank: 1}}
	}
	return []column{
		key,
		{title: "REQUESTS", right: true}, {title: "RATE", right: true, rank: 3}, {title: "ERRORS", right: true},
		{title: "P50", right: true, rank: 2}, {title: "P95", right: true, rank: 1}, {title: "P99", right: true, rank: 2},
		{title: "UP", right: true, rank: 5}, {title: "DOWN", right: true, rank: 4},
	}
}

func (m *RequestSums) cells(r *requestRow, o *Options, g *signs) []cell {
	s := &r.sum
	key := cell{text: g.clean(m.name(r))}
	if owner := (record.Owner{PID: r.key.pid, Comm: r.key.comm}); owner.Known() {
		key = ownerCell(&owner, strings.TrimRight(" "+g.clean(r.key.container), " "), g)
	}
	if m.counts {
		return []cell{key, countCell(s.requests), perSecondCell(r.rate(m.epoch, o.Once), m.span(o.Once))}
	}
	return []cell{
		key, countCell(s.requests), perSecondCell(r.rate(m.epoch, o.Once), m.span(o.Once)), someCountCell(s.errors),
		tookCell(s.latencies.at(0.5)), tookCell(s.latencies.at(0.95)), tookCell(s.latencies.at(0.99)), sizeCell(s.up), sizeCell(s.down),
	}
}

// footer is the lines below the table: losses of our own first, then the totals
// of all rows, shown or not.
func (m *RequestSums) footer(o *Options, g *signs) []string {
	lines := m.lost.lines(o)
	if m.epoch == 0 {
		return lines
	}
	t, now := &m.total, m.recent
	if o.Once {
		now = t.requests
	}
	parts := []string{fmt.Sprintf("all: %s, %s", plural(t.requests, "request"), perSecond(now, m.span(o.Once)))}
	if !m.counts {
		parts[0] += ", " + plural(t.errors, "error")
		parts = append(parts, fmt.Sprintf("%s up, %s down", size(t.up), size(t.down)))
	}
	if t.sealed > 0 {
		parts = append(parts, fmt.Sprintf("%d of them TLS, which cannot be read", t.sealed))
	}
	if t.latencies.at(0.5) > 0 {
		parts = append(parts, fmt.Sprintf("half answered within %s, 99 %% within %s", took(t.latencies.at(0.5)), took(t.latencies.at(0.99))))
	}
	lines = append(lines, g.pack("", parts, "; ", o.Width)...)
	if m.folded > 0 {
		lines = append(lines, g.pack("", []string{fmt.Sprintf("%s of the last row did not fit here; what came back begins anew above, sums stay exact",
			plural(m.folded, "row"))}, "; ", o.Width)...)
	}
	return lines
}
