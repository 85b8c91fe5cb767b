package eventtype

import (
	"debug/dwarf"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// maxDepth and maxTypes bound the types that one struct leads to: pointers are
// not followed, so an honest struct stays far below.
const (
	maxDepth = 32
	maxTypes = 4096
)

// converter turns DWARF's types into BTF's: clang writes BTF only for types that
// maps, globals and functions use, and an event's struct is none of those.
type converter struct{ made int }

var errDeep = errors.New("its type is too large or refers to itself")

// of converts t, whose typedefs, enums and nested structs come along.
func (c *converter) of(t dwarf.Type, depth int) (btf.Type, error) {
	if c.made++; depth > maxDepth || c.made > maxTypes {
		return nil, errDeep
	}
	switch t := t.(type) {
	case *dwarf.StructType:
		return c.structure(t, depth)
	case *dwarf.ArrayType:
		return c.array(t, depth)
	case *dwarf.TypedefType:
		inner, err := c.of(t.Type, depth+1)
		return &btf.Typedef{Name: t.Name, Type: inner}, err
	case *dwarf.QualType:
		return c.of(t.Type, depth+1)
	case *dwarf.EnumType:
		return enum(t), nil
	case *dwarf.PtrType:
		return &btf.Pointer{Target: &btf.Void{}}, nil
	case *dwarf.BoolType:
		return &btf.Int{Name: t.Name, Size: uint32(t.ByteSize), Encoding: btf.Bool}, nil
	case *dwarf.CharType:
		return &btf.Int{Name: t.Name, Size: uint32(t.ByteSize), Encoding: btf.Signed}, nil
	case *dwarf.IntType:
		return &btf.Int{Name: t.Name, Size: uint32(t.ByteSize), Encoding: btf.Signed}, nil
	case *dwarf.UcharType:
		return &btf.Int{Name: t.Name, Size: uint32(t.ByteSize)}, nil
	case *dwarf.UintType:
		return &btf.Int{Name: t.Name, Size: uint32(t.ByteSize)}, nil
	case *dwarf.FloatType:
		return &btf.Float{Name: t.Name, Size: uint32(t.ByteSize)}, nil
	}
	return nil, fmt.Errorf("its member of type %v is of a kind that no event has", t)
}

func (c *converter) structure(t *dwarf.StructType, depth int) (btf.Type, error) {
	if t.ByteSize < 0 || t.Incomplete {
		return nil, errors.New("one of its members is declared and not defined")
	}
	var members []btf.Member
	for _, f := range t.Field {
		inner, err := c.of(f.Type, depth+1)
		if err != nil {
			return nil, err
		}
		m := btf.Member{Name: f.Name, Type: inner, Offset: btf.Bits(f.ByteOffset * 8)}
		if f.BitSize > 0 {
			m.BitfieldSize = btf.Bits(f.BitSize)
			m.Offset = btf.Bits(f.ByteOffset*8 + f.DataBitOffset)
		}
		members = append(members, m)
	}
	if t.Kind == "union" {
		return &btf.Union{Name: t.StructName, Size: uint32(t.ByteSize), Members: members}, nil
	}
	return &btf.Struct{Name: t.StructName, Size: uint32(t.ByteSize), Members: members}, nil
}

// array converts one dimension; DWARF nests the others. A flexible array counts
// -1 elements.
func (c *converter) array(t *dwarf.ArrayType, depth int) (btf.Type, error) {
	inner, err := c.of(t.Type, depth+1)
	if err != nil {
		return nil, err
	}
	count := max(t.Count, 0)
	if count > maxEvent {
		return nil, errDeep
	}
	return &btf.Array{Index: &btf.Int{Name: "int", Size: 4}, Type: inner, Nelems: uint32(count)}, nil
}

func enum(t *dwarf.EnumType) btf.Type {
	e := &btf.Enum{Name: t.EnumName, Size: uint32(t.ByteSize)}
	for _, v := range t.Val {
		e.Signed = e.Signed || v.Val < 0
		e.Values = append(e.Values, btf.EnumValue{Name: v.Name, Value: uint64(v.Val)})
	}
	return e
}
