package loader

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"

	"github.com/netfate/netfate/internal/section"
)

// active says what a program could do to the host besides watching it, or
// nothing if it can be told that it only watches.
func active(p *Program) string {
	switch p.Section.Kind {
	case section.LSM, section.LSMCgroup:
		return "it can deny what processes do"
	case section.FmodRet:
		return "it can change what a kernel function returns"
	case section.StructOps:
		return "it replaces a part of the kernel"
	case section.Freplace:
		return "it replaces a part of another program"
	}
	if helper, ok := changes(p.Spec.Instructions); ok {
		return fmt.Sprintf("it calls %v, which changes traffic or processes", helper)
	}
	harmless, what := passing(p.Section.Kind)
	if harmless == nil {
		return ""
	}
	returns, ok := returned(p.Spec.Instructions)
	if !ok {
		return fmt.Sprintf("what it returns cannot be told from its code, and so not that it never %s", what)
	}
	for _, r := range returns {
		if !slices.Contains(harmless, int32(r)) {
			return fmt.Sprintf("it can return %d, which %s", int32(r), what)
		}
	}
	return ""
}

// passing lists what a program of a kind may return so that everything goes on
// as without it; nil for kinds whose result nobody looks at.
func passing(kind section.Kind) (values []int32, otherwise string) {
	switch kind {
	case section.XDP:
		return []int32{2}, "drops or redirects packets" // XDP_PASS
	case section.TC, section.Netkit:
		// TC_ACT_UNSPEC (TCX_NEXT), TC_ACT_OK, TC_ACT_RECLASSIFY, TC_ACT_PIPE
		return []int32{-1, 0, 1, 3}, "drops or redirects packets"
	case section.Cgroup:
		return []int32{1}, "denies what a cgroup's processes do"
	case section.Netfilter:
		return []int32{1}, "drops packets" // NF_ACCEPT
	case section.SkLookup:
		return []int32{1}, "refuses connections" // SK_PASS
	case section.SkSKB, section.SkMsg:
		return []int32{1}, "drops data"
	}
	return nil, ""
}

// changes finds a call of a helper that changes something outside of BPF.
func changes(insns asm.Instructions) (asm.BuiltinFunc, bool) {
	changing := []asm.BuiltinFunc{
		asm.FnSkbStoreBytes, asm.FnL3CsumReplace, asm.FnL4CsumReplace, asm.FnCloneRedirect,
		asm.FnSkbVlanPush, asm.FnSkbVlanPop, asm.FnSkbSetTunnelKey, asm.FnRedirect, asm.FnSkbChangeProto,
		asm.FnSkbChangeType, asm.FnSkbChangeTail, asm.FnSkbChangeHead, asm.FnXdpAdjustHead, asm.FnRedirectMap,
		asm.FnSkbAdjustRoom, asm.FnXdpAdjustTail, asm.FnXdpStoreBytes, asm.FnSkAssign, asm.FnRedirectNeigh,
		asm.FnRedirectPeer, asm.FnOverrideReturn, asm.FnSendSignal, asm.FnSendSignalThread, asm.FnProbeWriteUser,
		asm.FnSkRedirectMap, asm.FnMsgRedirectMap, asm.FnSkRedirectHash, asm.FnMsgRedirectHash, asm.FnSkbSetTstamp,
	}
	for i := range insns {
		if insns[i].IsBuiltinCall() && slices.Contains(changing, asm.BuiltinFunc(insns[i].Constant)) {
			return asm.BuiltinFunc(insns[i].Constant), true
		}
	}
	return 0, false
}

// maxSteps bounds the walk of returned: programs of a million instructions are
// not worth more.
const maxSteps = 1 << 16

// returned lists the constants that the program, the first function of insns,
// can return; ok is false if it can return something else.
func returned(insns asm.Instructions) (values []int64, ok bool) {
	w := newWalk(insns)
	for i := 0; i < w.end && i < len(insns); i++ {
		if insns[i].OpCode.JumpOp() == asm.Exit && insns[i].OpCode.Class().IsJump() {
			w.trace(i, asm.R0)
		}
	}
	if w.lost || len(w.values) == 0 {
		return nil, false
	}
	return w.values, true
}

