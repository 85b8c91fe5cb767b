package bpfmap

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Number is an integer in a value.
type Number struct {
	Name   string // as internal/value names the column: value, or a dotted path
	Offset int    // in bytes
	Size   int    // in bytes: 1, 2, 4 or 8
	Signed bool
}

// maxDepth bounds structs within structs, as the kernel does (MAX_RESOLVE_DEPTH).
const maxDepth = 32

// Numbers returns the integers of a value of type t that can be counted with:
// itself, or the members of a struct and of structs in it. Arrays, bit-fields,
// unions and numbers in network order are left out.
func Numbers(t btf.Type) []Number {
	w := numberWalk{max: 1 << 12}
	w.add("value", "", 0, t, 0)
	return w.found
}

// numberWalk collects the integers of a type, at most max.
type numberWalk struct {
	found  []Number
	arrays bool // elements too
	max    int
	steps  int // types looked at
}

// maxSteps bounds the work on arrays of what has no numbers. The value of one CPU
// is at most 32 KB (PCPU_MIN_UNIT_SIZE), which all its numbers fit.
const maxSteps = 1 << 17

func (w *numberWalk) full() bool { return len(w.found) >= w.max || w.steps > maxSteps }

func (w *numberWalk) add(name, prefix string, offset int, t btf.Type, depth int) {
	if w.steps++; depth > maxDepth || w.full() || t == nil {
		return
	}
	for range maxDepth {
		switch v := t.(type) {
		case *btf.Typedef:
			if strings.HasPrefix(v.Name, "__be") {
				return
			}
			t = v.Type
			continue
		case *btf.Const:
			t = v.Type
			continue
		case *btf.Volatile:
			t = v.Type
			continue
		case *btf.TypeTag:
			t = v.Type
			continue
		}
		break
	}
	switch v := t.(type) {
	case *btf.Int:
		if v.Encoding != btf.Bool && v.Encoding != btf.Char && (v.Size == 1 || v.Size == 2 || v.Size == 4 || v.Size == 8) {
			w.found = append(w.found, Number{prefix + name, offset, int(v.Size), v.Encoding == btf.Signed})
		}
	case *btf.Struct:
		w.members(v, name, prefix, offset, depth)
	case *btf.Array:
		w.elements(v, name, prefix, offset, depth)
	}
}

func (w *numberWalk) members(v *btf.Struct, name, prefix string, offset, depth int) {
	switch v.Name {
	case "bpf_spin_lock", "bpf_timer", "bpf_list_head", "bpf_rb_root", "bpf_refcount":
		return
	}
	if depth > 0 && name != "" {
		prefix += name + "."
	}
	for _, m := range v.Members {
		if m.BitfieldSize == 0 {
			w.add(m.Name, prefix, offset+int(m.Offset.Bytes()), m.Type, depth+1)
		}
	}
}

func (w *numberWalk) elements(v *btf.Array, name, prefix string, offset, depth int) {
	size, err := btf.Sizeof(v.Type)
	if !w.arrays || err != nil || size <= 1 { // bytes are text or addresses
		return
	}
	for i := range int(v.Nelems) {
		if w.full() {
			return
		}
		w.add(name, prefix, offset+i*size, v.Type, depth+1)
	}
}

// Of returns the number in value, sign-extended to 64 bits; unsigned ones of 64
// bits are to be converted back. It is 0 if value is too short.
func (n Number) Of(value []byte) int64 {
	if n.Offset+n.Size > len(value) {
		return 0
	}
	b, e := value[n.Offset:n.Offset+n.Size], binary.NativeEndian
	switch {
	case n.Size == 8:
		return int64(e.Uint64(b))
	case n.Size == 4 && n.Signed:
		return int64(int32(e.Uint32(b)))
	case n.Size == 4:
		return int64(e.Uint32(b))
	case n.Size == 2 && n.Signed:
		return int64(int16(e.Uint16(b)))
	case n.Size == 2:
		return int64(e.Uint16(b))
	case n.Signed:
		return int64(int8(b[0]))
	}
	return int64(b[0])
}

// put writes a number, cut to its size.
func (n Number) put(value []byte, x int64) {
	b, e := value[n.Offset:n.Offset+n.Size], binary.NativeEndian
	switch n.Size {
	case 8:
		e.PutUint64(b, uint64(x))
	case 4:
		e.PutUint32(b, uint32(x))
	case 2:
		e.PutUint16(b, uint16(x))
	default:
		b[0] = byte(x)
	}
}

// Summer adds up the values of the CPUs, of one type. Its zero value is not of
// use. It is for one goroutine.
type Summer struct {
	numbers []Number
	out     []byte
}

// NewSummer returns a Summer of values of type t, which may be nil.
func NewSummer(t btf.Type) *Summer {
	w := numberWalk{arrays: true, max: 1 << 16}
	w.add("value", "", 0, t, 0)
	return &Summer{numbers: w.found}
}

// Sums reports whether there is anything to add up. Values without an integer
// are shown by CPU.
func (s *Summer) Sums() bool { return len(s.numbers) > 0 }

// Sum adds up integers member by member, each wrapping at its own width as in the
// program. What is no integer is taken from the first CPU that has anything. The
// result is valid until the next call; of one value it is that value.
func (s *Summer) Sum(values [][]byte) []byte {
	if len(values) == 1 {
		return values[0]
	}
	base := values[0]
	for _, v := range values {
		if len(bytes.Trim(v, "\x00")) > 0 {
			base = v
			break
		}
	}
	s.out = append(s.out[:0], base...)
	for _, n := range s.numbers {
		if n.Offset+n.Size > len(s.out) {
			continue
		}
		var sum int64
		for _, v := range values {
			sum += n.Of(v)
		}
		n.put(s.out, sum)
	}
	return s.out
}
