package filter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// The parts of a classic BPF opcode, from linux/bpf_common.h and linux/filter.h.
const (
	classMask = 0x07
	classLd   = 0x00
	classLdx  = 0x01
	classSt   = 0x02
	classStx  = 0x03
	classAlu  = 0x04
	classJmp  = 0x05
	classRet  = 0x06
	classMisc = 0x07

	sizeMask = 0x18
	sizeW    = 0x00
	sizeH    = 0x08
	sizeB    = 0x10

	modeMask = 0xe0
	modeImm  = 0x00
	modeAbs  = 0x20
	modeInd  = 0x40
	modeMem  = 0x60
	modeLen  = 0x80
	modeMsh  = 0xa0

	srcX = 0x08
	retA = 0x10
	txa  = 0x80

	aluAdd = 0x00
	aluSub = 0x10
	aluMul = 0x20
	aluDiv = 0x30
	aluOr  = 0x40
	aluAnd = 0x50
	aluLsh = 0x60
	aluRsh = 0x70
	aluNeg = 0x80
	aluMod = 0x90
	aluXor = 0xa0

	jmpJa   = 0x00
	jmpJeq  = 0x10
	jmpJgt  = 0x20
	jmpJge  = 0x30
	jmpJset = 0x40
)

const (
	// scratchWords is the size of the scratch memory M[], BPF_MEMWORDS.
	scratchWords = 16
	// maxInsns is the longest classic program that Linux takes, BPF_MAXINSNS.
	maxInsns = 4096
	// ancillary is the lowest offset with a meaning of its own in Linux, SKF_LL_OFF: what lies there is not in the packet.
	ancillary = 0xffe00000
)

// loadSize gives the bytes that a packet load reads, 0 if the opcode has no such size.
func loadSize(op uint16) uint32 {
	switch op & sizeMask {
	case sizeW:
		return 4
	case sizeH:
		return 2
	case sizeB:
		return 1
	}
	return 0
}

// check refuses what the kernel's bpf_check_classic refuses, so that what follows may rely on it: unknown opcodes, jumps
// and scratch words out of bounds, division by the constant zero, shifts by more than 31, a last instruction other than
// a return; and Linux's ancillary loads, which packet bytes alone cannot answer. Of what libpcap compiles, only
// "protochain" (a loop), negative offsets and programs of thousands of instructions are refused.
func check(code []bpf.RawInstruction) error {
	if len(code) > maxInsns {
		return fmt.Errorf("the filter has %d instructions, Linux takes %d; make the expression shorter", len(code), maxInsns)
	}
	for i, ins := range code {
		if err := checkInsn(ins, len(code)-i-1); err != nil {
			return fmt.Errorf("instruction %d of the filter (op %#x, k %#x): %w", i, ins.Op, ins.K, err)
		}
	}
	if n := len(code); n > 0 && code[n-1].Op&classMask != classRet {
		return errors.New("the filter does not end with a return")
	}
	return nil
}

var (
	errOpcode    = errors.New("unknown opcode")
	errJump      = errors.New("jump out of the program")
	errLoop      = errors.New("jump back")
	errScratch   = errors.New("no such scratch word")
	errDivide    = errors.New("division by zero")
	errShift     = errors.New("shift by more than 31 bits")
	errAncillary = errors.New("load of something that is not in the packet")
)

// checkInsn checks one instruction that has rest others after it.
func checkInsn(ins bpf.RawInstruction, rest int) error {
	op := ins.Op
	switch op & classMask {
	case classLd:
		return checkLoad(ins)
	case classLdx:
		switch op {
		case classLdx | modeMem:
			return checkScratch(ins.K)
		case classLdx | modeImm, classLdx | modeLen, classLdx | modeMsh | sizeB:
			return nil
		}
		return errOpcode
	case classSt, classStx:
		if op&^classMask != 0 {
			return errOpcode
		}
		return checkScratch(ins.K)
	case classAlu:
		return checkALU(ins)
	case classJmp:
		return checkJump(ins, rest)
	case classRet:
		if op == classRet || op == classRet|retA {
			return nil
		}
	case classMisc:
		if op == classMisc || op == classMisc|txa {
			return nil
		}
	}
	return errOpcode
}

func checkLoad(ins bpf.RawInstruction) error {
	switch ins.Op & modeMask {
	case modeImm, modeLen:
		if ins.Op&sizeMask == sizeW {
			return nil
		}
	case modeMem:
		if ins.Op&sizeMask == sizeW {
			return checkScratch(ins.K)
		}
	case modeAbs, modeInd:
		if loadSize(ins.Op) == 0 || ins.Op > 0xff {
			break
		}
		if ins.K >= ancillary && ins.Op&modeMask == modeAbs {
			return errAncillary
		}
		return nil
	}
	return errOpcode
}

func checkScratch(k uint32) error {
	if k >= scratchWords {
		return errScratch
	}
	return nil
}

func checkALU(ins bpf.RawInstruction) error {
	if ins.Op > 0xff {
		return errOpcode
	}
	constant := ins.Op&srcX == 0
	switch ins.Op & 0xf0 {
	case aluAdd, aluSub, aluMul, aluOr, aluAnd, aluXor:
		return nil
	case aluNeg:
		if constant {
			return nil
		}
	case aluDiv, aluMod:
		if constant && ins.K == 0 {
			return errDivide
		}
		return nil
	case aluLsh, aluRsh:
		if constant && ins.K > 31 {
			return errShift
		}
		return nil
	}
	return errOpcode
}

