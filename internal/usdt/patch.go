package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Patch returns the ELF object changed so that cilium/ebpf can parse what usdt.bpf.h brings, which v0.22 refuses:
//
//   - weak maps and weak __kconfig externs become global;
//   - hidden functions become static in BTF, as libbpf has it: the verifier checks a global function by itself, for
//     any argument, and bpf_usdt_arg does not pass;
//   - loads of LINUX_HAS_BPF_COOKIE, which the library does not know, are marked for [Fit].
//
// An object that needs none of it comes back as it is, the same slice; else object is left alone and a copy returned.
// The error is for what is no ELF file or a broken one; Patch does not panic on any bytes.
func Patch(object []byte) (patched []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // debug/elf has panicked on broken files: go.dev/issue/47653
			patched, err = nil, fmt.Errorf("patch object: %v", p)
		}
	}()
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("patch object: %w", err)
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS64 {
		return object, nil // no BPF object; whoever parses it says so
	}
	p := patcher{File: f, bytes: object}
	if err := p.run(); err != nil {
		return nil, fmt.Errorf("patch object: %w", err)
	}
	return p.bytes, nil
}

// patcher holds an object while it is changed.
type patcher struct {
	*elf.File
	bytes  []byte
	copied bool
}

// symbol is an entry of .symtab.
type symbol struct {
	at      int // offset of the entry in the file
	name    string
	info    byte
	other   byte
	section elf.SectionIndex
}

func (p *patcher) run() error {
	symbols, err := p.symbols()
	if err != nil {
		return err
	}
	types, err := p.types()
	if err != nil {
		return err
	}
	externs := types.externs()
	hidden := make(map[string]bool)
	for _, s := range symbols {
		if elf.ST_BIND(s.info) == elf.STB_WEAK && (p.isMap(s.section) || s.section == elf.SHN_UNDEF && externs[s.name]) {
			p.edit()[s.at+symInfo] = byte(elf.STB_GLOBAL)<<4 | s.info&0xf
		}
		visibility := elf.ST_VISIBILITY(s.other)
		if elf.ST_TYPE(s.info) == elf.STT_FUNC && (visibility == elf.STV_HIDDEN || visibility == elf.STV_INTERNAL) {
			hidden[s.name] = true
		}
	}
	for _, at := range types.globals(hidden) {
		b := p.edit()[at+typeInfo:]
		p.ByteOrder.PutUint32(b, p.ByteOrder.Uint32(b)&^0xffff) // linkage is where others have their length; 0 is static
	}
	if err := p.markCookies(symbols); err != nil {
		return err
	}
	// Where it has company, the library would look the extern up in the kernel's configuration and not find it. Alone
	// it does no harm, since nothing loads it any more, while an empty section would be refused.
	if externs[cookieName] && len(externs) > 1 {
		p.dropCookie(types)
	}
	return nil
}

// edit returns the bytes to be changed.
func (p *patcher) edit() []byte {
	if !p.copied {
		p.bytes = bytes.Clone(p.bytes)
		p.copied = true
	}
	return p.bytes
}

// errBounds is a section that claims more than the file has.
var errBounds = errors.New("it ends after the end of the file")

// data returns where the section begins in the file, and its bytes, which are not to be changed.
func (p *patcher) data(s *elf.Section) (int, []byte, error) {
	size := uint64(len(p.bytes))
	if s.Offset > size || s.FileSize > size-s.Offset {
		return 0, nil, fmt.Errorf("section %s: %w", s.Name, errBounds)
	}
	return int(s.Offset), p.bytes[s.Offset : s.Offset+s.FileSize], nil
}

// isMap tells whether symbols of the section are maps.
func (p *patcher) isMap(index elf.SectionIndex) bool {
	if int(index) >= len(p.Sections) {
		return false
	}
	name := p.Sections[index].Name
	return name == ".maps" || strings.HasPrefix(name, "maps")
}

// Sizes and offsets of Elf64_Sym and Elf64_Rel.
const (
	symSize    = 24
	symInfo    = 4
	symOther   = 5
	symSection = 6
	relSize    = 16
)

// symbols returns those of .symtab by their index there; entry 0 is the null symbol.
func (p *patcher) symbols() ([]symbol, error) {
	table := p.SectionByType(elf.SHT_SYMTAB)
	if table == nil {
		return nil, nil
	}
	at, data, err := p.data(table)
	if err != nil {
		return nil, err
	}
	if int(table.Link) >= len(p.Sections) {
		return nil, fmt.Errorf("section %s: its strings are in section %d, which there is not", table.Name, table.Link)
	}
	_, names, err := p.data(p.Sections[table.Link])
	if err != nil {
		return nil, err
	}
	symbols := make([]symbol, 0, len(data)/symSize)
	for ; len(data) >= symSize; at, data = at+symSize, data[symSize:] {
		symbols = append(symbols, symbol{
			at:      at,
			name:    textAt(names, p.ByteOrder.Uint32(data)),
			info:    data[symInfo],
			other:   data[symOther],
			section: elf.SectionIndex(p.ByteOrder.Uint16(data[symSection:])),
		})
	}
	return symbols, nil
}

// textAt returns the C string at the offset, "" if there is none.
func textAt(names []byte, offset uint32) string {
	if uint64(offset) >= uint64(len(names)) {
		return ""
	}
	text, _, _ := bytes.Cut(names[offset:], []byte{0})
	return string(text)
}

// markCookies puts cookieMark into all instructions that load the address of cookieName, and makes their relocations
// void: they point to the second half of the instruction, where the library does not look.
func (p *patcher) markCookies(symbols []symbol) error {
	for _, rels := range p.Sections {
		if rels.Type != elf.SHT_REL || int(rels.Info) >= len(p.Sections) {
			continue
		}
		code := p.Sections[rels.Info]
		if code.Type != elf.SHT_PROGBITS || code.Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		at, data, err := p.data(rels)
		if err != nil {
			return err
		}
		start, insns, err := p.data(code)
		if err != nil {
			return err
		}
		for ; len(data) >= relSize; at, data = at+relSize, data[relSize:] {
			offset := p.ByteOrder.Uint64(data)
			index := elf.R_SYM64(p.ByteOrder.Uint64(data[8:]))
			if uint64(index) >= uint64(len(symbols)) || symbols[index].name != cookieName || symbols[index].section != elf.SHN_UNDEF {
				continue
			}
			if offset >= uint64(len(insns)) || !isAddressLoad(insns[offset:]) {
				continue // as after a Patch
			}
			mark(p.edit()[start+int(offset):], p.ByteOrder)
			p.ByteOrder.PutUint64(p.edit()[at:], offset+insnSize)
		}
	}
	return nil
}

const (
	insnSize = 8
	insnImm  = 4
	opLoad64 = 0x18 // BPF_LD | BPF_IMM | BPF_DW, which is two instructions long
)

func isAddressLoad(insns []byte) bool { return len(insns) >= 2*insnSize && insns[0] == opLoad64 }

// mark puts cookieMark into the constant of a 64-bit load.
func mark(insns []byte, order binary.ByteOrder) {
	order.PutUint32(insns[insnImm:], cookieMark&0xffffffff)
	order.PutUint32(insns[insnSize+insnImm:], cookieMark>>32)
}
