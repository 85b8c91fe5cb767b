package tlslib

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"golang.org/x/arch/arm64/arm64asm"
)

// machine is the one whose code is read.
const machine = elf.EM_AARCH64

// prologue is how Go's functions begin that may need more stack: they load what
// the goroutine in x28 has, ldr x16, [x28, #16].
func prologue(code []byte) bool {
	return len(code) >= 4 && binary.LittleEndian.Uint32(code) == 0xf9400b90
}

// returns returns where in the code of a function its RETs are. All instructions
// are four bytes long, so that what is not known can be passed over.
func returns(code []byte) (at []uint64, err error) {
	if len(code)%4 != 0 {
		return nil, errors.New("its code is no whole number of instructions")
	}
	for i := 0; i < len(code); i += 4 {
		if ins, err := arm64asm.Decode(code[i:]); err == nil && ins.Op == arm64asm.RET {
			at = append(at, uint64(i))
		}
	}
	return at, nil
}
