package eventtype

import (
	"bytes"
	"encoding/binary"
)

// honestLines reports whether the line table at offset at of .debug_line counts no
// more directories and files than it has bytes for. The standard library makes room
// for as many as a table claims before it reads one, so that a file of some bytes
// could take all memory. Only what compilers write passes: 32-bit DWARF (section
// 6.2.4 of version 5; before, the lists end themselves and nothing is counted).
func honestLines(section []byte, at int64, order binary.ByteOrder) bool {
	const (
		head      = 4 + 2       // unit_length, version
		rest      = 1 + 1 + 4   // address_size, segment_selector_size, header_length
		constants = 5           // minimum_instruction_length to line_range
		longest   = 0xffff_fff0 // lengths from here on are escapes
		opcodes   = head + rest + constants
	)
	if at < 0 || at > int64(len(section)) {
		return false
	}
	b := section[at:]
	if len(b) < head || order.Uint32(b) >= longest {
		return false
	}
	if order.Uint16(b[4:]) < 5 {
		return true
	}
	if len(b) <= opcodes {
		return false
	}
	r := reader{b: b[opcodes:]}
	r.skip(int(max(r.uint8(), 1)) - 1) // the lengths of opcodes
	for range 2 {                      // directories, files
		r.entries()
	}
	return !r.short
}

// reader takes bytes off a table. short is set for good once there are too few.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) skip(n int) {
	if n < 0 || n > len(r.b) {
		r.b, r.short = nil, true
		return
	}
	r.b = r.b[n:]
}

func (r *reader) uint8() byte {
	if len(r.b) == 0 {
		r.short = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// uleb128 reads a number of variable length.
func (r *reader) uleb128() uint64 {
	v, n := binary.Uvarint(r.b) // the same encoding
	if n <= 0 {
		r.b, r.short = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// entries passes a list: the forms of an entry's parts, how many, and as many.
func (r *reader) entries() {
	forms := make([]uint64, r.uint8())
	for i := range forms {
		r.uleb128() // what the part is
		forms[i] = r.uleb128()
	}
	count := r.uleb128()
	if count > uint64(len(r.b)) || count > 0 && len(forms) == 0 {
		r.short = true
		return
	}
	for i := uint64(0); i < count && !r.short; i++ {
		for _, form := range forms {
			r.part(form)
		}
	}
}

// part passes one part of an entry, in the forms of section 7.5.6 that it may have.
func (r *reader) part(form uint64) {
	switch form {
	case 0x08: // string
		r.skip(bytes.IndexByte(r.b, 0) + 1)
	case 0x0b: // data1
		r.skip(1)
	case 0x05: // data2
		r.skip(2)
	case 0x06, 0x0e, 0x1f: // data4, strp, line_strp
		r.skip(4)
	case 0x07: // data8
		r.skip(8)
	case 0x1e: // data16: MD5
		r.skip(16)
	case 0x0f: // udata
		r.uleb128()
	default:
		r.short = true
	}
}
