package filter

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/net/bpf"
)

// BufferSize is the size of struct filter_buf in bytes: how much of a packet a filter sees in the kernel, unless
// [Options] says otherwise.
const BufferSize = 256

// Options are the choices in a translation. The zero value is the one that fits struct filter_buf.
type Options struct {
	// Buffer is the size in bytes of the memory that the function's first argument points at; 0 means BufferSize. A load
	// past it is a load past the packet: no match.
	Buffer int
}

// maxBuffer keeps every offset into the buffer within eBPF's 16 bits.
const maxBuffer = math.MaxInt16

// The registers of a translated function. It calls nothing, so the arguments stay where they came.
const (
	regResult  = asm.R0 // and first temporary
	regBuf     = asm.R1 // the packet's bytes: a map value
	regCaplen  = asm.R2 // how many of them are valid
	regWirelen = asm.R3
	regTmp     = asm.R4
	regPtr     = asm.R5
	regA       = asm.R6
	regX       = asm.R7
)

// noMatch is the jump target that returns 0.
const noMatch = -1

// Translate makes the body of this C function from a classic program:
//
//	int filter_match(struct filter_buf *buf, __u32 caplen, __u32 wirelen)
//
// buf points into a map value, caplen bytes of buf are valid, and wirelen is what "len" means. The function returns what
// the classic program returns, not 0 for a match; a load past caplen or past the buffer is 0, as classic BPF has it. It
// calls nothing, keeps no state, and takes up to 64 bytes of stack, for scratch words. No code at all becomes a function
// that never matches. Programs that [Compile] gave translate unless they look outside of the packet.
//
// The verifier walks every path, and tells states apart by what it knows of a register. So the function compares results
// (an exclusive or, a constant minus a register), never A, X or caplen themselves: comparing a register teaches the
// verifier its range on either branch, and a long filter would be walked along each of its exponentially many paths. A
// copy is no better, nor a copy plus a constant, since the verifier links those to the register (Linux 5.10, 6.11). It
// matters most before 6.3, where every scalar counts as precise in programs with subprograms.
func Translate(code []bpf.RawInstruction, opt Options) (asm.Instructions, error) {
	if opt.Buffer == 0 {
		opt.Buffer = BufferSize
	}
	if opt.Buffer < 0 || opt.Buffer > maxBuffer {
		return nil, fmt.Errorf("translate filter: a buffer of %d bytes, must be 1 to %d", opt.Buffer, maxBuffer)
	}
	if err := check(code); err != nil {
		return nil, fmt.Errorf("translate filter: %w", err)
	}
	if len(code) == 0 {
		return asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, nil
	}
	t := &translator{code: code, buffer: uint32(opt.Buffer), start: make([]int, len(code))}
	t.survey()
	t.prologue()
	for i, ins := range code {
		t.start[i] = len(t.out)
		if t.reached[i] {
			t.insn(i, ins)
		}
	}
	return t.link()
}

type jump struct {
	at     int // index in out
	target int // index in code, or noMatch
}

type translator struct {
	code    []bpf.RawInstruction
	buffer  uint32
	reached []bool
	slot    [scratchWords]int16 // stack offset of a scratch word, 0 if it is never read
	out     asm.Instructions
	start   []int // by index in code: index in out
	jumps   []jump
}

// survey finds the instructions that can be reached, since the verifier refuses a program with others, and the scratch
// words that are read.
func (t *translator) survey() {
	t.reached = make([]bool, len(t.code))
	t.reached[0] = true
	depth := int16(0)
	for i, ins := range t.code {
		if !t.reached[i] {
			continue
		}
		switch {
		case ins.Op&classMask == classRet || t.beyond(ins):
		case ins.Op == classJmp|jmpJa:
			t.reached[i+1+int(ins.K)] = true
		case ins.Op&classMask == classJmp:
			t.reached[i+1+int(ins.Jt)] = true
			t.reached[i+1+int(ins.Jf)] = true
		default:
			t.reached[i+1] = true
		}
		if op := ins.Op &^ 1; op == classLd|modeMem && t.slot[ins.K] == 0 {
			depth -= 4
			t.slot[ins.K] = depth
		}
	}
}

// beyond tells that a load lies past the buffer whatever the packet.
func (t *translator) beyond(ins bpf.RawInstruction) bool {
	switch {
	case ins.Op&classMask == classLd && (ins.Op&modeMask == modeAbs || ins.Op&modeMask == modeInd),
		ins.Op&classMask == classLdx && ins.Op&modeMask == modeMsh:
		return uint64(ins.K)+uint64(loadSize(ins.Op)) > uint64(t.buffer)
	}
	return false
}

