package language

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sprintf formats as fmt.Sprintf does, with the format's counterpart in l if there
// is one. Its verbs are those of the English format, numbered where their order is
// another.
func (l Language) Sprintf(format string, args ...any) string {
	if l == Chinese {
		if text, ok := Catalogue()[format]; ok {
			format = text
		}
	}
	return fmt.Sprintf(format, args...)
}

// Translate returns a message that was made in English, such as the text of an
// error, in l. It finds the formats of the catalogue that the message was made
// from again, that of a wrapped error within that of the one around it, and leaves
// what it does not know as it is: names, numbers, and words of others.
//
// Messages are made where something happens, by code that knows nothing of who
// will read it; what language that is is known to main alone.
func (l Language) Translate(message string) string {
	return NewTranslator(l, Catalogue()).Translate(message)
}

// Translate does so by the translator's catalogues.
func (t Translator) Translate(message string) string {
	if len(t) == 0 || len(message) > maxMessage {
		return message
	}
	lines := strings.Split(message, "\n")
	for i, line := range lines {
		lines[i] = t.translate(line, 0)
	}
	return strings.Join(lines, "\n")
}

const (
	maxMessage = 16 << 10 // bytes; longer ones are dumps, not sentences
	maxDepth   = 8        // of errors in errors
	maxParts   = 24       // of one error: more are left in English
)

// Translator has the formats of catalogues in the form in which messages are found,
// for those who have many to translate. The zero value leaves all in English.
type Translator []pattern

// translate returns a line in Chinese, as far as the catalogues go; as it was if they
// know nothing of it.
func (t Translator) translate(message string, depth int) string {
	parts := split(message)
	if depth > maxDepth || len(parts) > maxParts {
		return message
	}
	var b strings.Builder
	known := false
	for i := 0; i < len(parts); {
		if i > 0 {
			b.WriteString(wide(parts[i-1].separator))
		}
		// The longest run of parts that is a message of its own.
		n, text := 1, parts[i].text
		for end := len(parts); end > i; end-- {
			if whole, ok := t.whole(join(parts[i:end]), depth); ok {
				n, text, known = end-i, whole, true
				break
			}
		}
		b.WriteString(text)
		i += n
	}
	if !known {
		return message
	}
	return b.String()
}

// part is a piece of a message, and what separates it from the next.
type part struct{ text, separator string }

// wide is a separator as Chinese has it.
func wide(separator string) string {
	switch separator {
	case ": ":
		return "："
	case "; ":
		return "；"
	}
	return separator
}

// split returns the parts of a message, which ": " and "; " separate.
func split(message string) []part {
	var parts []part
	begin := 0
	for i := 0; i+1 < len(message); i++ {
		if sep := message[i : i+2]; wide(sep) != sep {
			parts = append(parts, part{message[begin:i], sep})
			begin = i + 2
		}
	}
	return append(parts, part{message[begin:], ""})
}

func join(parts []part) string {
	var b strings.Builder
	for i, p := range parts {
		b.WriteString(p.text)
		if i < len(parts)-1 {
			b.WriteString(p.separator)
		}
	}
	return b.String()
}

// whole translates a message that one format of the catalogue made.
func (t Translator) whole(message string, depth int) (text string, ok bool) {
	if sentence, found := strings.CutSuffix(message, "."); found {
		text, ok = t.whole(sentence, depth)
		return text + "。", ok
	}
	for i := range t {
		p := &t[i]
		if values := p.english.FindStringSubmatch(message); values != nil {
			return p.fill(func(group int) string { return t.translate(values[group], depth+1) }), true
		}
	}
	return message, false
}

// fill puts what the groups have found into the Chinese format.
func (p *pattern) fill(value func(group int) string) string {
	number := 0
	return verb.ReplaceAllStringFunc(p.chinese, func(v string) string {
		m := verb.FindStringSubmatch(v)
		if m[2] == "%" {
			return "%"
		}
		number = following(number, m[1])
		if group, ok := p.group[argument{number, m[2]}]; ok {
			return value(group)
		}
		return value(p.group[argument{number, "w"}])
	})
}

// following is the number of the argument that a verb prints, after the last one.
func following(last int, given string) int {
	if n, err := strconv.Atoi(given); err == nil {
		return n
	}
	return last + 1
}

// verb is what fmt fills in: its argument's number, if it is given, and its letter.
var verb = regexp.MustCompile(`%(?:\[(\d+)\])?[-+#0-9.]*([a-zA-Z%])`)

// pattern finds messages that were made from a format.
type pattern struct {
	english *regexp.Regexp
	chinese string
	literal int              // bytes of it that are the same in every message
	group   map[argument]int // of english
}

// argument is one of those of a format, and the letter of the verb that prints it.
// An error is wrapped with w in one language, and s in the other.
type argument struct {
	number int
	verb   string
}

// NewTranslator returns a translator by all of the catalogues, which has the most
// telling formats first.
func NewTranslator(l Language, catalogues ...map[string]string) Translator {
	var t Translator
	if l != Chinese {
		return t
	}
	for _, c := range catalogues {
		for english, chinese := range c {
			t = append(t, newPattern(english, chinese))
		}
	}
	slices.SortFunc(t, func(a, b pattern) int {
		return cmp.Or(cmp.Compare(b.literal, a.literal), cmp.Compare(a.english.String(), b.english.String()))
	})
	return t
}

func newPattern(english, chinese string) pattern {
	p := pattern{chinese: chinese, literal: len(verb.ReplaceAllString(english, "")), group: map[argument]int{}}
	var expr strings.Builder
	end, number, groups := 0, 0, 0
	for _, at := range verb.FindAllStringSubmatchIndex(english, -1) {
		expr.WriteString(regexp.QuoteMeta(english[end:at[0]]))
		end = at[1]
		letter, given := english[at[4]:at[5]], ""
		if letter == "%" {
			expr.WriteString("%")
			continue
		}
		if at[2] >= 0 {
			given = english[at[2]:at[3]]
		}
		number = following(number, given)
		groups++
		p.group[argument{number, letter}] = groups
		expr.WriteString(matching(letter))
	}
	expr.WriteString(regexp.QuoteMeta(english[end:]))
	p.english = regexp.MustCompile(`\A` + expr.String() + `\z`)
	return p
}

// matching is the expression for what a verb prints.
func matching(letter string) string {
	switch letter {
	case "d":
		return `(-?\d+)`
	case "q":
		return `("(?:[^"\\]|\\.)*"|\[[^\]]*\])`
	}
	return `(.*?)`
}
