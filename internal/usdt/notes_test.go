package usdt

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// noteBytes makes a note as sys/sdt.h does.
func noteBytes(owner string, kind uint32, address, base, semaphore uint64, texts string) []byte {
	order := binary.LittleEndian
	b := order.AppendUint32(nil, uint32(len(owner)))
	b = order.AppendUint32(b, uint32(24+len(texts)))
	b = order.AppendUint32(b, kind)
	b = append(b, owner...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	for _, n := range []uint64{address, base, semaphore} {
		b = order.AppendUint64(b, n)
	}
	b = append(b, texts...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestParseNotes(t *testing.T) {
	data := noteBytes("stapsdt\x00", 3, 0x1139, 0x2010, 0x4020, "prov\x00hit\x00-4@%eax\x00")
	data = append(data, noteBytes("GNU\x00", 3, 1, 2, 3, "x\x00y\x00\x00")...)
	data = append(data, noteBytes("stapsdt\x00", 3, 0x1200, 0, 0, "p\x00none\x00\x00")...)
	got, err := parseNotes(data, binary.LittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	want := []note{
		{address: 0x1139, base: 0x2010, semaphore: 0x4020, provider: "prov", name: "hit", arguments: "-4@%eax"},
		{address: 0x1200, provider: "p", name: "none"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(note{})); diff != "" {
		t.Errorf("got (+), want (-):\n%s", diff)
	}
	for n := 1; n < len(data); n++ {
		if _, err := parseNotes(data[:n], binary.LittleEndian); err != nil && !errors.Is(err, errNote) {
			t.Errorf("%d bytes: got error %v, want %v", n, err, errNote)
		}
	}
	lacking := noteBytes("stapsdt\x00", 3, 1, 2, 3, "prov\x00hit")
	if _, err := parseNotes(lacking, binary.LittleEndian); !errors.Is(err, errNote) {
		t.Errorf("no strings: got error %v, want %v", err, errNote)
	}
}

func TestLocate(t *testing.T) {
	file := &elf.File{
		FileHeader: elf.FileHeader{Type: elf.ET_EXEC, Machine: elf.EM_X86_64, ByteOrder: binary.LittleEndian},
		Sections:   []*elf.Section{{SectionHeader: elf.SectionHeader{Name: ".stapsdt.base", Addr: 0x402100}}},
		Progs: []*elf.Prog{
			{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_X, Vaddr: 0x401000, Off: 0x1000, Memsz: 0x1000}},
			{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_W, Vaddr: 0x404000, Off: 0x3000, Memsz: 0x1000}},
		},
	}
	for _, test := range []struct {
		name string
		note note
		want Probe
		err  string
	}{
		{"where it was linked", note{address: 0x401136, base: 0x402100, semaphore: 0x404028}, Probe{Address: 0x1136, IP: 0x401136, Semaphore: 0x3028}, ""},
		{"moved by prelink", note{address: 0x1136, base: 0x2100, semaphore: 0x4028}, Probe{Address: 0x1136, IP: 0x401136, Semaphore: 0x3028}, ""},
		{"no base", note{address: 0x401136}, Probe{Address: 0x1136, IP: 0x401136}, ""},
		{"outside", note{address: 0x1136}, Probe{}, "in no segment"},
		{"in data", note{address: 0x404028}, Probe{}, "no code"},
		{"semaphore in code", note{address: 0x401136, semaphore: 0x401140}, Probe{}, "locate semaphore"},
		{"argument of another machine", note{address: 0x401136, arguments: "8@x0"}, Probe{}, "argument 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := locate(file, test.note)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Spec = make([]byte, specSize)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("got (+), want (-):\n%s", diff)
			}
		})
	}
}

func TestFind(t *testing.T) {
	path := compileTarget(t, "-O2")
	probes, err := Find(path, "netfate", "hit")
	if err != nil {
		t.Fatal(err)
	}
	if len(probes) != 1 || probes[0].Address == 0 || probes[0].Semaphore != 0 || len(strings.Fields(probes[0].Arguments)) != 4 {
		t.Errorf("got %+v, want one probe with four arguments and no semaphore", probes)
	}
	probes, err = Find(path, "netfate", "counted")
	if err != nil {
		t.Fatal(err)
	}
	if len(probes) != 1 || probes[0].Semaphore == 0 {
		t.Errorf("got %+v, want one probe with a semaphore", probes)
	}

	_, err = Find(path, "netfate", "absent")
	if !errors.Is(err, ErrNoProbe) || !strings.Contains(err.Error(), "it has netfate:counted, netfate:hit") {
		t.Errorf("got error %v, want ErrNoProbe with the probes there are", err)
	}
	_, err = Find(path+"x", "netfate", "hit")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got error %v, want %v", err, os.ErrNotExist)
	}
	if _, err = Find("notes_test.go", "netfate", "hit"); err == nil {
		t.Error("no ELF file: got no error")
	}
}

func FuzzNotes(f *testing.F) {
	f.Add(noteBytes("stapsdt\x00", 3, 0x1139, 0x2010, 0x4020, "prov\x00hit\x00-4@%eax 8@-8(%rbp)\x00"), false)
	f.Add(noteBytes("stapsdt\x00", 3, 0x1139, 0x2010, 0, "prov\x00hit\x00-4@[sp, 88] 8@x0\x00"), true)
	f.Add(noteBytes("GNU\x00", 1, 0, 0, 0, ""), false)
	f.Fuzz(func(t *testing.T, data []byte, arm bool) {
		machine := elf.EM_X86_64
		if arm {
			machine = elf.EM_AARCH64
		}
		notes, err := parseNotes(data, binary.LittleEndian)
		if err != nil {
			return
		}
		for _, n := range notes {
			arguments, err := parseArguments(n.arguments, machine)
			if err != nil {
				continue
			}
			if spec := encode(arguments, binary.LittleEndian); len(spec) != specSize || int(spec[countOffset]) > maxArguments {
				t.Errorf("got a spec of %d bytes and %d arguments", len(spec), spec[countOffset])
			}
		}
	})
}
