package usdt

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Where an argument is: enum __bpf_usdt_arg_type.
const (
	inConstant = 0
	inRegister = 1
	inMemory   = 2
)

// The layout of struct __bpf_usdt_spec, the same from libbpf 0.8 to 1.6: 12 arguments of 16 bytes, the user's cookie,
// how many there are, padding.
const (
	maxArguments = 12
	argumentSize = 16
	countOffset  = maxArguments*argumentSize + 8
	specSize     = countOffset + 8
)

// argument is a struct __bpf_usdt_arg_spec.
type argument struct {
	value    int64 // the constant, or what is added to the register
	where    uint32
	register int16 // offset in struct pt_regs
	signed   bool
	size     int // in bytes: 1, 2, 4 or 8
}

// encode returns a spec in the byte order of the machine.
func encode(arguments []argument, order binary.ByteOrder) []byte {
	b := make([]byte, specSize)
	for i, a := range arguments {
		out := b[i*argumentSize:]
		order.PutUint64(out, uint64(a.value))
		order.PutUint32(out[8:], a.where)
		order.PutUint16(out[12:], uint16(a.register))
		if a.signed {
			out[14] = 1
		}
		out[15] = byte(64 - 8*a.size)
	}
	order.PutUint16(b[countOffset:], uint16(len(arguments)))
	return b
}

// parseArguments reads what the note says of a probe's arguments: SIZE@OPERAND, separated by spaces, the operands as
// the assembler of the machine writes them, a size below 0 for signed ones.
// https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation has the form.
func parseArguments(text string, machine elf.Machine) ([]argument, error) {
	var arguments []argument
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimLeft(rest, " ") {
		var word string
		word, rest = cutArgument(rest)
		if len(arguments) == maxArguments {
			return nil, fmt.Errorf("read arguments %q: more than the %d that programs can ask for", text, maxArguments)
		}
		a, err := parseArgument(word, machine)
		if err != nil {
			return nil, fmt.Errorf("read argument %d of the probe, %q: %w", len(arguments), word, err)
		}
		arguments = append(arguments, a)
	}
	return arguments, nil
}

// cutArgument cuts text at the first space that is not within brackets.
func cutArgument(text string) (first, rest string) {
	depth := 0
	for i, c := range text {
		switch c {
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		case ' ':
			if depth <= 0 {
				return text[:i], text[i:]
			}
		}
	}
	return text, ""
}

var (
	errForm    = errors.New("it is not SIZE@OPERAND with a size of 1, 2, 4 or 8 bytes")
	errOperand = errors.New("usdt.bpf.h knows constants, general registers and memory at a register, and it is none of these")
	errIndexed = errors.New("it is in memory at the sum of two registers, which usdt.bpf.h cannot read")
)

func parseArgument(word string, machine elf.Machine) (argument, error) {
	size, operand, ok := strings.Cut(word, "@")
	if !ok {
		return argument{}, errForm
	}
	n, err := strconv.Atoi(size)
	if err != nil {
		return argument{}, errForm
	}
	a := argument{size: max(n, -n), signed: n < 0}
	switch a.size {
	case 1, 2, 4, 8:
	default:
		return argument{}, errForm
	}
	switch machine {
	case elf.EM_X86_64:
		err = a.parseX86(operand)
	case elf.EM_AARCH64:
		err = a.parseARM(operand)
	default:
		err = fmt.Errorf("of %s only x86-64 and arm64 are known", machine)
	}
	return a, err
}

// parseX86 reads $-9, %eax, (%rsp) and -20(%rbp).
func (a *argument) parseX86(operand string) error {
	if number, ok := strings.CutPrefix(operand, "$"); ok {
		return a.setConstant(number)
	}
	if name, ok := strings.CutPrefix(operand, "%"); ok {
		return a.setRegister(inRegister, "", name, registerX86)
	}
	offset, base, ok := strings.Cut(operand, "(")
	if !ok {
		return errOperand
	}
	base, ok = strings.CutSuffix(base, ")")
	if !ok {
		return errOperand
	}
	if strings.Contains(base, ",") {
		return errIndexed
	}
	name, ok := strings.CutPrefix(base, "%")
	if !ok {
		return errOperand
	}
	return a.setRegister(inMemory, offset, name, registerX86)
}

