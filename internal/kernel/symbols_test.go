package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSymbolsLookup(t *testing.T) {
	sample, err := os.ReadFile("testdata/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadSymbols(iotest.OneByteReader(bytes.NewReader(sample)))
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 14 || s.Skipped() != 2 || s.Err() != nil {
		t.Errorf("got %d symbols, %d skipped, %v; want 14, 2 and no error", s.Len(), s.Skipped(), s.Err())
	}
	for _, test := range []struct {
		addr uint64
		want string // empty: in no function
	}{
		{0, ""},
		{0x1000, ""}, // data
		{0xffffffff80ffffff, ""},
		{0xffffffff81000000, "_stext+0x0"}, // the first of three names
		{0xffffffff8100009f, "_stext+0x9f"},
		{0xffffffff81000f70, "__startup_64+0xed0"}, // padding has no name of its own
		{0xffffffff81a2c4ef, "kfree_skb_list_reason+0x11f"},
		{0xffffffff81b50d11, "tcp_v4_rcv+0x91"},
		{0xffffffff81b52004, "tcp_v4_rcv.cold+0x4"},
		{0xffffffff81e00010, "_etext+0x10"},
		{0xffffffff83000000, ""}, // far behind the last of the kernel
		{0xffffffffc0001a2c, "bpf_prog_6deef7357e7b4530+0x0 [bpf]"},
		{0xffffffffc0001b10, "bpf_prog_a1b2c3d4e5f60718_drop_kfree_skb+0x10 [bpf]"},
		{0xffffffffc0300000, ""}, // between programs and modules
		{0xffffffffc0401090, "veth_xmit+0x10 [veth]"},
		{0xffffffffc0501234, "ovs_dp_process_packet+0x234 [openvswitch]"},
		{0xffffffffffffffff, ""},
		{0xffff800080010004, "arm_like_stext+0x4"}, // another upper half
		{0xffff80007fffffff, ""},
		{0xfffff00000000000, ""},
	} {
		got := ""
		if name, offset, module, ok := s.Lookup(test.addr); ok {
			got = fmt.Sprintf("%s+%#x", name, offset)
			if module != "" {
				got += " [" + module + "]"
			}
		}
		if got != test.want {
			t.Errorf("%#x: got %q, want %q", test.addr, got, test.want)
		}
	}
}

func TestSymbolsRefused(t *testing.T) {
	f := func(text string, want error) {
		t.Helper()
		if s, err := ReadSymbols(strings.NewReader(text)); !errors.Is(err, want) || s != nil {
			t.Errorf("%q: got %v, %v; want %v", text, s, err, want)
		}
	}
	f("", errNoSymbols)
	f("ffffffff81000000 D data\n", errNoSymbols)
	f("0000000000000000 T _stext\n0000000000000000 t f\n", errHiddenSymbols)
	f("FFFFFFFF81000000 T upper\nx\n\n", errNoSymbols)

	broken := errors.New("broken")
	if _, err := ReadSymbols(io.MultiReader(strings.NewReader("ffffffff81000000 T f\n"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestSymbolsLongLines(t *testing.T) {
	long := strings.Repeat("n", 1<<20)
	s, err := ReadSymbols(strings.NewReader("ffffffff81000000 T a\nffffffff81000100 T " + long + "\nffffffff81000200 T b\nffffffff81000300 T " + long[:600] + "\nffffffff81000400 T c"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 3 || s.Skipped() != 2 {
		t.Errorf("got %d symbols and %d skipped, want 3 and 2", s.Len(), s.Skipped())
	}
}

func TestSymbolsHidden(t *testing.T) {
	f := func(err error, restrict, want string) {
		t.Helper()
		got := symbolsHidden(err, sysctls{kptrRestrict: restrict})
		if !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("%v: got %q, want it to say %q", err, got, want)
		}
	}
	f(errHiddenSymbols, "2", "kernel.kptr_restrict=1")
	f(errHiddenSymbols, "1", "CAP_SYSLOG")
	f(errHiddenSymbols, "", "is unknown")
	f(os.ErrNotExist, "1", "CONFIG_KALLSYMS")
	f(errNoSymbols, "1", "names no code")
	f(io.ErrUnexpectedEOF, "1", "unexpected EOF")
}

func TestNilSymbols(t *testing.T) {
	var s *Symbols
	s.Wait()
	if _, _, _, ok := s.Lookup(1); ok || s.Len() != 0 || s.Skipped() != 0 || s.Err() == nil {
		t.Error("got symbols from nil, want none and an error")
	}
}

func TestRunningKernelSymbols(t *testing.T) {
	s := LoadSymbols()
	s.Wait()
	if err := s.Err(); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skipf("not root: %v", err)
	}
	t.Logf("%d symbols, %d kB", s.Len(), s.bytes()>>10)
	if s.Len() < 20_000 || s.Skipped() != 0 {
		t.Errorf("got %d symbols and %d skipped, want a kernel's worth and none", s.Len(), s.Skipped())
	}
	// Each address leads back to itself.
	for i := 0; i < s.Len(); i += 997 {
		name, offset, module, ok := s.Lookup(s.addr(i))
		if !ok || offset != 0 || name != s.nameAt(i) {
			t.Errorf("%#x: got %s+%d [%s] %v, want %s", s.addr(i), name, offset, module, ok, s.nameAt(i))
		}
	}
}

func FuzzReadSymbols(f *testing.F) {
	sample, err := os.ReadFile("testdata/kallsyms")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample, uint64(0xffffffff81b50d11))
	f.Add([]byte("1 T a\n0 t b\n1 T c\n"), uint64(1))
	f.Add([]byte("ffffffffffffffff w z\t[m]\n100000000 W y\n"), uint64(1<<32))
	f.Fuzz(func(t *testing.T, text []byte, addr uint64) {
		s, err := ReadSymbols(bytes.NewReader(text))
		if err != nil {
			return
		}
		if s.Len() == 0 {
			t.Fatal("got no symbols and no error")
		}
		if name, offset, _, ok := s.Lookup(addr); ok && (name == "" || offset > addr) {
			t.Errorf("%#x: got %q+%d", addr, name, offset)
		}
		for i := range s.Len() {
			if i > 0 && s.addr(i) <= s.addr(i-1) {
				t.Fatalf("symbol %d is not behind the one before", i)
			}
			if name, offset, _, ok := s.Lookup(s.addr(i)); !ok || offset != 0 || name != s.nameAt(i) {
				t.Fatalf("%#x: got %q+%d %v, want %q", s.addr(i), name, offset, ok, s.nameAt(i))
			}
		}
	})
}

// bytes is the memory that the symbols take.
func (s *Symbols) bytes() int {
	n := cap(s.low)*4 + cap(s.name)*4
	for _, chunk := range s.names {
		n += cap(chunk)
	}
	return n
}

// manySymbols is a kallsyms of n functions with names of 20 bytes on average,
// as on a distribution's kernel, and as many lines of data.
func manySymbols(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%016x t %s_%06d\n", 0xffffffff81000000+uint64(i)*64, "symbol_name_x"[:10+i%4], i)
		fmt.Fprintf(&b, "%016x d data_%d\n", 0xffffffff93000000+uint64(i)*8, i)
	}
	return b.Bytes()
}

func TestSymbolsMemory(t *testing.T) {
	const n = 200_000
	s, err := ReadSymbols(bytes.NewReader(manySymbols(n)))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.bytes(); s.Len() != n || got > 6<<20 {
		t.Errorf("got %d bytes for %d symbols, want at most 6 MB for %d", got, s.Len(), n)
	}
}

func BenchmarkReadSymbols(b *testing.B) {
	text := manySymbols(200_000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var s *Symbols
	for b.Loop() {
		var err error
		if s, err = ReadSymbols(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.bytes()), "resident-B")
	runtime.KeepAlive(s)
}

func BenchmarkLookup(b *testing.B) {
	s, err := ReadSymbols(bytes.NewReader(manySymbols(200_000)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	addr := uint64(0xffffffff81000000)
	for b.Loop() {
		addr = 0xffffffff81000000 + (addr*2654435761)%(200_000*64)
		if _, _, _, ok := s.Lookup(addr); !ok {
			b.Fatal("not found")
		}
	}
}
