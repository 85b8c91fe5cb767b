package value

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/cilium/ebpf/btf"
)

const (
	// maxElements and maxHex are what text shows of an array and of bytes.
	maxElements = 32
	maxHex      = 64
	// restName is the member that holds what is behind a value.
	restName = "~rest"
)

// budget returns how many values may be written for data. Every bit may be a
// bit-field and unions show bytes more than once, but types that lie within
// each other without end do not take the process down.
func budget(data []byte) int { return 4096 + 64*len(data) }

// writer writes one value.
type writer struct {
	dst  []byte
	json bool // else text
	bare bool // no quotes around a string that is all there is
	left int  // values that may still be written
}

// top writes a value of all of data.
func (w *writer) top(t btf.Type, data []byte) {
	s := shapeOf("", t)
	var rest []byte
	if len(data) > s.size && !flexible(&s) {
		data, rest = data[:s.size], data[s.size:]
	}
	switch {
	case s.object():
		w.object(&s, data, rest, 0)
	case len(rest) == 0:
		w.value(&s, data, 0)
	case w.json:
		w.dst = append(w.dst, `{"value":`...)
		w.value(&s, data, 0)
		w.rest(rest, false)
		w.dst = append(w.dst, '}')
	default:
		w.value(&s, data, 0)
		w.rest(rest, false)
	}
}

// value writes the value at the start of data, which is no longer than it.
func (w *writer) value(s *shape, data []byte, depth int) {
	if w.left--; w.left < 0 || depth > maxDepth {
		w.tooMuch()
		return
	}
	if len(data) == 0 && s.size > 0 && !s.object() {
		w.missing()
		return
	}
	switch s.kind {
	case structure, union, section:
		w.object(s, data, nil, depth)
	case array:
		w.array(s, data, depth)
	case text:
		w.text(s, data)
	case octets:
		w.octets(s, data)
	case opaque:
		w.hexString(data)
		if len(data) < s.size && !w.json {
			w.missing()
		}
	default:
		if len(data) < s.size {
			w.missing()
			return
		}
		w.scalar(s, data[:s.size])
	}
}

// missing writes that there are no bytes for a value.
func (w *writer) missing() {
	if w.json {
		w.dst = append(w.dst, "null"...)
	} else {
		w.dst = append(w.dst, '?')
	}
}

// tooMuch writes that values lie too deep within each other, or are too many.
func (w *writer) tooMuch() {
	if w.json {
		w.dst = append(w.dst, "null"...)
	} else {
		w.dst = append(w.dst, "…"...)
	}
}

func (w *writer) object(s *shape, data, rest []byte, depth int) {
	w.dst = append(w.dst, '{')
	var first bool
	if s.kind == section {
		first = w.variables(s.vars, data, depth)
	} else {
		first = w.members(s, data, depth, true)
	}
	if len(rest) > 0 {
		w.rest(rest, first)
	}
	w.dst = append(w.dst, '}')
}

// members writes the members of a struct or union, those of anonymous ones
// within it included. It returns whether the next member is the first.
func (w *writer) members(s *shape, data []byte, depth int, first bool) bool {
	for i := range s.members {
		if w.left < 0 {
			break
		}
		last := s.kind == structure && i == len(s.members)-1
		first = w.member(&s.members[i], data, last, depth, first)
	}
	return first
}

// member is a function, and not the body of the loop, so that the shapes stay
// on the stack.
func (w *writer) member(m *btf.Member, data []byte, last bool, depth int, first bool) bool {
	if inner, ok := anonymous(m); ok {
		if w.left--; depth > maxDepth {
			return first
		}
		return w.members(&inner, part(data, m, &inner, last), depth+1, first)
	}
	w.key(m.Name, first)
	s := shapeOf(m.Name, m.Type)
	if m.BitfieldSize > 0 {
		w.bitField(&s, m, data)
	} else {
		w.value(&s, part(data, m, &s, last), depth+1)
	}
	return false
}

func (w *writer) variables(vars []btf.VarSecinfo, data []byte, depth int) bool {
	for i := range vars {
		if w.left < 0 {
			break
		}
		w.variable(&vars[i], data, depth, i == 0)
	}
	return len(vars) == 0
}

func (w *writer) variable(v *btf.VarSecinfo, data []byte, depth int, first bool) {
	name := variableName(v)
	w.key(name, first)
	s := shapeOf(name, v.Type)
	w.value(&s, clip(data, int64(v.Offset), int64(v.Size)), depth+1)
}

func variableName(v *btf.VarSecinfo) string {
	if v.Type == nil {
		return ""
	}
	return v.Type.TypeName()
}

// part returns the bytes of a member: to the end of data if it is the last one
// of its struct and has no length of its own.
func part(data []byte, m *btf.Member, s *shape, last bool) []byte {
	size := int64(s.size)
	if s.open && s.kind == opaque || last && flexible(s) {
		size = math.MaxInt32
	}
	return clip(data, int64(m.Offset.Bytes()), size)
}

// clip returns what data has of size bytes at off.
func clip(data []byte, off, size int64) []byte {
	if off >= int64(len(data)) {
		return nil
	}
	data = data[off:]
	return data[:min(int64(len(data)), size)]
}

func (w *writer) array(s *shape, data []byte, depth int) {
	e := shapeOf(s.name, s.elem)
	w.dst = append(w.dst, '[')
	if n, err := btf.Sizeof(s.elem); err == nil && n > 0 {
		w.elements(&e, n, s.count, data, depth)
	}
	w.dst = append(w.dst, ']')
}

