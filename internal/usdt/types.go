package usdt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// rawType is one type of .BTF, as it is in the file.
type rawType struct {
	at   int // offset in the file
	kind uint32
	name string
	data []byte // from its header on
}

// rawTypes are the types of an object. The first has id 1.
type rawTypes struct {
	list  []rawType
	start int // offset of .BTF in the file
	size  int
	end   int // offset in the file of the end of the strings
	order binary.ByteOrder
}

// Of linux/btf.h: where members are, and the kinds that matter here.
const (
	headerSize  = 24
	headerTypes = 12 // type_len
	headerNames = 16 // str_off
	typeSize    = 12 // struct btf_type
	typeInfo    = 4
	kindFunc    = 12
	kindVar     = 14
	kindDatasec = 15
	varInfoSize = 12 // struct btf_var_secinfo

	linkageGlobal = 1
)

var errBTF = errors.New("it ends in the middle of a type")

// types reads .BTF; an object that has none has no types.
func (p *patcher) types() (rawTypes, error) {
	section := p.Section(".BTF")
	if section == nil {
		return rawTypes{}, nil
	}
	start, data, err := p.data(section)
	if err != nil {
		return rawTypes{}, err
	}
	t := rawTypes{start: start, size: len(data), order: p.ByteOrder}
	if len(data) < headerSize || p.ByteOrder.Uint16(data) != 0xeb9f {
		return t, errors.New("section .BTF: it does not begin like BTF")
	}
	word := func(at int) uint64 { return uint64(p.ByteOrder.Uint32(data[at:])) }
	header, offset, length, names, namesLength := word(4), word(8), word(headerTypes), word(headerNames), word(20)
	if header+offset+length > uint64(len(data)) || header+names+namesLength > uint64(len(data)) {
		return t, fmt.Errorf("section .BTF: %w", errBounds)
	}
	t.end = start + int(header+names+namesLength)
	strings := data[header+names:][:namesLength]
	at := start + int(header+offset)
	for rest := data[header+offset:][:length]; len(rest) > 0; {
		size := sizeOf(rest, p.ByteOrder)
		if size == 0 || size > len(rest) {
			return t, fmt.Errorf("section .BTF: type %d: %w", len(t.list)+1, errBTF)
		}
		t.list = append(t.list, rawType{
			at:   at,
			kind: p.ByteOrder.Uint32(rest[typeInfo:]) >> 24 & 0x1f,
			name: textAt(strings, p.ByteOrder.Uint32(rest)),
			data: rest[:size],
		})
		at, rest = at+size, rest[size:]
	}
	return t, nil
}

// sizeOf returns how long the type is that data begins with, 0 if that is unknown.
func sizeOf(data []byte, order binary.ByteOrder) int {
	if len(data) < typeSize {
		return 0
	}
	info := order.Uint32(data[typeInfo:])
	n := int(info & 0xffff)
	switch info >> 24 & 0x1f {
	case 2, 7, 8, 9, 10, 11, kindFunc, 16, 18: // pointer, forward, typedef, volatile, const, restrict, float, type tag
		return typeSize
	case 1, kindVar, 17: // int, declaration tag
		return typeSize + 4
	case 3: // array
		return typeSize + 12
	case 4, 5, kindDatasec, 19: // struct, union, enum64
		return typeSize + 12*n
	case 6, 13: // enum, function prototype
		return typeSize + 8*n
	}
	return 0
}

// kconfig returns the section of __kconfig externs.
func (t rawTypes) kconfig() (rawType, bool) {
	for _, r := range t.list {
		if r.kind == kindDatasec && r.name == ".kconfig" {
			return r, true
		}
	}
	return rawType{}, false
}

// variables calls visit with the name of each variable of the section and the offset of its entry in r.data.
func (t rawTypes) variables(r rawType, visit func(name string, at int)) {
	for at := typeSize; at+varInfoSize <= len(r.data); at += varInfoSize {
		id := uint64(t.order.Uint32(r.data[at:]))
		if id >= 1 && id <= uint64(len(t.list)) && t.list[id-1].kind == kindVar {
			visit(t.list[id-1].name, at)
		}
	}
}

// externs returns the names of the __kconfig externs.
func (t rawTypes) externs() map[string]bool {
	found := make(map[string]bool)
	if section, ok := t.kconfig(); ok {
		t.variables(section, func(name string, _ int) { found[name] = true })
	}
	return found
}

// globals returns the offsets in the file of the functions of these names that are global.
func (t rawTypes) globals(names map[string]bool) []int {
	var found []int
	for _, r := range t.list {
		if r.kind == kindFunc && names[r.name] && t.order.Uint32(r.data[typeInfo:])&0xffff == linkageGlobal {
			found = append(found, r.at)
		}
	}
	return found
}

// dropCookie takes cookieName out of the section of __kconfig externs: what follows in .BTF moves down.
func (p *patcher) dropCookie(t rawTypes) {
	section, _ := t.kconfig()
	entry := -1
	t.variables(section, func(name string, at int) {
		if name == cookieName {
			entry = at
		}
	})
	header := p.ByteOrder.Uint32(p.bytes[t.start+headerNames:])
	if entry < 0 || header < varInfoSize {
		return
	}
	b := p.edit()
	at := section.at + entry
	copy(b[at:t.end-varInfoSize], b[at+varInfoSize:t.end])
	info := b[section.at+typeInfo:]
	p.ByteOrder.PutUint32(info, p.ByteOrder.Uint32(info)-1)
	for _, field := range []int{headerTypes, headerNames} {
		length := b[t.start+field:]
		p.ByteOrder.PutUint32(length, p.ByteOrder.Uint32(length)-varInfoSize)
	}
}
