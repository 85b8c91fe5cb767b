package value

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// fuzzTypes has every kind of type, and some that no compiler makes.
func fuzzTypes() []btf.Type {
	return []btf.Type{
		nil, u8Type(), s8Type(), u16Type(), s32Type(), u64Type(), wideType(), boolType(), enumType(), signedEnum(8),
		floatType(), doubleType(), be16Type(), be32Type(), be64Type(), &btf.Pointer{}, &btf.Fwd{}, &btf.Func{},
		intType("odd", 3, btf.Signed), arrayOf(5, intType("odd", 7, btf.Unsigned)),
		arrayOf(8, charType()), arrayOf(0, charType()), arrayOf(9, u8Type()), arrayOf(16, u8Type()), arrayOf(6, u8Type()),
		arrayOf(3, arrayOf(2, u16Type())), arrayOf(1<<31, u32Type()), arrayOf(0, u64Type()), in6Type(),
		eventType(), packetType(), bitsType(), selfType(3), arrayOf(2, eventType()),
		in("saddr", arrayOf(16, u8Type())), in("mac", arrayOf(6, u8Type())), in("ip", be32Type()), in("comm", arrayOf(0, u8Type())),
		unionType(member("b", boolType()), member("n", u64Type()), member("s", arrayOf(8, charType())), member("d", doubleType())),
		structType("s", member("a\x1b\xff", u8Type()), member("", u8Type()), member("none", arrayOf(0, eventType())), member("last", arrayOf(0, eventType()))),
		&btf.Struct{Size: 4, Members: []btf.Member{{Name: "far", Type: u64Type(), Offset: 24}, {Name: "bits", Type: u64Type(), Offset: 5, BitfieldSize: 63}}},
		&btf.Datasec{Vars: []btf.VarSecinfo{{Type: &btf.Var{Name: "n", Type: u16Type()}, Offset: 2, Size: 2}, {Type: &btf.Var{Name: "e", Type: eventType()}, Offset: 8, Size: 9}}},
	}
}

// FuzzAppend holds that bytes never panic, that the JSON is valid and of a
// bounded size, and that a terminal sees nothing that it might obey.
func FuzzAppend(f *testing.F) {
	types := fuzzTypes()
	for i := range types {
		f.Add(uint8(i), eventData())
		f.Add(uint8(i), bytes.Repeat([]byte{0xff, 0x1b}, 9))
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		typ := types[int(which)%len(types)]
		js := AppendJSON(nil, typ, data)
		if !json.Valid(js) || !utf8.Valid(js) {
			t.Errorf("%v of %x: JSON %q is not valid", typ, data, js)
		}
		plain(t, js)
		text := AppendText(nil, typ, data)
		plain(t, text)
		if most := 1 << 17 * (1 + len(data)); len(js) > most || len(text) > most {
			t.Errorf("%v of %x: got %d bytes of JSON and %d of text, want at most %d", typ, data, len(js), len(text), most)
		}
		cells, columns := Cells(typ, data), Columns(typ)
		if len(cells) != len(columns) {
			t.Errorf("%v: got %d cells, want %d", typ, len(cells), len(columns))
		}
		for _, c := range append(cells, columns...) {
			plain(t, []byte(c))
		}
		readBack(t, typ, data, js)
	})
}

func plain(t *testing.T, b []byte) {
	t.Helper()
	for i, r := range string(b) {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError && b[i] != 0xef {
			t.Errorf("%q has what a terminal might obey", b)
			return
		}
	}
}

// readBack parses the JSON of data that has its type's size, and holds that
// what comes of it looks the same.
func readBack(t *testing.T, typ btf.Type, data, js []byte) {
	t.Helper()
	s := shapeOf("", typ)
	if s.kind == structure && s.members[0].Type == typ { // holds itself: not all of it was written
		return
	}
	if len(data) != s.size || bytes.ContainsRune(js, utf8.RuneError) || s.kind == opaque {
		return
	}
	b, err := Parse(typ, string(js))
	if err != nil {
		t.Errorf("%v: %s: %v", typ, js, err)
		return
	}
	if again := AppendJSON(nil, typ, b); !bytes.Equal(js, again) {
		t.Errorf("%v: %s was parsed to %s", typ, js, again)
	}
}

// FuzzParse holds that text never panics, and that what is taken has the size
// of its type and is written as something that gives the same bytes.
func FuzzParse(f *testing.F) {
	types := fuzzTypes()
	for i, typ := range types {
		f.Add(uint8(i), "x_ns", string(AppendJSON(nil, typ, eventData())))
		f.Add(uint8(i), "pid", string(AppendText(nil, typ, eventData())))
	}
	for _, text := range []string{"12", "0x0102", "true", "self", "5ms", "10.0.0.1", "::1", `"a\x01"`, "[1,[2]]", `{"a":{"b":null}}`} {
		for i := range types {
			f.Add(uint8(i), "addr", text)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, name, text string) {
		typ := types[int(which)%len(types)]
		if len(text) > 1<<12 {
			return
		}
		b, err := ParseNamed(name, typ, text, 4242)
		if err != nil {
			if err.Error() == "" || b != nil {
				t.Errorf("got %x and error %q", b, err)
			}
			return
		}
		s := shapeOf(name, typ)
		if len(b) < s.size || len(b) > s.size && !flexible(&s) {
			t.Fatalf("%v: %q gave %d bytes, want %d", typ, text, len(b), s.size)
		}
		if s.object() || s.kind == array || s.kind == float {
			return
		}
		written := string(AppendText(nil, &btf.Var{Name: name, Type: typ}, b))
		again, err := ParseNamed(name, typ, written, 4242)
		if len(b) <= maxHex && (err != nil || !bytes.Equal(b, again)) {
			t.Errorf("%v: %q gave %x, written %s, which gave %x, error %v", typ, text, b, written, again, err)
		}
	})
}
