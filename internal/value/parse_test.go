package value

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	f := func(typ btf.Type, text string, want []byte) {
		t.Helper()
		got, err := Parse(typ, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	f(u32Type(), "12", bytesOfHost(uint32(12)))
	f(u32Type(), "0xffffffff", bytesOfHost(uint32(math.MaxUint32)))
	f(u32Type(), "0b101", bytesOfHost(uint32(5)))
	f(u16Type(), "010", bytesOfHost(uint16(8)))
	f(s8Type(), "-128", []byte{128})
	f(s64Type(), "-0x10", bytesOfHost(int64(-16)))
	f(u64Type(), "18446744073709551615", bytesOfHost(uint64(math.MaxUint64)))
	f(be16Type(), "443", []byte{1, 0xbb})
	f(be32Type(), "10.0.0.1", []byte{10, 0, 0, 1})
	f(be32Type(), "1", []byte{0, 0, 0, 1})
	f(be64Type(), "256", []byte{0, 0, 0, 0, 0, 0, 1, 0})
	f(wideType(), "-1", []byte(strings.Repeat("\xff", 16)))
	f(wideType(), "0xff", bytesOfHost(wideOf(255)))
	f(boolType(), "true", []byte{1})
	f(boolType(), "0", []byte{0})
	f(enumType(), "CLOSED", bytesOfHost(uint32(7)))
	f(enumType(), "0x3", bytesOfHost(uint32(3)))
	f(signedEnum(4), "NO", bytesOfHost(int32(-1)))
	f(signedEnum(8), "-2", bytesOfHost(int64(-2)))
	f(floatType(), "0.5", bytesOfHost(float32(0.5)))
	f(doubleType(), "-Inf", bytesOfHost(math.Inf(-1)))
	f(&btf.Pointer{}, "0xffff888000001000", bytesOfHost(uint64(0xffff888000001000)))

	f(arrayOf(4, charType()), "ls", []byte("ls\x00\x00"))
	f(arrayOf(4, charType()), "full", []byte("full"))
	f(arrayOf(4, charType()), `"a\x01\""`, []byte("a\x01\"\x00"))
	f(arrayOf(4, charType()), `"\ud83d\ude00"`, []byte("\U0001F600"))
	f(arrayOf(4, charType()), "[1]", []byte("[1]\x00"))
	f(arrayOf(4, charType()), "", make([]byte, 4))
	f(arrayOf(0, charType()), "abc", []byte("abc"))
	f(arrayOf(3, u8Type()), "0x0100ff", []byte{1, 0, 255})
	f(arrayOf(3, u8Type()), "[1]", []byte{1, 0, 0})
	f(arrayOf(3, u8Type()), `"ab"`, []byte("ab\x00"))
	f(arrayOf(0, u8Type()), "0x0102", []byte{1, 2})
	f(arrayOf(16, u8Type()), "::1", append(make([]byte, 15), 1))
	f(arrayOf(16, u8Type()), "10.0.0.1", append(make([]byte, 10), 255, 255, 10, 0, 0, 1))
	f(in6Type(), "2001:db8::", append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 12)...))
	f(arrayOf(6, u8Type()), "02:00:00:00:00:fe", []byte{2, 0, 0, 0, 0, 0xfe})
	f(arrayOf(6, u8Type()), "02-00-00-00-00-FE", []byte{2, 0, 0, 0, 0, 0xfe})
	f(nil, "0x0102", []byte{1, 2})

	f(arrayOf(2, u16Type()), "[1, 2]", bytesOfHost(uint16(1), uint16(2)))
	f(arrayOf(2, u16Type()), "[1]", bytesOfHost(uint16(1), uint16(0)))
	f(arrayOf(2, arrayOf(2, u16Type())), "[[1],[2,3]]", bytesOfHost(uint16(1), uint16(0), uint16(2), uint16(3)))
	f(arrayOf(0, u16Type()), "[1,2]", bytesOfHost(uint16(1), uint16(2)))
	f(eventType(), `{"comm":"bash","ok":true,"state":3,"dport":443,"saddr":"10.0.0.1","pid":12,"ts_ns":9223372036854775808}`, eventData())
	f(eventType(), `{"saddr":null}`, make([]byte, len(eventData())))
	f(packetType(), `{"word":1,"a":2,"b":3,"len":4,"key":{"raw":[5]},"in":{"x":6,"list":[7,8]},"data":[9,10]}`, packetData(9, 10))
	f(packetType(), `{"v4":"1.2.3.4"}`, append([]byte{1, 2, 3, 4}, make([]byte, len(packetData())-4)...))
	// Of a union the largest counts, of equals the first.
	f(unionType(member("flag", boolType()), member("num", u16Type()), member("raw", arrayOf(2, u8Type()))),
		`{"raw":[9,9],"num":258,"flag":true}`, bytesOfHost(uint16(258)))
	sec := &btf.Datasec{Vars: []btf.VarSecinfo{{Type: &btf.Var{Name: "n", Type: u16Type()}, Offset: 2, Size: 2}}}
	f(sec, `{"n":1}`, bytesOfHost(uint16(0), uint16(1)))
	if !hostIsBig() {
		f(bitsType(), `{"low":5,"sig":-1,"flag":true,"what":"NO","over":700707,"plain":7}`,
			[]byte{0b11111_101, 0x3f, 0x12, 0xab, 7, 0, 0, 0})
	}
}

