package value

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxParse is the largest type, in bytes, that is encoded from text.
const maxParse = 64 << 20

// Parse encodes text as a value of type t, as long as t is; only a flexible
// array makes it longer. It takes what [AppendText] writes for values without
// members, what [AppendJSON] writes for all, and what people type:
//
//   - integers in any base (12, 0xc, 0b1100, 0o14, and as in C 014), names or
//     numbers for enums, true, false, 1 or 0 for bool
//   - text for char arrays, plain or, if it begins with a quote, quoted as in Go
//   - 10.0.0.1 for a __be32; IPv4 or IPv6 for __u8[16] and in6_addr whatever the
//     member is called, a MAC address for __u8[6]; 0x… for other bytes
//   - JSON objects for structs, unions and sections, in which what is left out
//     is zero, and JSON arrays for arrays, whose missing elements are zero. Of
//     the members of a union the largest counts, of equals the first.
//
// The error says what was expected: the range, the names, the members.
func Parse(t btf.Type, text string) ([]byte, error) {
	s := shapeOf("", t)
	return parse(&s, text)
}

func parse(s *shape, text string) ([]byte, error) {
	if s.size > maxParse {
		return nil, fmt.Errorf("a type of %d bytes is too large to be set: %d are the most", s.size, maxParse)
	}
	e := encoder{buf: make([]byte, s.size), left: budget([]byte(text))}
	if err := e.text(s, text); err != nil {
		return nil, err
	}
	return e.buf, nil
}

// encoder encodes one value, which begins at the start of buf.
type encoder struct {
	buf  []byte
	left int // members that may still be looked at
}

// put stores b at off. Only a tail, which has no length of its own, may go
// beyond the end.
func (e *encoder) put(off int64, b []byte, tail bool) error {
	end := off + int64(len(b))
	if missing := end - int64(len(e.buf)); missing > 0 {
		if !tail || end > maxParse {
			return errors.New("has no room in its type")
		}
		e.buf = append(e.buf, make([]byte, missing)...)
	}
	copy(e.buf[off:], b)
	return nil
}

// text encodes what the user typed.
func (e *encoder) text(s *shape, typed string) error {
	if s.object() || s.kind == array || s.kind != text && hasParts(s) && isList(typed) {
		v, err := decodeJSON(typed)
		if err != nil {
			return fmt.Errorf("want %s: %w", wanted(s), err)
		}
		return e.tree(s, v, spot{tail: true}, 0)
	}
	// What AppendJSON writes as a string.
	if s.kind != text && s.kind != octets && strings.HasPrefix(typed, `"`) {
		str, err := unquote(typed)
		if err != nil {
			return err
		}
		typed = str
	}
	b, err := parseBytes(s, typed)
	if err != nil {
		return err
	}
	return e.put(0, b, s.open)
}
