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

// submitted finds every place where a program submits to a map, and how much; and
// where an iterator writes a row, under the name of its program.
func submitted(spec *ebpf.CollectionSpec) map[string]sizes {
	found := map[string]sizes{}
	for name, p := range spec.Programs {
		var f *flow // made when it is first needed
		for i := range p.Instructions {
			if ins := &p.Instructions[i]; ins.IsBuiltinCall() && asm.BuiltinFunc(ins.Constant) == asm.FnSeqWrite {
				if f == nil {
					f = newFlow(p.Instructions)
				}
				values, known := f.sources(i, asm.R3)
				s := found[name]
				s.add(values, known)
				found[name] = s
				continue
			}
			where, size, ok := registers(&p.Instructions[i])
			if !ok {
				continue
			}
			if f == nil {
				f = newFlow(p.Instructions)
			}
			targets, _ := f.sources(i, where)
			values, known := f.sources(i, size)
			for _, load := range targets {
				if load.IsLoadFromMap() {
					s := found[load.Reference()]
					s.add(values, known)
					found[load.Reference()] = s
				}
			}
		}
	}
	return found
}

// add counts one place, where the size is what one of values puts.
func (s *sizes) add(values []*asm.Instruction, known bool) {
	s.sites++
	s.varies = s.varies || !known
	for _, n := range values {
		switch {
		case !isConstant(n) || n.Constant <= 0 || n.Constant > maxEvent:
			s.varies = true
		case !slices.Contains(s.constant, int(n.Constant)):
			s.constant = append(s.constant, int(n.Constant))
		}
	}
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

func isConstant(ins *asm.Instruction) bool {
	op := ins.OpCode
	if op.IsDWordLoad() {
		return ins.Reference() == ""
	}
	return op.Class().IsALU() && op.ALUOp() == asm.Mov && op.Source() == asm.ImmSource
}
