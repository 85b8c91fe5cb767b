package tlslib

import (
	"debug/buildinfo"
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"errors"
	"fmt"
	"go/version"
	"io"
	"slices"
	"strings"
)

// oldest is the first Go that passes arguments in registers.
const oldest = "go1.17"

// Bounds of a line table: the largest programs that there are have some 100 MB,
// and 300,000 functions, each of which takes 0.2 kB to decode.
const (
	most          = 256 << 20
	mostFunctions = 1 << 20
)

// goStem is what the names of Go's functions begin with.
const goStem = "crypto/tls.(*Conn)."

// goFunctions returns what the functions of Go are, by their names.
func goFunctions() map[string]What {
	return map[string]What{
		goStem + "Write":           GoWrite,
		goStem + "Read":            GoRead,
		goStem + "clientHandshake": GoClient,
		goStem + "serverHandshake": GoServer,
		goStem + "Close":           GoClose,
	}
}

// goVersion returns the version of Go that a file was built with; false if it
// is not of Go.
func goVersion(f *elf.File, r io.ReaderAt) (string, bool) {
	if f.Section(".go.buildinfo") == nil && f.Section(".gopclntab") == nil {
		return "", false
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return "", true
	}
	// A name may follow: go1.26.1 X:boringcrypto.
	v, _, _ := strings.Cut(info.GoVersion, " ")
	return v, true
}

// findGo finds the functions of Go's crypto/tls, and where they return.
func findGo(f *elf.File, built string) ([]Site, error) {
	names := goFunctions()
	found, err := symbols(f, slices.Collect(keys(names)))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && f.SectionByType(elf.SHT_SYMTAB) == nil {
		if found, err = lineTable(f, names); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(found, func(s symbol) bool { return names[s.name] == GoWrite || names[s.name] == GoRead }) {
		return nil, ErrNone
	}
	if version.IsValid(built) && version.Compare(built, oldest) < 0 {
		return nil, fmt.Errorf("built with %s: before %s, Go's functions have their arguments elsewhere", built, oldest)
	}
	var sites []Site
	for _, s := range found {
		more, err := goSites(f, s, names[s.name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		sites = append(sites, more...)
	}
	return sorted(sites), nil
}

// goSites returns the places of one function.
func goSites(f *elf.File, s symbol, what What) ([]Site, error) {
	offset, ok := offsetOf(f, s.address)
	if !ok {
		return nil, fmt.Errorf("it is at %#x, where the file has no code", s.address)
	}
	sites := []Site{{s.name, what, offset}}
	if what != GoWrite && what != GoRead {
		return sites, nil
	}
	if s.size == 0 || s.size > longest {
		return nil, fmt.Errorf("its length is given as %d bytes", s.size)
	}
	code, err := codeAt(f, s)
	if err != nil {
		return nil, err
	}
	ends, err := returns(code)
	if err != nil {
		return nil, err
	}
	for _, at := range ends {
		sites = append(sites, Site{s.name, GoReturn, offset + at})
	}
	return sites, nil
}

// longest is more than any function of crypto/tls has, in bytes of code.
const longest = 1 << 16

// codeAt reads the code of a function, or what there is of it.
func codeAt(f *elf.File, s symbol) ([]byte, error) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && s.address >= p.Vaddr && s.address-p.Vaddr < p.Filesz {
			code := make([]byte, min(s.size, p.Filesz-(s.address-p.Vaddr)))
			n, err := p.ReadAt(code, int64(s.address-p.Vaddr))
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("read its code: %w", err)
			}
			return code[:n], nil
		}
	}
	return nil, fmt.Errorf("it is at %#x, where the file has nothing", s.address)
}

// lineTable finds functions in the table that Go's runtime prints stacks with,
// which stays when symbols are stripped.
func lineTable(f *elf.File, names map[string]What) ([]symbol, error) {
	section := f.Section(".gopclntab")
	if section == nil {
		section = f.Section(".data.rel.ro.gopclntab")
	}
	text := f.Section(".text")
	if section == nil || text == nil {
		return nil, errors.New("a program of Go without symbols and without a line table (.gopclntab)")
	}
	if section.Type == elf.SHT_NOBITS || section.FileSize > most {
		return nil, fmt.Errorf("a line table of %d bytes is not read", section.FileSize)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read the line table: %w", err)
	}
	table, err := decodeLines(data, textStart(data, text.Addr, f))
	if err != nil {
		return nil, err
	}
	var found []symbol
	for i := range table.Funcs {
		fn := &table.Funcs[i]
		if _, ok := names[fn.Name]; ok && fn.End > fn.Entry {
			found = append(found, symbol{fn.Name, fn.Entry, fn.End - fn.Entry})
		}
	}
	return found, settle(f, found)
}

// furthest is how much of other code a linker may put in front of Go's, as it
// does where C is linked into the program, in what steps, and how many functions
// tell by their distances that it did.
const (
	furthest = 1 << 20
	step     = 16
	enough   = 3
)

// settle moves functions to where they are, if the table does not say what they
// are counted from: all of them then have to begin as Go's functions do. A probe
// in the middle of an instruction would break the program.
func settle(f *elf.File, found []symbol) error {
	if len(found) == 0 {
		return nil
	}
	var code [][]byte
	for _, s := range found {
		s.size = furthest
		b, err := codeAt(f, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		code = append(code, b)
	}
	for by := 0; by < furthest; by += step {
		if slices.ContainsFunc(code, func(b []byte) bool { return by >= len(b) || !prologue(b[by:]) }) {
			continue
		}
		if by > 0 && len(found) < enough {
			break
		}
		for i := range found {
			found[i].address += uint64(by)
		}
		return nil
	}
	return errors.New("a program of Go without symbols, whose line table does not tell where its code is")
}

// decodeLines decodes a line table. debug/gosym panics at some that are broken,
// and takes memory for as many functions as the table claims to have.
func decodeLines(data []byte, text uint64) (table *gosym.Table, err error) {
	const header, word, function = 16, 8, 8                       // the last is the least that one takes
	if len(data) < header || data[0] == 0xff || data[7] != word { // ff first is the other byte order
		return nil, errors.New("decode the line table: it is none of this machine's")
	}
	if count := binary.LittleEndian.Uint64(data[8:]); count > mostFunctions || int(count) > len(data)/function {
		return nil, fmt.Errorf("decode the line table: it has %d bytes for %d functions", len(data), count)
	}
	defer func() {
		if r := recover(); r != nil {
			table, err = nil, fmt.Errorf("decode the line table: %v", r)
		}
	}()
	return gosym.NewTable(nil, gosym.NewLineTable(data, text))
}

// textStart returns the address that functions of a line table are counted
// from. Tables since Go 1.18 have it, but for 1.26's and those that are only
// put in their place when they are loaded; there it is that of the code.
func textStart(table []byte, code uint64, f *elf.File) uint64 {
	const word, header = 8, 8 + 3*8
	if len(table) >= header && table[7] == word {
		if at := f.ByteOrder.Uint64(table[8+2*word:]); at != 0 {
			return at
		}
	}
	return code
}
