package tlslib

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
)

// symbol is a function that a file defines.
type symbol struct {
	name          string
	address, size uint64
}

// window is how much of a table is read at a time. debug/elf takes a table whole
// and makes a string of each symbol: 300 MB for a browser of 500,000.
const window = 64 << 10

// symbols returns those functions of names that the file defines, whether it
// exports them or has only kept their names.
func symbols(f *elf.File, names []string) ([]symbol, error) {
	var found []symbol
	for _, kind := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		table := f.SectionByType(kind)
		if table == nil || int(table.Link) >= len(f.Sections) {
			continue
		}
		at, err := positions(f.Sections[table.Link].Open(), names)
		if err != nil {
			return nil, fmt.Errorf("read names of symbols: %w", err)
		}
		if len(at) == 0 {
			continue
		}
		more, err := defined(f, table.Open(), at)
		if err != nil {
			return nil, fmt.Errorf("read symbols: %w", err)
		}
		for _, s := range more {
			if !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
	}
	return found, nil
}

// stems are what all names begin with, to go through a table three times and not
// once for each name.
func stems() []string { return []string{"SSL_", "gnutls_", goStem} }

// positions returns where in a table of strings the names end strings: linkers
// let a string begin within another one.
func positions(table io.Reader, names []string) (map[uint32]string, error) {
	longest := 0
	for _, n := range names {
		longest = max(longest, len(n)+1)
	}
	at := map[uint32]string{}
	buf := make([]byte, 0, window+longest)
	for start := 0; ; {
		n, err := io.ReadFull(table, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for _, stem := range stems() {
			for from := 0; ; from++ {
				i := bytes.Index(buf[from:], []byte(stem))
				if i < 0 {
					break
				}
				from += i
				for _, name := range names {
					if bytes.HasPrefix(buf[from:], append([]byte(name), 0)) {
						at[uint32(start+from)] = name
					}
				}
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return at, nil
		}
		if err != nil {
			return nil, err
		}
		keep := longest - 1 // which may be the beginning of one more
		start += len(buf) - keep
		buf = append(buf[:0], buf[len(buf)-keep:]...)
	}
}

// defined returns the functions of a table of symbols whose names are at the
// positions.
func defined(f *elf.File, table io.Reader, at map[uint32]string) ([]symbol, error) {
	const sizeOf = elf.Sym64Size
	var found []symbol
	buf := make([]byte, window/sizeOf*sizeOf)
	for {
		n, err := io.ReadFull(table, buf)
		for b := buf[:n]; len(b) >= sizeOf; b = b[sizeOf:] {
			name, ok := at[f.ByteOrder.Uint32(b)]
			if !ok || elf.ST_TYPE(b[4]) != elf.STT_FUNC || elf.SectionIndex(f.ByteOrder.Uint16(b[6:])) == elf.SHN_UNDEF {
				continue
			}
			found = append(found, symbol{name, f.ByteOrder.Uint64(b[8:]), f.ByteOrder.Uint64(b[16:])})
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
