package eventtype

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// structs are the structs that an object's own sources declare. Nil are those
// that nobody has read yet.
type structs = *declared

type declared struct {
	missing bool // the object has no DWARF that can be read
	data    *dwarf.Data
	names   map[int][]string        // by size
	at      map[string]dwarf.Offset // by name
}

// ofSize returns the names of those of n bytes, sorted.
func (d *declared) ofSize(n int) []string { return d.names[n] }

// named returns one of them as BTF; nil if there is none of that name.
func (d *declared) named(name string) (t btf.Type, err error) {
	defer func() {
		if p := recover(); p != nil { // as in readStructs
			t, err = nil, fmt.Errorf("read its DWARF: %v", p)
		}
	}()
	offset, ok := d.at[name]
	if !ok {
		return nil, nil
	}
	from, err := d.data.Type(offset)
	if err != nil {
		return nil, fmt.Errorf("read its DWARF: %w", err)
	}
	return new(converter).of(from, 0)
}

// readStructs reads them from DWARF. Files that are broken have panicked the
// standard library's parsers before (go.dev/issue/47653 was the last known): such a
// file counts as one without DWARF.
func readStructs(object io.ReaderAt) (d structs) {
	defer func() {
		if recover() != nil {
			d = &declared{missing: true}
		}
	}()
	data, lines, err := openDWARF(object)
	if err != nil {
		return &declared{missing: true}
	}
	d = &declared{data: data, names: map[int][]string{}, at: map[string]dwarf.Offset{}}
	if err := d.read(data, lines); err != nil {
		return &declared{missing: true}
	}
	for _, names := range d.names {
		slices.Sort(names)
	}
	return d
}

// lineTables is a .debug_line, how its numbers are stored, and the bytes of
// .debug_info beside it.
type lineTables struct {
	info    int
	section []byte
	order   binary.ByteOrder
}

// read walks over all units. It passes the children of what is no function one by
// one: Reader.SkipChildren follows references to siblings, and never comes back
// from those of a broken file that refer backwards.
func (d *declared) read(data *dwarf.Data, tables lineTables) error {
	var files []*dwarf.LineFile
	r := data.Reader()
	skip := 0 // how many lists of children are to end before entries count again
	// Reader.Next takes a number that the unit's end cuts off for the end of a list,
	// over and over; an honest entry has a byte at least.
	for range tables.info {
		e, err := r.Next()
		if e == nil || err != nil {
			return err
		}
		switch {
		case e.Tag == dwarf.TagCompileUnit:
			files, skip = d.files(e, data, tables), 0
		case skip > 0:
			if e.Tag == 0 {
				skip--
			} else if e.Children {
				skip++
			}
		case e.Tag == dwarf.TagSubprogram: // may declare structs of its own
		default:
			if e.Tag == dwarf.TagStructType || e.Tag == dwarf.TagUnionType {
				d.add(e, files)
			}
			if e.Children {
				skip++
			}
		}
	}
	return nil
}

// files lists the sources of a unit. Without, nobody knows which structs are the
// object's own.
func (d *declared) files(unit *dwarf.Entry, data *dwarf.Data, tables lineTables) []*dwarf.LineFile {
	at, ok := unit.Val(dwarf.AttrStmtList).(int64)
	if !ok || !honestLines(tables.section, at, tables.order) {
		return nil
	}
	lines, err := data.LineReader(unit)
	if err != nil || lines == nil {
		return nil
	}
	return lines.Files()
}

func (d *declared) add(e *dwarf.Entry, files []*dwarf.LineFile) {
	name, _ := e.Val(dwarf.AttrName).(string)
	size, _ := e.Val(dwarf.AttrByteSize).(int64)
	file, ok := e.Val(dwarf.AttrDeclFile).(int64)
	if name == "" || size <= 0 || !ok || file < 0 || file >= int64(len(files)) || files[file] == nil || isKernels(files[file].Name) {
		return
	}
	if !slices.Contains(d.names[int(size)], name) {
		d.names[int(size)] = append(d.names[int(size)], name)
		d.at[name] = e.Offset
	}
}

