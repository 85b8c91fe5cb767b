package main

import (
	"fmt"
	"slices"
	"strings"
)

// wanted is the list of what the header shall hold, in its order.
type wanted struct {
	typedefs []string
	enums    []enumWant
	structs  []structWant
	literals []string // C text, as it stands
}

// enumWant wants values of an enum; without a name, of enums that have none.
type enumWant struct {
	name   string
	values []string
}

// structWant wants members of a struct or union.
type structWant struct {
	name    string // with its keyword: "struct sk_buff"
	exact   bool   // all members, in their true layout
	members *members
}

// members is a set of member names, each with the set of its own members that
// are wanted. A nil set means all there are.
type members struct {
	names map[string]*members
}

// add adds a member, or with dots in its name a member of a member.
func (m *members) add(name string) error {
	first, rest, nested := strings.Cut(name, ".")
	sub, seen := m.names[first]
	if !nested {
		if seen {
			return fmt.Errorf("%s is listed twice", name)
		}
		m.names[first] = nil
		return nil
	}
	if seen && sub == nil {
		return fmt.Errorf("%s is listed with all its members already", first)
	}
	if sub == nil {
		sub = &members{names: map[string]*members{}}
		m.names[first] = sub
	}
	return sub.add(rest)
}

// parseWanted reads a list. Its entries are
//
//	typedef NAME...
//	enum NAME: VALUE...
//	enum: VALUE...
//	struct NAME: MEMBER...
//	exact struct NAME
//	literal
//	    C text
//	end
//
// where union may stand for struct, a MEMBER may be a path (a.b), entries may
// go on over lines that begin with white space, and # begins a comment.
// Errors begin with the line's number.
func parseWanted(text string) (*wanted, error) {
	w := &wanted{}
	var entry []string // words of the entry that is being read
	begin := 0         // its first line
	flush := func() error {
		if len(entry) == 0 {
			return nil
		}
		err := w.add(entry)
		entry = nil
		if err != nil {
			return fmt.Errorf("%d: %w", begin, err)
		}
		return nil
	}
	var literal *strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if literal != nil {
			if strings.TrimSpace(line) == "end" {
				w.literals = append(w.literals, literal.String())
				literal = nil
				continue
			}
			literal.WriteString(line + "\n")
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(entry) == 0 {
				return nil, fmt.Errorf("%d: continues nothing", i+1)
			}
			entry = append(entry, words...)
			continue
		}
		if err := flush(); err != nil {
			return nil, err
		}
		begin = i + 1
		if len(words) == 1 && words[0] == "literal" {
			literal = &strings.Builder{}
			continue
		}
		entry = words
	}
	if literal != nil {
		return nil, fmt.Errorf("%d: literal without end", begin)
	}
	return w, flush()
}

// add adds the entry that the words make.
func (w *wanted) add(words []string) error {
	exact := words[0] == "exact"
	if exact {
		words = words[1:]
	}
	switch {
	case !exact && words[0] == "typedef":
		w.typedefs = append(w.typedefs, words[1:]...)
		return nil
	case !exact && words[0] == "enum:":
		return w.addEnum("", words[1:])
	case !exact && words[0] == "enum" && len(words) > 1 && strings.HasSuffix(words[1], ":"):
		return w.addEnum(strings.TrimSuffix(words[1], ":"), words[2:])
	case len(words) > 1 && (words[0] == "struct" || words[0] == "union"):
		return w.addStruct(exact, words[0], words[1], words[2:])
	}
	return fmt.Errorf("got %q, want typedef, enum, struct, union, exact or literal", strings.Join(words, " "))
}

func (w *wanted) addEnum(name string, values []string) error {
	if len(values) == 0 {
		return fmt.Errorf("enum %s: lists no values", name)
	}
	if name != "" && slices.ContainsFunc(w.enums, func(e enumWant) bool { return e.name == name }) {
		return fmt.Errorf("enum %s: listed twice", name)
	}
	w.enums = append(w.enums, enumWant{name: name, values: values})
	return nil
}

func (w *wanted) addStruct(exact bool, keyword, name string, list []string) error {
	name, colon := strings.CutSuffix(name, ":")
	s := structWant{name: keyword + " " + name, exact: exact}
	if slices.ContainsFunc(w.structs, func(o structWant) bool { return o.name == s.name }) {
		return fmt.Errorf("%s: listed twice", s.name)
	}
	if exact == colon || exact != (len(list) == 0) {
		return fmt.Errorf("%s: want `struct NAME: MEMBER...` or `exact struct NAME`", s.name)
	}
	if !exact {
		s.members = &members{names: map[string]*members{}}
	}
	for _, m := range list {
		if err := s.members.add(m); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	w.structs = append(w.structs, s)
	return nil
}
