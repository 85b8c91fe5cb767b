package programs

import (
	"strings"
	"unicode/utf8"
)

// mapGrid is a table of maps or of what is in one. Columns of numbers are
// aligned to the right. Cells are clean already.
type mapGrid struct {
	titles []string
	rows   [][]string
	widths []int // of the columns; nil until they are known
	right  []bool
}

const mapGap = "  "

// measure sets widths from titles and rows. The last column takes what it needs.
func (g *mapGrid) measure() {
	const widest = 60
	g.widths, g.right = make([]int, len(g.titles)), make([]bool, len(g.titles))
	for i, title := range g.titles {
		g.widths[i], g.right[i] = utf8.RuneCountInString(title), len(g.rows) > 0
		for _, row := range g.rows {
			g.widths[i] = max(g.widths[i], min(utf8.RuneCountInString(row[i]), widest))
			g.right[i] = g.right[i] && numeric(row[i])
		}
	}
}

// numeric reports whether a cell is a number, a size or nothing.
func numeric(s string) bool {
	digits := strings.TrimRight(strings.TrimLeft(s, "+-"), "kMGTi")
	for _, r := range digits {
		if (r < '0' || r > '9') && r != '.' && r != ',' {
			return false
		}
	}
	return digits != "" || s == "-"
}

// line draws one row; width cuts it, 0 does not.
func (g *mapGrid) line(cells []string, width int) string {
	var b strings.Builder
	for i, c := range cells {
		if i > 0 {
			b.WriteString(mapGap)
		}
		fill := strings.Repeat(" ", max(g.widths[i]-utf8.RuneCountInString(c), 0))
		switch {
		case g.right[i]:
			b.WriteString(fill + c)
		case i == len(cells)-1:
			b.WriteString(c)
		default:
			b.WriteString(c + fill)
		}
	}
	return cutLine(strings.TrimRight(b.String(), " "), width)
}

func cutLine(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	r := []rune(line)
	return string(r[:max(width-1, 0)]) + "~"
}

// lines draws titles and rows.
func (g *mapGrid) lines(width int) []string {
	g.measure()
	lines := []string{g.line(g.titles, width)}
	for _, row := range g.rows {
		lines = append(lines, g.line(row, width))
	}
	return lines
}
