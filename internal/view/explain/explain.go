// Package explain prints what a drop reason means, for `netfate explain`: to
// somebody who meets it for the first time, in the middle of the night.
//
// It only lays text out. The texts come from package verdict, the live values
// from package evidence; commands call it, nobody else.
package explain

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
	"github.com/rivo/uniseg"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

const (
	defaultWidth = 80
	minWidth     = 40
	maxWidth     = 110 // longer lines of prose are hard to read
	maxNameWidth = 44  // of the first column of a list
)

// Style says how a page looks. The zero value is 80 columns of English in black and
// white.
type Style struct {
	Width  int  // columns; 0 is 80
	Colour bool // headings and verdicts are set off by escape sequences
	// Language is that of headings and judgements; it should be that of the book.
	Language language.Language
}

// WriteEntry prints one entry, with the live facts that go with it. Prose is
// wrapped at the style's width; a command is never broken, so that it can be
// copied. Nothing but colour in the output can be an escape sequence. It returns
// the first error of w.
func WriteEntry(w io.Writer, e verdict.Entry, facts []evidence.Fact, style Style) error {
	p := newPage(w, style)
	p.line(p.bold(e.Reason) + "  " + p.verdict(e.Verdict))
	p.wrap("  ", harmless(e.Why))
	if len(e.Aliases) > 0 {
		p.wrap("  ", p.words.aliases+strings.Join(e.Aliases, p.words.comma))
	}
	p.heading(p.words.happened)
	p.wrap("  ", e.Meaning)
	p.heading(p.words.bad)
	p.wrap("  ", p.words.judgement(e.Verdict))
	if len(facts) > 0 {
		p.heading(p.words.facts)
		p.facts(facts)
	}
	p.heading(p.words.causes)
	for _, c := range e.Causes {
		p.item(c)
	}
	p.heading(p.words.confirm)
	p.steps(e.Confirm)
	p.heading(p.words.fix)
	p.steps(e.Fix)
	if slices.ContainsFunc(slices.Concat(e.Confirm, e.Fix), hasBlank) {
		p.line("")
		p.wrap("  ", p.words.blanks)
	}
	if len(e.Places) > 0 {
		p.heading(p.words.places)
		p.places(e.Places)
	}
	if len(e.Members) > 0 {
		p.heading(p.words.members)
		for _, m := range e.Members {
			p.pair(m.Reason, memberWidth(e.Members), string(m.Verdict)+p.words.colon+m.Why)
		}
	}
	return p.err
}

// WriteIndex prints all reasons of the book, grouped by verdict, one a line
// with its meaning. The many reasons of a subsystem are one line; its entry
// lists them.
func WriteIndex(w io.Writer, b *verdict.Book, style Style) error {
	p := newPage(w, style)
	var entries []verdict.Entry
	column := 0
	for _, name := range b.Reasons() {
		e, err := b.Explain(name)
		if err != nil {
			return err
		}
		if e.Subsystem != "" && len(e.Members) == 0 {
			continue // listed by its group
		}
		entries = append(entries, e)
		column = max(column, len(e.Reason))
	}
	for _, v := range record.Verdicts() {
		p.line(p.verdict(v))
		for _, e := range entries {
			if e.Verdict != v {
				continue
			}
			why := e.Why
			if n := len(e.Members); n > 0 {
				why = fmt.Sprintf(p.words.kind, why, n)
			}
			p.pair(e.Reason, column, why)
		}
		p.line("")
	}
	p.wrap("", p.words.index)
	return p.err
}

// page lays text out; the first error of w is kept and ends all output.
type page struct {
	w        io.Writer
	width    int
	colour   bool
	language language.Language
	words    *words
	err      error
}

func newPage(w io.Writer, style Style) *page {
	width := style.Width
	if width <= 0 {
		width = defaultWidth
	}
	return &page{
		w: w, width: min(max(width, minWidth), maxWidth), colour: style.Colour, language: style.Language, words: wordsOf(style.Language),
	}
}

func (p *page) line(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, strings.TrimRight(s, " ")+"\n")
	}
}

