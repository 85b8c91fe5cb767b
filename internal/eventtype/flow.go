package eventtype

import "github.com/cilium/ebpf/asm"

// flow tells which instructions may run just before which: what is in a register
// at a place where branches meet was put there on either of them.
type flow struct {
	insns  asm.Instructions
	before [][]int
}

func newFlow(insns asm.Instructions) *flow {
	f := &flow{insns: insns, before: make([][]int, len(insns))}
	labels, at := map[string]int{}, map[int64]int{}
	offsets := make([]int64, len(insns))
	for i, offset := 0, int64(0); i < len(insns); i++ {
		if s := insns[i].Symbol(); s != "" {
			labels[s] = i
		}
		at[offset], offsets[i] = i, offset
		offset += int64(insns[i].Width())
	}
	for i := range insns {
		ins := &insns[i]
		op := ins.OpCode.JumpOp()
		jumps := ins.OpCode.Class().IsJump()
		if jumps && op != asm.Call && op != asm.Exit {
			to, ok := labels[ins.Reference()]
			if !ok || ins.Reference() == "" { // as in the file: counted in eight bytes
				distance := int64(ins.Offset)
				if op == asm.Ja && ins.OpCode.Class() == asm.Jump32Class {
					distance = ins.Constant
				}
				to, ok = at[offsets[i]+1+distance]
			}
			if ok {
				f.before[to] = append(f.before[to], i)
			}
		}
		falls := !jumps || op != asm.Exit && op != asm.Ja
		if falls && i+1 < len(insns) {
			f.before[i+1] = append(f.before[i+1], i)
		}
	}
	return f
}

// maxSteps bounds one question: an object of a million instructions with as many
// submits must not take minutes.
const maxSteps = 1024

// sources lists the instructions that may have put what is in reg when call runs,
// across copies from register to register. all is false if something else may
// have: a caller, a helper, an instruction too far away.
func (f *flow) sources(call int, reg asm.Register) (list []*asm.Instruction, all bool) {
	type point struct {
		at  int
		reg asm.Register
	}
	seen := map[point]bool{}
	todo := []point{{call, reg}}
	all = true
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[p] {
			continue
		}
		if seen[p] = true; len(seen) > maxSteps {
			return list, false
		}
		all = all && len(f.before[p.at]) > 0 // else it came from a caller
		for _, i := range f.before[p.at] {
			ins := &f.insns[i]
			switch put(ins, p.reg) {
			case nothing:
				todo = append(todo, point{i, p.reg})
			case copied:
				todo = append(todo, point{i, ins.Src})
			case unknown:
				all = false
			case itself:
				list = append(list, ins)
			}
		}
	}
	return list, all
}

// effect is what an instruction does to a register.
type effect uint8

const (
	nothing effect = iota
	copied         // from the source register
	unknown
	itself // the instruction says what it puts
)

func put(ins *asm.Instruction, reg asm.Register) effect {
	op := ins.OpCode
	class := op.Class()
	switch {
	case class.IsJump() && op.JumpOp() == asm.Call && reg <= asm.R5:
		return unknown
	case class.IsStore() && op.Mode() == asm.AtomicMode && (ins.Src == reg || reg == asm.R0):
		return unknown
	case class.IsJump() || class.IsStore() || ins.Dst != reg:
		return nothing
	case class.IsALU() && op.ALUOp() == asm.Mov && op.Source() == asm.RegSource && ins.Offset == 0: // with an offset it extends a sign
		return copied
	}
	return itself
}
