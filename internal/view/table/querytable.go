package table

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Lines draws the table that o asks for: a heading, the rows, what they add up
// to, and whatever is left out or lost.
func (m *QuerySums) Lines(o Options) []string {
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
	lines := []string{g.signs.cut(heading("queries by "+m.by, &m.clock, o.Once, &g.signs), o.Width)}
	if n > 0 {
		lines = append(lines, title)
	}
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	if n < len(rows) {
		var rest uint64
		for _, r := range rows[n:] {
			rest += r.sum.queries
		}
		lines = append(lines, g.signs.cut(fmt.Sprintf("not shown: %s, %s; %s", plural(uint64(len(rows)-n), "row"), queries(rest), more(n, &o)), o.Width))
	}
	return append(lines, foot...)
}

// noName is a query that could not be read so far.
const noName = "(no name)"

// queries is plural for a word that takes more than an s.
func queries(n uint64) string {
	if n == 1 {
		return "1 query"
	}
	return count(n) + " queries"
}

func (m *QuerySums) columns() []column {
	return []column{
		{title: strings.ToUpper(m.by), middle: true, min: 24},
		{title: "PROTO", rank: 6}, {title: "QUERIES", right: true}, {title: "RATE", right: true, rank: 3},
		{title: "FAILED", right: true}, {title: "UNANSWERED", right: true},
		{title: "P50", right: true, rank: 2}, {title: "P95", right: true, rank: 1}, {title: "P99", right: true, rank: 2},
		{title: "RETRIES", right: true, rank: 4}, {title: "MALFORMED", right: true, rank: 5}, {title: "CODES", min: 12, rank: 7},
	}
}

func (m *QuerySums) cells(r *queryRow, o *Options, g *signs) []cell {
	s := &r.sum
	return []cell{
		m.keyCell(r, g), {text: cmp.Or(g.clean(r.key.protocol), "-")}, countCell(s.queries), perSecondCell(r.rate(m.epoch, o.Once), m.span(o.Once)),
		someCountCell(s.failed), someCountCell(s.unanswered), tookCell(s.latencies.at(0.5)), tookCell(s.latencies.at(0.95)), tookCell(s.latencies.at(0.99)),
		someCountCell(s.retries), someCountCell(s.malformed), {text: g.clean(strings.Join(s.failures(), ", "))},
	}
}

// keyCell names the row.
func (m *QuerySums) keyCell(r *queryRow, g *signs) cell {
	owner := record.Owner{PID: r.key.pid, Comm: r.key.comm}
	switch {
	case r.isOther:
		return cell{text: otherName}
	case m.by == byProcess && owner.Known():
		return ownerCell(&owner, strings.TrimRight(" "+g.clean(r.key.container), " "), g)
	case m.by == byProcess:
		return cell{text: "(no process)"}
	case m.by == byServer:
		return cell{text: g.clean(cmp.Or(r.key.server, "(no server)"))}
	}
	return cell{text: g.clean(cmp.Or(r.key.name, noName))}
}

// footer is the lines below the table: losses of our own first, then the totals
// of all rows, shown or not.
func (m *QuerySums) footer(o *Options, g *signs) []string {
	lines := m.lost.lines(o)
	if m.epoch == 0 {
		return lines
	}
	t, now := &m.total, m.recent
	if o.Once {
		now = t.queries
	}
	parts := []string{fmt.Sprintf("all: %s, %s", queries(t.queries), perSecond(now, m.span(o.Once))),
		fmt.Sprintf("%s failed, %s unanswered", count(t.failed), count(t.unanswered))}
	if t.malformed > 0 {
		parts = append(parts, count(t.malformed)+" malformed")
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
