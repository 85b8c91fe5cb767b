package value

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Types as clang writes them.
func intType(name string, size uint32, e btf.IntEncoding) *btf.Int {
	return &btf.Int{Name: name, Size: size, Encoding: e}
}

func charType() *btf.Int   { return intType("char", 1, btf.Signed) }
func s8Type() btf.Type     { return typedef("__s8", intType("signed char", 1, btf.Signed)) }
func u8Type() btf.Type     { return typedef("__u8", intType("unsigned char", 1, btf.Unsigned)) }
func u16Type() btf.Type    { return typedef("__u16", intType("unsigned short", 2, btf.Unsigned)) }
func u32Type() btf.Type    { return typedef("__u32", intType("unsigned int", 4, btf.Unsigned)) }
func u64Type() btf.Type    { return typedef("__u64", intType("unsigned long long", 8, btf.Unsigned)) }
func s32Type() btf.Type    { return intType("int", 4, btf.Signed) }
func s64Type() btf.Type    { return intType("long long", 8, btf.Signed) }
func boolType() btf.Type   { return intType("_Bool", 1, btf.Bool) }
func wideType() btf.Type   { return intType("__int128 unsigned", 16, btf.Unsigned) }
func floatType() btf.Type  { return &btf.Float{Name: "float", Size: 4} }
func doubleType() btf.Type { return &btf.Float{Name: "double", Size: 8} }
func be16Type() btf.Type   { return typedef("__be16", u16Type()) }
func be32Type() btf.Type   { return typedef("__be32", u32Type()) }
func be64Type() btf.Type   { return typedef("__be64", u64Type()) }

func typedef(name string, t btf.Type) btf.Type { return &btf.Typedef{Name: name, Type: t} }
func arrayOf(n uint32, t btf.Type) btf.Type    { return &btf.Array{Type: t, Nelems: n} }

func enumType() btf.Type {
	return &btf.Enum{Name: "state", Size: 4, Values: []btf.EnumValue{{Name: "OPEN", Value: 1}, {Name: "CLOSED", Value: 7}}}
}

func signedEnum(size uint32) btf.Type {
	return &btf.Enum{Name: "verdict", Size: size, Signed: true, Values: []btf.EnumValue{
		{Name: "NO", Value: math.MaxUint64}, {Name: "YES", Value: 1}, {Name: "AGAIN", Value: 1},
	}}
}

// structType lays members out one after the other.
func structType(name string, members ...btf.Member) *btf.Struct {
	s := &btf.Struct{Name: name}
	for _, m := range members {
		if m.Offset == 0 {
			m.Offset = btf.Bits(8 * s.Size)
		}
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			panic(err)
		}
		if m.BitfieldSize == 0 {
			s.Size = m.Offset.Bytes() + uint32(size)
		}
		s.Members = append(s.Members, m)
	}
	return s
}

func member(name string, t btf.Type) btf.Member { return btf.Member{Name: name, Type: t} }

func unionType(members ...btf.Member) *btf.Union {
	u := &btf.Union{}
	for _, m := range members {
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			panic(err)
		}
		u.Size = max(u.Size, uint32(size))
		u.Members = append(u.Members, m)
	}
	return u
}

func in6Type() btf.Type {
	return structType("in6_addr", member("in6_u", unionType(
		member("u6_addr8", arrayOf(16, u8Type())), member("u6_addr32", arrayOf(4, be32Type())))))
}

// bytesOfHost joins numbers in the host's byte order, and bytes and strings.
func bytesOfHost(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			var err error
			if b, err = binary.Append(b, binary.NativeEndian, p); err != nil {
				panic(err)
			}
		}
	}
	return b
}

// in returns a struct of one member, for types that depend on its name.
func in(name string, t btf.Type) btf.Type { return structType("s", member(name, t)) }

