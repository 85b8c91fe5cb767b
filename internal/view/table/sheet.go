package table

import (
	"cmp"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Sheet is a table that is not laid out yet, for a screen that sorts, searches and
// scrolls. It shares nothing with the sums that it was made of but what
// [Row.Facts] asks, and is for one goroutine.
type Sheet struct {
	Heading string   // what it shows, and of when
	Rows    []Row    // in the order of the command's table
	Lost    []string // what netfate lost, which spoils the rows
	Foot    []string // what all rows add up to
	columns []column
	signs   signs
}

// Row is a row of a [Sheet].
type Row struct {
	// Key tells the row in a later sheet of the same sums.
	Key any
	// Drop is the loss that the row is about, with the most of its packets that one
	// flow lost; nil if it is about something else.
	Drop *record.Drop
	// Facts returns what is known beside the cells, as it is now; nil if nothing is.
	Facts func() []Fact
	row   row
}

// Fact is a name and a text, which is clean.
type Fact struct{ Name, Text string }

// Widths keeps the columns of a [Sheet] from jumping when the next one is drawn.
// The zero value is ready.
type Widths struct{ memory widthMemory }

// newSheet returns a sheet without rows. foot begins with lost, as footers do.
func newSheet(heading string, columns []column, lost, foot []string, o *Options) *Sheet {
	g := o.signs()
	columns = slices.Clone(columns)
	for i := range columns {
		if c := &columns[i]; c.label == "" && c.right {
			c.label = strings.ToLower(c.title) + " "
		}
	}
	return &Sheet{Heading: g.cut(heading, o.Width), Lost: lost, Foot: foot[len(lost):], columns: columns, signs: g}
}

func (s *Sheet) add(r Row) { s.Rows = append(s.Rows, r) }

// Titles returns the titles of the columns.
func (s *Sheet) Titles() []string {
	titles := make([]string, len(s.columns))
	for i := range s.columns {
		titles[i] = s.columns[i].title
	}
	return titles
}

// Numbers reports whether a column is of numbers, of which the largest are asked
// for first.
func (s *Sheet) Numbers(column int) bool { return s.columns[column].right }

// Sort orders the rows by a column, of equals as they were.
func (s *Sheet) Sort(column int, descending bool) {
	slices.SortStableFunc(s.Rows, func(a, b Row) int {
		x, y := &a.row.cells[column], &b.row.cells[column]
		order := strings.Compare(x.text, y.text)
		if x.number && y.number {
			order = cmp.Compare(x.value, y.value)
		}
		if descending {
			return -order
		}
		return order
	})
}

// Keep leaves only rows that have all words somewhere, in whatever case.
func (s *Sheet) Keep(words []string) {
	kept := make([]Row, 0, len(s.Rows))
	for i := range s.Rows {
		if s.Rows[i].has(words) {
			kept = append(kept, s.Rows[i])
		}
	}
	s.Rows = kept
}

func (r *Row) has(words []string) bool {
	var all strings.Builder
	for i := range r.row.cells {
		all.WriteString(r.row.cells[i].text)
		all.WriteByte('\n')
	}
	for _, s := range r.row.below {
		all.WriteString(s)
		all.WriteByte('\n')
	}
	text := strings.ToLower(all.String())
	for _, w := range words {
		if !strings.Contains(text, strings.ToLower(w)) {
			return false
		}
	}
	return true
}

// All returns the cells of a row, whole, what is beneath it, and, behind an empty
// one, its facts.
func (s *Sheet) All(r *Row) []Fact {
	var facts []Fact
	for i := range s.columns {
		if c := &r.row.cells[i]; !c.blank() {
			facts = append(facts, Fact{strings.ToLower(s.columns[i].title), c.text})
		}
	}
	for _, line := range r.row.below {
		facts = append(facts, Fact{"", line})
	}
	if r.Facts != nil {
		facts = append(append(facts, Fact{}), r.Facts()...)
	}
	return facts
}

// Part says which rows of a [Sheet] are drawn, and how.
type Part struct {
	From, To int // of the rows
	Selected int // of these, whose hidden cells are told; -1 is none
	Width    int // columns of the terminal
	Colour   bool
	Light    bool // the terminal's background is
	Sorted   int  // the column that the rows are sorted by; -1 is none
	Down     bool // the largest first
}

// Draw lays out a part: the titles, a line a row, and of the selected row, in at
// most two lines, what found no room.
func (s *Sheet) Draw(p Part, w *Widths) (title string, lines, hidden []string) {
	g := grid{columns: slices.Clone(s.columns), signs: s.signs, colour: p.Colour, flat: true, memory: &w.memory}
	if p.Sorted >= 0 {
		g.columns[p.Sorted].title += s.signs.sorted(p.Down)
	}
	for _, r := range s.Rows[p.From:p.To] {
		r.row.below = nil
		if p.Light {
			r.row.paint = onLight(r.row.paint)
		}
		g.rows = append(g.rows, r.row)
	}
	title, blocks := g.lines(p.Width)
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	if p.Selected >= 0 && p.Selected < len(s.Rows) {
		hidden = s.hidden(&s.Rows[p.Selected].row, g.layout(p.Width), p.Width)
	}
	return title, lines, hidden
}

// hidden is what of a row is not in its line, most of all what lines beneath it
// say in the command's table.
func (s *Sheet) hidden(r *row, widths []int, width int) []string {
	parts := slices.Clone(r.below)
	for i, c := range s.columns {
		text := r.cells[i].text
		if widths[i] >= displayed(text) || r.cells[i].blank() || text == c.mute {
			continue
		}
		if c.first {
			parts = slices.Insert(parts, 0, c.label+text)
		} else {
			parts = append(parts, c.label+text)
		}
	}
	return s.signs.pack("", parts, s.signs.dot, width)
}

// displayed is width under a name that a parameter does not hide.
func displayed(s string) int { return width(s) }

func (g *signs) sorted(down bool) string {
	switch {
	case g.ascii && down:
		return "v"
	case g.ascii:
		return "^"
	case down:
		return "↓"
	}
	return "↑"
}

// onLight is a paint that can be read on a light background, where yellow cannot.
func onLight(sgr string) string {
	if sgr == "33" {
		return "38;5;130" // brown
	}
	return sgr
}

// Sheet returns the losses, as [DropSums.Lines] shows them.
func (m *DropSums) Sheet(o Options) *Sheet {
	g := o.signs()
	var hidden tally
	kinds := uint64(0)
	rows := m.all(o.Once)
	for _, r := range rows {
		if r.key.verdict == record.Benign && !o.All {
			hidden.packets += r.sum.packets
			kinds += max(r.merged, 1)
		}
	}
	s := newSheet(heading("drops", &m.clock, o.Once, &g), dropColumns(), m.lost.lines(&o), m.footer(&o, &g, tally{}, 0), &o)
	if hidden.packets > 0 {
		s.Foot = append(s.Foot, g.cut(harmless(hidden.packets, kinds), o.Width))
	}
	for _, r := range rows {
		if r.key.verdict == record.Benign && !o.All {
			continue
		}
		row := Row{Key: r, row: m.row(r, &o, &g)}
		if !r.isOther {
			row.Drop, row.Facts = r.loss(), func() []Fact { return r.facts(&g) }
		}
		s.add(row)
	}
	return s
}

// loss is the row as a record, of its busiest flow.
func (r *dropRow) loss() *record.Drop {
	d := r.latest
	d.Packets, d.Bytes = r.sum.packets, r.sum.bytes
	if len(r.flows) > 0 {
		d.SrcAddr, d.SrcPort, d.DstAddr, d.DstPort = r.top.src, r.top.sport, r.top.dst, r.top.dport
	}
	return &d
}

// maxFacts bounds the flows that are told of one row.
const maxFacts = 100

// facts is the flows of a row, and what its latest record says.
func (r *dropRow) facts(g *signs) []Fact {
	facts := []Fact{{"bytes", size(r.sum.bytes)}}
	for _, f := range []Fact{
		{"socket", r.latest.SocketState}, {"flags", r.latest.TCPFlags}, {"rule", r.latest.Rule}, {"cgroup", r.latest.Cgroup},
	} {
		if f.Text != "" {
			facts = append(facts, Fact{f.Name, g.clean(f.Text)})
		}
	}
	flows := make([]tuple, 0, len(r.flows))
	for t := range r.flows {
		flows = append(flows, t)
	}
	slices.SortFunc(flows, func(a, b tuple) int {
		return cmp.Or(cmp.Compare(r.flows[b], r.flows[a]), a.src.Compare(b.src), a.dst.Compare(b.dst), cmp.Compare(a.sport, b.sport), cmp.Compare(a.dport, b.dport))
	})
	for i, t := range flows {
		if i == maxFacts {
			facts = append(facts, Fact{"flows", plural(uint64(len(flows)-i), "more flow")})
			break
		}
		facts = append(facts, Fact{"flow", plural(r.flows[t], "packet") + ": " + flowText(r.key.proto, t, g.to, g)})
	}
	for _, line := range r.stack {
		facts = append(facts, Fact{"stack", g.clean(line)})
	}
	return facts
}

// Sheet returns the flows, as [FlowSums.Lines] shows them, the quiet ones too.
func (m *FlowSums) Sheet(o Options) *Sheet {
	g := o.signs()
	s := newSheet(heading("flows by "+m.by, &m.clock, o.Once, &g), m.columns(), m.lost.lines(&o), m.footer(&o, &g), &o)
	for _, r := range m.all(o.Once) {
		s.add(Row{Key: r, row: row{cells: m.cells(r, &o, &g)}})
	}
	return s
}

// Sheet returns what is open, as [ConnTable.Lines] shows it.
func (m *ConnTable) Sheet(o Options) *Sheet {
	g := o.signs()
	m.sort()
	lost := m.lost.lines(&o)
	foot := lost
	if m.omitted > 0 {
		foot = append(slices.Clone(lost), g.cut("not shown: "+plural(m.omitted, "row")+", which found no room", o.Width))
	}
	s := newSheet(heading(m.what(), &m.clock, o.Once, &g), m.columns(), lost, foot, &o)
	for i := range m.now {
		c := &m.now[i]
		s.add(Row{Key: keyOfConn(c), row: m.row(c, &g)})
	}
	return s
}

// Sheet returns the groups, as [ConnSums.Lines] shows them.
func (m *ConnSums) Sheet(o Options) *Sheet {
	g := o.signs()
	s := newSheet(heading("connections by "+m.by, &m.clock, o.Once, &g), m.columns(), m.lost.lines(&o), m.footer(&o, &g), &o)
	for _, r := range m.all() {
		s.add(Row{Key: r, row: m.rowOf(r, &g)})
	}
	return s
}

// Sheet returns the groups, as [RequestSums.Lines] shows them.
func (m *RequestSums) Sheet(o Options) *Sheet {
	g := o.signs()
	s := newSheet(heading("requests by "+m.by, &m.clock, o.Once, &g), m.columns(), m.lost.lines(&o), m.footer(&o, &g), &o)
	for _, r := range m.all(o.Once) {
		s.add(Row{Key: r, row: row{cells: m.cells(r, &o, &g)}})
	}
	return s
}

// Sheet returns the groups, as [QuerySums.Lines] shows them.
func (m *QuerySums) Sheet(o Options) *Sheet {
	g := o.signs()
	s := newSheet(heading("queries by "+m.by, &m.clock, o.Once, &g), m.columns(), m.lost.lines(&o), m.footer(&o, &g), &o)
	for _, r := range m.all(o.Once) {
		s.add(Row{Key: r, row: row{cells: m.cells(r, &o, &g)}})
	}
	return s
}
