package kernel

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// Types are the kernel's types, decoded once for all who load programs.
type Types = btf.Cache

// LoadBTF returns the running kernel's BTF, without its modules'. The error
// says what to do on a kernel that has none.
func LoadBTF() (*btf.Spec, error) {
	_, spec, err := LoadTypes()
	return spec, err
}

// LoadTypes is LoadBTF with the cache that has decoded it, so that whoever loads
// programs need not decode it again: some 30 ms each time.
func LoadTypes() (*Types, *btf.Spec, error) {
	types := btf.NewCache()
	spec, err := types.Kernel()
	if err != nil {
		return nil, nil, &Refusal{
			Doing:  "read the kernel's type information (BTF)",
			Cause:  err.Error(),
			Remedy: "run a kernel that was built with CONFIG_DEBUG_INFO_BTF; distributions' kernels are, from 2020 on",
			Err:    fmt.Errorf("%w: %w", ErrNotAllowed, err),
		}
	}
	return types, spec, nil
}
