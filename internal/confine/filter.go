package confine

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// filter refuses calls to all threads of this process, and says so if the kernel can.
func filter(calls []string) (holds []string, err error) {
	if !seccomp.Supported() {
		return nil, nil
	}
	program, err := program(calls)
	if err != nil {
		return nil, err
	}
	if err := load(program); err != nil {
		return nil, fmt.Errorf("filter system calls: %w", err)
	}
	return []string{"seccomp"}, nil
}

// program makes the filter. The library lets calls of other architectures pass
// where what is not listed passes, so these are refused first: a process of amd64 can make
// those of i386.
func program(calls []string) ([]bpf.RawInstruction, error) {
	here, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("filter system calls: %w", err)
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{{
		Action: seccomp.ActionErrno,
		Names: slices.DeleteFunc(slices.Clone(calls), func(name string) bool {
			_, ok := here.SyscallNames[name]
			return !ok
		}),
	}}}
	rest, err := policy.Assemble()
	if err != nil {
		return nil, fmt.Errorf("filter system calls: %w", err)
	}
	const archAt = 4 // seccomp_data.arch
	return bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: archAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(here.ID), SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
	}, rest...))
}

// load puts a filter on all threads.
func load(program []bpf.RawInstruction) error {
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	runtime.LockOSThread() // both calls are of one thread, whose no_new_privs all get
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d has a filter of its own", thread)
	}
	return nil
}
