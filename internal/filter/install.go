package filter

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Install puts code, which [Translate] made, in the place of the body of the subprogram named symbol, in a program that
// is not loaded yet. The subprogram keeps its name, its BTF signature and its place, so that calls to it and the func
// info of the whole program stay valid; line info is kept for its first instruction only. prog gets a new instruction
// slice; code is not changed.
//
// The C side must keep the compiler from using what it knows of the placeholder's body; docs/filter.md has the form.
// Install refuses a placeholder that clang has stripped of its result: its callers would go on without asking.
func Install(prog *ebpf.ProgramSpec, symbol string, code asm.Instructions) error {
	if len(code) == 0 {
		return fmt.Errorf("install filter in %s: no code", prog.Name)
	}
	start, end := -1, len(prog.Instructions)
	for i := range prog.Instructions {
		name := prog.Instructions[i].Symbol()
		switch {
		case name == symbol && start >= 0:
			return fmt.Errorf("install filter in %s: symbol %s twice", prog.Name, symbol)
		case name == symbol:
			start = i
		case name != "" && start >= 0 && end == len(prog.Instructions):
			end = i
		}
	}
	if start < 0 {
		return fmt.Errorf("install filter in %s: it has no subprogram %s", prog.Name, symbol)
	}
	if !setsResult(prog.Instructions[start:end]) {
		return fmt.Errorf("install filter in %s: clang has dropped the result of %s and its callers do not look at it; "+
			"return a value that comes out of asm volatile, see docs/filter.md", prog.Name, symbol)
	}
	old := &prog.Instructions[start]
	first := code[0].WithSymbol(symbol)
	if fn := btf.FuncMetadata(old); fn != nil {
		first = btf.WithFuncMetadata(first, fn)
	}
	if line := old.Source(); line != nil {
		first = first.WithSource(line)
	}

	out := make(asm.Instructions, 0, start+len(code)+len(prog.Instructions)-end)
	out = append(out, prog.Instructions[:start]...)
	out = append(out, first)
	out = append(out, code[1:]...)
	out = append(out, prog.Instructions[end:]...)
	prog.Instructions = out
	return nil
}

// setsResult tells whether a function puts something into R0. Clang leaves that out of a static function where it knows
// the result to be a constant and has told the callers.
func setsResult(insns asm.Instructions) bool {
	for _, ins := range insns {
		switch class := ins.OpCode.Class(); {
		case class.IsALU() || class.IsLoad():
			if ins.Dst == asm.R0 {
				return true
			}
		case ins.IsBuiltinCall() || ins.IsFunctionCall():
			return true
		}
	}
	return false
}