// isKernels reports whether a header describes the kernel's types: vmlinux.h, or
// what the system has in /usr/include.
func isKernels(file string) bool {
	return path.Base(file) == "vmlinux.h" || strings.HasPrefix(file, "/usr/include/") || strings.HasPrefix(file, "/usr/lib/")
}

// maxSection bounds a section that is read.
const maxSection = 128 << 20

// openDWARF reads an object's debug sections. The standard library does not know
// how BPF relocates them, so that is done here.
func openDWARF(object io.ReaderAt) (*dwarf.Data, lineTables, error) {
	f, err := elf.NewFile(object)
	if err != nil {
		return nil, lineTables{}, fmt.Errorf("read ELF: %w", err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return nil, lineTables{}, fmt.Errorf("read symbols: %w", err)
	}
	sections := map[string][]byte{}
	for _, s := range f.Sections {
		// Debug sections of BPF objects are in the file as they are.
		if !strings.HasPrefix(s.Name, ".debug_") || s.Size > maxSection || s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
			continue
		}
		if sections[s.Name], err = s.Data(); err != nil {
			return nil, lineTables{}, fmt.Errorf("read section %s: %w", s.Name, err)
		}
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_REL || s.Flags&elf.SHF_COMPRESSED != 0 || s.Info >= uint32(len(f.Sections)) || s.Size > maxSection {
			continue
		}
		data, ok := sections[f.Sections[s.Info].Name]
		if !ok {
			continue
		}
		relocations, err := s.Data()
		if err != nil {
			return nil, lineTables{}, fmt.Errorf("read section %s: %w", s.Name, err)
		}
		if err := relocate(data, relocations, symbols, f.ByteOrder); err != nil {
			return nil, lineTables{}, err
		}
	}
	// The standard library takes the order from here, so honestLines would read
	// other numbers than it if the ELF header said something else.
	if info := sections[".debug_info"]; len(info) < 6 || f.ByteOrder.Uint16(info[4:]) > 0xff {
		return nil, lineTables{}, errors.New("read DWARF: its order of bytes is not that of the file")
	}
	data, err := dwarf.New(sections[".debug_abbrev"], nil, nil, sections[".debug_info"], sections[".debug_line"], nil,
		sections[".debug_ranges"], sections[".debug_str"])
	if err != nil {
		return nil, lineTables{}, fmt.Errorf("read DWARF: %w", err)
	}
	for _, name := range []string{".debug_addr", ".debug_line_str", ".debug_str_offsets", ".debug_rnglists"} {
		if err := data.AddSection(name, sections[name]); err != nil {
			return nil, lineTables{}, fmt.Errorf("read section %s: %w", name, err)
		}
	}
	return data, lineTables{len(sections[".debug_info"]), sections[".debug_line"], f.ByteOrder}, nil
}

// How BPF objects relocate debug sections (Documentation/bpf/llvm_reloc.rst): the
// symbol's value is added to what is there.
const (
	abs64    = 2 // R_BPF_64_ABS64
	abs32    = 3 // R_BPF_64_ABS32
	nodyld32 = 4 // R_BPF_64_NODYLD32
)

// relocate applies Elf64_Rel entries to data. Other kinds than those above are
// of code, and not of debug sections.
func relocate(data, relocations []byte, symbols []elf.Symbol, order binary.ByteOrder) error {
	r := bytes.NewReader(relocations)
	var rel elf.Rel64
	for r.Len() > 0 {
		if err := binary.Read(r, order, &rel); err != nil {
			return fmt.Errorf("read relocations: %w", err)
		}
		index, kind := elf.R_SYM64(rel.Info), elf.R_TYPE64(rel.Info)
		if index == 0 || int(index) > len(symbols) || rel.Off > uint64(len(data)) {
			return errors.New("read relocations: one is out of bounds")
		}
		value, at := symbols[index-1].Value, data[rel.Off:]
		switch {
		case kind == abs64 && len(at) >= 8:
			order.PutUint64(at, order.Uint64(at)+value)
		case (kind == abs32 || kind == nodyld32) && len(at) >= 4:
			order.PutUint32(at, order.Uint32(at)+uint32(value))
		}
	}
	return nil
}
