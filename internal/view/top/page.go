package top

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/view/table"
)

// page is text that covers the tables: a row, an explanation, help. It does not
// change while it is read.
type page struct {
	title, sub string
	facts      []table.Fact // either these
	text       string       // or lines
	drop       *record.Drop // what it is about, which can be explained
	waits      bool         // text is still to come
	help       bool

	lines []string // as wide as the screen
	from  int
}

// pageFrame is the lines around a page's text: the title, two rules, keys.
const pageFrame = 4

// factName is the column of names on a page.
const factName = 14

func (m *model) open(p *page) {
	p.lay(m.width)
	m.pages = append(m.pages, p)
}

// lay breaks the page's text into lines.
func (p *page) lay(width int) {
	p.lines = nil
	for _, line := range strings.Split(strings.TrimRight(p.text, "\n"), "\n") {
		if p.text != "" {
			p.lines = append(p.lines, strings.Split(ansi.Wrap(line, max(width, 1), ""), "\n")...)
		}
	}
	before := ""
	for _, f := range p.facts {
		name := f.Name
		if name == before {
			name = "" // one of several
		}
		before = f.Name
		for i, line := range strings.Split(ansi.Wrap(f.Text, max(width-factName, 10), ""), "\n") {
			if i > 0 {
				name = ""
			}
			p.lines = append(p.lines, padded(name, factName)+line)
		}
	}
	if p.waits {
		p.lines = []string{"asking this host …"}
	}
	p.scroll(0, 1)
}

func (p *page) scroll(by, room int) { p.from = max(min(p.from+by, len(p.lines)-room), 0) }

// helpPage lists the keys.
func helpPage(recorded bool) *page {
	facts := []table.Fact{
		{Name: "1 to 7", Text: "the tabs; also Tab, Left, Right"},
		{Name: "Up Down", Text: "choose a row; PgUp PgDn Home End, j k"},
		{Name: "Enter", Text: "all that is known of the row"},
		{Name: "?", Text: "on a loss: what it means, the evidence here, the fix"},
		{Name: "/", Text: "only rows with these words in them; Esc shows all"},
		{Name: "g G", Text: "other views: by process, by peer, what failed …"},
		{Name: "s S r", Text: "sort by the next column, the one before; turn round"},
		{Name: "a", Text: "benign drops too, which harmed nobody"},
	}
	if recorded {
		facts = append(facts, []table.Fact{
			{Name: "b n", Text: "to the beginning of the recording; one interval more"},
			{Name: "Space", Text: "play as fast as it happened; stop"},
			{Name: "e", Text: "on to the end: rates are then over the whole time"},
		}...)
	} else {
		facts = append(facts, table.Fact{Name: "Space", Text: "freeze what is shown; counting goes on, nothing is missed"})
	}
	facts = append(facts, []table.Fact{
		{Name: "l", Text: "what netfate could not keep, and this kernel cannot tell"},
		{Name: "m", Text: "the mouse chooses; the terminal copies no text then"},
		{Name: "q", Text: "close a page, end netfate; Ctrl-C ends at once"},
		{},
		{Text: "The numbers are those of netfate drops, flows, conns, http,"},
		{Text: "dns and ledger. A line with !! tells what spoils them."},
	}...)
	return &page{title: "keys", facts: facts, help: true}
}

// lostPage lists what spoils the numbers.
func (m *model) lostPage() *page {
	p := &page{title: "what netfate could not keep, or cannot tell"}
	o := m.options()
	o.Width, o.Colour = 0, false
	for _, line := range m.data.drops.Sheet(o).Lost {
		p.facts = append(p.facts, table.Fact{Name: "lost", Text: strings.TrimPrefix(line, "!! netfate lost ")})
	}
	if len(p.facts) == 0 {
		p.facts = append(p.facts, table.Fact{Name: "lost", Text: "nothing: what is shown is complete"})
	}
	for _, what := range m.lacks {
		p.facts = append(p.facts, table.Fact{Name: "this kernel", Text: table.Plain(what)})
	}
	if m.replay.note != "" {
		p.facts = append(p.facts, table.Fact{Name: "recording", Text: table.Plain(m.replay.note)})
	}
	return p
}
