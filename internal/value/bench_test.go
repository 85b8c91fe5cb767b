package value

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

// sixMembers is a typical event.
func sixMembers() (btf.Type, []byte) {
	t := structType("event",
		member("ts_ns", u64Type()), member("pid", u32Type()), member("saddr", be32Type()),
		member("ret", s32Type()), member("state", enumType()), member("comm", arrayOf(16, charType())))
	return t, bytesOfHost(uint64(1e15), uint32(4242), []byte{10, 0, 0, 1}, int32(-2), uint32(7), "systemd-journal\x00")
}

// TestNoAllocations takes every kind of value.
func TestNoAllocations(t *testing.T) {
	six, sixData := sixMembers()
	dst := make([]byte, 0, 4096)
	f := func(typ btf.Type, data []byte) {
		t.Helper()
		for name, add := range map[string]func([]byte, btf.Type, []byte) []byte{"JSON": AppendJSON, "text": AppendText} {
			if got := testing.AllocsPerRun(100, func() { add(dst, typ, data) }); got != 0 {
				t.Errorf("%s of %v: got %v allocations, want 0", name, typ, got)
			}
		}
	}
	f(six, sixData)
	f(packetType(), packetData(1, 2, 3))
	f(bitsType(), make([]byte, 8))
	f(in("saddr", arrayOf(16, u8Type())), make([]byte, 16))
	f(in("mac", arrayOf(6, u8Type())), make([]byte, 6))
	f(arrayOf(2, in("x", arrayOf(2, u16Type()))), make([]byte, 8))
	f(wideType(), make([]byte, 16))
	f(doubleType(), make([]byte, 8))
	f(nil, make([]byte, 100))
}

func BenchmarkAppendJSON(b *testing.B) {
	t, data := sixMembers()
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendJSON(dst[:0], t, data)
	}
}

func BenchmarkAppendText(b *testing.B) {
	t, data := sixMembers()
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendText(dst[:0], t, data)
	}
}