// point is a question: what was in a register before an instruction?
type point struct {
	at  int
	reg asm.Register
}

// walk goes from the exits against the flow, until it meets what was put into
// the register that it follows.
type walk struct {
	insns  asm.Instructions
	before [][]int // the instructions that may have run just before each
	end    int     // of the first function
	seen   map[point]bool
	values []int64
	lost   bool
}

func newWalk(insns asm.Instructions) *walk {
	w := &walk{insns: insns, before: make([][]int, len(insns)), end: len(insns), seen: map[point]bool{}}
	symbols := map[string]int{}
	for i := range insns {
		if s := insns[i].Symbol(); s != "" {
			symbols[s] = i
		}
	}
	targets := w.targets(symbols)
	for i := range insns {
		class, op := insns[i].OpCode.Class(), insns[i].OpCode.JumpOp()
		jumps := class.IsJump() && op != asm.Call && op != asm.Exit
		if to, ok := targets[i]; ok && jumps {
			w.before[to] = append(w.before[to], i)
		} else if jumps {
			w.lost = true
		}
		falls := !(class.IsJump() && (op == asm.Exit || op == asm.Ja))
		if falls && i+1 < len(insns) {
			w.before[i+1] = append(w.before[i+1], i)
		}
	}
	return w
}

// targets resolves jumps: by label as the library decodes them, else by offset.
// Functions that the program calls follow it, and end it.
func (w *walk) targets(symbols map[string]int) map[int]int {
	raw := map[asm.RawInstructionOffset]int{}
	offsets := make([]asm.RawInstructionOffset, len(w.insns))
	at := asm.RawInstructionOffset(0)
	for i := range w.insns {
		raw[at], offsets[i] = i, at
		at += w.insns[i].Width()
	}
	targets := map[int]int{}
	for i := range w.insns {
		ins := &w.insns[i]
		if ins.IsFunctionReference() {
			if to, ok := symbols[ins.Reference()]; ok && to > 0 {
				w.end = min(w.end, to)
			}
			continue
		}
		if to, ok := symbols[ins.Reference()]; ok && ins.Reference() != "" {
			targets[i] = to
			continue
		}
		jump := int64(ins.Offset)
		if ins.OpCode.Class() == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja {
			jump = ins.Constant
		}
		if to, ok := raw[asm.RawInstructionOffset(int64(offsets[i])+jump+1)]; ok {
			targets[i] = to
		}
	}
	return targets
}

// trace finds what reg held when instruction i began.
func (w *walk) trace(i int, reg asm.Register) {
	todo := []point{{i, reg}}
	for len(todo) > 0 && !w.lost {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if w.seen[p] {
			continue
		}
		if w.seen[p] = true; len(w.seen) > maxSteps || len(w.before[p.at]) == 0 {
			w.lost = true // nobody put anything there: not a program that loads
			return
		}
		for _, prev := range w.before[p.at] {
			if next, goesOn := w.step(prev, p.reg); goesOn {
				todo = append(todo, point{prev, next})
			}
		}
	}
}

// step tells which register to follow before ins, if it goes on.
func (w *walk) step(i int, reg asm.Register) (next asm.Register, goesOn bool) {
	ins := &w.insns[i]
	class, op := ins.OpCode.Class(), ins.OpCode
	switch {
	case class.IsJump() && op.JumpOp() == asm.Call:
		if reg <= asm.R5 {
			w.lost = true // what a function returns
			return reg, false
		}
		return reg, true
	case class.IsJump(), class.IsStore():
		return reg, true
	case ins.Dst != reg:
		return reg, true
	case class.IsALU() && op.ALUOp() == asm.Mov && op.Source() == asm.ImmSource,
		op.IsDWordLoad() && ins.Reference() == "" && !ins.IsLoadFromMap():
		if !slices.Contains(w.values, ins.Constant) {
			w.values = append(w.values, ins.Constant)
		}
		return reg, false
	case class.IsALU() && op.ALUOp() == asm.Mov && ins.Offset == 0:
		return ins.Src, true
	}
	w.lost = true
	return reg, false
}
