package value

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxNames is how many names an error lists.
const maxNames = 16

// spot is where a value goes.
type spot struct {
	off  int64 // in bytes, from the start of all
	tail bool  // nothing is behind it
}

// decodeJSON returns text as what encoding/json makes of it, numbers as they
// are written.
func decodeJSON(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("parse as JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse as JSON: there is more behind it")
	}
	return v, nil
}

// tree encodes what was JSON. Null leaves zeros.
func (e *encoder) tree(s *shape, v any, at spot, depth int) error {
	if e.left--; e.left < 0 || depth > maxDepth {
		return errors.New("has too many or too deep parts")
	}
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		if s.object() {
			return e.object(s, v, at, depth)
		}
	case []any:
		if hasParts(s) {
			return e.list(s, v, at, depth)
		}
	case string:
		if s.kind == text {
			return e.string(s, v, at)
		}
		return e.leaf(s, v, at)
	case json.Number:
		return e.leaf(s, v.String(), at)
	case bool:
		if s.kind == boolean {
			return e.leaf(s, fmt.Sprint(v), at)
		}
	}
	return errors.New("want " + wanted(s))
}

// hasParts reports whether a JSON array can be the value.
func hasParts(s *shape) bool {
	return s.kind == array || bytesLike(s)
}

// bytesLike reports whether the value is bytes, whatever they mean.
func bytesLike(s *shape) bool {
	return s.kind == octets || s.kind == text || s.kind == address || s.kind == mac
}

func (e *encoder) leaf(s *shape, typed string, at spot) error {
	if s.kind == text || s.object() || s.kind == array {
		return errors.New("want " + wanted(s))
	}
	b, err := parseBytes(s, typed)
	if err != nil {
		return err
	}
	return e.put(at.off, b, at.tail && s.open)
}

func (e *encoder) string(s *shape, str string, at spot) error {
	b, err := fitString(s, str)
	if err != nil {
		return err
	}
	return e.put(at.off, b, at.tail && s.open)
}

