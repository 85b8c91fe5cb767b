package kernel

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// LoadBTF returns the running kernel's BTF, without its modules'. The error
// says what to do on a kernel that has none.
func LoadBTF() (*btf.Spec, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &Refusal{
			Doing:  "read the kernel's type information (BTF)",
			Cause:  err.Error(),
			Remedy: "run a kernel that was built with CONFIG_DEBUG_INFO_BTF; distributions' kernels are, from 2020 on",
			Err:    fmt.Errorf("%w: %w", ErrNotAllowed, err),
		}
	}
	return spec, nil
}