// prologue makes what classic BPF promises: registers and scratch words begin as 0. The upper halves of 32-bit arguments
// are not the caller's to clear.
func (t *translator) prologue() {
	t.emit(
		asm.Mov.Reg32(regCaplen, regCaplen),
		asm.Mov.Reg32(regWirelen, regWirelen),
		asm.Mov.Imm(regA, 0),
		asm.Mov.Imm(regX, 0),
	)
	for _, offset := range t.slot {
		if offset != 0 {
			t.emit(asm.StoreMem(asm.RFP, offset, regA, asm.Word))
		}
	}
}

func (t *translator) emit(ins ...asm.Instruction) { t.out = append(t.out, ins...) }

// jump emits a jump whose offset link fills in.
func (t *translator) jump(ins asm.Instruction, target int) {
	t.jumps = append(t.jumps, jump{at: len(t.out), target: target})
	t.emit(ins)
}

func (t *translator) goTo(target int) { t.jump(asm.Ja.Label(""), target) }

func (t *translator) insn(i int, ins bpf.RawInstruction) {
	if t.beyond(ins) {
		t.goTo(noMatch)
		return
	}
	switch ins.Op & classMask {
	case classLd:
		t.load(ins, regA)
	case classLdx:
		t.load(ins, regX)
	case classSt:
		t.store(ins, regA)
	case classStx:
		t.store(ins, regX)
	case classAlu:
		t.alu(ins)
	case classJmp:
		t.branch(i, ins)
	case classRet:
		if ins.Op&retA != 0 {
			t.emit(asm.Mov.Reg32(regResult, regA))
		} else {
			t.emit(asm.Mov.Imm32(regResult, int32(ins.K)))
		}
		t.emit(asm.Return())
	case classMisc:
		if ins.Op&txa != 0 {
			t.emit(asm.Mov.Reg32(regA, regX))
		} else {
			t.emit(asm.Mov.Reg32(regX, regA))
		}
	}
}

func (t *translator) store(ins bpf.RawInstruction, src asm.Register) {
	if offset := t.slot[ins.K]; offset != 0 {
		t.emit(asm.StoreMem(asm.RFP, offset, src, asm.Word))
	}
}

func (t *translator) load(ins bpf.RawInstruction, dst asm.Register) {
	switch ins.Op & modeMask {
	case modeImm:
		t.emit(asm.Mov.Imm32(dst, int32(ins.K)))
	case modeLen:
		t.emit(asm.Mov.Reg32(dst, regWirelen))
	case modeMem:
		t.emit(asm.LoadMem(dst, asm.RFP, t.slot[ins.K], asm.Word))
	case modeAbs:
		t.within(ins)
		t.packet(dst, regBuf, int16(ins.K), ins.Op)
	case modeInd:
		t.withinX(ins)
		t.packet(dst, regPtr, 0, ins.Op)
	case modeMsh:
		t.within(ins)
		t.packet(dst, regBuf, int16(ins.K), ins.Op)
		t.emit(asm.And.Imm32(dst, 0x0f), asm.LSh.Imm32(dst, 2))
	}
}

// within leaves with no match if a load at a constant offset passes caplen. That the offset is inside of the buffer is
// known already.
func (t *translator) within(ins bpf.RawInstruction) {
	end := int32(ins.K + loadSize(ins.Op))
	t.emit(asm.Mov.Imm(regResult, end), asm.Sub.Reg(regResult, regCaplen))
	t.jump(asm.JSGT.Imm(regResult, 0, ""), noMatch)
}

// withinX points regPtr at X + k, or leaves with no match: past the buffer, which the verifier wants to see, or past
// caplen, which the filter wants. The sum has 64 bits and cannot wrap.
func (t *translator) withinX(ins bpf.RawInstruction) {
	size := int32(loadSize(ins.Op))
	t.emit(asm.Mov.Imm(regResult, int32(ins.K)), asm.Add.Reg(regResult, regX))
	t.jump(asm.JGT.Imm(regResult, int32(t.buffer)-size, ""), noMatch)
	t.emit(asm.Mov.Imm(regTmp, size), asm.Add.Reg(regTmp, regResult), asm.Sub.Reg(regTmp, regCaplen))
	t.jump(asm.JSGT.Imm(regTmp, 0, ""), noMatch)
	t.emit(asm.Mov.Reg(regPtr, regBuf), asm.Add.Reg(regPtr, regResult))
}

// packet loads from the packet, which is big endian. HostTo(BE) is the kernel's way to say "to or from big endian", and
// clears the upper bits.
func (t *translator) packet(dst, base asm.Register, offset int16, op uint16) {
	switch op & sizeMask {
	case sizeW:
		t.emit(asm.LoadMem(dst, base, offset, asm.Word), asm.HostTo(asm.BE, dst, asm.Word))
	case sizeH:
		t.emit(asm.LoadMem(dst, base, offset, asm.Half), asm.HostTo(asm.BE, dst, asm.Half))
	case sizeB:
		t.emit(asm.LoadMem(dst, base, offset, asm.Byte))
	}
}

