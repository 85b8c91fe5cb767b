package tracelog

import (
	"bytes"
	"regexp"
	"strings"
)

// Formats tells lines of one program from others by the format strings that its
// read-only data hold. The zero value matches nothing.
type Formats struct{ patterns []*regexp.Regexp }

// maxFormats bounds what is looked for in the data of one program.
const maxFormats = 1000

// FindFormats finds the strings in a program's read-only data that can be formats
// of bpf_printk. A string that is none does no harm but that lines which are just
// that text are taken for the program's.
func FindFormats(data ...[]byte) Formats {
	var f Formats
	for _, d := range data {
		for s := range bytes.SplitSeq(d, []byte{0}) {
			if len(f.patterns) == maxFormats {
				return f
			}
			// What follows comes out as lines of their own.
			text, _, _ := strings.Cut(string(s), "\n")
			if re := formatPattern(text); re != nil {
				f.patterns = append(f.patterns, re)
			}
		}
	}
	return f
}

// Empty reports whether there was no format at all.
func (f Formats) Empty() bool { return len(f.patterns) == 0 }

// Match reports whether one of the formats can have made text.
func (f Formats) Match(text string) bool {
	for _, re := range f.patterns {
		if re.MatchString(text) {
			return true
		}
	}
	return false
}

// verb is one conversion of bpf_trace_printk: %s, %llu, %-16s, %02x, %pI4, %pK;
// see bpf_bprintf_prepare in kernel/bpf/helpers.c.
const verb = `%[-+ #0-9]*(?:l{0,2}[diuxX]|s|c|p(?:[KxsSB]|[iI][46]|k[s]?|u[s]?)?|%)`

// formatPattern returns what matches the texts that a format can make, nil if it
// is too short or not printable and so none.
func formatPattern(format string) *regexp.Regexp {
	const shortest = 3
	if len(format) < shortest || len(format) > maxLine || strings.ContainsFunc(format, func(r rune) bool {
		return r < ' ' && r != '\t' || r >= 0x7f
	}) {
		return nil
	}
	re := regexp.MustCompile(verb)
	var pattern strings.Builder
	pattern.WriteString(`^`)
	last := 0
	for _, at := range re.FindAllStringIndex(format, -1) {
		pattern.WriteString(regexp.QuoteMeta(format[last:at[0]]))
		if format[at[1]-1] == '%' {
			pattern.WriteString("%")
		} else {
			pattern.WriteString(`.*`)
		}
		last = at[1]
	}
	pattern.WriteString(regexp.QuoteMeta(format[last:]))
	pattern.WriteString("$")
	compiled, err := regexp.Compile(pattern.String())
	if err != nil {
		return nil // too large for the engine: no format is
	}
	return compiled
}
