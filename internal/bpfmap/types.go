package bpfmap

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// typeIDs are the members of struct bpf_map_info that the library does not show
// (include/uapi/linux/bpf.h).
type typeIDs struct {
	_            [44]byte
	VmlinuxValue uint32
	_            [16]byte
	BTF          uint32
	Key          uint32
	Value        uint32
	_            [12]byte
}

// readTypeIDs asks the kernel for the BTF of a map. Kernels that know less than
// the struct leave the rest zero.
func readTypeIDs(m *ebpf.Map) (typeIDs, error) {
	ids := new(typeIDs)
	attr := struct {
		fd, size uint32
		info     unsafe.Pointer
	}{uint32(m.FD()), uint32(unsafe.Sizeof(*ids)), unsafe.Pointer(ids)}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return typeIDs{}, fmt.Errorf("read type ids of map: %w", errno)
	}
	return *ids, nil
}

// typesOf returns the types of keys and values as the map's own BTF has them;
// nil where it has none.
func typesOf(m *ebpf.Map, info Info) (key, val btf.Type, err error) {
	ids, err := readTypeIDs(m)
	if err != nil {
		return nil, nil, err
	}
	if ids.VmlinuxValue != 0 {
		kernel, err := btf.LoadKernelSpec()
		if err != nil {
			return nil, nil, fmt.Errorf("read the kernel's types: %w", err)
		}
		val, err = kernel.TypeByID(btf.TypeID(ids.VmlinuxValue))
		if err != nil {
			return nil, nil, fmt.Errorf("read type of value: %w", err)
		}
		return nil, val, nil
	}
	if ids.BTF == 0 {
		return nil, nil, nil
	}
	handle, err := btf.NewHandleFromID(btf.ID(ids.BTF))
	if err != nil {
		return nil, nil, fmt.Errorf("open BTF %d of map: %w", ids.BTF, err)
	}
	defer handle.Close()
	spec, err := handle.Spec(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("read BTF %d of map: %w", ids.BTF, err)
	}
	if key, err = typeByID(spec, ids.Key); err != nil {
		return nil, nil, err
	}
	if val, err = typeByID(spec, ids.Value); err != nil {
		return nil, nil, err
	}
	if val == nil {
		val = sectionOf(spec, info.Name)
	}
	return key, val, nil
}

func typeByID(spec *btf.Spec, id uint32) (btf.Type, error) {
	if id == 0 {
		return nil, nil
	}
	t, err := spec.TypeByID(btf.TypeID(id))
	if err != nil {
		return nil, fmt.Errorf("read type %d of map: %w", id, err)
	}
	if _, ok := t.(*btf.Void); ok {
		return nil, nil
	}
	return t, nil
}

// sectionOf finds the section that a map of global data is of, by its name:
// loaders call it object.section (libbpf) or section, cut at the end.
func sectionOf(spec *btf.Spec, name string) btf.Type {
	dot := strings.IndexByte(name, '.')
	if dot < 0 {
		return nil
	}
	section := name[dot:]
	var found btf.Type
	for t, err := range spec.All() {
		if err != nil {
			return nil
		}
		d, ok := t.(*btf.Datasec)
		switch {
		case !ok:
		case d.Name == section:
			return d
		case len(name) == maxName && strings.HasPrefix(d.Name, section):
			found = d
		}
	}
	return found
}

func unsignedInt(name string, size uint32) *btf.Int { return &btf.Int{Name: name, Size: size} }

// charArray is the type of a text of n bytes.
func charArray(n int) *btf.Array {
	return &btf.Array{
		Index: unsignedInt("__u32", 4), Nelems: uint32(n),
		Type: &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed},
	}
}

// plainKey is the type of keys whose shape the type of the map gives away.
func plainKey(m *ebpf.Map) btf.Type {
	const prefix = 4 // bytes of the length in struct bpf_lpm_trie_key
	switch size := m.KeySize(); {
	case kindOf(m.Type()).index && size == 4:
		return unsignedInt("__u32", 4)
	case m.Type() == ebpf.LPMTrie && size > prefix:
		return &btf.Struct{Name: "bpf_lpm_trie_key", Size: size, Members: []btf.Member{
			{Name: "prefixlen", Type: unsignedInt("__u32", prefix)},
			{Name: "data", Offset: prefix * 8, Type: &btf.Array{
				Index: unsignedInt("__u32", 4), Nelems: size - prefix, Type: unsignedInt("__u8", 1),
			}},
		}}
	}
	return nil
}

// objectType is how programs and maps within maps are shown.
func objectType() btf.Type {
	return &btf.Struct{Size: 4 + maxName + 1, Members: []btf.Member{
		{Name: "id", Type: unsignedInt("__u32", 4)},
		{Name: "name", Offset: 32, Type: charArray(maxName + 1)},
	}}
}

// typeName says in C what t is; size is that of an unknown one.
func typeName(t btf.Type, size uint32) string {
	switch v := t.(type) {
	case nil:
		return fmt.Sprintf("%d bytes of unknown type", size)
	case *btf.Struct:
		return structName("struct", v.Name, v.Members)
	case *btf.Union:
		return structName("union", v.Name, v.Members)
	case *btf.Enum:
		return strings.TrimSpace("enum " + v.Name)
	case *btf.Array:
		return fmt.Sprintf("%s[%d]", typeName(v.Type, 0), v.Nelems)
	case *btf.Pointer:
		return "pointer"
	case *btf.Const:
		return typeName(v.Type, size)
	case *btf.Volatile:
		return typeName(v.Type, size)
	case *btf.TypeTag:
		return typeName(v.Type, size)
	case *btf.Var:
		return typeName(v.Type, size)
	}
	return t.TypeName()
}

func structName(kind, name string, members []btf.Member) string {
	if name != "" {
		kind += " " + name
	}
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name
	}
	return kind + " {" + strings.Join(names, ", ") + "}"
}
