package usdt

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// readOnlyProgram is BPF_F_RDONLY_PROG of linux/bpf.h: programs do not write to the map. The library then freezes it, so
// that the verifier knows its contents and leaves out the branches for kernels other than this one.
const readOnlyProgram = 1 << 7

// Fit finishes what [Patch] began in an object, once it is parsed: programs that ask whether the kernel has attach cookies
// for uprobes (5.15 and newer) get haveCookie as the answer, out of a small constant map that is added to spec. Specs
// without such programs are left as they are. It is called once for a spec. Errors: a map of that name is in the way, or
// the object's [SpecsMap] is of another libbpf than [Probe].Spec is for.
func Fit(spec *ebpf.CollectionSpec, haveCookie bool) error {
	if m := spec.Maps[SpecsMap]; m != nil && m.ValueSize != specSize {
		return fmt.Errorf("read map %s: its values have %d bytes where libbpf 0.8 to 1.6 have %d; compile the object with "+
			"the usdt.bpf.h of one of these", SpecsMap, m.ValueSize, specSize)
	}
	found := false
	for _, prog := range spec.Programs {
		for i := range prog.Instructions {
			ins := &prog.Instructions[i]
			if !ins.OpCode.IsDWordLoad() || ins.Constant != cookieMark || ins.Src != asm.R0 {
				continue
			}
			// Changed in place, so that it keeps its symbol, its source line and its function.
			ins.Src = asm.PseudoMapValue
			ins.Constant = 0
			*ins = ins.WithReference(cookieMap)
			found = true
		}
	}
	if !found {
		return nil
	}
	if spec.Maps[cookieMap] != nil {
		return fmt.Errorf("add map %s: the object has one of that name; give its section of constants another", cookieMap)
	}
	value := byte(0)
	if haveCookie {
		value = 1
	}
	if spec.Maps == nil {
		spec.Maps = make(map[string]*ebpf.MapSpec)
	}
	spec.Maps[cookieMap] = &ebpf.MapSpec{
		Name:       cookieMap, // the library freezes what is called like that
		Type:       ebpf.Array,
		KeySize:    4,
		ValueSize:  1,
		MaxEntries: 1,
		Flags:      readOnlyProgram,
		Contents:   []ebpf.MapKV{{Key: uint32(0), Value: []byte{value}}},
	}
	return nil
}
