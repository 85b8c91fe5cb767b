package tlslib

import (
	"debug/elf"
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// machine is the one whose code is read.
const machine = elf.EM_X86_64

// prologue is how Go's functions begin that may need more stack: they compare
// the stack pointer, or what it will be, with what the goroutine in r14 has:
// cmp rsp, [r14+16], or lea r12, [rsp-…] and cmp r12, [r14+16].
func prologue(code []byte) bool {
	begins := func(prefix ...byte) bool {
		return len(code) >= len(prefix) && string(code[:len(prefix)]) == string(prefix)
	}
	return begins(0x49, 0x3b, 0x66, 0x10) || begins(0x4c, 0x8d)
}

// returns returns where in the code of a function its RETs are.
func returns(code []byte) (at []uint64, err error) {
	for i := 0; i < len(code); {
		if n, ok := vexLength(code[i:]); ok {
			i += n
			continue
		}
		ins, err := x86asm.Decode(code[i:], 64)
		if err != nil || ins.Len == 0 {
			return nil, fmt.Errorf("decode its code at +%#x: %w", i, errors.Join(err, errUndecoded))
		}
		if ins.Op == x86asm.RET {
			at = append(at, uint64(i))
		}
		i += ins.Len
	}
	return at, nil
}

// vexLength returns how long an instruction is that begins with a VEX prefix,
// which x86asm does not know: compilers for newer processors shift and mask by
// such ones. Intel's manual, volume 2, 2.3.5; false if it is none, or unusual.
func vexLength(code []byte) (length int, ok bool) {
	if len(code) < 5 {
		return 0, false
	}
	var at, opcodes int
	switch code[0] {
	case 0xc5:
		at, opcodes = 2, 1
	case 0xc4:
		at, opcodes = 3, int(code[1]&0x1f)
	default:
		return 0, false
	}
	opcode, modRM := code[at], code[at+1]
	length = at + 1
	if opcodes == 1 && opcode == 0x77 { // vzeroupper
		return length, true
	}
	length++
	mode, memory := modRM>>6, modRM&7
	if mode != 3 && memory == 4 {
		if length >= len(code) {
			return 0, false
		}
		if code[length]&7 == 5 && mode == 0 {
			length += 4
		}
		length++
	}
	switch {
	case mode == 1:
		length++
	case mode == 2, mode == 0 && memory == 5:
		length += 4
	}
	switch {
	case opcodes == 3, opcodes == 1 && (opcode >= 0x70 && opcode <= 0x73 || opcode == 0xc2 || opcode >= 0xc4 && opcode <= 0xc6):
		length++ // a byte behind it
	case opcodes == 0 || opcodes > 3:
		return 0, false
	}
	return length, length <= len(code)
}

// errUndecoded says that an instruction is none that is known.
var errUndecoded = errors.New("it is no known instruction")
