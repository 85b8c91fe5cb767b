package tlslib

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"
)

// seeds are whole files, small ones.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	var all [][]byte
	names, err := filepath.Glob("testdata/*.elf")
	if err != nil || len(names) == 0 {
		f.Fatalf("no files in testdata, error %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// FuzzFind wants an error or places within the file, whatever the file is.
func FuzzFind(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sites, err := Find(bytes.NewReader(b))
		if (err == nil) != (len(sites) > 0) {
			t.Fatalf("got %d places, error %v", len(sites), err)
		}
		file, err := elf.NewFile(bytes.NewReader(b))
		if err != nil && len(sites) > 0 {
			t.Fatal(err)
		}
		for _, s := range sites {
			if !inCode(file, s.Offset) {
				t.Fatalf("got %+v, which is in no code", s)
			}
		}
	})
}

func inCode(f *elf.File, offset uint64) bool {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && offset >= p.Off && offset-p.Off < p.Filesz {
			return true
		}
	}
	return false
}

// FuzzLines decodes line tables of any contents.
func FuzzLines(f *testing.F) {
	for _, magic := range []byte{0xf0, 0xf1, 0xfa, 0xfb} { // Go 1.18, 1.20, 1.16, 1.2
		f.Add(append([]byte{magic, 0xff, 0xff, 0xff, 0, 0, 1, 8, 3}, make([]byte, 200)...), uint64(0x401000))
	}
	f.Fuzz(func(t *testing.T, b []byte, text uint64) {
		table, err := decodeLines(b, text)
		if err == nil && table == nil {
			t.Fatal("got no table and no error")
		}
	})
}

// FuzzReturns wants places within the code, in order.
func FuzzReturns(f *testing.F) {
	f.Add([]byte{0x49, 0x3b, 0x66, 0x10, 0xc3})
	f.Add([]byte{0xc4, 0xe2, 0xf9, 0xf7, 0xc0, 0xc3, 0xc5, 0xf8, 0x77, 0xc3})
	f.Fuzz(func(t *testing.T, b []byte) {
		at, err := returns(b)
		if err != nil && len(at) > 0 {
			t.Fatalf("got %v and error %v", at, err)
		}
		for i, a := range at {
			if a >= uint64(len(b)) || i > 0 && a <= at[i-1] {
				t.Fatalf("got %v in %d bytes", at, len(b))
			}
		}
	})
}
