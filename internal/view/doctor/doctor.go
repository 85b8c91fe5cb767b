// Package doctor writes what netfate doctor shows: the facts of the running
// kernel and each capability with whether it works, why not, what that costs
// and what to do. It probes nothing; the command hands it the findings.
package doctor

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/netfate/netfate/internal/kernel"
)

// Style says how a report looks.
type Style struct {
	Width int  // columns to wrap at; 0 wraps nothing, and under 40 counts as 40
	Color bool // ANSI colours for the marks and headings
	ASCII bool // ok and no for ✓ and ✗, for terminals without UTF-8
}

// Summary says in one sentence whether netfate can work here, and whether its
// live commands can work at all. If they cannot, the command exits with 3.
func Summary(caps []kernel.Capability) (text string, usable bool) {
	works := make(map[string]kernel.Capability)
	n := 0
	for _, c := range caps {
		works[c.Name] = c
		if c.OK {
			n++
		}
	}
	for _, name := range []string{"bpf", "btf"} {
		if c := works[name]; !c.OK {
			return sentence("netfate cannot watch this host", c.Why, c.Remedy), false
		}
	}
	if c := works["raw_tp"]; !c.OK && !works["tp_btf"].OK {
		return sentence("netfate cannot watch this host", c.Why, c.Remedy), false
	}
	if n == len(caps) {
		return "Everything that netfate can make use of works here.", true
	}
	return fmt.Sprintf("netfate works here, with %d of %d capabilities; what is missing costs what is said below.", n, len(caps)), true
}

func sentence(what, why, remedy string) string {
	if why != "" {
		what += ": " + why
	}
	if remedy != "" {
		what += "; " + remedy
	}
	return what + "."
}

// WriteJSON writes the whole report as one JSON object on one line.
func WriteJSON(w io.Writer, facts kernel.Facts, caps []kernel.Capability) error {
	summary, usable := Summary(caps)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Usable       bool                `json:"usable"`
		Summary      string              `json:"summary"`
		Facts        kernel.Facts        `json:"facts"`
		Capabilities []kernel.Capability `json:"capabilities"`
	}{usable, summary, facts, caps})
}

// WriteCSV writes the capabilities, one a line under a heading.
func WriteCSV(w io.Writer, caps []kernel.Capability) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"name", "title", "ok", "why", "costs", "remedy"}); err != nil {
		return err
	}
	for _, c := range caps {
		if err := out.Write([]string{c.Name, c.Title, strconv.FormatBool(c.OK), c.Why, c.Costs, c.Remedy}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// WriteReport writes the report for people.
func WriteReport(w io.Writer, facts kernel.Facts, caps []kernel.Capability, style Style) error {
	if style.Width > 0 {
		style.Width = max(style.Width, 40)
	}
	r := &report{out: bufio.NewWriter(w), style: style}
	summary, _ := Summary(caps)
	r.wrapped("", "", "", summary)
	for _, s := range sections(facts) {
		r.section(s)
	}
	r.capabilities(caps)
	return r.out.Flush() // the first error sticks to the writer
}

const (
	red   = "31"
	green = "32"
	bold  = "1"
	faint = "2"
)

type report struct {
	out   *bufio.Writer
	style Style
}

// paint returns text in a colour of ANSI's, or as it is.
func (r *report) paint(code, text string) string {
	if !r.style.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (r *report) line(text string) { fmt.Fprintln(r.out, text) }

// wrapped writes text behind first, and its further lines behind rest, which
// takes as much room on the screen. painted is first in colour.
func (r *report) wrapped(first, rest, painted, text string) {
	if painted == "" {
		painted = first
	}
	room := r.style.Width - utf8.RuneCountInString(first)
	for i, line := range wrap(text, room) {
		if i == 0 {
			r.line(painted + line)
			continue
		}
		r.line(rest + line)
	}
}

// wrap breaks text at spaces into lines of at most width columns; a longer
// word has a line of its own. A width of 0 or less leaves it whole.
func wrap(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	var line strings.Builder
	n := 0
	for word := range strings.FieldsSeq(text) {
		length := utf8.RuneCountInString(word)
		if n > 0 && n+1+length > width {
			lines = append(lines, line.String())
			line.Reset()
			n = 0
		}
		if n > 0 {
			line.WriteByte(' ')
			n++
		}
		line.WriteString(word)
		n += length
	}
	return append(lines, line.String())
}

// section writes a heading and its facts, aligned; on a narrow terminal, long
// names have a line of their own.
func (r *report) section(s section) {
	r.line("")
	r.line(r.paint(bold, s.title))
	column := 0
	for _, f := range s.facts {
		column = max(column, utf8.RuneCountInString(f.name))
	}
	narrow := r.style.Width > 0 && column > r.style.Width/2
	for _, f := range s.facts {
		first := "  " + pad(f.name, column) + "  "
		if narrow { // values below their names
			r.line("  " + f.name)
			first = "      "
		}
		r.wrapped(first, strings.Repeat(" ", utf8.RuneCountInString(first)), "", f.value)
	}
}

func (r *report) capabilities(caps []kernel.Capability) {
	yes, no := "✓", "✗"
	if r.style.ASCII {
		yes, no = "ok", "no"
	}
	marks := utf8.RuneCountInString(yes)
	column := 0
	for _, c := range caps {
		column = max(column, utf8.RuneCountInString(c.Name))
	}
	r.line("")
	r.line(r.paint(bold, "Capabilities"))
	var said kernel.Capability // the last that failed
	for _, c := range caps {
		mark, colour := yes, green
		if !c.OK {
			mark, colour = no, red
		}
		first := "  " + pad(mark, marks) + " " + pad(c.Name, column) + "  "
		painted := "  " + r.paint(colour, pad(mark, marks)) + " " + pad(c.Name, column) + "  "
		rest := strings.Repeat(" ", utf8.RuneCountInString(first))
		title := c.Title
		if c.OK && c.Why != "" {
			title += " (" + c.Why + ")"
		}
		r.wrapped(first, rest, painted, title)
		if c.OK {
			continue
		}
		why, remedy := c.Why, c.Remedy
		if c.Why != "" && c.Why == said.Why && c.Remedy == said.Remedy { // no privileges: for all alike
			why, remedy = "as above", ""
		}
		said = c
		for _, detail := range []struct{ name, text string }{{"why", why}, {"costs", c.Costs}, {"remedy", remedy}} {
			if detail.text == "" {
				continue
			}
			name := pad(detail.name, len("remedy")) + "  "
			r.wrapped(rest+name, rest+strings.Repeat(" ", len(name)), rest+r.paint(faint, name), detail.text)
		}
	}
}

// pad fills text with spaces to a number of columns.
func pad(text string, columns int) string {
	return text + strings.Repeat(" ", max(0, columns-utf8.RuneCountInString(text)))
}