// parseARM reads -9, x1, [sp] and [x29, -20].
func (a *argument) parseARM(operand string) error {
	inner, ok := strings.CutPrefix(operand, "[")
	if !ok {
		if _, known := registerARM(operand); known {
			return a.setRegister(inRegister, "", operand, registerARM)
		}
		return a.setConstant(operand)
	}
	inner, ok = strings.CutSuffix(inner, "]")
	if !ok {
		return errOperand
	}
	name, offset, _ := strings.Cut(inner, ",")
	offset = strings.TrimPrefix(strings.TrimSpace(offset), "#")
	if _, known := registerARM(offset); known {
		return errIndexed
	}
	return a.setRegister(inMemory, offset, strings.TrimSpace(name), registerARM)
}

func (a *argument) setConstant(text string) error {
	number, err := parseNumber(text)
	a.value, a.where = number, inConstant
	return err
}

func (a *argument) setRegister(where uint32, offset, name string, find func(string) (int16, bool)) error {
	register, ok := find(name)
	if !ok {
		return errOperand
	}
	a.where, a.register = where, register
	if offset == "" {
		return nil
	}
	number, err := parseNumber(offset)
	a.value = number
	return err
}

// parseNumber reads a number of 64 bits, signed or not, in any base.
func parseNumber(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 0, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(text, 0, 64); err == nil {
		return int64(n), nil
	}
	return 0, errOperand
}

// registerX86 returns the offset in struct pt_regs (arch/x86/include/uapi/asm/ptrace.h) of a general register, under the
// names of all its widths. The second bytes, such as ah, are no part of it that a program could take out.
func registerX86(name string) (int16, bool) {
	switch name {
	case "r15", "r15d", "r15w", "r15b":
		return 0, true
	case "r14", "r14d", "r14w", "r14b":
		return 8, true
	case "r13", "r13d", "r13w", "r13b":
		return 16, true
	case "r12", "r12d", "r12w", "r12b":
		return 24, true
	case "rbp", "ebp", "bp", "bpl":
		return 32, true
	case "rbx", "ebx", "bx", "bl":
		return 40, true
	case "r11", "r11d", "r11w", "r11b":
		return 48, true
	case "r10", "r10d", "r10w", "r10b":
		return 56, true
	case "r9", "r9d", "r9w", "r9b":
		return 64, true
	case "r8", "r8d", "r8w", "r8b":
		return 72, true
	case "rax", "eax", "ax", "al":
		return 80, true
	case "rcx", "ecx", "cx", "cl":
		return 88, true
	case "rdx", "edx", "dx", "dl":
		return 96, true
	case "rsi", "esi", "si", "sil":
		return 104, true
	case "rdi", "edi", "di", "dil":
		return 112, true
	case "rip", "eip":
		return 128, true
	case "rsp", "esp", "sp", "spl":
		return 152, true
	}
	return 0, false
}

// registerARM returns the offset in struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h): x0 to x30, also by the
// names of their lower halves and of their uses, then sp and pc.
func registerARM(name string) (int16, bool) {
	switch name {
	case "sp", "wsp":
		return 31 * 8, true
	case "pc":
		return 32 * 8, true
	case "fp":
		return 29 * 8, true
	case "lr":
		return 30 * 8, true
	}
	if len(name) < 2 || name[0] != 'x' && name[0] != 'w' {
		return 0, false
	}
	n, err := strconv.ParseUint(name[1:], 10, 8)
	if err != nil || n > 30 {
		return 0, false
	}
	return int16(n) * 8, true
}
