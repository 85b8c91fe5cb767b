package value

import (
	"math"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// kind is how a value is written and read.
type kind uint8

const (
	opaque   kind = iota // bytes whose type says no more: hex
	unsigned             // up to 64 bits
	signed               // up to 64 bits
	wide                 // 128 bits
	boolean
	float
	enum
	pointer
	ipv4    // 4 bytes in network order
	address // 16 bytes, IPv6 or mapped IPv4
	mac
	text   // bytes up to a NUL
	octets // bytes
	array
	structure
	union
	section // a Datasec: variables
)

// shape is a type with its qualifiers and typedefs taken off and its hints
// understood.
type shape struct {
	kind    kind
	size    int    // in bytes; 0 if open
	open    bool   // takes the rest of the data: a flexible array, or no size known
	network bool   // an integer in network order
	name    string // of the member or variable, for the hints of elements

	members []btf.Member     // of a structure or union
	vars    []btf.VarSecinfo // of a section
	elem    btf.Type         // of an array
	count   int              // elements of an array, text or octets; 0 if open
	enum    *btf.Enum
}

// object reports whether it is one in JSON.
func (s *shape) object() bool { return s.kind >= structure }

const (
	// maxDepth bounds typedefs upon typedefs and values within values. The
	// kernel allows 32 (MAX_RESOLVE_DEPTH).
	maxDepth = 32
	// maxBits is the size of the widest bit-field that is shown.
	maxBits = 64
)

// shapeOf returns the shape of t, in a member or variable called name.
func shapeOf(name string, t btf.Type) shape {
	network := false
	for range maxDepth {
		switch v := t.(type) {
		case *btf.Typedef:
			network = network || networkOrder(v.Name)
			t = v.Type
		case *btf.Const:
			t = v.Type
		case *btf.Volatile:
			t = v.Type
		case *btf.Restrict:
			t = v.Type
		case *btf.TypeTag:
			t = v.Type
		case *btf.Var:
			if name == "" {
				name = v.Name
			}
			t = v.Type
		default:
			s := bareShape(name, t, network)
			s.name = name
			return s
		}
	}
	return bytesOnly(0)
}

func bareShape(name string, t btf.Type, network bool) shape {
	switch v := t.(type) {
	case *btf.Int:
		return intShape(name, v, network)
	case *btf.Enum:
		if v.Size >= 1 && v.Size <= 8 {
			return shape{kind: enum, size: int(v.Size), enum: v}
		}
		return bytesOnly(v.Size)
	case *btf.Float:
		if v.Size == 4 || v.Size == 8 {
			return shape{kind: float, size: int(v.Size)}
		}
		return bytesOnly(v.Size)
	case *btf.Pointer:
		return shape{kind: pointer, size: 8}
	case *btf.Array:
		return arrayShape(name, v)
	case *btf.Struct:
		switch {
		case v.Name == "in6_addr" && v.Size == 16:
			return shape{kind: address, size: 16}
		case v.Name == "in_addr" && v.Size == 4:
			return shape{kind: ipv4, size: 4, network: true}
		}
		return shape{kind: structure, size: int(v.Size), members: v.Members}
	case *btf.Union:
		return shape{kind: union, size: int(v.Size), members: v.Members}
	case *btf.Datasec:
		return shape{kind: section, size: sectionSize(v), vars: v.Vars}
	}
	return bytesOnly(0)
}

// bytesOnly is the shape of a type that says no more than its size, or not
// even that.
func bytesOnly(size uint32) shape { return shape{kind: opaque, size: int(size), open: size == 0} }

func intShape(name string, v *btf.Int, network bool) shape {
	s := shape{size: int(v.Size)}
	switch {
	case v.Size == 16 && addressName(name):
		s.kind = address
	case v.Size == 16:
		s.kind = wide
	case v.Size < 1 || v.Size > 8:
		return bytesOnly(v.Size)
	case v.Encoding == btf.Bool:
		s.kind = boolean
	case v.Encoding == btf.Signed || v.Encoding == btf.Char:
		s.kind = signed
	default:
		s.kind, s.network = unsigned, network
		if network && v.Size == 4 && addressName(name) {
			s.kind = ipv4
		}
	}
	return s
}

func arrayShape(name string, v *btf.Array) shape {
	size, err := btf.Sizeof(v)
	if err != nil || size > math.MaxInt32 {
		return bytesOnly(0)
	}
	s := shape{kind: array, size: size, open: v.Nelems == 0, elem: v.Type, count: int(v.Nelems)}
	switch char, octet := bytesOf(v.Type); {
	case char, octet && textName(name):
		s.kind = text
	case octet && v.Nelems == 16 && addressName(name):
		s.kind = address
	case octet && v.Nelems == 6 && macName(name):
		s.kind = mac
	case octet:
		s.kind = octets
	case v.Nelems == 4 && size == 16 && addressName(name):
		if e := shapeOf("", v.Type); e.kind == unsigned && e.network {
			s.kind = address
		}
	}
	return s
}

// bytesOf tells whether t is a char, or else an unsigned byte. clang gives a
// char the encoding of a signed number, as it does signed char; the name tells
// them apart.
func bytesOf(t btf.Type) (char, octet bool) {
	v, ok := btf.As[*btf.Int](t)
	if !ok || v.Size != 1 {
		return false, false
	}
	char = v.Encoding == btf.Char || v.Name == "char"
	return char, !char && v.Encoding == btf.Unsigned
}

// sectionSize is the size that is written, or what its variables need: the
// compiler leaves it 0, for the linker to fill in.
func sectionSize(v *btf.Datasec) int {
	size := int64(v.Size)
	for _, info := range v.Vars {
		size = max(size, int64(info.Offset)+int64(info.Size))
	}
	return int(size)
}

// flexible reports whether a value of type t may be longer than its type: an
// array without a length, or a struct that ends with one.
func flexible(s *shape) bool {
	inner := *s
	for range maxDepth {
		if inner.open {
			return true
		}
		if inner.kind != structure || len(inner.members) == 0 {
			return false
		}
		last := &inner.members[len(inner.members)-1]
		inner = shapeOf(last.Name, last.Type)
	}
	return false
}

// anonymous returns the shape of a member that has no name, false if it is not
// one whose members count as its parent's.
func anonymous(m *btf.Member) (shape, bool) {
	if m.Name != "" {
		return shape{}, false
	}
	s := shapeOf("", m.Type)
	return s, s.kind == structure || s.kind == union
}

func networkOrder(typedef string) bool {
	switch typedef {
	case "__be16", "__be32", "__be64", "be16", "be32", "be64", "in_addr_t", "in_port_t":
		return true
	}
	return false
}

// addressName reports whether a member of that name holds an IP address, if
// its type could be one.
func addressName(name string) bool {
	switch name {
	case "src", "dst", "source", "dest", "local", "remote", "peer", "gw", "gateway", "nexthop":
		return true
	}
	lower := strings.ToLower(name)
	if strings.Contains(lower, "addr") {
		return true
	}
	for rest := lower; ; {
		i := strings.Index(rest, "ip")
		if i < 0 {
			return false
		}
		// ip, src_ip, ipv6, ip4, dstip, but not script or ipi.
		if rest = rest[i+2:]; rest == "" || rest == "s" || strings.IndexByte("_v0123456789", rest[0]) >= 0 {
			return true
		}
	}
}

// macName is addressName for link-layer addresses.
func macName(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasPrefix(lower, "mac") || strings.HasSuffix(lower, "mac") || strings.Contains(lower, "mac_") ||
		strings.Contains(lower, "addr") || lower == "h_dest" || lower == "h_source"
}

// textName reports whether an array of bytes of that name holds text: many
// programs write __u8 comm[16].
func textName(name string) bool {
	for _, word := range [...]string{"comm", "name", "path", "file"} {
		if strings.HasSuffix(name, word) {
			return true
		}
	}
	return false
}