// aluOps are the operations that are the same in both instruction sets.
func aluOp(op uint16) asm.ALUOp {
	switch op & 0xf0 {
	case aluAdd:
		return asm.Add
	case aluSub:
		return asm.Sub
	case aluMul:
		return asm.Mul
	case aluDiv:
		return asm.Div
	case aluOr:
		return asm.Or
	case aluAnd:
		return asm.And
	case aluLsh:
		return asm.LSh
	case aluRsh:
		return asm.RSh
	case aluMod:
		return asm.Mod
	case aluXor:
		return asm.Xor
	}
	return asm.Neg
}

func (t *translator) alu(ins bpf.RawInstruction) {
	op := aluOp(ins.Op)
	if op == asm.Neg || ins.Op&srcX == 0 {
		k := int32(ins.K)
		if op == asm.Neg {
			k = 0
		}
		t.emit(op.Imm32(regA, k))
		return
	}
	switch op {
	case asm.Div, asm.Mod:
		t.emit(asm.Mov.Reg32(regResult, regX), asm.Xor.Imm32(regResult, 0))
		t.jump(asm.JEq.Imm(regResult, 0, ""), noMatch)
		t.emit(op.Reg32(regA, regX))
	case asm.LSh, asm.RSh:
		// eBPF takes a shift modulo 32; a classic shift by 32 or more leaves nothing.
		t.emit(
			asm.Mov.Reg32(regResult, regX),
			asm.Sub.Imm(regResult, 32),
			asm.ArSh.Imm(regResult, 63), // all ones for X < 32, else 0
			op.Reg32(regA, regX),
			asm.And.Reg32(regA, regResult),
		)
	default:
		t.emit(op.Reg32(regA, regX))
	}
}

// branch compares in regResult: A^v or A&v with 0 for equality and bits, the 64-bit difference v-A with 0 for order.
func (t *translator) branch(i int, ins bpf.RawInstruction) {
	if ins.Op == classJmp|jmpJa {
		if ins.K != 0 {
			t.goTo(i + 1 + int(ins.K))
		}
		return
	}
	onTrue, onFalse := i+1+int(ins.Jt), i+1+int(ins.Jf)
	if onTrue == onFalse {
		if onTrue != i+1 {
			t.goTo(onTrue)
		}
		return
	}
	yes, no := t.compare(ins)
	switch i + 1 {
	case onFalse:
		t.jump(yes.Imm(regResult, 0, ""), onTrue)
	case onTrue:
		t.jump(no.Imm(regResult, 0, ""), onFalse)
	default:
		t.jump(yes.Imm(regResult, 0, ""), onTrue)
		t.goTo(onFalse)
	}
}

// compare emits the calculation of a comparison and returns the signed tests of regResult against 0 for true and false.
func (t *translator) compare(ins bpf.RawInstruction) (yes, no asm.JumpOp) {
	switch ins.Op & 0xf0 {
	case jmpJeq:
		t.operate(asm.Xor, ins)
		return asm.JEq, asm.JNE
	case jmpJset:
		t.operate(asm.And, ins)
		return asm.JNE, asm.JEq
	}
	if ins.Op&srcX != 0 {
		t.emit(asm.Mov.Reg32(regResult, regX), asm.Xor.Imm32(regResult, 0))
	} else {
		t.emit(asm.Mov.Imm32(regResult, int32(ins.K)))
	}
	t.emit(asm.Sub.Reg(regResult, regA))
	if ins.Op&0xf0 == jmpJgt {
		return asm.JSLT, asm.JSGE
	}
	return asm.JSLE, asm.JSGT
}

// operate emits regResult = A op v.
func (t *translator) operate(op asm.ALUOp, ins bpf.RawInstruction) {
	t.emit(asm.Mov.Reg32(regResult, regA))
	if ins.Op&srcX != 0 {
		t.emit(op.Reg32(regResult, regX))
	} else {
		t.emit(op.Imm32(regResult, int32(ins.K)))
	}
}

// link ends the function and fills in the offsets of jumps. No instruction is wider than one slot.
func (t *translator) link() (asm.Instructions, error) {
	end := len(t.out)
	for _, j := range t.jumps {
		if j.target == noMatch {
			t.emit(asm.Mov.Imm(regResult, 0), asm.Return())
			break
		}
	}
	for _, j := range t.jumps {
		to := end
		if j.target != noMatch {
			to = t.start[j.target]
		}
		offset := to - j.at - 1
		if offset > math.MaxInt16 {
			return nil, fmt.Errorf("translate filter: a jump of %d instructions is too far for eBPF; make the expression shorter", offset)
		}
		t.out[j.at].Offset = int16(offset)
	}
	return t.out, nil
}
