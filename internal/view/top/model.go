package top

import (
	"context"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/view/table"
)

// model is the screen's state. Update changes it, View only draws it.
type model struct {
	ctx  context.Context
	cfg  Config
	pace *pace

	width, height int
	light         bool // the background
	lacks         []string

	data    *data
	history [2]spark // what the host carried, what was lost
	at      int      // the tab
	tabs    []*tabState
	frozen  bool
	mouse   bool
	pages   []*page // opened one upon the other
	input   textinput.Model
	typing  bool // into input
	replay  replay
	begun   bool // something was seen
}

// tabState is what the user did with a tab.
type tabState struct {
	view   int
	places []*place // of the views
	words  string   // that rows must have
}

// place is one view on the screen.
type place struct {
	all     *table.Sheet // as it was made; nil where there are only lines
	sheet   *table.Sheet // the same, sorted and searched
	text    []string     // lines, as they were made
	lines   []string     // the same, searched
	losses  *table.Sheet // of the overview, whose sheet is flows
	bars    [][]string   // likewise
	rates   []rate       // likewise
	heading string
	lost    []string // what spoils it
	foot    []string // what it adds up to
	stale   bool     // newer numbers are there
	widths  [2]table.Widths

	sorted int // column; -1 is as the command sorts
	down   bool
	cursor int
	key    any // of the row at the cursor, which it follows
	from   int // first row, or line, on the screen
}

// replay is how far a recording is.
type replay struct {
	whole   bool // being read, or read, to its end without stopping
	playing bool
	ended   bool
	note    string // of the reader
	upTo    time.Time
}

func newModel(ctx context.Context, c Config, p *pace) *model {
	m := &model{ctx: ctx, cfg: c, pace: p, width: 80, height: 24, replay: replay{whole: c.Recording != ""}}
	m.input = textinput.New()
	m.input.Prompt = "/"
	m.input.CharLimit = 100
	m.input.KeyMap.Paste.SetEnabled(false) // it would run a program; what the terminal pastes comes anyway
	styles := m.input.Styles()
	styles.Cursor.Blink = false
	m.input.SetStyles(styles)
	m.reset()
	for _, t := range m.data.tabs {
		s := &tabState{}
		for range t.views {
			s.places = append(s.places, &place{stale: true, sorted: -1})
		}
		m.tabs = append(m.tabs, s)
	}
	m.refresh()
	return m
}

// reset begins with empty sums.
func (m *model) reset() {
	m.data, m.history = newData(&m.cfg.Table), [2]spark{}
	m.begun = false
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return tea.RequestBackgroundColor }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(msg.Width, 1), max(msg.Height, 1)
		m.resized()
	case tea.BackgroundColorMsg:
		m.light = !msg.IsDark()
	case batchMsg:
		m.add(msg.batch)
	case beginMsg:
		m.begin()
	case endMsg:
		m.replay.ended, m.replay.playing, m.replay.note = true, false, msg.note
		m.outdate()
	case explainMsg:
		msg.page.text, msg.page.waits = msg.text, false
		msg.page.lay(m.width)
	case tea.KeyPressMsg:
		cmd = m.key(msg)
	case tea.PasteMsg:
		if m.typing {
			m.input, cmd = m.input.Update(msg)
			m.filtered()
		}
	case tea.MouseClickMsg:
		m.click(msg.Mouse())
	case tea.MouseWheelMsg:
		m.wheel(msg.Mouse())
	}
	m.refresh()
	return m, cmd
}

func (m *model) add(b *record.Batch) {
	m.begun = true
	m.data.add(b)
	m.history[0].add(m.data.rate())
	m.history[1].add(m.data.losing())
	m.replay.upTo = b.End
	if !m.frozen && !m.reading() {
		m.outdate()
	}
}

// rate is the bytes a second that the host carried in the last interval.
func (d *data) rate() float64 {
	bytes, _, _, _, span := d.flows.Now(false)
	return perSecond(bytes, span)
}

// losing is the packets a second that it lost.
func (d *data) losing() float64 { return perSecond(d.drops.Now(false)) }

// reading reports whether a recording is being read to its end, until which
// nothing is worth drawing.
func (m *model) reading() bool { return m.replay.whole && !m.replay.ended }

// begin shows a recording from its beginning.
func (m *model) begin() {
	m.reset()
	m.replay.ended, m.replay.upTo, m.replay.note = false, time.Time{}, ""
	for _, t := range m.tabs {
		for _, p := range t.places {
			p.key, p.cursor, p.from = nil, 0, 0
		}
	}
	m.outdate()
}

// outdate has every view made anew when it is looked at.
func (m *model) outdate() {
	for _, t := range m.tabs {
		for _, p := range t.places {
			p.stale = true
		}
	}
}

// options are how tables are now.
func (m *model) options() table.Options {
	o := m.cfg.Table
	o.Width = max(m.width-gutter, 1)
	o.Once = m.replay.whole
	return o
}

