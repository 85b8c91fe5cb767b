package verdict

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/language"
)

// translation is an entry's texts in another language. They are in a file of the
// same name below rules/LANGUAGE/, keyed by the entry's reason; all that does not
// depend on the language is in the English file alone.
type translation struct {
	Why     string   `yaml:"why"`
	Meaning string   `yaml:"meaning"`
	Causes  []string `yaml:"causes"`
	// Confirm and Fix are the entry's steps, one for one. Of a command there is
	// only what is said beside it: "$ " with the comment, or "$" if it has none.
	Confirm []string `yaml:"confirm"`
	Fix     []string `yaml:"fix"`
	// Places are the whys of the entry's exceptions, in their order.
	Places []string `yaml:"places"`
	// Members are why and meaning of a subsystem's reasons, by their names.
	Members map[string]translation `yaml:"members"`
}

// translate puts a file's texts in the language of the book into its entries.
func (b *Book) translate(entries []Entry, file string) error {
	if b.language == language.English {
		return nil
	}
	name := path.Join("rules", b.language.String(), file)
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	texts, err := parse[map[string]translation](data)
	if err != nil {
		return fmt.Errorf("parse rules %s: %w", name, err)
	}
	for i := range entries {
		e := &entries[i]
		text, ok := texts[e.Reason]
		if !ok {
			return fmt.Errorf("rules %s: no entry %s", name, e.Reason)
		}
		delete(texts, e.Reason)
		english := whys(e)
		if err := text.put(e); err != nil {
			return fmt.Errorf("rules %s: %s: %w", name, e.Reason, err)
		}
		for i, why := range whys(e) {
			b.reworded[english[i]] = why
		}
	}
	if len(texts) > 0 {
		return fmt.Errorf("rules %s: there is no reason %s", name, slices.Min(slices.Collect(maps.Keys(texts))))
	}
	return nil
}

// whys are the entry's lines for tables, with those of its places and members.
func whys(e *Entry) []string {
	list := []string{e.Why}
	for _, p := range e.Places {
		list = append(list, p.Why)
	}
	for _, m := range e.Members {
		list = append(list, m.Why)
	}
	return list
}

// put replaces the texts of an entry. There has to be one for each.
func (t *translation) put(e *Entry) error {
	if t.Why == "" || t.Meaning == "" {
		return errors.New("no why or no meaning")
	}
	if len(t.Causes) != len(e.Causes) || len(t.Places) != len(e.Places) || len(t.Members) != len(e.Members) {
		return fmt.Errorf("%d causes, %d places and %d members, want %d, %d and %d",
			len(t.Causes), len(t.Places), len(t.Members), len(e.Causes), len(e.Places), len(e.Members))
	}
	var err error
	if e.Confirm, err = steps(e.Confirm, t.Confirm); err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	if e.Fix, err = steps(e.Fix, t.Fix); err != nil {
		return fmt.Errorf("fix: %w", err)
	}
	e.Why, e.Meaning, e.Causes = t.Why, t.Meaning, t.Causes
	for i := range e.Places {
		e.Places[i].Why = t.Places[i]
	}
	for i := range e.Members {
		m := &e.Members[i]
		text, ok := t.Members[m.Reason]
		if !ok || text.Why == "" || text.Meaning == "" {
			return fmt.Errorf("no why or no meaning of %s", m.Reason)
		}
		m.Why, m.Meaning = text.Why, text.Meaning
	}
	return nil
}

// steps returns steps in the words of another language, with the commands that they
// have.
func steps(english, texts []string) ([]string, error) {
	if len(texts) != len(english) {
		return nil, fmt.Errorf("%d steps, want %d", len(texts), len(english))
	}
	told := make([]string, len(texts))
	for i, text := range texts {
		command, comment, remarked := strings.Cut(english[i], commentMark)
		remark, isCommand := strings.CutPrefix(text, "$")
		remark = strings.TrimSpace(remark)
		switch {
		case isCommand != strings.HasPrefix(command, "$ "):
			return nil, fmt.Errorf("step %d is a command in one language only", i+1)
		case !isCommand:
			told[i] = text
		case remarked != (remark != ""):
			return nil, fmt.Errorf("step %d has a comment in one language only: %q, %q", i+1, comment, remark)
		case remarked:
			told[i] = command + commentMark + remark
		default:
			told[i] = command
		}
	}
	return told, nil
}

// commentMark is between a command and what is said beside it.
const commentMark = "  # "

// where are the words of PlaceRule.Where.
type where struct{ at, protos, state, going, group, comma, semicolon string }

func whereWords(l language.Language) where {
	if l == language.Chinese {
		return where{
			at: "位置 ", protos: "协议 ", state: "状态 ", going: "方向 ", group: "发往组播或广播地址", comma: "、", semicolon: "；",
		}
	}
	return where{
		at: "at ", protos: "for ", state: "in state ", going: "going ", group: "to a group or broadcast address", comma: ", ", semicolon: "; ",
	}
}