func checkJump(ins bpf.RawInstruction, rest int) error {
	switch ins.Op {
	case classJmp | jmpJa:
		if int32(ins.K) < 0 {
			return errLoop
		}
		if int64(ins.K) >= int64(rest) {
			return errJump
		}
		return nil
	case classJmp | jmpJeq, classJmp | jmpJgt, classJmp | jmpJge, classJmp | jmpJset,
		classJmp | jmpJeq | srcX, classJmp | jmpJgt | srcX, classJmp | jmpJge | srcX, classJmp | jmpJset | srcX:
		if int(ins.Jt) >= rest || int(ins.Jf) >= rest {
			return errJump
		}
		return nil
	}
	return errOpcode
}

// Match tells whether a packet matches in user space: packet holds the bytes at hand from the start that link says,
// wireLen is the packet's length on the wire, more than len(packet) if it was cut. The answer is the one that the
// translated program gives in the kernel from as many bytes. A nil Pair matches.
func Match(p *Pair, link Link, packet []byte, wireLen int) bool {
	return p == nil || Matches(p.Program(link), packet, wireLen)
}

// Matches is [Match] for a program of [Compile], which may be of any link type. A nil program matches nothing.
func Matches(code []bpf.RawInstruction, packet []byte, wireLen int) bool {
	return run(code, packet, uint32(wireLen)) != 0
}

// run interprets a classic program and returns what it returns. A load past the packet, a division by zero and anything
// that check would refuse end it with 0. It does not use the virtual machine of x/net/bpf, which knows neither negation
// ("-tcp[0]") nor the wire length of a packet that was cut; the tests compare the two.
func run(code []bpf.RawInstruction, packet []byte, wireLen uint32) uint32 {
	var a, x uint32
	var scratch [scratchWords]uint32
	// Jumps only go forward (int(ins.K) is never negative), so this ends.
	for pc := 0; pc < len(code); pc++ {
		ins := code[pc]
		ok := true
		switch ins.Op & classMask {
		case classLd:
			a, ok = load(ins, packet, x, wireLen, &scratch)
		case classLdx:
			x, ok = loadX(ins, packet, wireLen, &scratch)
		case classSt:
			scratch[ins.K%scratchWords] = a
		case classStx:
			scratch[ins.K%scratchWords] = x
		case classAlu:
			a, ok = alu(ins.Op, a, operand(ins, x))
		case classJmp:
			switch {
			case ins.Op == classJmp|jmpJa:
				pc += int(ins.K)
			case compare(ins.Op, a, operand(ins, x)):
				pc += int(ins.Jt)
			default:
				pc += int(ins.Jf)
			}
		case classRet:
			if ins.Op&retA != 0 {
				return a
			}
			return ins.K
		case classMisc:
			if ins.Op&txa != 0 {
				a = x
			} else {
				x = a
			}
		}
		if !ok {
			return 0
		}
	}
	return 0
}

func operand(ins bpf.RawInstruction, x uint32) uint32 {
	if ins.Op&srcX != 0 {
		return x
	}
	return ins.K
}

func load(ins bpf.RawInstruction, packet []byte, x, wireLen uint32, scratch *[scratchWords]uint32) (uint32, bool) {
	offset := uint64(ins.K)
	switch ins.Op & modeMask {
	case modeImm:
		return ins.K, true
	case modeLen:
		return wireLen, true
	case modeMem:
		return scratch[ins.K%scratchWords], true
	case modeInd:
		offset += uint64(x)
	case modeAbs:
	default:
		return 0, false
	}
	size := uint64(loadSize(ins.Op))
	if size == 0 || offset+size > uint64(len(packet)) {
		return 0, false
	}
	switch size {
	case 4:
		return binary.BigEndian.Uint32(packet[offset:]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(packet[offset:])), true
	}
	return uint32(packet[offset]), true
}

func loadX(ins bpf.RawInstruction, packet []byte, wireLen uint32, scratch *[scratchWords]uint32) (uint32, bool) {
	switch ins.Op & modeMask {
	case modeImm:
		return ins.K, true
	case modeLen:
		return wireLen, true
	case modeMem:
		return scratch[ins.K%scratchWords], true
	case modeMsh:
		if uint64(ins.K) < uint64(len(packet)) {
			return uint32(packet[ins.K]&0x0f) * 4, true
		}
	}
	return 0, false
}

func alu(op uint16, a, v uint32) (uint32, bool) {
	switch op & 0xf0 {
	case aluAdd:
		return a + v, true
	case aluSub:
		return a - v, true
	case aluMul:
		return a * v, true
	case aluOr:
		return a | v, true
	case aluAnd:
		return a & v, true
	case aluXor:
		return a ^ v, true
	case aluLsh:
		return a << v, true // 0 from 32 on, as in libpcap's bpf_filter
	case aluRsh:
		return a >> v, true
	case aluNeg:
		return -a, true
	case aluDiv:
		if v != 0 {
			return a / v, true
		}
	case aluMod:
		if v != 0 {
			return a % v, true
		}
	}
	return 0, false
}

func compare(op uint16, a, v uint32) bool {
	switch op & 0xf0 {
	case jmpJeq:
		return a == v
	case jmpJgt:
		return a > v
	case jmpJge:
		return a >= v
	case jmpJset:
		return a&v != 0
	}
	return false
}
