package top

import (
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/view/table"
)

// sparkLen is how many intervals a spark line shows.
const sparkLen = 60

// spark is the last values of a rate. The zero value has none.
type spark struct{ values []float64 }

func (s *spark) add(x float64) {
	s.values = append(s.values, x)
	if n := len(s.values) - sparkLen; n > 0 {
		s.values = append(s.values[:0], s.values[n:]...)
	}
}

// line draws the last values in w cells, the highest as a whole cell; what is more
// than nothing is never shown as nothing.
func (s *spark) line(w int, unicode bool) string {
	levels := []rune(" ▁▂▃▄▅▆▇█")
	if !unicode {
		levels = []rune(" .:-=+*#")
	}
	values := s.values[max(len(s.values)-max(w, 0), 0):]
	most := 0.0
	for _, x := range values {
		most = max(most, x)
	}
	var b strings.Builder
	for _, x := range values {
		level := 0
		if x > 0 {
			level = max(int(x/most*float64(len(levels)-1)), 1)
		}
		b.WriteRune(levels[level])
	}
	return padded(b.String(), w)
}

// overview is how the lines of the overview are shared out.
type overview struct{ bars, losses, flows int }

// share gives bars what they need of a third, losses of the half of the rest, and
// flows what is left; each list has a title.
func share(height, bars, losses, flows int) overview {
	room := max(height-6, 0) // tabs, heading, two rates, rule, keys
	s := overview{bars: min(bars, room/3)}
	room = max(room-s.bars-2, 0)
	s.losses = min(max(losses, 1), max(room/2, room-max(flows, 1)))
	s.flows = min(max(flows, 1), room-s.losses)
	return s
}

func (m *model) shares() overview {
	p := m.place()
	bars := 0
	for _, way := range p.bars {
		bars += len(way)
	}
	lost, _ := m.footer(p)
	return share(m.height-len(lost), bars, len(p.losses.Rows), len(p.sheet.Rows))
}

// overviewRows is how many rows of the overview the cursor can be at: the losses
// that are shown, then the flows.
func (m *model) overviewRows() int {
	s, p := m.shares(), m.place()
	if s.losses < len(p.losses.Rows) {
		return s.losses
	}
	return len(p.losses.Rows) + min(s.flows, len(p.sheet.Rows))
}

func (m *model) drawOverview() []string {
	p := m.place()
	s := m.shares()
	lines := []string{tabBar(m.data.tabs, m.at, m.width), m.heading(p.heading)}
	for i := range p.rates {
		lines = append(lines, p.rates[i].line(m.width, m.cfg.Table.Unicode))
	}
	for _, way := range p.bars {
		for _, line := range way {
			if s.bars--; s.bars >= 0 {
				lines = append(lines, " "+line)
			}
		}
	}
	lost, _ := m.footer(p)
	lines = append(lines, m.list(p.losses, "LATEST LOSSES", 0, s.losses, 1)...)
	lines = append(lines, m.list(p.sheet, "TOP FLOWS", len(p.losses.Rows), s.flows, 0)...)
	for len(lines) < m.height-2-len(lost) {
		lines = append(lines, "")
	}
	return append(append(lines, lost...), m.rule(0, ""), m.keys())
}

// list draws the first n rows of a sheet of the overview, whose first row the
// cursor knows as number first.
func (m *model) list(s *table.Sheet, what string, first, n, widths int) []string {
	p := m.place()
	title, rows, _ := s.Draw(table.Part{
		To: min(n, len(s.Rows)), Selected: -1, Width: max(m.width-gutter, 1), Colour: m.cfg.Table.Colour, Light: m.light, Sorted: -1,
	}, &p.widths[widths])
	if len(rows) == 0 {
		return []string{" " + bold(what), " " + m.empty()}
	}
	lines := []string{" " + bold(title)}
	for i, row := range rows {
		lines = append(lines, m.mark(row, first+i == p.cursor))
	}
	return lines
}

// rate is what the host carries, or loses: now, in the last minute, and more.
type rate struct {
	name, now, more string
	history         spark
}

// measure takes the rates as they are.
func (d *data) measure(o *table.Options, history [2]spark) []rate {
	bytes, packets, _, _, span := d.flows.Now(o.Once)
	_, _, in, out, _ := d.ifaces.Now(o.Once)
	lost, lostSpan := d.drops.Now(o.Once)
	rates := []rate{
		{name: "traffic", now: table.BitRate(bytes, span) + ", " + table.PerSecond(packets, span), more: "interfaces: in " + table.BitRate(in, span) + ", out " + table.BitRate(out, span)},
		{name: "losses", now: table.PerSecond(lost, lostSpan), more: d.drops.Total()},
	}
	for i := range rates {
		rates[i].history.values = slices.Clone(history[i].values)
	}
	return rates
}

func (r *rate) line(width int, unicode bool) string {
	w := max(min(width/8, sparkLen), 8)
	return " " + padded(r.name, 9) + padded(r.now, 21) + r.history.line(w, unicode) + "  " + r.more
}
