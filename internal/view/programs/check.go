package programs

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Check is what an object holds, and what this kernel lacks for it.
type Check struct {
	Object   string         `json:"object"` // path
	Programs []CheckProgram `json:"programs"`
	Maps     []CheckMap     `json:"maps"`
	Globals  []CheckGlobal  `json:"globals"`
	Events   []CheckEvent   `json:"events"`
	Notes    []string       `json:"notes"`
}

// CheckProgram is one program. Its fields are those of loader.ProgramReport.
type CheckProgram struct {
	Name         string `json:"name"`
	Section      string `json:"section"`
	Kind         string `json:"kind"`
	Where        string `json:"where"`
	Active       string `json:"active"`
	Optional     bool   `json:"optional"`
	Sleepable    bool   `json:"sleepable"`
	Dialect      bool   `json:"dialect"`
	Instructions int    `json:"instructions"`
	Asked        bool   `json:"asked"`
	Lacks        string `json:"lacks"`
}

// CheckMap is one map. Its fields are those of loader.MapReport.
type CheckMap struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Key        string `json:"key"`
	Value      string `json:"value"`
	MaxEntries uint32 `json:"max_entries"`
	Pinned     bool   `json:"pinned"`
	Fixed      string `json:"fixed"`
	Lacks      string `json:"lacks"`
}

// CheckGlobal is one variable. Its fields are those of loader.GlobalReport.
type CheckGlobal struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Default string `json:"default"`
	Section string `json:"section"`
	Set     string `json:"set"`
}

// CheckEvent is what one ring or perf buffer carries. Its fields are those of
// loader.EventReport.
type CheckEvent struct {
	Map        string   `json:"map"`
	Type       string   `json:"type"`
	Size       int      `json:"size"`
	Source     string   `json:"source"`
	Candidates []string `json:"candidates"`
	Note       string   `json:"note"`
}

// WriteCheckJSON writes c as one JSON object on one line. The error is that of
// writing.
func WriteCheckJSON(w io.Writer, c *Check) error {
	all := *c
	all.Programs, all.Maps = some(all.Programs), some(all.Maps)
	all.Globals, all.Notes = some(all.Globals), some(all.Notes)
	all.Events = append([]CheckEvent{}, all.Events...)
	for i := range all.Events {
		all.Events[i].Candidates = some(all.Events[i].Candidates)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&all); err != nil {
		return fmt.Errorf("write check: %w", err)
	}
	return nil
}

// some makes an empty list of none, which JSON tells apart.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// WriteCheck writes c for people: a table each of programs, maps, globals and
// events, those that there are, and sentences on what should be known beneath.
// Names come from the object and are cleaned. The error is that of writing.
func WriteCheck(w io.Writer, c *Check) error {
	var b strings.Builder
	c.programs(&b)
	c.maps(&b)
	c.globals(&b)
	c.events(&b)
	var said remarks
	for _, p := range c.Programs {
		active, optional := "", ""
		if p.Active != "" {
			active = p.Active + "; it runs only with --allow-active"
		}
		if p.Optional {
			optional = "it is optional (its section begins with ?): it runs only if it is named"
		}
		said.add(p.Name, p.Lacks, active, optional)
	}
	for _, m := range c.Maps {
		said.add("map "+m.Name, m.Fixed, m.Lacks)
	}
	for _, e := range c.Events {
		said.add("events of "+e.Map, e.Note)
	}
	for _, s := range said {
		fmt.Fprintln(&b, "note:", clean(strings.Join(s.about, ", ")+": "+s.text))
	}
	for _, text := range c.Notes {
		fmt.Fprintln(&b, "note:", clean(text))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write check: %w", err)
	}
	return nil
}

// remark is a sentence and what it is about: one that many programs share is
// said once.
type remark struct {
	text  string
	about []string
}

type remarks []remark

func (r *remarks) add(what string, sentences ...string) {
	for _, text := range sentences {
		if text == "" {
			continue
		}
		i := slices.IndexFunc(*r, func(said remark) bool { return said.text == text })
		if i < 0 {
			*r = append(*r, remark{text: text})
			i = len(*r) - 1
		}
		(*r)[i].about = append((*r)[i].about, what)
	}
}

func (c *Check) programs(b *strings.Builder) {
	var rows [][]string
	for _, p := range c.Programs {
		can, here := "watches", ""
		if p.Kind == "" {
			can = ""
		}
		if p.Active != "" {
			can = "acts"
		}
		switch {
		case p.Lacks != "":
			here = "no"
		case p.Asked:
			here = "yes"
		}
		rows = append(rows, []string{p.Name, p.Section, p.Kind, p.Where, can, strconv.Itoa(p.Instructions), here})
	}
	grid(b, []string{"PROGRAM", "SECTION", "KIND", "ATTACHES TO", "DOES", "INSNS", "HERE"}, rows)
}

func (c *Check) maps(b *strings.Builder) {
	var rows [][]string
	for _, m := range c.Maps {
		pin, size := "", ""
		if m.Pinned {
			pin = "by name"
		}
		if m.MaxEntries > 0 {
			size = strconv.FormatUint(uint64(m.MaxEntries), 10)
		}
		rows = append(rows, []string{m.Name, m.Type, m.Key, m.Value, size, pin})
	}
	grid(b, []string{"MAP", "TYPE", "KEY", "VALUE", "MAX", "PINNED"}, rows)
}

func (c *Check) globals(b *strings.Builder) {
	var rows [][]string
	for _, g := range c.Globals {
		rows = append(rows, []string{g.Name, g.Type, g.Default, g.Section, g.Set})
	}
	grid(b, []string{"GLOBAL", "TYPE", "DEFAULT", "SECTION", "SET WITH"}, rows)
}

func (c *Check) events(b *strings.Builder) {
	var rows [][]string
	for _, e := range c.Events {
		size := ""
		if e.Size > 0 {
			size = strconv.Itoa(e.Size)
		}
		known := e.Source
		if e.Type == "" {
			known = "not known: hex"
		}
		rows = append(rows, []string{e.Map, e.Type, size, known})
	}
	grid(b, []string{"EVENTS OF", "TYPE", "BYTES", "KNOWN BY"}, rows)
}

// grid draws a table and an empty line, nothing if there are no rows.
func grid(b *strings.Builder, titles []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	const gap = 2
	var drawn strings.Builder
	t := tabwriter.NewWriter(&drawn, 0, 0, gap, ' ', 0)
	fmt.Fprintln(t, strings.Join(titles, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = clean(cell); cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	_ = t.Flush() // a strings.Builder takes all
	for line := range strings.Lines(drawn.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	b.WriteByte('\n')
}

// maxCell bounds what one cell or sentence shows, in characters.
const maxCell = 400

// clean makes text that a hostile object chose fit for a terminal.
func clean(text string) string {
	runes := []rune(text)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	if len(runes) > maxCell {
		return string(runes[:maxCell]) + "…"
	}
	return string(runes)
}
