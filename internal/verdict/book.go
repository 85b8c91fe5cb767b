package verdict

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/record"
)

//go:embed rules/*.yaml rules/*/*.yaml
var files embed.FS

// NoReason is the name of the entry for kernels before 5.17, which give no
// reason: there the place alone decides.
const NoReason = "NO_REASON"

// Entry is what is known of one drop reason, as `netfate explain` prints it.
type Entry struct {
	// Reason is the kernel's name, without SKB_DROP_REASON_.
	Reason string `yaml:"reason"`
	// Subsystem is who defines it; empty for the core.
	Subsystem string `yaml:"subsystem"`
	// Aliases are the names that other kernels use for it.
	Aliases []string       `yaml:"aliases"`
	Verdict record.Verdict `yaml:"verdict"`
	// Why is the meaning in one line of a table.
	Why string `yaml:"why"`
	// Meaning is a paragraph.
	Meaning string   `yaml:"meaning"`
	Causes  []string `yaml:"causes"`
	// Confirm and Fix are steps. One that begins with "$ " is a shell command,
	// in which words in capitals stand for what the reader has to fill in, with
	// an optional comment after "  # ".
	Confirm []string `yaml:"confirm"`
	Fix     []string `yaml:"fix"`
	// Evidence names the live facts that matter, in the words of package
	// evidence.
	Evidence []string `yaml:"evidence"`
	// Places are the exceptions: where or in which state the reason means
	// something else. The first that fits decides.
	Places []PlaceRule `yaml:"places"`
	// Members are the reasons of a subsystem that share this entry's texts.
	Members []Member `yaml:"members"`
}

// PlaceRule is an exception to an entry's verdict. Empty conditions hold for
// everything.
type PlaceRule struct {
	// Places are kernel functions; `name*` and `*name` are patterns.
	Places    []string         `yaml:"places"`
	Protos    []string         `yaml:"protos"`
	States    []string         `yaml:"states"`
	Direction record.Direction `yaml:"direction"`
	Multicast *bool            `yaml:"multicast"`
	Verdict   record.Verdict   `yaml:"verdict"`
	Why       string           `yaml:"why"`
}

// Member is one reason of a subsystem, described within the subsystem's entry.
type Member struct {
	Reason  string         `yaml:"reason"`
	Aliases []string       `yaml:"aliases"`
	Verdict record.Verdict `yaml:"verdict"`
	Why     string         `yaml:"why"`
	Meaning string         `yaml:"meaning"`
}

// Book is the parsed rules. It is inert and safe for concurrent use.
type Book struct {
	language language.Language
	reworded map[string]string // the language's why for each English one
	entries  map[string]*Entry // by normalised name, aliases included
	names    []string
	core     map[string]*rule
	groups   map[string]*group
	noReason *rule
	unknown  Judgement
}

// group is the rules of one subsystem.
type group struct {
	any   *rule
	names map[string]*rule
}

// New parses the embedded rules, in English. An error is a fault in them.
func New() (*Book, error) { return In(language.English) }

// In parses the embedded rules with their texts in l. Names, verdicts and commands
// are the same in every language.
func In(l language.Language) (*Book, error) {
	b := &Book{
		language: l, reworded: map[string]string{}, entries: map[string]*Entry{}, core: map[string]*rule{}, groups: map[string]*group{},
		unknown: Judgement{record.Loss, "unknown reason: netfate has no rule for it, so it counts as a loss", "unknown"},
	}
	if l == language.Chinese {
		b.unknown.Why = "未知的原因，netfate 没有它的规则，所以算作丢失"
	}
	list, err := fs.Glob(files, "rules/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	for _, name := range list {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		entries, err := parse[[]Entry](data)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		if err := b.translate(entries, path.Base(name)); err != nil {
			return nil, err
		}
		for i := range entries {
			if err := b.add(&entries[i]); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, entries[i].Reason, err)
			}
		}
	}
	b.noReason = b.core[NoReason]
	if b.noReason == nil || b.core["NOT_SPECIFIED"] == nil {
		return nil, errors.New("rules: no entry for NO_REASON or NOT_SPECIFIED")
	}
	// A kernel without reasons frees at the same places as one that says
	// NOT_SPECIFIED.
	b.noReason.parent = b.core["NOT_SPECIFIED"]
	slices.Sort(b.names)
	return b, nil
}