// elements writes count elements of size bytes, or as many as data has.
func (w *writer) elements(e *shape, size, count int, data []byte, depth int) {
	have := (len(data) + size - 1) / size
	if count == 0 {
		count = have
	}
	shown := have
	if !w.json {
		shown = min(have, maxElements)
	}
	for i := range shown {
		if w.left < 0 {
			break
		}
		if i > 0 {
			w.separate()
		}
		w.value(e, clip(data, int64(i)*int64(size), int64(size)), depth+1)
	}
	switch {
	case shown < have:
		w.more(count - shown)
	case have < count:
		if have > 0 {
			w.separate()
		}
		w.missing()
	}
}

// more writes how much was left out of text.
func (w *writer) more(n int) {
	w.dst = append(w.dst, "…+"...)
	w.dst = strconv.AppendInt(w.dst, int64(n), 10)
}

func (w *writer) separate() {
	if w.json {
		w.dst = append(w.dst, ',')
	} else {
		w.dst = append(w.dst, ' ')
	}
}

func (w *writer) text(s *shape, data []byte) {
	end := bytes.IndexByte(data, 0)
	cut := end < 0 && len(data) < s.size
	if end >= 0 {
		data = data[:end]
	}
	w.string(view(data))
	if cut && !w.json {
		w.missing()
	}
}

// view returns b as a string that must not outlive it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (w *writer) octets(s *shape, data []byte) {
	if !w.json {
		w.hexString(data)
		if len(data) < s.size {
			w.missing()
		}
		return
	}
	w.dst = append(w.dst, '[')
	for i, b := range data {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.dst = strconv.AppendUint(w.dst, uint64(b), 10)
	}
	if len(data) < s.size {
		w.dst = append(w.dst, ",null"...)
	}
	w.dst = append(w.dst, ']')
}

// scalar writes a value without parts; data is all of it and no more.
func (w *writer) scalar(s *shape, data []byte) {
	switch s.kind {
	case ipv4:
		w.address(netip.AddrFrom4([4]byte(data)))
	case address:
		w.address(netip.AddrFrom16([16]byte(data)).Unmap())
	case mac:
		w.mac(data)
	case wide:
		w.wide(data)
	default:
		w.number(s, load(data, s.network), 8*s.size)
	}
}

// load returns the unsigned integer that data, at most 8 bytes, holds.
func load(data []byte, network bool) (raw uint64) {
	if network || hostIsBig() {
		for _, b := range data {
			raw = raw<<8 | uint64(b)
		}
		return raw
	}
	for i, b := range data {
		raw |= uint64(b) << (8 * i)
	}
	return raw
}

func hostIsBig() bool { return binary.NativeEndian.Uint16([]byte{0, 1}) == 1 }

func (w *writer) bitField(s *shape, m *btf.Member, data []byte) {
	if w.left--; w.left < 0 {
		w.tooMuch()
		return
	}
	width := min(int(m.BitfieldSize), maxBits)
	raw, ok := loadBits(data, int64(m.Offset), width, hostIsBig())
	switch {
	case !ok:
		w.missing()
	case s.kind == unsigned || s.kind == signed || s.kind == boolean || s.kind == enum:
		w.number(s, raw, width)
	default:
		w.number(&shape{kind: unsigned}, raw, width)
	}
}

// loadBits returns the integer of width bits at the bit off: counted from the
// lowest bit of a byte on little-endian hosts, from the highest on others.
func loadBits(data []byte, off int64, width int, big bool) (raw uint64, ok bool) {
	if off+int64(width) > 8*int64(len(data)) {
		return 0, false
	}
	for i := range width {
		at := off + int64(i)
		if big {
			raw = raw<<1 | uint64(data[at/8]>>(7-at%8)&1)
		} else {
			raw |= uint64(data[at/8]>>(at%8)&1) << i
		}
	}
	return raw, true
}

// number writes the lower bits of raw as what s says.
func (w *writer) number(s *shape, raw uint64, bits int) {
	switch s.kind {
	case signed:
		w.dst = strconv.AppendInt(w.dst, extend(raw, bits), 10)
	case boolean:
		w.dst = strconv.AppendBool(w.dst, raw != 0)
	case enum:
		w.enum(s.enum, raw, bits)
	case float:
		w.float(raw, bits)
	case pointer:
		w.quote()
		w.dst = append(w.dst, "0x"...)
		w.dst = strconv.AppendUint(w.dst, raw, 16)
		w.quote()
	default:
		w.dst = strconv.AppendUint(w.dst, raw, 10)
	}
}

// extend returns the signed integer in the lower bits of raw.
func extend(raw uint64, bits int) int64 {
	unused := 64 - bits
	return int64(raw<<unused) >> unused
}

func (w *writer) enum(e *btf.Enum, raw uint64, bits int) {
	mask := uint64(math.MaxUint64) >> (64 - bits)
	for i := range e.Values {
		if v := &e.Values[i]; v.Value&mask == raw {
			w.word(v.Name)
			return
		}
	}
	if e.Signed {
		w.dst = strconv.AppendInt(w.dst, extend(raw, bits), 10)
	} else {
		w.dst = strconv.AppendUint(w.dst, raw, 10)
	}
}

func (w *writer) float(raw uint64, bits int) {
	f := math.Float64frombits(raw)
	if bits == 32 {
		f = float64(math.Float32frombits(uint32(raw)))
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.quote()
		w.dst = strconv.AppendFloat(w.dst, f, 'g', -1, bits)
		w.quote()
		return
	}
	w.dst = strconv.AppendFloat(w.dst, f, 'g', -1, bits)
}