// wideOf is a 128-bit integer in the host's order.
func wideOf(n uint64) []byte {
	if hostIsBig() {
		return bytesOfHost(uint64(0), n)
	}
	return bytesOfHost(n, uint64(0))
}

func TestParseErrors(t *testing.T) {
	f := func(typ btf.Type, text, want string) {
		t.Helper()
		if b, err := Parse(typ, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %x, error %v; want one with %q", text, b, err, want)
		}
	}
	f(u8Type(), "256", `"256": want an integer from 0 to 255`)
	f(u64Type(), "-1", "want an integer from 0 to 18446744073709551615")
	f(s8Type(), "128", "want an integer from -128 to 127")
	f(s64Type(), "9223372036854775808", "want an integer from -9223372036854775808 to 9223372036854775807")
	f(u32Type(), "10.0.0.1", "want an integer")
	f(u32Type(), "", "want an integer")
	f(wideType(), "0x1"+strings.Repeat("0", 32), "128 bits")
	f(boolType(), "yes", "want true or false")
	f(enumType(), "SHUT", `want one of OPEN, CLOSED, or an integer from 0 to 4294967295`)
	f(floatType(), "1e60", "32 bits")
	f(&btf.Pointer{}, "-1", "want an integer")
	f(arrayOf(4, charType()), "hello", `"hello" has 5 bytes: want at most 4`)
	f(arrayOf(4, charType()), `"a`, "quotes")
	f(arrayOf(4, charType()), `"a\x00"`, "NUL")
	f(arrayOf(3, u8Type()), "0x01", "want 3 bytes in hex")
	f(arrayOf(3, u8Type()), "[1,2,3,4]", "at most 3")
	f(arrayOf(3, u8Type()), "[256]", "[0]: \"256\": want an integer from 0 to 255")
	f(in("saddr", be32Type()), `{"saddr":"10.0.0"}`, `saddr: "10.0.0": want an IPv4 address`)
	f(in6Type(), "fe80::1%eth0", "want an IPv6 or IPv4 address")
	f(in("mac", arrayOf(6, u8Type())), `{"mac":"02:00:00:00-00:01"}`, "want a MAC address")
	f(nil, "12", "hex")

	f(eventType(), "12", "want a JSON object with ts_ns, pid, saddr, dport, state, ok, comm")
	f(eventType(), "{pid=12}", "want a JSON object with ts_ns, pid")
	f(eventType(), "[]", "want a JSON object with")
	f(eventType(), "{} {}", "more behind it")
	f(eventType(), `{"ppid":1}`, `no member "ppid": want a JSON object with ts_ns, pid`)
	f(eventType(), `{"pid":true}`, "pid: want an integer")
	f(eventType(), `{"pid":[1]}`, "pid: want an integer")
	f(eventType(), `{"pid":1.5}`, "pid: \"1.5\": want an integer")
	f(eventType(), `{"comm":1}`, "comm: want text of at most 16 bytes")
	f(packetType(), `{"in":{"list":[1,2,3]}}`, "in: list: has 3 elements: want at most 2")
	f(bitsType(), `{"low":8}`, "low: \"8\": want an integer from 0 to 7")
	f(bitsType(), `{"sig":16}`, "want an integer from -16 to 15")
	f(bitsType(), `{"sig":[]}`, "want an integer from -16 to 15")
	f(arrayOf(2, u16Type()), "1", "want a JSON array of at most 2 elements")
	f(arrayOf(math.MaxUint32, u8Type()), "", "want bytes in hex")
	f(arrayOf(math.MaxInt32, u8Type()), "0x", "too large")

	many := &btf.Enum{Size: 4}
	for i := range uint64(40) {
		many.Values = append(many.Values, btf.EnumValue{Name: fmt.Sprint("V", i), Value: i})
	}
	f(many, "V40", "V15 and 24 more, or an integer")
	long := strings.Repeat("x", 1000)
	if _, err := Parse(u8Type(), long); err == nil || len(err.Error()) > 200 {
		t.Errorf("1,000 letters: got %v, want a short error", err)
	}
}

