package top

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/view/table"
)

// key does what a key is for.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case name == "ctrl+z":
		return tea.Suspend
	case m.typing:
		return m.typed(k)
	case len(m.pages) > 0:
		return m.pageKey(name)
	}
	if cmd, ok := m.common(name); ok {
		return cmd
	}
	m.tableKey(name)
	return nil
}

// common is keys that work in tables and on pages.
func (m *model) common(name string) (cmd tea.Cmd, done bool) {
	switch name {
	case "q":
		return tea.Quit, true
	case "?":
		return m.explain(), true
	case "h", "f1":
		m.help()
	case "l":
		m.open(m.lostPage())
	case "m":
		m.mouse = !m.mouse
	default:
		return nil, false
	}
	return nil, true
}

func (m *model) tableKey(name string) {
	p := m.place()
	switch name {
	case "1", "2", "3", "4", "5", "6", "7":
		m.at = int(name[0] - '1')
	case "tab", "right":
		m.at = (m.at + 1) % len(m.tabs)
	case "shift+tab", "left":
		m.at = (m.at + len(m.tabs) - 1) % len(m.tabs)
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup", "ctrl+b":
		m.move(-m.room())
	case "pgdown", "ctrl+f":
		m.move(m.room())
	case "home":
		m.move(-1 << 30)
	case "end":
		m.move(1 << 30)
	case "enter":
		m.drill()
	case "/":
		m.typing = m.at != overviewTab
		m.input.SetValue(m.tabs[m.at].words)
		m.input.CursorEnd()
		m.input.Focus()
	case "esc":
		m.input.SetValue("")
		m.filtered()
	case "g":
		m.turn(1)
	case "G":
		m.turn(-1)
	case "s":
		m.sort(1)
	case "S":
		m.sort(-1)
	case "r":
		p.down = !p.down
		p.arrange(m.tabs[m.at].words)
	case "a":
		m.cfg.Table.All = !m.cfg.Table.All
		m.outdate()
	default:
		m.timeKey(name)
	}
}

// timeKey is keys that hold time, or let it pass.
func (m *model) timeKey(name string) {
	recorded := m.cfg.Recording != ""
	r := &m.replay
	switch {
	case name == "space" && !recorded:
		m.freeze()
	case !recorded:
	case name == "b":
		m.pace.give(orderRewind)
		r.whole, r.playing = false, false
	case r.ended: // there is no more
	case name == "space" && r.playing:
		m.pace.give(orderPause)
		r.playing = false
	case name == "space":
		m.pace.give(orderPlay)
		r.whole, r.playing = false, true
		m.outdate()
	case name == "n":
		m.pace.give(orderStep)
		r.whole, r.playing = false, false
		m.outdate()
	case name == "e":
		m.pace.give(orderWhole)
		r.whole, r.playing = true, false
	}
}

// turn looks at the next view of the tab.
func (m *model) turn(by int) {
	t := m.tabs[m.at]
	t.view = (t.view + by + len(t.places)) % len(t.places)
}

// sort sorts by the next column; behind the last, as the command does.
func (m *model) sort(by int) {
	p := m.place()
	if p.sheet == nil || p.losses != nil {
		return
	}
	n := len(p.sheet.Titles()) + 1
	p.sorted = (p.sorted+1+by+n)%n - 1
	p.down = p.sorted >= 0 && p.sheet.Numbers(p.sorted)
	p.arrange(m.tabs[m.at].words)
}

// typed takes a key of the filter.
func (m *model) typed(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc":
		m.input.SetValue("")
		fallthrough
	case "enter":
		m.typing = false
		m.input.Blur()
		m.filtered()
		return nil
	}
	var cmd tea.Cmd
	m.input, cmd = m.input.Update(k)
	m.filtered()
	return cmd
}

func (m *model) filtered() {
	if m.tabs[m.at].words != m.input.Value() {
		m.tabs[m.at].words = m.input.Value()
		for _, p := range m.tabs[m.at].places {
			p.from, p.cursor, p.key = 0, 0, nil
			p.arrange(m.tabs[m.at].words)
		}
	}
}

// drill opens all that is known of the row at the cursor.
func (m *model) drill() {
	p := m.place()
	r, s := p.row(p.cursor)
	if r == nil {
		return
	}
	title := strings.ToLower(m.data.tabs[m.at].name) + ", one row"
	if p.losses != nil {
		title = "one flow"
		if s == p.losses {
			title = "one loss"
		}
	}
	m.open(&page{title: title, sub: s.Heading, facts: s.All(r), drop: r.Drop})
}

// explain opens what `netfate explain` says of the loss at the cursor, or of the
// page; help where there is none.
func (m *model) explain() tea.Cmd {
	var d *record.Drop
	sub := ""
	if n := len(m.pages); n > 0 {
		d, sub = m.pages[n-1].drop, m.pages[n-1].sub
	} else if r, s := m.place().row(m.place().cursor); r != nil {
		d, sub = r.Drop, s.Heading
	}
	if d == nil || m.cfg.Explain == nil {
		m.help()
		return nil
	}
	pg := &page{title: "explain " + table.Plain(d.Reason), sub: sub, waits: true}
	m.open(pg)
	ctx, width, colour, explain := m.ctx, m.width-1, m.cfg.Table.Colour, m.cfg.Explain
	return func() tea.Msg { return explainMsg{pg, explain(ctx, d, width, colour)} }
}

// help opens the keys, once.
func (m *model) help() {
	if n := len(m.pages); n == 0 || !m.pages[n-1].help {
		m.open(helpPage(m.cfg.Recording != ""))
	}
}

// pageKey scrolls and closes what is open.
func (m *model) pageKey(name string) tea.Cmd {
	p := m.pages[len(m.pages)-1]
	page := max(m.height-pageFrame, 1)
	switch name {
	case "esc", "q", "backspace", "left", "enter":
		m.pages = slices.Delete(m.pages, len(m.pages)-1, len(m.pages))
	case "up", "k":
		p.scroll(-1, page)
	case "down", "j":
		p.scroll(1, page)
	case "pgup", "ctrl+b":
		p.scroll(-page, page)
	case "pgdown", "ctrl+f", "space":
		p.scroll(page, page)
	case "home":
		p.scroll(-1<<30, page)
	case "end":
		p.scroll(1<<30, page)
	case "?":
		return m.explain()
	case "h", "f1":
		m.help()
	}
	return nil
}

// wheel moves what the mouse is over.
func (m *model) wheel(mouse tea.Mouse) {
	by := 3
	if mouse.Button == tea.MouseWheelUp {
		by = -by
	}
	if n := len(m.pages); n > 0 {
		m.pages[n-1].scroll(by, max(m.height-pageFrame, 1))
		return
	}
	m.move(by)
}

// click chooses a tab or a row; a row that is chosen already is opened.
func (m *model) click(mouse tea.Mouse) {
	if len(m.pages) > 0 || m.typing || mouse.Button != tea.MouseLeft {
		return
	}
	if mouse.Y == 0 {
		if at := tabAt(m.data.tabs, mouse.X); at >= 0 {
			m.at = at
		}
		return
	}
	p := m.place()
	i := p.from + mouse.Y - rowsFrom
	if p.losses != nil || p.sheet == nil || mouse.Y < rowsFrom || i >= len(p.sheet.Rows) || i >= p.from+m.room() {
		return
	}
	if i == p.cursor {
		m.drill()
		return
	}
	m.move(i - p.cursor)
}
