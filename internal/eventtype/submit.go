package eventtype

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// sizes are how large the events of one map are, as far as its programs tell.
type sizes struct {
	sites    int   // places that submit to it
	constant []int // the different sizes among those that are constant
	varies   bool  // some are not
}

// submitted finds every place where a program submits to a map, and how much.
func submitted(spec *ebpf.CollectionSpec) map[string]sizes {
	found := map[string]sizes{}
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			where, size, ok := registers(&p.Instructions[i])
			if !ok {
				continue
			}
			load := source(p.Instructions, i, where)
			if load == nil || !load.IsLoadFromMap() {
				continue
			}
			s := found[load.Reference()]
			s.sites++
			n := source(p.Instructions, i, size)
			switch {
			case n == nil || !isConstant(n) || n.Constant <= 0 || n.Constant > maxEvent:
				s.varies = true
			case !slices.Contains(s.constant, int(n.Constant)):
				s.constant = append(s.constant, int(n.Constant))
			}
			found[load.Reference()] = s
		}
	}
	return found
}

// maxEvent bounds what is taken for an event's size: a ring buffer's largest.
const maxEvent = 1 << 28

// registers tells where the map and the size are when ins submits an event.
func registers(ins *asm.Instruction) (where, size asm.Register, ok bool) {
	if !ins.IsBuiltinCall() {
		return 0, 0, false
	}
	switch asm.BuiltinFunc(ins.Constant) {
	case asm.FnRingbufReserve:
		return asm.R1, asm.R2, true
	case asm.FnRingbufOutput:
		return asm.R1, asm.R3, true
	case asm.FnPerfEventOutput, asm.FnSkbOutput, asm.FnXdpOutput:
		return asm.R2, asm.R5, true
	}
	return 0, 0, false
}

// maxBack bounds how far source looks.
const maxBack = 256

// source finds the instruction that put something into reg before call, going
// back over copies from register to register and no further than to where control
// could come from elsewhere than from above; nil if it is not to be found.
func source(insns asm.Instructions, call int, reg asm.Register) *asm.Instruction {
	for i := call - 1; i >= 0 && i >= call-maxBack; i-- {
		ins := &insns[i]
		op := ins.OpCode
		class := op.Class()
		switch {
		case class.IsJump() && op.JumpOp() == asm.Call && reg <= asm.R5:
			return nil
		case class.IsJump() || class.IsStore() || ins.Dst != reg:
			continue
		case class.IsALU() && op.ALUOp() == asm.Mov && op.Source() == asm.RegSource:
			reg = ins.Src
		default:
			return ins
		}
	}
	return nil
}

func isConstant(ins *asm.Instruction) bool {
	op := ins.OpCode
	if op.IsDWordLoad() {
		return ins.Reference() == ""
	}
	return op.Class().IsALU() && op.ALUOp() == asm.Mov && op.Source() == asm.ImmSource
}