func (p *page) paint(sgr, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

func (p *page) bold(s string) string { return p.paint("1", harmless(s)) }

// verdict is a verdict with its meaning, in the colour that tables give it.
func (p *page) verdict(v record.Verdict) string {
	sgr := map[record.Verdict]string{
		record.Loss: "1;31", record.Resource: "31", record.Refused: "33", record.Policy: "33", record.Invalid: "35", record.Benign: "2",
	}[v]
	return p.paint(sgr, string(v)+p.words.colon+p.words.short(v))
}

func (p *page) heading(s string) {
	p.line("")
	p.line(p.bold(s))
}

// wrap prints prose, each line behind the indent.
func (p *page) wrap(indent, text string) {
	for _, l := range wrapped(text, p.width-len(indent)) {
		p.line(indent + l)
	}
}

func (p *page) item(text string) {
	for i, l := range wrapped(harmless(text), p.width-4) {
		if i == 0 {
			p.line("  - " + l)
		} else {
			p.line("    " + l)
		}
	}
}

// steps prints commands whole and prose wrapped. The comment of a command goes
// on the line above it if it does not fit beside it.
func (p *page) steps(steps []string) {
	for _, s := range steps {
		command, ok := strings.CutPrefix(s, "$ ")
		if !ok {
			p.item(s)
			continue
		}
		command, comment, _ := strings.Cut(command, "  # ")
		command, comment = harmless(command), harmless(comment)
		full := command
		if comment != "" {
			full += "  # " + comment
		}
		switch {
		case displaywidth.String(full)+4 <= p.width || comment == "":
			p.line("  $ " + p.command(command, comment))
		default:
			for _, l := range wrapped(comment, p.width-6) {
				p.line("    " + p.paint("2", "# "+l))
			}
			p.line("  $ " + p.command(command, ""))
		}
	}
}

func (p *page) command(command, comment string) string {
	command = p.paint("36", command)
	if comment != "" {
		command += p.paint("2", "  # "+comment)
	}
	return command
}

// facts prints the live values in two columns, notes below where they do not
// fit beside.
func (p *page) facts(facts []evidence.Fact) {
	column := 0
	for _, f := range facts {
		column = max(column, displaywidth.String(harmless(f.Name)))
	}
	column = min(column, maxNameWidth, p.width/2)
	for _, f := range facts {
		value, note := harmless(f.Value), harmless(f.Note)
		if aside := p.words.aside(note); note != "" && displaywidth.String(value+aside) <= p.width-column-4 {
			value, note = value+aside, ""
		}
		p.pair(harmless(f.Name), column, value)
		if note != "" {
			p.wrap(strings.Repeat(" ", column+4), strings.TrimSpace(p.words.aside(note)))
		}
	}
}

// pair prints a name in a column and a text, wrapped, beside it; a name that
// is too long gets a line of its own.
func (p *page) pair(name string, column int, text string) {
	column = min(column, p.width/2)
	indent := strings.Repeat(" ", column+4)
	lines := wrapped(harmless(text), p.width-column-4)
	first := "  " + name
	if n := displaywidth.String(name); n <= column && len(lines) > 0 {
		first += strings.Repeat(" ", column-n+2) + lines[0]
		lines = lines[1:]
	}
	p.line(first)
	for _, l := range lines {
		p.line(indent + l)
	}
}

// places prints the exceptions, each with the verdict first and where it holds
// below. Of a long list of places the first few do.
func (p *page) places(rules []verdict.PlaceRule) {
	for _, r := range rules {
		const few = 4
		if more := len(r.Places) - few; more > 1 {
			r.Places = append(slices.Clone(r.Places[:few]), fmt.Sprintf(p.words.more, more))
		}
		p.item(string(r.Verdict) + p.words.colon + r.Why)
		for _, l := range wrapped(harmless(r.Where(p.language)), p.width-6) {
			p.line("      " + p.paint("2", l))
		}
	}
}

func memberWidth(members []verdict.Member) int {
	column := 0
	for _, m := range members {
		column = max(column, len(m.Reason))
	}
	return min(column, maxNameWidth)
}

// blanks finds the words in commands that the reader has to fill in: capitals
// that stand alone, as in dev IFACE or :PORT.
var blanks = regexp.MustCompile(`(^|[ :/=,"])([A-Z]+_)*(IFACE|ADDR|PORT|NET|NETNS|PID|SERVICE|UNIT|CGROUP|BRIDGE|UPLINK|GATEWAY|MAC|MODULE|MTU|N|ID|TABLE|CHAIN|RATE|KIND|FILTER|DEST|SOURCE|LEN|VNI|LOW)($|[ :/=,"])`)

func hasBlank(step string) bool {
	command, ok := strings.CutPrefix(step, "$ ")
	if !ok {
		return false
	}
	command, _, _ = strings.Cut(command, "  # ")
	return blanks.MatchString(command)
}

// wrapped breaks text into lines of at most width columns: at spaces, and between
// wide characters, which have none, where Unicode lets a line end (UAX 14). What
// cannot be broken and is longer has a line to itself.
func wrapped(text string, width int) []string {
	var lines []string
	line, n := "", 0
	for _, word := range strings.Fields(text) {
		gap := " "
		for _, piece := range pieces(word) {
			l := displaywidth.String(piece)
			if n > 0 && n+len(gap)+l > width {
				lines, line, n = append(lines, line), "", 0
			}
			if n > 0 {
				line, n = line+gap, n+len(gap)
			}
			line, n = line+piece, n+l
			gap = ""
		}
	}
	if n > 0 {
		lines = append(lines, line)
	}
	return lines
}

// pieces returns the parts of a word that stay whole; a narrow word is one.
func pieces(word string) []string {
	if displaywidth.String(word) == utf8.RuneCountInString(word) {
		return []string{word}
	}
	var list []string
	for state := -1; word != ""; {
		var piece string
		piece, word, _, state = uniseg.FirstLineSegmentInString(word, state)
		list = append(list, piece)
	}
	return list
}

// harmless spells out what does not print, so that no name or error text from
// the host can steer the terminal.
func harmless(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case unicode.IsPrint(r) && r != utf8.RuneError:
			b.WriteRune(r)
		case r == utf8.RuneError || r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[size:]
	}
	return b.String()
}
