package value

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// eventType is an event as programs send them.
func eventType() btf.Type {
	return structType("event",
		member("ts_ns", u64Type()),
		member("pid", u32Type()),
		member("saddr", be32Type()),
		member("dport", be16Type()),
		member("state", typedef("u8", intType("unsigned char", 1, btf.Unsigned))),
		member("ok", boolType()),
		member("comm", arrayOf(16, charType())),
	)
}

func eventData() []byte {
	return bytesOfHost(uint64(1<<63), uint32(12), []byte{10, 0, 0, 1}, []byte{1, 0xbb}, uint8(3), true, "bash\x00", make([]byte, 11))
}

// bitsType has its members where clang puts them.
func bitsType() btf.Type {
	return &btf.Struct{Size: 8, Members: []btf.Member{
		{Name: "low", Type: u32Type(), Offset: 0, BitfieldSize: 3},
		{Name: "sig", Type: s32Type(), Offset: 3, BitfieldSize: 5},
		{Name: "flag", Type: boolType(), Offset: 8, BitfieldSize: 1},
		{Name: "what", Type: signedEnum(4), Offset: 9, BitfieldSize: 3},
		{Name: "over", Type: u64Type(), Offset: 12, BitfieldSize: 20},
		{Name: "plain", Type: u16Type(), Offset: 32},
	}}
}

// packetType has what is anonymous, a union, and an array without a length.
func packetType() btf.Type {
	return structType("packet",
		member("", unionType(member("v4", be32Type()), member("word", u32Type()))),
		member("", structType("", member("a", u8Type()), member("", structType("", member("b", u8Type()))))),
		member("len", u16Type()),
		member("key", unionType(member("num", u16Type()), member("raw", arrayOf(2, u8Type())))),
		member("in", structType("inner", member("x", u16Type()), member("list", arrayOf(2, u16Type())))),
		member("data", arrayOf(0, u8Type())),
	)
}

func packetData(tail ...byte) []byte {
	return bytesOfHost(uint32(1), uint8(2), uint8(3), uint16(4), []byte{5, 0}, uint16(6), uint16(7), uint16(8), tail)
}

// selfType holds itself, as no compiler lets it.
func selfType(members int) btf.Type {
	s := &btf.Struct{Name: "self", Size: 8}
	for range members {
		s.Members = append(s.Members, btf.Member{Name: "s", Type: s}, btf.Member{Type: s})
	}
	return s
}

func TestStructs(t *testing.T) {
	f := func(typ btf.Type, data []byte, text, js string) {
		t.Helper()
		if got := string(AppendText(nil, typ, data)); got != text {
			t.Errorf("text: got %s, want %s", got, text)
		}
		got := AppendJSON(nil, typ, data)
		if string(got) != js {
			t.Errorf("JSON: got %s, want %s", got, js)
		}
		if !json.Valid(got) {
			t.Errorf("JSON: got %s, which is not valid", got)
		}
	}
	f(eventType(), eventData(),
		`{ts_ns=9223372036854775808 pid=12 saddr=10.0.0.1 dport=443 state=3 ok=true comm="bash"}`,
		`{"ts_ns":9223372036854775808,"pid":12,"saddr":"10.0.0.1","dport":443,"state":3,"ok":true,"comm":"bash"}`)
	f(eventType(), eventData()[:14],
		`{ts_ns=9223372036854775808 pid=12 saddr=? dport=? state=? ok=? comm=?}`,
		`{"ts_ns":9223372036854775808,"pid":12,"saddr":null,"dport":null,"state":null,"ok":null,"comm":null}`)
	f(structType("s", member("a", u8Type())), []byte{1, 2, 3}, `{a=1 ~rest=0x0203}`, `{"a":1,"~rest":"0x0203"}`)
	f(structType("s", member("in", structType("i", member("a", u8Type())))), nil, `{in={a=?}}`, `{"in":{"a":null}}`)
	f(structType("s", member("a", u8Type()), member("fwd", &btf.Pointer{})), []byte{1}, `{a=1 fwd=?}`, `{"a":1,"fwd":null}`)

	f(packetType(), packetData(9, 10),
		`{v4=16777216 word=1 a=2 b=3 len=4 key={num=5 raw=0x0500} in={x=6 list=[7 8]} data=0x090a}`,
		`{"v4":16777216,"word":1,"a":2,"b":3,"len":4,"key":{"num":5,"raw":[5,0]},"in":{"x":6,"list":[7,8]},"data":[9,10]}`)
	f(packetType(), packetData(),
		`{v4=16777216 word=1 a=2 b=3 len=4 key={num=5 raw=0x0500} in={x=6 list=[7 8]} data=0x}`,
		`{"v4":16777216,"word":1,"a":2,"b":3,"len":4,"key":{"num":5,"raw":[5,0]},"in":{"x":6,"list":[7,8]},"data":[]}`)
	// The array goes on in the last struct, and nowhere else.
	wrapped := structType("w", member("p", structType("p", member("n", u8Type()), member("s", arrayOf(0, charType())))))
	f(wrapped, []byte("\x01abc\x00"), `{p={n=1 s="abc"}}`, `{"p":{"n":1,"s":"abc"}}`)
	middle := structType("m", member("none", arrayOf(0, u8Type())), member("a", u8Type()), member("b", arrayOf(0, u16Type())))
	f(middle, append([]byte{1}, append(bytesOfHost(uint16(2)), 3)...), `{none=0x a=1 b=[2 ?]}`, `{"none":[],"a":1,"b":[2,null]}`)

	if !hostIsBig() {
		f(bitsType(), []byte{0b11111_101, 0x34 | 0b1111&0b0011, 0x12, 0xab, 7, 0, 0, 0},
			`{low=5 sig=-1 flag=true what=3 over=700707 plain=7}`,
			`{"low":5,"sig":-1,"flag":true,"what":3,"over":700707,"plain":7}`)
	}
	f(bitsType(), []byte{0}, `{low=0 sig=0 flag=? what=? over=? plain=?}`,
		`{"low":0,"sig":0,"flag":null,"what":null,"over":null,"plain":null}`)

	sec := &btf.Datasec{Name: ".bss", Vars: []btf.VarSecinfo{
		{Type: &btf.Var{Name: "count", Type: u32Type()}, Offset: 0, Size: 4},
		{Type: &btf.Var{Name: "ready", Type: &btf.Volatile{Type: boolType()}}, Offset: 8, Size: 1},
		{Type: &btf.Func{Name: "fn"}, Offset: 9, Size: 2},
	}}
	f(sec, bytesOfHost(uint32(3), uint32(0), true, uint8(1), uint8(2), uint8(4)),
		`{count=3 ready=true fn=0x0102 ~rest=0x04}`, `{"count":3,"ready":true,"fn":"0x0102","~rest":"0x04"}`)
	f(&btf.Var{Name: "saddr", Type: be32Type()}, []byte{127, 0, 0, 1}, "127.0.0.1", `"127.0.0.1"`)

	// Names that no compiler makes.
	f(structType("s", member("a\x1b\"", u8Type())), []byte{1}, `{a\x1b\"=1}`, `{"a\u001b\"":1}`)
}