func TestParseNamed(t *testing.T) {
	f := func(name string, typ btf.Type, text string, want []byte) {
		t.Helper()
		got, err := ParseNamed(name, typ, text, 4242)
		if err != nil {
			t.Errorf("%s=%s: %v", name, text, err)
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s=%s (-want +got):\n%s", name, text, diff)
		}
	}
	f("min_duration_ns", u64Type(), "5ms", bytesOfHost(uint64(5e6)))
	f("MIN_US", u32Type(), "1.5ms", bytesOfHost(uint32(1500)))
	f("poll_ms", s32Type(), "-1s", bytesOfHost(int32(-1000)))
	f("timeout_s", u16Type(), "1h30m", bytesOfHost(uint16(5400)))
	f("timeout_seconds", u16Type(), "7", bytesOfHost(uint16(7)))
	f("interval_ns", u64Type(), "0", bytesOfHost(uint64(0)))
	f("my_pid", s32Type(), "self", bytesOfHost(int32(4242)))
	f("target_tgid", u64Type(), "self", bytesOfHost(uint64(4242)))
	f("pid_name", arrayOf(4, charType()), "self", []byte("self"))
	f("saddr", be32Type(), "10.0.0.1", []byte{10, 0, 0, 1})
	f("", &btf.Var{Name: "wait_ms", Type: u32Type()}, "2s", bytesOfHost(uint32(2000)))

	bad := func(name string, typ btf.Type, text, want string) {
		t.Helper()
		if b, err := ParseNamed(name, typ, text, 70000); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s=%s: got %x, error %v; want one with %q", name, text, b, err, want)
		}
	}
	bad("limit", u64Type(), "5ms", "the name says no unit")
	bad("timeout_s", u64Type(), "5ms", "5ms: is not a whole number of s")
	bad("timeout_ms", u8Type(), "1s", `1s in ms is "1000": want an integer from 0 to 255`)
	bad("min_ns", u64Type(), "-5ns", "want an integer from 0")
	bad("min_ns", u64Type(), "soon", "want an integer from 0 to 18446744073709551615, or a duration such as 5ms")
	bad("my_pid", u16Type(), "me", "want an integer from 0 to 65535, or self")
	bad("count", u32Type(), "self", "pid or tgid")
	bad("my_pid", u16Type(), "self", `"70000": want an integer from 0 to 65535`)
}

// TestRoundTrip reads back what was written.
func TestRoundTrip(t *testing.T) {
	f := func(typ btf.Type, data []byte) {
		t.Helper()
		texts := []string{string(AppendJSON(nil, typ, data))}
		if s := shapeOf("", typ); !s.object() && s.kind != array {
			texts = append(texts, string(AppendText(nil, typ, data)))
		}
		for _, text := range texts {
			got, err := Parse(typ, text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if diff := cmp.Diff(data, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
		}
	}
	f(u8Type(), []byte{200})
	f(s8Type(), []byte{200})
	f(be16Type(), []byte{1, 2})
	f(be32Type(), []byte{1, 2, 3, 4})
	f(u64Type(), bytesOfHost(uint64(math.MaxUint64)))
	f(wideType(), bytesOfHost(uint64(1), uint64(math.MaxUint64)))
	f(boolType(), []byte{1})
	f(enumType(), bytesOfHost(uint32(7)))
	f(enumType(), bytesOfHost(uint32(8)))
	f(signedEnum(8), bytesOfHost(int64(-1)))
	f(signedEnum(8), bytesOfHost(int64(-9)))
	f(floatType(), bytesOfHost(float32(0.1)))
	f(doubleType(), bytesOfHost(math.MaxFloat64))
	f(doubleType(), bytesOfHost(math.Inf(1)))
	f(&btf.Pointer{}, bytesOfHost(uint64(math.MaxUint64)))
	f(arrayOf(8, charType()), []byte("\"\\\x1b\u00e9\x7f\x00\x00"))
	f(arrayOf(3, charType()), []byte(`"a"`))
	f(arrayOf(3, u8Type()), []byte{1, 2, 3})
	f(arrayOf(6, u8Type()), []byte{1, 2, 3, 4, 5, 6})
	f(arrayOf(16, u8Type()), []byte("0123456789abcdef"))
	f(in6Type(), []byte("0123456789abcdef"))
	f(&btf.Var{Name: "saddr", Type: be32Type()}, []byte{1, 2, 3, 4})
	f(&btf.Var{Name: "mac", Type: arrayOf(6, u8Type())}, []byte{1, 2, 3, 4, 5, 6})
	f(nil, []byte{1, 2})
	f(nil, []byte{})

	f(eventType(), eventData())
	f(packetType(), packetData())
	f(packetType(), packetData(1, 2, 3))
	f(bitsType(), bytesOfHost(uint32(0x12345678), uint16(9), uint16(0)))
	f(arrayOf(2, eventType()), append(eventData(), eventData()...))
	f(unionType(member("b", boolType()), member("n", u64Type()), member("s", arrayOf(8, charType()))), []byte("ab\x00cdefg"))
	f(structType("s", member("", unionType(member("b", boolType()), member("n", u64Type())))), []byte("abcdefgh"))
	f(structType("s", member("mac", arrayOf(6, u8Type())), member("saddr", arrayOf(16, u8Type())), member("p", &btf.Pointer{}), member("w", wideType()),
		member("d", doubleType()), member("e", enumType())), append([]byte("abcdef0123456789abcdef"), append(bytesOfHost(uint64(5), wideOf(6), math.Inf(-1)), bytesOfHost(uint32(1))...)...))
}
