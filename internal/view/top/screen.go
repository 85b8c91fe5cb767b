package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/netfate/netfate/internal/view/table"
)

// gutter is the column that marks the row at the cursor.
const gutter = 1

// rowsFrom is the line of the first row: the tabs, the heading and the titles are
// above it.
const rowsFrom = 3

// hiddenLines is kept for what found no room in the row at the cursor, so that rows
// do not move with the cursor.
const hiddenLines = 2

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.draw(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "netfate"
	if m.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	return v
}

// draw is the screen's lines, as many as it is high and none wider than it.
func (m *model) draw() []string {
	var lines []string
	switch {
	case len(m.pages) > 0:
		lines = m.drawPage(m.pages[len(m.pages)-1])
	case m.at == overviewTab:
		lines = m.drawOverview()
	default:
		lines = m.drawTable()
	}
	for len(lines) < m.height {
		lines = append(lines, "")
	}
	lines = lines[:m.height]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "")
	}
	return lines
}

// tabBar names the tabs, the one that is looked at reversed.
func tabBar(tabs []tab, at, width int) string {
	var b strings.Builder
	for i := range tabs {
		label := fmt.Sprintf(" %d %s ", i+1, tabs[i].name)
		if i == at {
			label = reversed(label)
		}
		b.WriteString(label)
	}
	bar := b.String()
	if n := width - ansi.StringWidth(bar); n >= len("netfate ") {
		bar += strings.Repeat(" ", n-len("netfate ")) + "netfate "
	}
	return bar
}

// tabAt is the tab at a column; -1 if there is none.
func tabAt(tabs []tab, x int) int {
	for i := range tabs {
		if x -= len(tabs[i].name) + 4; x < 0 {
			return i
		}
	}
	return -1
}

// heading is the line below the tabs: what is shown, and of when.
func (m *model) heading(text string) string {
	switch {
	case m.frozen:
		return reversed(" FROZEN ") + " " + text
	case m.cfg.Recording == "" || m.replay.ended && m.replay.whole:
		return text
	case m.reading():
		s := "reading " + table.Plain(m.cfg.Recording)
		if at := m.replay.upTo; !at.IsZero() {
			s += ", up to " + at.UTC().Format("2006-01-02 15:04:05") + " UTC"
		}
		return s
	}
	state := " STOPPED "
	switch {
	case m.replay.ended:
		state = " END "
	case m.replay.playing:
		state = " PLAYING "
	}
	return reversed(state) + " " + text
}

// room is how many rows have room.
func (m *model) room() int {
	p := m.place()
	lost, foot := m.footer(p)
	if p.sheet == nil {
		return max(m.height-4-len(lost)-len(foot), 1) // tabs, heading, rule, keys
	}
	return max(m.height-rowsFrom-1-hiddenLines-len(lost)-len(foot)-1, 1)
}

// footer is what is said beneath a table: what spoils it, and what it adds up to.
func (m *model) footer(p *place) (lost, foot []string) {
	most := max(m.height/10, 1)
	lost, foot = p.lost, p.foot
	if len(lost) > most {
		lost = append(lost[:most-1:most-1], ansi.Truncate(lost[most-1], max(m.width-12, 0), "")+" (l: more)")
	}
	return lost, foot[:min(len(foot), most+1)]
}

func (m *model) drawTable() []string {
	p := m.place()
	lines := []string{tabBar(m.data.tabs, m.at, m.width)}
	if p.sheet == nil {
		lines = append(lines, m.heading(p.heading))
		lines = append(lines, p.lines[p.from:min(p.from+m.room(), len(p.lines))]...)
		for len(lines) < 2+m.room() {
			lines = append(lines, "")
		}
		lost, foot := m.footer(p)
		return append(append(append(append(lines, m.rule(len(p.lines), "line")), lost...), foot...), m.keys())
	}
	lines = append(lines, m.heading(p.heading))
	to := min(p.from+m.room(), len(p.sheet.Rows))
	title, rows, hidden := p.sheet.Draw(table.Part{
		From: p.from, To: to, Selected: p.cursor, Width: max(m.width-gutter, 1), Colour: m.cfg.Table.Colour, Light: m.light,
		Sorted: p.sorted, Down: p.down,
	}, &p.widths[0])
	lines = append(lines, " "+title)
	for i, row := range rows {
		lines = append(lines, m.mark(row, p.from+i == p.cursor))
	}
	if len(rows) == 0 {
		lines = append(lines, " "+m.empty())
	}
	lost, foot := m.footer(p)
	for len(lines) < rowsFrom+m.room() {
		lines = append(lines, "")
	}
	lines = append(lines, m.rule(len(p.sheet.Rows), "row"))
	for i := range hiddenLines {
		line := ""
		if i < len(hidden) {
			line = " " + hidden[i]
		}
		lines = append(lines, line)
	}
	return append(append(append(lines, lost...), foot...), m.keys())
}

// mark shows whether a row is at the cursor.
func (m *model) mark(row string, here bool) string {
	if !here {
		return " " + row
	}
	sign := ">"
	if m.cfg.Table.Unicode {
		sign = "▸"
	}
	return reversed(padded(sign+ansi.Strip(row), m.width))
}

