package table

import (
	"slices"
	"strings"
)

const gap = 2

// column is one column of a grid.
type column struct {
	title  string
	right  bool
	middle bool   // shorten in the middle, not at the end
	min    int    // cells below which it is left out, rather than cut further; 0 is all it needs
	rank   int    // 0 stays whatever the width; else the higher, the sooner left out
	label  string // what stands before the cell when it moves beneath the row
	mute   string // a value not worth a word beneath the row
	first  bool   // of a sheet: told before the others if it finds no room
}

// cell is clean text, and the way to say it in fewer cells than it needs,
// where cutting would cut what matters.
type cell struct {
	text   string
	short  func(w int) string
	value  float64 // what it sorts by, if it is a number
	number bool
}

// plainCells makes cells of texts that may be cut.
func plainCells(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, s := range texts {
		cells[i].text = s
	}
	return cells
}

func (c *cell) blank() bool { return c.text == "" || c.text == "-" }

// row is one row of a grid.
type row struct {
	cells []cell
	paint string   // SGR parameters for the first cell
	below []string // lines beneath, for stacks
}

// grid is an aligned table. What does not fit moves to lines beneath each
// row, or is left out; nothing ever wraps.
type grid struct {
	columns []column
	rows    []row
	signs   signs
	colour  bool
	flat    bool // leave out what does not fit
	memory  *widthMemory
}

// widthMemory keeps columns from jumping when a table is redrawn: none ever
// wants less than it did.
type widthMemory struct {
	natural []int
	filled  []bool
}

func (m *widthMemory) recall(natural []int, empty []bool) {
	if m.natural == nil {
		m.natural, m.filled = make([]int, len(natural)), make([]bool, len(natural))
	}
	for i := range natural {
		natural[i] = max(natural[i], m.natural[i])
		empty[i] = empty[i] && !m.filled[i]
		m.natural[i], m.filled[i] = natural[i], !empty[i]
	}
}

// layout returns the width of each column, 0 for the ones that do not fit
// into total cells. A total of 0 gives each what it needs.
func (g *grid) layout(total int) []int {
	natural := make([]int, len(g.columns))
	empty := make([]bool, len(g.columns))
	for i, c := range g.columns {
		natural[i], empty[i] = width(c.title), true
		for _, r := range g.rows {
			natural[i] = max(natural[i], width(r.cells[i].text))
			empty[i] = empty[i] && r.cells[i].blank()
		}
	}
	if g.memory != nil {
		g.memory.recall(natural, empty)
	}
	widths := make([]int, len(g.columns))
	if total <= 0 {
		for i, c := range g.columns {
			if !empty[i] || c.rank == 0 {
				widths[i] = natural[i]
			}
		}
		return widths
	}
	order := make([]int, 0, len(g.columns))
	for i := range g.columns {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return g.columns[a].rank - g.columns[b].rank })
	used := -gap
	for len(order) > 0 {
		// Columns of one rank belong together: bytes in and bytes out.
		n := 1
		for n < len(order) && g.columns[order[n]].rank == g.columns[order[0]].rank {
			n++
		}
		same := order[:n]
		order = order[n:]
		room := 0
		for _, i := range same {
			if need := g.need(i, natural[i], empty[i]); need > 0 {
				room += gap + need
			}
		}
		if g.columns[same[0]].rank > 0 && used+room > total {
			break // a lesser column does not take the place of a greater
		}
		for _, i := range same {
			if need := g.need(i, natural[i], empty[i]); need > 0 {
				widths[i] = need
				used += gap + need
			}
		}
	}
	share(widths, natural, total-used)
	return widths
}

// need is the least width of column i; 0 leaves out one that says nothing.
func (g *grid) need(i, natural int, empty bool) int {
	c := &g.columns[i]
	switch {
	case empty && c.rank > 0:
		return 0
	case c.min > 0:
		return min(natural, c.min)
	}
	return natural
}

// share gives room to the columns that want more, the least wanting first, so
// that one long symbol does not starve the rest.
func share(widths, natural []int, room int) {
	for room > 0 {
		wanting, least := 0, 0
		for i := range widths {
			if want := natural[i] - widths[i]; widths[i] > 0 && want > 0 {
				if wanting == 0 || want < least {
					least = want
				}
				wanting++
			}
		}
		if wanting == 0 {
			return
		}
		give := min(least, max(room/wanting, 1))
		for i := range widths {
			if widths[i] > 0 && natural[i] > widths[i] && room > 0 {
				give := min(give, room)
				widths[i] += give
				room -= give
			}
		}
	}
}

// lines draws the grid: a title line, then one block of lines a row.
func (g *grid) lines(total int) (title string, blocks [][]string) {
	widths := g.layout(total)
	titles := make([]cell, len(g.columns))
	for i, c := range g.columns {
		titles[i].text = c.title
	}
	title = g.line(titles, widths, "", total)
	for i := range g.rows {
		r := &g.rows[i]
		block := []string{g.line(r.cells, widths, r.paint, total)}
		if !g.flat {
			block = append(block, g.beneath(r, widths, total)...)
		}
		for _, s := range r.below {
			block = append(block, g.signs.cut("      "+s, total))
		}
		blocks = append(blocks, block)
	}
	return title, blocks
}

func (g *grid) line(cells []cell, widths []int, paint string, total int) string {
	var b strings.Builder
	at := 0
	for i := range g.columns {
		w := widths[i]
		if w == 0 {
			continue
		}
		if total > 0 && at+w > total { // narrower than what must stay
			if w = total - at; w <= 0 {
				break
			}
		}
		s := pad(g.fit(&cells[i], &g.columns[i], w), w, g.columns[i].right)
		if i == 0 && paint != "" && g.colour {
			s = "\x1b[" + paint + "m" + s + "\x1b[0m"
		}
		if at > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
		b.WriteString(s)
		at += w + gap
	}
	return strings.TrimRight(b.String(), " ")
}

// fit says the cell in at most w cells of the terminal.
func (g *grid) fit(c *cell, col *column, w int) string {
	s := c.text
	if c.short != nil && width(s) > w {
		s = c.short(w)
	}
	if col.middle {
		return g.signs.cutMiddle(s, w)
	}
	return g.signs.cutEnd(s, w)
}

// beneath is the lines beneath a row with what did not fit into it.
func (g *grid) beneath(r *row, widths []int, total int) []string {
	var parts []string
	for i, c := range g.columns {
		if s := r.cells[i].text; widths[i] == 0 && !r.cells[i].blank() && s != c.mute {
			parts = append(parts, c.label+s)
		}
	}
	return g.signs.pack("    ", parts, g.signs.dot, total)
}