func TestAddresses(t *testing.T) {
	f := func(name string, typ btf.Type, data []byte, want string) {
		t.Helper()
		got := string(AppendText(nil, in(name, typ), data))
		if want = "{" + name + "=" + want + "}"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	v4 := []byte{10, 0, 0, 1}
	for _, name := range []string{"saddr", "src_ip", "ip", "dstip", "daddr_v4", "remote_ip4", "Addr", "gw", "src"} {
		f(name, be32Type(), v4, "10.0.0.1")
		f(name, u32Type(), bytesOfHost(uint32(7)), "7") // its order is not known
	}
	for _, name := range []string{"seq", "script", "ipi", "recipient", "zipped"} {
		f(name, be32Type(), v4, "167772161")
	}
	f("any", structType("in_addr", member("s_addr", be32Type())), v4, "10.0.0.1")
	f("ips", arrayOf(2, be32Type()), append(v4, v4...), "[10.0.0.1 10.0.0.1]")

	v6 := append([]byte{0x20, 1, 0xd, 0xb8}, append(make([]byte, 11), 1)...)
	mapped := append(make([]byte, 10), append([]byte{255, 255}, v4...)...)
	f("saddr", arrayOf(16, u8Type()), v6, "2001:db8::1")
	f("saddr", arrayOf(16, u8Type()), mapped, "10.0.0.1")
	f("ip6", arrayOf(4, be32Type()), v6, "2001:db8::1")
	f("saddr_v6", wideType(), v6, "2001:db8::1")
	f("any", in6Type(), make([]byte, 16), "::")
	f("addrs", arrayOf(2, arrayOf(16, u8Type())), append(append([]byte{}, v6...), mapped...), "[2001:db8::1 10.0.0.1]")
	f("saddr", arrayOf(16, u8Type()), v6[:15], "?")
	f("saddr", arrayOf(4, u8Type()), v4, "0x0a000001")

	for _, name := range []string{"mac", "src_mac", "smac", "h_dest", "dev_addr", "mac_src"} {
		f(name, arrayOf(6, u8Type()), []byte{2, 0, 0, 0, 0, 0xfe}, "02:00:00:00:00:fe")
	}
	f("key", arrayOf(6, u8Type()), []byte{2, 0, 0, 0, 0, 0xfe}, "0x0200000000fe")
}

func TestCells(t *testing.T) {
	f := func(typ btf.Type, data []byte, columns, cells []string) {
		t.Helper()
		if diff := cmp.Diff(columns, Columns(typ)); diff != "" {
			t.Errorf("columns (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(cells, Cells(typ, data)); diff != "" {
			t.Errorf("cells (-want +got):\n%s", diff)
		}
	}
	f(eventType(), eventData(),
		[]string{"ts_ns", "pid", "saddr", "dport", "state", "ok", "comm"},
		[]string{"9223372036854775808", "12", "10.0.0.1", "443", "3", "true", "bash"})
	f(eventType(), eventData()[:9],
		[]string{"ts_ns", "pid", "saddr", "dport", "state", "ok", "comm"},
		[]string{"9223372036854775808", "?", "?", "?", "?", "?", "?"})
	f(packetType(), packetData(9),
		[]string{"v4", "word", "a", "b", "len", "key.num", "key.raw", "in.x", "in.list", "data"},
		[]string{"16777216", "1", "2", "3", "4", "5", "0x0500", "6", "[7 8]", "0x09"})
	f(bitsType(), make([]byte, 9),
		[]string{"low", "sig", "flag", "what", "over", "plain"},
		[]string{"0", "0", "false", "0", "0", "0 ~rest=0x00"})
	one := []string{"value"}
	f(nil, []byte{1}, one, []string{"0x01"})
	f(u8Type(), []byte{1, 2}, one, []string{"1 ~rest=0x02"})
	f(structType("e"), nil, one, []string{"{}"})
	f(arrayOf(9, charType()), []byte("a \"b\\c\"\x00\x00"), one, []string{`a "b\c"`})
	f(arrayOf(4, charType()), []byte("a\x1b\"\x00"), one, []string{`a\x1b\"`})
	f(arrayOf(3, charType()), []byte("a\xffb"), one, []string{`a\xffb`})
	f(arrayOf(2, arrayOf(3, charType())), []byte("a b\x00\x00\x00"), one, []string{`["a b" ""]`})
	f(&btf.Datasec{Vars: []btf.VarSecinfo{{Type: &btf.Var{Name: "in", Type: in("x", u8Type())}, Size: 1}}}, []byte{5},
		[]string{"in.x"}, []string{"5"})
}

// TestBounds shows types that would never end.
func TestBounds(t *testing.T) {
	loop := &btf.Typedef{Name: "loop"}
	loop.Type = loop
	ring := &btf.Array{Nelems: 2}
	ring.Type = ring
	grow := &btf.Struct{Name: "grow", Size: 8}
	grow.Members = []btf.Member{{Name: "g", Type: grow, Offset: 1}}
	for _, typ := range []btf.Type{
		loop, ring, grow, selfType(20), in("loop", typedef("t", u8Type())), arrayOf(math.MaxUint32, arrayOf(math.MaxUint32, u64Type())),
		&btf.Struct{Size: 8, Members: []btf.Member{{Name: "far", Type: u64Type(), Offset: math.MaxUint32}}},
		&btf.Struct{Size: 8, Members: []btf.Member{{Name: "far", Type: u64Type(), Offset: math.MaxUint32, BitfieldSize: 3}}},
		&btf.Struct{Size: 8, Members: []btf.Member{{Name: "broad", Type: u64Type(), BitfieldSize: math.MaxUint32}}},
		&btf.Struct{Size: 8, Members: []btf.Member{{Name: "nil"}, {}}},
		&btf.Datasec{Vars: []btf.VarSecinfo{{}, {Offset: math.MaxUint32, Size: math.MaxUint32}}},
	} {
		for _, n := range []int{0, 8, 64} {
			data := make([]byte, n)
			js := AppendJSON(nil, typ, data)
			if !json.Valid(js) || len(js) > 1<<20 {
				t.Errorf("%v: got %d bytes of JSON, valid %v; want it valid and short", typ, len(js), json.Valid(js))
			}
			if text := AppendText(nil, typ, data); len(text) > 1<<20 {
				t.Errorf("%v: got %d bytes of text, want it short", typ, len(text))
			}
			if got, want := len(Cells(typ, data)), len(Columns(typ)); got != want || got > 2000 {
				t.Errorf("%v: got %d cells, want %d, a few", typ, got, want)
			}
		}
		for _, text := range []string{"", "1", "{}", "[]", "[[[1]]]", `{"s":{"s":1}}`, `{"far":1}`, `{"broad":1}`, `{"nil":"0x"}`} {
			if b, err := Parse(typ, text); err == nil && len(b) > 1<<20 {
				t.Errorf("%v: %s: got %d bytes", typ, text, len(b))
			}
		}
	}
}

// TestBits does what hosts of the other byte order do.
func TestBits(t *testing.T) {
	f := func(off int64, width int, big bool, want uint64) {
		t.Helper()
		data := []byte{0b1010_0001, 0b1100_0011, 0xff}
		got, ok := loadBits(data, off, width, big)
		if !ok || got != want {
			t.Errorf("bits %d+%d, big %v: got %b, %v; want %b", off, width, big, got, ok, want)
		}
		if !storeBits(data, off, width, 0, big) || !storeBits(data, off, width, want, big) {
			t.Error("store: no room")
		}
		if diff := cmp.Diff([]byte{0b1010_0001, 0b1100_0011, 0xff}, data); diff != "" {
			t.Errorf("stored (-want +got):\n%s", diff)
		}
	}
	f(0, 3, false, 0b001)
	f(0, 3, true, 0b101)
	f(4, 8, false, 0b0011_1010)
	f(4, 8, true, 0b0001_1100)
	f(0, 24, true, 0b1010_0001_1100_0011_1111_1111)
	if _, ok := loadBits([]byte{1}, 6, 3, false); ok {
		t.Error("bits beyond the end: got a value")
	}
}
