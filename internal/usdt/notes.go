package usdt

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Probe is one place where a probe is; inlining and templates make several of one name.
type Probe struct {
	// Address is the offset in the file to attach a uprobe at.
	Address uint64
	// IP is the address in memory, for [IPMap], in an executable that is always mapped at the same place; 0 in
	// position-independent ones and libraries, where only attach cookies work.
	IP uint64
	// Semaphore is the offset in the file of the 16-bit counter that the kernel raises while someone is attached, so
	// that the process knows to work out the arguments; 0 if there is none.
	Semaphore uint64
	// Arguments is what the note says of where they are, as in "-4@%eax 8@-16(%rbp)".
	Arguments string
	// Spec is Arguments encoded as a value of [SpecsMap], with a user's cookie of 0.
	Spec []byte
}

// ErrNoProbe is what [Find] returns, wrapped, for a file that has no such probe.
var ErrNoProbe = errors.New("no such probe")

// Find returns the places of a probe in the executable or library at path, in the order of the notes that <sys/sdt.h>
// left there; there is at least one. Errors: the file cannot be read, is for no 64-bit machine known here, does not have the
// probe (ErrNoProbe; the text lists those it has), or keeps an argument where usdt.bpf.h cannot read it.
func Find(path, provider, name string) (probes []Probe, err error) {
	defer func() {
		if p := recover(); p != nil { // as in Patch
			probes, err = nil, fmt.Errorf("find probe %s:%s in %s: %v", provider, name, path, p)
		}
	}()
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("find probe %s:%s: %w", provider, name, err)
	}
	defer f.Close()
	probes, err = find(f, provider, name)
	if err != nil {
		return nil, fmt.Errorf("find probe %s:%s in %s: %w", provider, name, path, err)
	}
	return probes, nil
}

func find(f *elf.File, provider, name string) ([]Probe, error) {
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 && f.Machine != elf.EM_AARCH64 {
		return nil, fmt.Errorf("read file for %s: only x86-64 and arm64 are known", f.Machine)
	}
	notes, err := readNotes(f)
	if err != nil {
		return nil, err
	}
	var probes []Probe
	for _, n := range notes {
		if n.provider != provider || n.name != name {
			continue
		}
		p, err := locate(f, n)
		if err != nil {
			return nil, err
		}
		probes = append(probes, p)
	}
	if len(probes) == 0 {
		return nil, fmt.Errorf("%w; %s", ErrNoProbe, list(notes))
	}
	return probes, nil
}

// list names the probes, some of them if there are many.
func list(notes []note) string {
	names := make([]string, 0, len(notes))
	for _, n := range notes {
		names = append(names, n.provider+":"+n.name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	const most = 12
	switch {
	case len(names) == 0:
		return "the file has none at all: was it built with <sys/sdt.h>, or with the option that adds its probes?"
	case len(names) > most:
		return fmt.Sprintf("it has %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "it has " + strings.Join(names, ", ")
}

// note is a note of type 3 of owner stapsdt.
type note struct {
	address   uint64 // virtual ones, all three
	base      uint64
	semaphore uint64
	provider  string
	name      string
	arguments string
}

const (
	noteHeader  = 12
	noteType    = 3
	noteOwner   = "stapsdt\x00"
	noteNumbers = 3 * 8
	maxNotes    = 64 << 20 // bytes; the largest known, of a JVM, has some 100 kB
)

func readNotes(f *elf.File) ([]note, error) {
	var notes []note
	for _, s := range f.Sections {
		if s.Name != ".note.stapsdt" || s.Type != elf.SHT_NOTE {
			continue
		}
		if s.Size > maxNotes {
			return nil, fmt.Errorf("read %s: it has %d bytes, more than the %d that are read", s.Name, s.Size, maxNotes)
		}
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.Name, err)
		}
		more, err := parseNotes(data, f.ByteOrder)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.Name, err)
		}
		notes = append(notes, more...)
	}
	return notes, nil
}

var errNote = errors.New("a note is cut off or lacks its strings")

// parseNotes reads a section of notes: each a header, an owner and a description, both padded to 4 bytes.
func parseNotes(data []byte, order binary.ByteOrder) ([]note, error) {
	var notes []note
	for len(data) > 0 {
		if len(data) < noteHeader {
			return nil, errNote
		}
		ownerSize, size, kind := uint64(order.Uint32(data)), uint64(order.Uint32(data[4:])), order.Uint32(data[8:])
		data = data[noteHeader:]
		start := align(ownerSize)
		if start+size > uint64(len(data)) {
			return nil, errNote
		}
		owner, description := string(data[:ownerSize]), data[start:start+size]
		data = data[min(align(start+size), uint64(len(data))):]
		if owner != noteOwner || kind != noteType {
			continue
		}
		n, err := parseNote(description, order)
		if err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, nil
}

func align(n uint64) uint64 { return (n + 3) &^ 3 }

func parseNote(b []byte, order binary.ByteOrder) (note, error) {
	if len(b) < noteNumbers {
		return note{}, errNote
	}
	texts := strings.SplitN(string(b[noteNumbers:]), "\x00", 4)
	if len(texts) < 4 { // each of the three ends with a NUL
		return note{}, errNote
	}
	return note{
		address:   order.Uint64(b),
		base:      order.Uint64(b[8:]),
		semaphore: order.Uint64(b[16:]),
		provider:  texts[0],
		name:      texts[1],
		arguments: texts[2],
	}, nil
}

// locate turns the addresses of a note into offsets in the file, and reads its arguments.
func locate(f *elf.File, n note) (Probe, error) {
	// Prelink moves sections but does not look into notes: .stapsdt.base is there to tell how far.
	var moved uint64
	if s := f.Section(".stapsdt.base"); s != nil && n.base != 0 {
		moved = s.Addr - n.base
	}
	p := Probe{Arguments: n.arguments}
	address := n.address + moved
	offset, flags, ok := offsetOf(f, address)
	switch {
	case !ok:
		return p, fmt.Errorf("locate probe at %#x: the address is in no segment of the file", address)
	case flags&elf.PF_X == 0:
		return p, fmt.Errorf("locate probe at %#x: the address is in a segment that is no code", address)
	}
	p.Address = offset
	if f.Type == elf.ET_EXEC {
		p.IP = address
	}
	if n.semaphore != 0 {
		p.Semaphore, flags, ok = offsetOf(f, n.semaphore+moved)
		if !ok || flags&elf.PF_X != 0 {
			return p, fmt.Errorf("locate semaphore at %#x: the address is in no segment of data in the file", n.semaphore+moved)
		}
	}
	arguments, err := parseArguments(n.arguments, f.Machine)
	if err != nil {
		return p, err
	}
	p.Spec = encode(arguments, f.ByteOrder)
	return p, nil
}

// offsetOf returns where in the file the address is mapped from, and what may be done there. What is mapped beyond the
// file's part, as .bss is, counts: the kernel counts references to it by the offset it would have.
func offsetOf(f *elf.File, address uint64) (offset uint64, flags elf.ProgFlag, ok bool) {
	for _, s := range f.Progs {
		if s.Type == elf.PT_LOAD && address >= s.Vaddr && address-s.Vaddr < s.Memsz {
			return address - s.Vaddr + s.Off, s.Flags, true
		}
	}
	return 0, 0, false
}
