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

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

const (
	defaultWidth = 80
	minWidth     = 40
	maxWidth     = 110 // longer lines of prose are hard to read
	maxNameWidth = 44  // of the first column of a list
)

// WriteEntry prints one entry, with the live facts that go with it. Prose is
// wrapped at width (0: 80 columns); a command is never broken, so that it can
// be copied. With colour, headings and the verdict are set off by escape
// sequences; nothing else in the output can be one. It returns the first error
// of w.
func WriteEntry(w io.Writer, e verdict.Entry, facts []evidence.Fact, width int, colour bool) error {
	p := newPage(w, width, colour)
	p.line(p.bold(e.Reason) + "  " + p.verdict(e.Verdict))
	p.wrap("  ", harmless(e.Why))
	if len(e.Aliases) > 0 {
		p.wrap("  ", "also called "+strings.Join(e.Aliases, ", "))
	}
	p.heading("What happened")
	p.wrap("  ", e.Meaning)
	p.heading("Is it bad?")
	p.wrap("  ", judgement(e.Verdict))
	if len(facts) > 0 {
		p.heading("On this host, now")
		p.facts(facts)
	}
	p.heading("Usual causes")
	for _, c := range e.Causes {
		p.item(c)
	}
	p.heading("Find out")
	p.steps(e.Confirm)
	p.heading("Put it right")
	p.steps(e.Fix)
	if slices.ContainsFunc(slices.Concat(e.Confirm, e.Fix), hasBlank) {
		p.line("")
		p.wrap("  ", "Words in CAPITALS are yours to fill in.")
	}
	if len(e.Places) > 0 {
		p.heading("Elsewhere it means something else")
		p.places(e.Places)
	}
	if len(e.Members) > 0 {
		p.heading("Its reasons")
		for _, m := range e.Members {
			p.pair(m.Reason, memberWidth(e.Members), string(m.Verdict)+": "+m.Why)
		}
	}
	return p.err
}

// WriteIndex prints all reasons of the book, grouped by verdict, one a line
// with its meaning. The many reasons of a subsystem are one line; its entry
// lists them.
func WriteIndex(w io.Writer, b *verdict.Book, width int, colour bool) error {
	p := newPage(w, width, colour)
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
				why = fmt.Sprintf("%s (and %d of its kind)", why, n)
			}
			p.pair(e.Reason, column, why)
		}
		p.line("")
	}
	p.wrap("", "netfate explain REASON tells what one of them means, what to look at and what to do.")
	return p.err
}

// judgement says in plain words what a verdict means for the reader.
func judgement(v record.Verdict) string {
	switch v {
	case record.Loss:
		return "Yes. The packet should have arrived and did not. Somebody waits for it, or has to send it again."
	case record.Resource:
		return "Yes, if it goes on. Something was full: the packet was good, but there was no room for it. A few in a burst are usually harmless."
	case record.Refused:
		return "Not for this host. Nobody here wanted the packet. It is bad only if somebody should have."
	case record.Policy:
		return "Only if it is not what you want. A rule or setting on this host asked for it."
	case record.Invalid:
		return "Not by itself. The packet was broken, out of place or forged, and is better dropped. Many from one honest sender point to a fault on the way."
	case record.Benign:
		return "No. The kernel counts it as a drop, but nobody lost anything. netfate hides it unless you ask for all."
	}
	return "That is not known."
}

// short is judgement in a few words.
func short(v record.Verdict) string {
	switch v {
	case record.Loss:
		return "should have arrived and did not"
	case record.Resource:
		return "lost for want of room"
	case record.Refused:
		return "nobody here wanted it"
	case record.Policy:
		return "a rule or setting here asked for it"
	case record.Invalid:
		return "broken, out of place or forged"
	case record.Benign:
		return "cost nobody anything"
	}
	return "not known"
}

// page lays text out; the first error of w is kept and ends all output.
type page struct {
	w      io.Writer
	width  int
	colour bool
	err    error
}

func newPage(w io.Writer, width int, colour bool) *page {
	if width <= 0 {
		width = defaultWidth
	}
	return &page{w: w, width: min(max(width, minWidth), maxWidth), colour: colour}
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
	return p.paint(sgr, string(v)+": "+short(v))
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
		case utf8.RuneCountInString(full)+4 <= p.width || comment == "":
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
		column = max(column, utf8.RuneCountInString(harmless(f.Name)))
	}
	column = min(column, maxNameWidth, p.width/2)
	for _, f := range facts {
		value, note := harmless(f.Value), harmless(f.Note)
		if room := p.width - column - 4; note != "" && utf8.RuneCountInString(value)+utf8.RuneCountInString(note)+3 <= room {
			value, note = value+" ("+note+")", ""
		}
		p.pair(harmless(f.Name), column, value)
		if note != "" {
			p.wrap(strings.Repeat(" ", column+4), "("+note+")")
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
	if n := utf8.RuneCountInString(name); n <= column && len(lines) > 0 {
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
			r.Places = append(slices.Clone(r.Places[:few]), fmt.Sprintf("and %d more", more))
		}
		p.item(string(r.Verdict) + ": " + r.Why)
		for _, l := range wrapped(harmless(r.Where()), p.width-6) {
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

// wrapped breaks text at spaces into lines of at most width columns; a longer
// word has a line to itself.
func wrapped(text string, width int) []string {
	var lines []string
	line, n := "", 0
	for _, word := range strings.Fields(text) {
		l := utf8.RuneCountInString(word)
		if n > 0 && n+1+l > width {
			lines, line, n = append(lines, line), "", 0
		}
		if n > 0 {
			line, n = line+" ", n+1
		}
		line, n = line+word, n+l
	}
	if n > 0 {
		lines = append(lines, line)
	}
	return lines
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
