package usdt

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseArguments(t *testing.T) {
	for _, test := range []struct {
		machine elf.Machine
		text    string
		want    []argument
	}{
		{elf.EM_X86_64, "", nil},
		{elf.EM_X86_64, "-4@%eax", []argument{{where: inRegister, register: 80, signed: true, size: 4}}},
		{elf.EM_X86_64, "8@%r15 1@%dil  2@%r9w", []argument{
			{where: inRegister, register: 0, size: 8},
			{where: inRegister, register: 112, size: 1},
			{where: inRegister, register: 64, size: 2},
		}},
		{elf.EM_X86_64, "-4@$-9", []argument{{value: -9, signed: true, size: 4}}},
		{elf.EM_X86_64, "8@$0xffffffffffffffff", []argument{{value: -1, size: 8}}},
		{elf.EM_X86_64, "-4@-1204(%rbp) 8@(%rsp)", []argument{
			{value: -1204, where: inMemory, register: 32, signed: true, size: 4},
			{where: inMemory, register: 152, size: 8},
		}},
		{elf.EM_X86_64, " -8@%rdi ", []argument{{where: inRegister, register: 112, signed: true, size: 8}}},
		{elf.EM_AARCH64, "8@x0 -4@w30 8@sp", []argument{
			{where: inRegister, register: 0, size: 8},
			{where: inRegister, register: 240, signed: true, size: 4},
			{where: inRegister, register: 248, size: 8},
		}},
		{elf.EM_AARCH64, "-4@5 -4@-7", []argument{{value: 5, signed: true, size: 4}, {value: -7, signed: true, size: 4}}},
		{elf.EM_AARCH64, "-4@[sp, 88] 8@[x29] 1@[x19,-20]", []argument{
			{value: 88, where: inMemory, register: 248, signed: true, size: 4},
			{where: inMemory, register: 232, size: 8},
			{value: -20, where: inMemory, register: 152, size: 1},
		}},
	} {
		got, err := parseArguments(test.text, test.machine)
		if err != nil {
			t.Errorf("parse %q: got error %v", test.text, err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(argument{})); diff != "" {
			t.Errorf("parse %q: got (+), want (-):\n%s", test.text, diff)
		}
	}
}

func TestParseArgumentsRefuses(t *testing.T) {
	for _, test := range []struct {
		machine elf.Machine
		text    string
		want    error // nil stands for any
	}{
		{elf.EM_X86_64, "%eax", errForm},
		{elf.EM_X86_64, "x@%eax", errForm},
		{elf.EM_X86_64, "3@%eax", errForm},
		{elf.EM_X86_64, "0@%eax", errForm},
		{elf.EM_X86_64, "-9223372036854775808@%eax", errForm},
		{elf.EM_X86_64, "8f@%xmm0", errForm},
		{elf.EM_X86_64, "8@%xmm0", errOperand},
		{elf.EM_X86_64, "1@%ah", errOperand},
		{elf.EM_X86_64, "8@", errOperand},
		{elf.EM_X86_64, "8@$", errOperand},
		{elf.EM_X86_64, "8@4(%rbp", errOperand},
		{elf.EM_X86_64, "8@x(%rbp)", errOperand},
		{elf.EM_X86_64, "8@counter(%rip)", errOperand},
		{elf.EM_X86_64, "8@-8(%rbp,%rax,4)", errIndexed},
		{elf.EM_AARCH64, "8@x31", errOperand},
		{elf.EM_AARCH64, "8@d0", errOperand},
		{elf.EM_AARCH64, "8@[sp", errOperand},
		{elf.EM_AARCH64, "8@[x1, x2]", errIndexed},
		{elf.EM_RISCV, "8@a0", nil},
		{elf.EM_X86_64, "1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1", nil},
	} {
		got, err := parseArguments(test.text, test.machine)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("parse %q: got %v and error %v, want error %v", test.text, got, err, test.want)
		}
	}
}

func TestEncode(t *testing.T) {
	spec := encode([]argument{
		{value: -9, signed: true, size: 4},
		{value: 16, where: inMemory, register: 152, size: 8},
	}, binary.LittleEndian)
	if len(spec) != 208 {
		t.Fatalf("got %d bytes, want 208", len(spec))
	}
	got := hex.EncodeToString(spec[:32]) + " " + hex.EncodeToString(spec[192:])
	want := "f7ffffffffffffff0000000000000120" + "10000000000000000200000098000000" + " " + "00000000000000000200000000000000"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