// place is the view that is looked at.
func (m *model) place() *place {
	t := m.tabs[m.at]
	return t.places[t.view]
}

func (m *model) view() *view {
	return &m.data.tabs[m.at].views[m.tabs[m.at].view]
}

// freeze keeps what is shown, in each tab its view of this moment.
func (m *model) freeze() {
	if m.frozen = !m.frozen; !m.frozen {
		m.outdate()
		return
	}
	for at := range m.tabs {
		m.make(at)
	}
}

// refresh makes what is looked at, if it is stale.
func (m *model) refresh() {
	m.make(m.at)
	m.follow()
}

// make makes the view of a tab.
func (m *model) make(at int) {
	t := m.tabs[at]
	p := t.places[t.view]
	if !p.stale {
		return
	}
	p.stale = false
	o := m.options()
	v := &m.data.tabs[at].views[t.view]
	switch {
	case at == overviewTab:
		p.all, p.losses, p.bars, p.rates = m.data.flows.Sheet(o), m.latest(o), m.data.books.Bars(o), m.data.measure(&o, m.history)
		p.heading = strings.Replace(p.all.Heading, "flows by flow", "overview", 1)
	case v.sheet != nil:
		p.all = v.sheet(o)
		p.heading = p.all.Heading
	default:
		books := m.data.books.Losses(o)
		p.text, p.heading, p.lost, p.foot = v.lines(o), books.Heading, books.Lost, books.Foot
	}
	if p.all != nil {
		p.lost, p.foot = p.all.Lost, p.all.Foot
	}
	p.arrange(t.words)
}

// arrange sorts and searches what was made.
func (p *place) arrange(words string) {
	if p.all == nil {
		p.lines = slices.DeleteFunc(slices.Clone(p.text), func(line string) bool {
			return !strings.Contains(strings.ToLower(line), strings.ToLower(words))
		})
		return
	}
	sheet := *p.all
	sheet.Rows = slices.Clone(sheet.Rows)
	if p.sorted >= 0 {
		sheet.Sort(p.sorted, p.down)
	}
	sheet.Keep(strings.Fields(words))
	p.sheet = &sheet
}

// latest is the losses, those first that came last, of these the gravest.
func (m *model) latest(o table.Options) *table.Sheet {
	s := m.data.drops.Sheet(o)
	if at := slices.Index(s.Titles(), "LAST"); at >= 0 {
		s.Sort(at, false)
	}
	return s
}

// rows returns how many rows there are to choose from.
func (p *place) rows() int {
	n := len(p.lines)
	if p.sheet != nil {
		n = len(p.sheet.Rows)
	}
	if p.losses != nil {
		n += len(p.losses.Rows)
	}
	return n
}

// row returns a row and its sheet; nil if there is none.
func (p *place) row(i int) (*table.Row, *table.Sheet) {
	if p.losses != nil {
		if i < len(p.losses.Rows) {
			return &p.losses.Rows[i], p.losses
		}
		i -= len(p.losses.Rows)
	}
	if p.sheet == nil || i < 0 || i >= len(p.sheet.Rows) {
		return nil, nil
	}
	return &p.sheet.Rows[i], p.sheet
}

// follow puts the cursor where its row is now, and that on the screen.
func (m *model) follow() {
	p := m.place()
	if p.sheet == nil {
		p.from = max(min(p.from, len(p.lines)-m.room()), 0)
		return
	}
	if r, _ := p.row(p.cursor); p.key != nil && (r == nil || r.Key != p.key) {
		for i := range p.rows() {
			if r, _ := p.row(i); r.Key == p.key {
				p.cursor = i
				break
			}
		}
	}
	m.choose(p.cursor)
}

// choose puts the cursor on a row.
func (m *model) choose(i int) {
	p := m.place()
	n := p.rows()
	if p.losses != nil {
		n = m.overviewRows()
	}
	p.cursor = max(min(i, n-1), 0)
	if r, _ := p.row(p.cursor); r != nil && p.key != nil {
		p.key = r.Key
	}
	room := m.room()
	p.from = max(min(p.from, p.cursor, n-room), p.cursor-room+1, 0)
}

// move moves the cursor, which then follows its row wherever that is sorted.
func (m *model) move(by int) {
	p := m.place()
	if p.sheet == nil {
		p.from = max(min(p.from+by, len(p.lines)-m.room()), 0)
		return
	}
	m.choose(p.cursor + by)
	if r, _ := p.row(p.cursor); r != nil {
		p.key = r.Key
	}
	if p.cursor == 0 {
		p.key = nil // at the top, what is at the top is looked at
	}
}

func (m *model) resized() {
	m.input.SetWidth(max(m.width-3, 1))
	for _, p := range m.pages {
		p.lay(m.width)
	}
	for _, t := range m.tabs {
		for _, p := range t.places {
			p.widths = [2]table.Widths{}
			p.stale = p.stale || !m.frozen
		}
	}
}
