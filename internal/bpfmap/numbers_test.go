package bpfmap

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/value"
)

// mixed has what can be counted and what cannot.
func mixed() btf.Type {
	u32, u64 := unsignedInt("__u32", 4), unsignedInt("__u64", 8)
	be32 := &btf.Typedef{Name: "__be32", Type: u32}
	inner := &btf.Struct{Name: "inner", Size: 8, Members: []btf.Member{
		{Name: "hits", Type: u32}, {Name: "addr", Offset: 32, Type: be32},
	}}
	anonymous := &btf.Struct{Size: 4, Members: []btf.Member{{Name: "low", Type: unsignedInt("__u16", 2)}, {Name: "high", Offset: 16, Type: unsignedInt("__u16", 2)}}}
	return &btf.Typedef{Name: "mixed_t", Type: &btf.Struct{Name: "mixed", Size: 48, Members: []btf.Member{
		{Name: "total", Type: &btf.Volatile{Type: u64}},
		{Name: "inner", Offset: 64, Type: inner},
		{Type: anonymous, Offset: 128},
		{Name: "bits", Offset: 160, BitfieldSize: 3, Type: u32},
		{Name: "sizes", Offset: 192, Type: &btf.Array{Index: u32, Nelems: 2, Type: u32}},
		{Name: "comm", Offset: 256, Type: charArray(8)},
		{Name: "ok", Offset: 320, Type: &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}},
		{Name: "lock", Offset: 352, Type: &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32}}}},
	}}}
}

func TestNumbers(t *testing.T) {
	want := []Number{{"total", 0, 8, false}, {"inner.hits", 8, 4, false}, {"low", 16, 2, false}, {"high", 18, 2, false}}
	if d := cmp.Diff(want, Numbers(mixed())); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	columns := strings.Join(value.Columns(mixed()), " ")
	for _, n := range want {
		if !strings.Contains(columns, n.Name) {
			t.Errorf("number %s is in no column of %q", n.Name, columns)
		}
	}
	if got := Numbers(nil); got != nil {
		t.Errorf("got %v of no type", got)
	}
	cycle := &btf.Typedef{Name: "cycle"}
	cycle.Type = cycle
	if got := Numbers(cycle); got != nil {
		t.Errorf("got %v of a cycle", got)
	}
	// Billions of elements, without a number in them, take no time.
	var wide btf.Type = &btf.Struct{Size: 48, Members: []btf.Member{{Name: "p", Type: &btf.Pointer{Target: &btf.Void{}}}}}
	for range 3 {
		wide = &btf.Array{Index: unsignedInt("__u32", 4), Nelems: 1 << 31, Type: &btf.Struct{Size: 48, Members: []btf.Member{{Name: "m", Type: wide}}}}
	}
	NewSummer(wide).Sum([][]byte{make([]byte, 8), make([]byte, 8)})
}

func TestSum(t *testing.T) {
	one, err := value.Parse(mixed(), `{"total":1,"inner":{"hits":4294967295,"addr":"10.0.0.1"},"low":1,"high":2,"sizes":[1,2]}`)
	must(t, err)
	two, err := value.Parse(mixed(), `{"total":41,"inner":{"hits":2},"low":1,"sizes":[10,20],"comm":"sh","ok":true}`)
	must(t, err)
	got := string(value.AppendText(nil, mixed(), NewSummer(mixed()).Sum([][]byte{make([]byte, len(one)), one, two})))
	for _, want := range []string{"total=42", "hits=1 addr=10.0.0.1", "low=2 high=2", "sizes=[11 22]"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s in it", got, want)
		}
	}
	if NewSummer(charArray(4)).Sums() || NewSummer(nil).Sums() {
		t.Error("texts and unknown bytes are summed")
	}
}

func TestNumberOf(t *testing.T) {
	ff := bytes.Repeat([]byte{0xff}, 8)
	for _, c := range []struct {
		n    Number
		want int64
	}{
		{Number{Size: 1}, 255}, {Number{Size: 1, Signed: true}, -1}, {Number{Size: 2}, 65535}, {Number{Size: 2, Signed: true}, -1},
		{Number{Size: 4}, 1<<32 - 1}, {Number{Size: 4, Signed: true}, -1}, {Number{Size: 8}, -1}, {Number{Offset: 7, Size: 2}, 0},
	} {
		if got := c.n.Of(ff); got != c.want {
			t.Errorf("%+v: got %d, want %d", c.n, got, c.want)
		}
	}
	if got := wrapped32(int64(3) - int64(1<<32-2)); got != 5 {
		t.Errorf("got %d for a counter that wrapped, want 5", got)
	}
}

func TestParsePrefix(t *testing.T) {
	for _, c := range []struct {
		text string
		size int
		want string // in hex, of a little-endian host
	}{
		{"10.1.2.3/8", 8, "080000000a000000"}, {"0.0.0.0/0", 8, "0000000000000000"},
		{"2001:db8::/32", 20, "2000000020010db8000000000000000000000000"},
		{"10.0.0.0/8", 20, ""}, {"10.0.0.0", 8, ""}, {"10.0.0.0/33", 8, ""},
	} {
		got, _ := parsePrefix(c.text, c.size)
		if hex.EncodeToString(got) != c.want {
			t.Errorf("%s: got %x, want %s", c.text, got, c.want)
		}
	}
}

// FuzzParseBytes checks that untyped texts make as many bytes as wanted or an
// error, and that what is shown is read as what it was.
func FuzzParseBytes(f *testing.F) {
	f.Add("0x01020304", uint8(4))
	f.Add("-1", uint8(8))
	f.Add("ff 00", uint8(2))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		b, err := parseBytes(text, int(size))
		if err == nil && len(b) != int(size) {
			t.Fatalf("%q: got %d bytes, want %d", text, len(b), size)
		}
		if err != nil || size == 0 {
			return
		}
		shown := string(value.AppendJSON(nil, nil, b))
		again, err := parseBytes(strings.Trim(shown, `"`), int(size))
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q is shown as %s and read as %x: %v", text, shown, again, err)
		}
	})
}