func TestAppend(t *testing.T) {
	f := func(typ btf.Type, data []byte, text, js string) {
		t.Helper()
		if got := string(AppendText([]byte("> "), typ, data)); got != "> "+text {
			t.Errorf("text: got %s, want > %s", got, text)
		}
		got := AppendJSON([]byte("> "), typ, data)
		if string(got) != "> "+js {
			t.Errorf("JSON: got %s, want > %s", got, js)
		}
		if !json.Valid(got[2:]) {
			t.Errorf("JSON: got %s, which is not valid", got)
		}
	}
	same := func(typ btf.Type, data []byte, want string) {
		t.Helper()
		f(typ, data, want, want)
	}
	str := func(typ btf.Type, data []byte, want string) {
		t.Helper()
		f(typ, data, want, `"`+want+`"`)
	}

	// Integers.
	same(u8Type(), []byte{255}, "255")
	same(s8Type(), []byte{255}, "-1")
	same(charType(), []byte{'a'}, "97")
	same(u16Type(), bytesOfHost(uint16(65535)), "65535")
	same(s32Type(), bytesOfHost(int32(math.MinInt32)), "-2147483648")
	same(u64Type(), bytesOfHost(uint64(math.MaxUint64)), "18446744073709551615")
	same(s64Type(), bytesOfHost(int64(math.MinInt64)), "-9223372036854775808")
	same(be16Type(), []byte{0x01, 0xbb}, "443")
	same(be32Type(), []byte{10, 0, 0, 1}, "167772161")
	same(be64Type(), []byte{0, 0, 0, 0, 0, 0, 1, 0}, "256")
	str(wideType(), bytesOfHost(uint64(2), uint64(1))[:16], hostWide("0x00000000000000010000000000000002", "0x00000000000000020000000000000001"))
	same(&btf.Const{Type: &btf.Volatile{Type: &btf.TypeTag{Type: &btf.Restrict{Type: typedef("t", u32Type())}}}}, bytesOfHost(uint32(7)), "7")

	// Other scalars.
	same(boolType(), []byte{0}, "false")
	same(boolType(), []byte{2}, "true")
	str(enumType(), bytesOfHost(uint32(7)), "CLOSED")
	same(enumType(), bytesOfHost(uint32(3)), "3")
	str(signedEnum(4), bytesOfHost(int32(-1)), "NO")
	str(signedEnum(4), bytesOfHost(int32(1)), "YES")
	same(signedEnum(4), bytesOfHost(int32(-5)), "-5")
	str(signedEnum(8), bytesOfHost(int64(-1)), "NO")
	str(signedEnum(1), []byte{255}, "NO")
	same(floatType(), bytesOfHost(float32(0.1)), "0.1")
	same(doubleType(), bytesOfHost(-2.5e300), "-2.5e+300")
	str(doubleType(), bytesOfHost(math.NaN()), "NaN")
	str(floatType(), bytesOfHost(float32(math.Inf(-1))), "-Inf")
	str(&btf.Pointer{Target: (*btf.Void)(nil)}, bytesOfHost(uint64(0xffff888000001000)), "0xffff888000001000")
	str(&btf.Pointer{}, bytesOfHost(uint64(0)), "0x0")

	// Strings.
	same(arrayOf(8, charType()), []byte("bash\x00old"), `"bash"`)
	same(arrayOf(4, &btf.Const{Type: intType("char", 1, btf.Char)}), []byte("full"), `"full"`)
	same(arrayOf(4, charType()), make([]byte, 4), `""`)
	same(arrayOf(4, charType()), []byte("\"\\\x00 "), `"\"\\"`)
	f(arrayOf(6, charType()), []byte("\x1b[2Jé"), `"\x1b[2Jé"`, `"\u001b[2Jé"`)
	f(arrayOf(4, charType()), []byte("a\xff\x80b"), `"a\xff\x80b"`, "\"a\uFFFD\uFFFDb\"")
	f(arrayOf(7, charType()), []byte("\u202e\U000e0001"), `"\u202e\U000e0001"`, `"\u202e\udb40\udc01"`)
	f(in("comm", arrayOf(4, u8Type())), []byte("ls\x00\x00"), `{comm="ls"}`, `{"comm":"ls"}`)

	// Bytes.
	f(arrayOf(3, u8Type()), []byte{1, 0, 255}, "0x0100ff", "[1,0,255]")
	f(in("id", arrayOf(16, u8Type())), make([]byte, 16), "{id=0x00000000000000000000000000000000}", `{"id":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}`)
	f(arrayOf(2, arrayOf(2, u8Type())), []byte{1, 2, 3, 4}, "[0x0102 0x0304]", "[[1,2],[3,4]]")
	f(arrayOf(100, u8Type()), make([]byte, 100), "0x"+strings.Repeat("00", 64)+"…+36", "["+strings.Repeat("0,", 99)+"0]")
	f(arrayOf(2, s8Type()), []byte{1, 255}, "[1 -1]", "[1,-1]")

	// Arrays.
	f(arrayOf(2, arrayOf(2, u16Type())), bytesOfHost(uint16(1), uint16(2), uint16(3), uint16(4)), "[[1 2] [3 4]]", "[[1,2],[3,4]]")
	f(arrayOf(40, boolType()), make([]byte, 40), "["+strings.Repeat("false ", 31)+"false…+8]", "["+strings.Repeat("false,", 39)+"false]")
	f(arrayOf(2, arrayOf(4, charType())), []byte("ab\x00\x00cd\x00\x00"), `["ab" "cd"]`, `["ab","cd"]`)
	same(arrayOf(0, u32Type()), nil, "[]")
	same(arrayOf(math.MaxUint32, structType("empty")), nil, "[]")

	// No type that says more.
	str(nil, []byte{1, 2}, "0x0102")
	str((*btf.Void)(nil), []byte{1, 2}, "0x0102")
	str(&btf.Fwd{Name: "sock"}, []byte{1, 2}, "0x0102")
	str(&btf.Func{Name: "f", Type: &btf.FuncProto{}}, []byte{1, 2}, "0x0102")
	str(&btf.Func{Name: "f"}, nil, "0x")
	str(intType("odd", 9, 0), make([]byte, 9), "0x000000000000000000")
	str(intType("none", 0, 0), []byte{1}, "0x01")
	str(&btf.Float{Name: "half", Size: 2}, []byte{1, 2}, "0x0102")

	// Too little and too much.
	f(u32Type(), []byte{1, 2}, "?", "null")
	f(u32Type(), nil, "?", "null")
	f(u8Type(), []byte{1, 2}, "1 ~rest=0x02", `{"value":1,"~rest":"0x02"}`)
	f(arrayOf(4, charType()), []byte("ab"), `"ab"?`, `"ab"`)
	f(arrayOf(4, charType()), []byte("a\x00"), `"a"`, `"a"`)
	f(arrayOf(4, charType()), nil, "?", "null")
	f(arrayOf(4, u8Type()), []byte{1, 2}, "0x0102?", "[1,2,null]")
	f(arrayOf(4, u16Type()), append(bytesOfHost(uint16(1)), 2), "[1 ? ?]", "[1,null,null]")
	f(arrayOf(math.MaxUint32, u8Type()), []byte{1}, "0x01", `"0x01"`) // larger than anything in a kernel
	f(structType("e"), nil, "{}", "{}")
	f(structType("e"), []byte{1}, "{~rest=0x01}", `{"~rest":"0x01"}`)
}

func hostWide(little, big string) string {
	if hostIsBig() {
		return big
	}
	return little
}
