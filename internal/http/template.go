package http

import "strings"

// id is what stands for a part of a path that names one thing of many.
const id = "{id}"

// Template returns a path with what names one thing of many as {id}: numbers,
// dates, UUIDs, hashes and other identifiers that no person chose. So the paths
// of one service are as many as its kinds of requests. Words, versions (v1) and
// the ending of a file name stay; path parameters (;jsessionid=…) go, as do names and
// passwords.
func Template(path string) string {
	path = nobodys(path)
	if !strings.ContainsAny(path, "0123456789;") {
		return path // whatever is an identifier has a digit
	}
	var b strings.Builder
	for i := 0; i <= len(path); {
		end := strings.IndexByte(path[i:], '/')
		if end < 0 {
			end = len(path) - i
		}
		part, _, _ := strings.Cut(path[i:i+end], ";")
		b.WriteString(templatePart(part))
		if i += end; i < len(path) {
			b.WriteByte('/')
		}
		i++
	}
	return b.String()
}

// maxEnding is the longest ending of a file name that is kept, without its dot.
const maxEnding = 5

// templatePart does one part: of a file name the stem, else all of it.
func templatePart(part string) string {
	if dot := strings.LastIndexByte(part, '.'); dot > 0 && isEnding(part[dot+1:]) {
		// 12345.jpg, app-3f2a9c81d0.js
		stem, ending := part[:dot], part[dot:]
		begin := strings.LastIndexAny(stem, ".-_") + 1
		if isID(stem[begin:]) && !isID(stem[:begin]) {
			return stem[:begin] + id + ending
		}
		if isID(stem) {
			return id + ending
		}
	}
	if isID(part) {
		return id
	}
	return part
}

// isEnding takes what names the type of a file: jpg, mp4, html.
func isEnding(s string) bool {
	c := countOf(s)
	return len(s) <= maxEnding && c.letters+c.digits == len(s) && s != "" && s[0] > '9'
}

// The shortest strings that count as hexadecimal, and as random.
const (
	hashLength   = 8
	randomLength = 16
)

// isID reports whether s looks like a name that a program gave.
func isID(s string) bool {
	c := countOf(s)
	switch {
	case c.digits == 0 || c.others > 0:
		return false
	case c.letters == 0:
		return true // numbers, dates, telephone numbers
	case c.hex+c.marks == len(s) && c.hex >= hashLength:
		return true // hashes, UUIDs, MAC addresses, object ids
	case isTimestamp(s):
		return true
	case len(s) >= randomLength:
		// Of base64 a sixth is digits, of base32 nearly a third; of names that
		// people choose less, and they have marks between words.
		return c.marks <= len(s)/8 && (c.upper > 0 && c.lower > 0 && c.digits*8 >= len(s) || c.digits*5 >= len(s))
	}
	return isNumbered(s)
}

// kinds is how many characters of each kind there are.
type kinds struct {
	digits, letters, upper, lower, hex int
	marks                              int // that identifiers have between
	others                             int
}

func countOf(s string) (c kinds) {
	for i := range len(s) {
		switch ch := s[i]; {
		case '0' <= ch && ch <= '9':
			c.digits++
			c.hex++
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z':
			c.letters++
			if ch|0x20 <= 'f' {
				c.hex++
			}
			if ch >= 'a' {
				c.lower++
			} else {
				c.upper++
			}
		case ch == '-', ch == '_', ch == ':', ch == '.', ch == ',', ch == '+', ch == '=', ch == '~':
			c.marks++
		default:
			c.others++
		}
	}
	return c
}

// isTimestamp takes 2026-11-25T12:00:00Z and 20261125T120000Z.
func isTimestamp(s string) bool {
	date, clock, ok := strings.Cut(strings.TrimSuffix(s, "Z"), "T")
	d, c := countOf(date), countOf(clock)
	return ok && d.digits >= 8 && d.digits+d.marks == len(date) && c.digits >= 4 && c.digits+c.marks == len(clock)
}

func allDigits(s string) bool {
	c := countOf(s)
	return s != "" && c.digits == len(s)
}

// isNumbered takes a name, a mark and a number of at least three digits:
// user_12345, INV-2026-0042.
func isNumbered(s string) bool {
	at := strings.LastIndexAny(s, "-_:")
	return at > 0 && len(s)-at-1 >= 3 && allDigits(s[at+1:])
}
