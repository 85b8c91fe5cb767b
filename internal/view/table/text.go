package table

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// maxText bounds a cell before it is fitted, in runes: nothing that names a
// thing is longer, and a hostile name must not cost time on each redraw.
const maxText = 256

// signs are the few marks that are drawn in Unicode where it is to be had.
type signs struct {
	ellipsis, to, from, both, dot string
	ascii                         bool
}

func (o *Options) signs() signs {
	if o.Unicode {
		return signs{ellipsis: "…", to: "→", from: "←", both: "⇄", dot: " · "}
	}
	return signs{ellipsis: "..", to: "->", from: "<-", both: "<>", dot: ", ", ascii: true}
}

// clean makes s harmless and visible: what does not print (terminal escapes,
// control characters, bidirectional overrides) becomes \x1b or \u202e, a byte
// that is not UTF-8 becomes U+FFFD, as in JSON and recordings. Without Unicode
// all that is not ASCII is spelled out. What is longer than any name is cut.
func (g *signs) clean(s string) string {
	if len(s) > maxText {
		n := 0
		for i := range s {
			if n == maxText {
				s = s[:i]
				break
			}
			n++
		}
	}
	return g.escape(s)
}

// escape is clean for text of any length.
func (g *signs) escape(s string) string {
	if g.isClean(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case g.shown(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func (g *signs) isClean(s string) bool {
	for _, r := range s {
		if !g.shown(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

func (g *signs) shown(r rune) bool {
	return r >= 0x20 && r < 0x7f || r >= 0x80 && !g.ascii && unicode.IsPrint(r)
}

// width is the number of terminal cells that s takes.
func width(s string) int { return displaywidth.String(s) }

// cutEnd shortens s to at most w cells.
func (g *signs) cutEnd(s string, w int) string {
	if width(s) <= w {
		return s
	}
	if w <= width(g.ellipsis) {
		return displaywidth.TruncateString(s, w, "")
	}
	return displaywidth.TruncateString(s, w, g.ellipsis)
}

// cutMiddle shortens s to at most w cells, keeping more of its beginning than
// of its end: of symbols and addresses both ends tell.
func (g *signs) cutMiddle(s string, w int) string {
	if width(s) <= w {
		return s
	}
	room := w - width(g.ellipsis)
	if room < 2 {
		return g.cutEnd(s, w)
	}
	tail := room * 2 / 5
	var parts []string
	for it := displaywidth.StringGraphemes(s); it.Next(); {
		parts = append(parts, it.Value())
	}
	end, used := len(parts), 0
	for end > 0 && used+width(parts[end-1]) <= tail {
		end--
		used += width(parts[end])
	}
	return displaywidth.TruncateString(s, room-used, "") + g.ellipsis + strings.Join(parts[end:], "")
}

// cut is cutEnd for whole lines, where a width of 0 cuts nothing.
func (g *signs) cut(s string, w int) string {
	if w <= 0 {
		return s
	}
	return g.cutEnd(s, w)
}

// maxPacked bounds the lines that pack makes.
const maxPacked = 2

// pack joins parts to lines of at most w cells, breaking between parts only;
// the last of at most maxPacked lines is cut. A width of 0 makes one line.
func (g *signs) pack(indent string, parts []string, sep string, w int) []string {
	var lines []string
	line := ""
	for _, part := range parts {
		switch {
		case line == "":
			line = indent + part
		case w <= 0 || width(line)+width(sep)+width(part) <= w || len(lines) == maxPacked-1:
			line += sep + part
		default:
			lines = append(lines, g.cut(line, w))
			line = indent + part
		}
	}
	if line != "" {
		lines = append(lines, g.cut(line, w))
	}
	return lines
}

// pad fills s with spaces to w cells.
func pad(s string, w int, right bool) string {
	n := w - width(s)
	if n <= 0 {
		return s
	}
	if right {
		return strings.Repeat(" ", n) + s
	}
	return s + strings.Repeat(" ", n)
}

// plural says "1 packet", "1.2k packets".
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// Plain makes s harmless on a terminal and visible, as the tables do: terminal
// escapes and whatever else does not print are spelled out.
func Plain(s string) string {
	g := (&Options{Unicode: true}).signs()
	return g.clean(s)
}

// Harmless is [Plain] for text of any length.
func Harmless(s string) string {
	g := (&Options{Unicode: true}).signs()
	return g.escape(s)
}
