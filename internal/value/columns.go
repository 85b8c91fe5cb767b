package value

import "github.com/cilium/ebpf/btf"

// oneColumn is the name of the column of a value without members.
const oneColumn = "value"

// maxColumns is where nested structs stop to be taken apart.
const maxColumns = 256

// Columns returns the names of the columns that a value of type t makes in a
// table: of a struct, a union or a section its members, those of nested ones
// dotted (addr.v4), those of anonymous ones as if they were its own; of all
// else, nil included, one called "value".
func Columns(t btf.Type) []string {
	var names []string
	columns(t, nil, func(name string, _ shape, _ *btf.Member, _ []byte) {
		names = append(names, name)
	})
	return names
}

// Cells returns the text of each of the [Columns] of t for data: as
// [AppendText] writes it, but strings without quotes. What data has beyond its
// type is in the last cell.
func Cells(t btf.Type, data []byte) []string {
	var cells []string
	left := budget(data) // of all cells together
	rest := columns(t, data, func(_ string, s shape, m *btf.Member, data []byte) {
		w := writer{bare: s.kind == text, left: left}
		if m != nil && m.BitfieldSize > 0 {
			w.bitField(&s, m, data)
		} else {
			w.value(&s, data, 0)
		}
		left = w.left
		cells = append(cells, string(w.dst))
	})
	if len(rest) > 0 {
		w := writer{dst: []byte(cells[len(cells)-1])}
		w.rest(rest, false)
		cells[len(cells)-1] = string(w.dst)
	}
	return cells
}

// cell takes one column: its name and its bytes, or for a bit-field those of
// its struct.
type cell func(name string, s shape, m *btf.Member, data []byte)

// columns calls each for every column and returns what is behind the value.
// Which columns there are does not depend on data.
func columns(t btf.Type, data []byte, each cell) (rest []byte) {
	s := shapeOf("", t)
	if len(data) > s.size && !flexible(&s) {
		data, rest = data[:s.size], data[s.size:]
	}
	c := columnWalk{each: each}
	if s.object() {
		c.object("", &s, data, 0)
	}
	if c.count == 0 {
		each(oneColumn, s, nil, data)
	}
	return rest
}

type columnWalk struct {
	each  cell
	count int
}

func (c *columnWalk) object(prefix string, s *shape, data []byte, depth int) {
	for i := range s.members {
		m := &s.members[i]
		last := s.kind == structure && i == len(s.members)-1
		ms, nameless := anonymous(m)
		if !nameless {
			ms = shapeOf(m.Name, m.Type)
		}
		switch {
		case m.BitfieldSize > 0:
			c.leaf(prefix+m.Name, ms, m, data)
		case nameless && c.deeper(&ms, depth):
			c.object(prefix, &ms, part(data, m, &ms, last), depth+1)
		default:
			c.value(prefix+m.Name, &ms, part(data, m, &ms, last), depth)
		}
	}
	for i := range s.vars {
		v := &s.vars[i]
		name := variableName(v)
		vs := shapeOf(name, v.Type)
		c.value(prefix+name, &vs, clip(data, int64(v.Offset), int64(v.Size)), depth)
	}
}

// deeper reports whether the members of s become columns.
func (c *columnWalk) deeper(s *shape, depth int) bool {
	return s.object() && len(s.members)+len(s.vars) > 0 && depth < maxDepth && c.count < maxColumns
}

func (c *columnWalk) value(name string, s *shape, data []byte, depth int) {
	if c.deeper(s, depth) {
		c.object(name+".", s, data, depth+1)
		return
	}
	c.leaf(name, *s, nil, data)
}

func (c *columnWalk) leaf(name string, s shape, m *btf.Member, data []byte) {
	c.count++
	c.each(string(appendBare(nil, name)), s, m, data)
}