// empty says why there is no row.
func (m *model) empty() string {
	switch {
	case m.tabs[m.at].words != "":
		return "no row has " + table.Plain(m.tabs[m.at].words) + " in it; Esc shows all"
	case m.reading():
		return "wait until it is read"
	case !m.begun:
		return "the first numbers come in a moment"
	}
	switch m.at {
	case ledgerTab:
		if m.cfg.NoLedger {
			return "the ledger is of everything; it is not kept where a part is watched"
		}
	case overviewTab:
		return "none"
	case dropsTab:
		return "nothing was lost that matters (a shows what is benign too)"
	}
	return "none was seen; g shows other views"
}

// rule parts the rows from what is said of them, and tells where the cursor is and
// what the user chose.
func (m *model) rule(n int, noun string) string {
	p, t := m.place(), m.tabs[m.at]
	var parts []string
	at := p.cursor + 1
	if p.sheet == nil {
		at = p.from + 1
	}
	if n > 0 {
		parts = append(parts, fmt.Sprintf("%s %d of %d", noun, at, n))
	}
	if len(t.places) > 1 {
		parts = append(parts, m.viewNames())
	}
	if p.sheet != nil && p.sorted >= 0 {
		parts = append(parts, "sorted by "+strings.ToLower(p.sheet.Titles()[p.sorted]))
	}
	if t.words != "" {
		parts = append(parts, "only "+table.Plain(t.words))
	}
	return rule(parts, m.width, m.cfg.Table.Unicode)
}

// viewNames names the views of the tab, the one that is looked at in brackets; in a
// narrow terminal only that.
func (m *model) viewNames() string {
	t := m.tabs[m.at]
	names := make([]string, 0, len(t.places))
	for i, v := range m.data.tabs[m.at].views {
		if i == t.view {
			names = append(names, "["+v.name+"]")
		} else {
			names = append(names, v.name)
		}
	}
	if s := "view: " + strings.Join(names, " "); ansi.StringWidth(s) < m.width-24 {
		return s
	}
	return fmt.Sprintf("view: [%s] %d of %d", m.view().name, t.view+1, len(t.places))
}

func rule(parts []string, width int, unicode bool) string {
	dash := "-"
	if unicode {
		dash = "─"
	}
	s := strings.Repeat(dash, 2)
	for _, part := range parts {
		s += " " + part + " " + dash + dash
	}
	return faint(s + strings.Repeat(dash, max(width-ansi.StringWidth(s), 0)))
}

// keys is the last line: the filter while it is typed, or what keys there are.
func (m *model) keys() string {
	if m.typing {
		return m.input.View()
	}
	var parts []string
	if m.place().sheet != nil {
		parts = append(parts, "Enter more")
	}
	if r, _ := m.place().row(m.place().cursor); r != nil && r.Drop != nil {
		parts = append(parts, "? explain")
	}
	if m.at != overviewTab {
		parts = append(parts, "/ filter")
	}
	if m.at != overviewTab && m.place().sheet != nil {
		parts = append(parts, "s sort")
	}
	if len(m.tabs[m.at].places) > 1 {
		parts = append(parts, "g view")
	}
	switch {
	case m.cfg.Recording == "" && m.frozen:
		parts = append(parts, "Space go on")
	case m.cfg.Recording == "":
		parts = append(parts, "Space freeze")
	case m.replay.ended:
		parts = append(parts, "b beginning")
	case m.replay.playing:
		parts = append(parts, "Space stop", "n next", "e end")
	default:
		parts = append(parts, "Space play", "n next", "e end")
	}
	return faint(hints(parts, m.width))
}

// hints is keys, as many as have room, and always how to get help and out.
func hints(parts []string, width int) string {
	last := []string{"h help", "q quit"}
	for len(parts) > 0 && ansi.StringWidth(strings.Join(append(parts[:len(parts):len(parts)], last...), "  "))+2 > width {
		parts = parts[:len(parts)-1]
	}
	return " " + strings.Join(append(parts[:len(parts):len(parts)], last...), "  ")
}

func (m *model) drawPage(p *page) []string {
	room := max(m.height-pageFrame, 1)
	p.scroll(0, room)
	lines := []string{" " + bold(p.title), rule(nil, m.width, m.cfg.Table.Unicode)}
	if p.sub != "" {
		lines[0] += "  " + faint(p.sub)
	}
	to := min(p.from+room, len(p.lines))
	lines = append(lines, p.lines[p.from:to]...)
	for len(lines) < room+2 {
		lines = append(lines, "")
	}
	var parts []string
	if len(p.lines) > room {
		parts = append(parts, fmt.Sprintf("line %d to %d of %d", p.from+1, to, len(p.lines)))
	}
	keys := []string{"Esc back"}
	if p.drop != nil {
		keys = append(keys, "? explain")
	}
	if len(p.lines) > room {
		keys = append(keys, "↑ ↓ PgUp PgDn scroll")
	}
	return append(lines, rule(parts, m.width, m.cfg.Table.Unicode), faint(" "+strings.Join(keys, "  ")))
}

// perSecond is n things in d as a rate; 0 without a time.
func perSecond(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Attributes, not colours: they are there without colours too, and on any
// background.

func reversed(s string) string { return "\x1b[7m" + s + "\x1b[27m" }
func bold(s string) string     { return "\x1b[1m" + s + "\x1b[22m" }
func faint(s string) string    { return "\x1b[2m" + s + "\x1b[22m" }

// padded fills s to w cells, escapes not counted.
func padded(s string, w int) string {
	return s + strings.Repeat(" ", max(w-ansi.StringWidth(s), 0))
}