// list encodes an array.
func (e *encoder) list(s *shape, list []any, at spot, depth int) error {
	elem, size, count := shape{kind: unsigned, size: 1}, 1, s.size
	if s.kind == array {
		elem, count = shapeOf(s.name, s.elem), s.count
		var err error
		if size, err = btf.Sizeof(s.elem); err != nil {
			return err
		}
	}
	if len(list) > count && (!s.open || !at.tail) {
		return fmt.Errorf("has %d elements: want at most %d", len(list), count)
	}
	if end := at.off + int64(len(list))*int64(size); s.open && end > int64(len(e.buf)) {
		if err := e.put(at.off, make([]byte, end-at.off), true); err != nil {
			return err
		}
	}
	for i, v := range list {
		if err := e.tree(&elem, v, spot{off: at.off + int64(i)*int64(size)}, depth+1); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func (e *encoder) object(s *shape, obj map[string]any, at spot, depth int) error {
	used := make(map[string]bool, len(obj))
	var err error
	if s.kind == section {
		err = e.variables(s.vars, obj, used, depth)
	} else {
		err = e.members(s, obj, used, at, depth)
	}
	if err != nil {
		return err
	}
	for name := range obj {
		if !used[name] {
			return fmt.Errorf("has no member %q: want %s", name, wanted(s))
		}
	}
	return nil
}

func (e *encoder) variables(vars []btf.VarSecinfo, obj map[string]any, used map[string]bool, depth int) error {
	for i := range vars {
		info := &vars[i]
		v, ok := info.Type.(*btf.Var)
		if !ok || v == nil {
			continue
		}
		if given, ok := obj[v.Name]; ok {
			used[v.Name] = true
			s := shapeOf(v.Name, v.Type)
			if err := e.tree(&s, given, spot{off: int64(info.Offset)}, depth+1); err != nil {
				return fmt.Errorf("%s: %w", v.Name, err)
			}
		}
	}
	return nil
}

// members encodes those members of a struct or union that obj has.
func (e *encoder) members(s *shape, obj map[string]any, used map[string]bool, at spot, depth int) error {
	for _, i := range writeOrder(s) {
		m := &s.members[i]
		to := spot{
			off:  at.off + int64(m.Offset.Bytes()),
			tail: at.tail && s.kind == structure && i == len(s.members)-1,
		}
		if e.left--; e.left < 0 || depth > maxDepth {
			return errors.New("has too many or too deep parts")
		}
		if inner, ok := anonymous(m); ok {
			if err := e.members(&inner, obj, used, to, depth+1); err != nil {
				return err
			}
			continue
		}
		v, ok := obj[m.Name]
		if !ok {
			continue
		}
		used[m.Name] = true
		if err := e.member(m, v, at, to, depth); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

func (e *encoder) member(m *btf.Member, v any, at, to spot, depth int) error {
	s := shapeOf(m.Name, m.Type)
	if m.BitfieldSize == 0 {
		return e.tree(&s, v, to, depth+1)
	}
	var typed string
	switch v := v.(type) {
	case nil:
		return nil
	case json.Number:
		typed = v.String()
	case string:
		typed = v
	case bool:
		typed = fmt.Sprint(v)
	}
	width := min(int(m.BitfieldSize), maxBits)
	raw, err := parseNumber(bitShape(&s), typed, width)
	if err != nil {
		return err
	}
	if !storeBits(e.buf, 8*at.off+int64(m.Offset), width, raw, hostIsBig()) {
		return errors.New("has no room in its type")
	}
	return nil
}

// writeOrder returns the order in which members are written: those of a union
// so that the largest, and of equals the first, is the last to be written.
// AppendJSON gives all of them, and a small one may know less than the bytes
// say: true of a bool that is 2.
func writeOrder(s *shape) []int {
	order := make([]int, len(s.members))
	for i := range order {
		order[i] = i
	}
	if s.kind != union {
		return order
	}
	size := func(i int) int64 {
		m := &s.members[i]
		if m.BitfieldSize > 0 {
			return int64(m.BitfieldSize)
		}
		inner := shapeOf(m.Name, m.Type)
		return 8 * int64(inner.size)
	}
	slices.Reverse(order)
	slices.SortStableFunc(order, func(a, b int) int { return int(size(a) - size(b)) })
	return order
}

// storeBits is the opposite of [loadBits].
func storeBits(buf []byte, off int64, width int, raw uint64, big bool) bool {
	if off+int64(width) > 8*int64(len(buf)) {
		return false
	}
	for i := range width {
		at, bit := off+int64(i), raw>>i&1
		shift := at % 8
		if big {
			bit, shift = raw>>(width-1-i)&1, 7-shift
		}
		buf[at/8] = buf[at/8]&^(1<<shift) | byte(bit)<<shift
	}
	return true
}

// wanted says what a value of that shape looks like.
func wanted(s *shape) string {
	switch s.kind {
	case structure, union, section:
		return "a JSON object" + listNames(" with ", memberNames(s, nil, 0))
	case array:
		if s.open {
			return "a JSON array"
		}
		return fmt.Sprintf("a JSON array of at most %d elements", s.count)
	}
	return wantedText(s, 8*s.size)
}

func memberNames(s *shape, names []string, depth int) []string {
	for i := range s.members {
		m := &s.members[i]
		if inner, ok := anonymous(m); !ok {
			names = append(names, m.Name)
		} else if depth < maxDepth && len(names) <= maxNames*4 {
			names = memberNames(&inner, names, depth+1)
		}
	}
	for i := range s.vars {
		if v, ok := s.vars[i].Type.(*btf.Var); ok {
			names = append(names, v.Name)
		}
	}
	return names
}

// listNames joins names after a lead, but not all of a thousand.
func listNames(lead string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	more := ""
	if len(names) > maxNames {
		more = fmt.Sprintf(" and %d more", len(names)-maxNames)
		names = names[:maxNames]
	}
	return string(appendBare([]byte(lead), strings.Join(names, ", "))) + more
}