// parse reads what a file of rules holds, which is one document.
func parse[T any](data []byte) (document T, err error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&document); err != nil {
		return document, err
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return document, errors.New("more than one document")
	}
	return document, nil
}

// Reworded returns an English why in the language of the book, as records from
// elsewhere have it. One that is not known stays as it is.
func (b *Book) Reworded(why string) string {
	if text, ok := b.reworded[why]; ok {
		return text
	}
	return why
}

// Language returns the language of the book's texts.
func (b *Book) Language() language.Language { return b.language }

// add takes in one entry of a file, with its members.
func (b *Book) add(e *Entry) error {
	r, err := compile(e)
	if err != nil {
		return err
	}
	names := b.core
	if e.Subsystem != "" {
		g := b.groups[e.Subsystem]
		if g == nil {
			g = &group{names: map[string]*rule{}}
			b.groups[e.Subsystem] = g
		}
		names = g.names
		if len(e.Members) > 0 {
			g.any = r
		}
	}
	if err := b.index(e, r, names); err != nil {
		return err
	}
	for _, m := range e.Members {
		member := *e
		member.Reason, member.Aliases, member.Verdict = m.Reason, m.Aliases, m.Verdict
		member.Why, member.Meaning = m.Why, m.Meaning
		member.Places, member.Members = nil, nil
		if member.Verdict == "" {
			member.Verdict = e.Verdict
		}
		r, err := compile(&member)
		if err != nil {
			return fmt.Errorf("member %s: %w", m.Reason, err)
		}
		if err := b.index(&member, r, names); err != nil {
			return err
		}
	}
	return nil
}

// index files an entry and its rule under all of its names.
func (b *Book) index(e *Entry, r *rule, rules map[string]*rule) error {
	b.names = append(b.names, e.Reason)
	for _, name := range append([]string{e.Reason}, e.Aliases...) {
		if rules[name] != nil {
			return fmt.Errorf("name %s is taken", name)
		}
		rules[name] = r
		key := normalise(name)
		if old := b.entries[key]; old != nil && old != e && e.Subsystem == "" {
			return fmt.Errorf("name %s is taken", name)
		}
		if b.entries[key] == nil {
			b.entries[key] = e
		}
		// A subsystem's names are met with and without its own prefix.
		if short, ok := cutPrefix(e.Subsystem, name); ok && rules[short] == nil {
			rules[short] = r
		}
	}
	return nil
}

// cutPrefix removes the prefix that a subsystem gives its reasons.
func cutPrefix(subsystem, name string) (string, bool) {
	for _, prefix := range []string{"OVS_DROP_", "QDISC_DROP_", "RX_DROP_"} {
		if short, ok := strings.CutPrefix(name, prefix); ok && subsystem != "" {
			return short, true
		}
	}
	return "", false
}

// compile turns an entry into the form that Judge needs.
func compile(e *Entry) (*rule, error) {
	if !slices.Contains(record.Verdicts(), e.Verdict) {
		return nil, fmt.Errorf("no verdict %q", e.Verdict)
	}
	r := &rule{
		judgement: Judgement{e.Verdict, e.Why, e.Reason},
		places:    map[string][]condition{},
	}
	for _, p := range e.Places {
		if !slices.Contains(record.Verdicts(), p.Verdict) {
			return nil, fmt.Errorf("no verdict %q", p.Verdict)
		}
		places := p.Places
		if len(places) == 0 {
			places = []string{""}
		}
		for _, place := range places {
			name := e.Reason
			if place != "" {
				name += "/" + place
			}
			r.file(place, condition{p.Protos, p.States, p.Direction, p.Multicast, Judgement{p.Verdict, p.Why, name}})
		}
	}
	return r, nil
}

func (r *rule) file(place string, c condition) {
	text, prefix := strings.CutSuffix(place, "*")
	if prefix {
		r.prefixes = appendPattern(r.prefixes, text, c)
		return
	}
	if text, ok := strings.CutPrefix(place, "*"); ok {
		r.suffixes = appendPattern(r.suffixes, text, c)
		return
	}
	r.places[place] = append(r.places[place], c)
}

func appendPattern(patterns []pattern, text string, c condition) []pattern {
	for i := range patterns {
		if patterns[i].text == text {
			patterns[i].conditions = append(patterns[i].conditions, c)
			return patterns
		}
	}
	return append(patterns, pattern{text, []condition{c}})
}
