package bpfmap

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/value"
	"github.com/netfate/netfate/test/need"
)

// lab are the maps of testdata/maps.bpf.c, pinned in a BPF file system of the
// test's own.
type lab struct {
	dir  string
	maps map[string]*ebpf.Map
	// bloom is why the kernel has no bloom filters, if it has none.
	bloom error
}

func newLab(t *testing.T) *lab {
	t.Helper()
	need.Root(t)
	object := filepath.Join(t.TempDir(), "maps.bpf.o")
	out, err := exec.Command("clang-19", "-O2", "-g", "-target", "bpf", "-c", "testdata/maps.bpf.c", "-o", object).CombinedOutput()
	if err != nil {
		t.Fatalf("clang-19: %v\n%s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	bloom := features.HaveMapType(ebpf.BloomFilter)
	if bloom != nil { // the rest is the same without
		delete(spec.Maps, "seen")
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{dir: t.TempDir(), maps: c.Maps, bloom: bloom}
	if err := unix.Mount("bpf", l.dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := unix.Unmount(l.dir, 0); err != nil {
			t.Error(err)
		}
	})
	for name, m := range c.Maps {
		if name[0] == '.' {
			name = "data" + name
		}
		if err := m.Pin(filepath.Join(l.dir, name)); err != nil {
			// A dot is not allowed in names on a BPF file system.
			if err := m.Pin(filepath.Join(l.dir, name[len("data."):])); err != nil {
				t.Fatal(err)
			}
		}
	}
	return l
}

// open opens the map that is pinned under name.
func (l *lab) open(t *testing.T, name string) *Map {
	t.Helper()
	m, err := Open(filepath.Join(l.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// text writes an entry as "key: value", or with the values of all CPUs.
func text(e *Entry, split bool) string {
	b := append(value.AppendText(nil, e.KeyType, e.Key), ": "...)
	if !split {
		return string(value.AppendText(b, e.ValueType, NewSummer(e.ValueType).Sum(e.Values)))
	}
	for i, v := range e.Values {
		if i > 0 {
			b = append(b, " | "...)
		}
		b = value.AppendText(b, e.ValueType, v)
	}
	return string(b)
}

// dumped returns all entries of m as texts.
func dumped(t *testing.T, m *Map) []string {
	t.Helper()
	var got []string
	_, err := m.Dump(t.Context(), func(e *Entry) error {
		got = append(got, text(e, false))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
