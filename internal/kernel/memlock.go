package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// LiftMemlock raises RLIMIT_MEMLOCK of this process to its maximum if the
// kernel charges BPF memory to it (before 5.11); elsewhere it changes nothing.
// It is called before the first map is created, and so is where a process
// without privileges learns of it: the error is then a [Refusal].
func LiftMemlock() error {
	limited, err := memlockLimits()
	if err != nil {
		return Diagnose(err, "create a map")
	}
	if !limited {
		return nil
	}
	if err := setMemlock(unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}); err == nil {
		return nil
	}
	// Without CAP_SYS_RESOURCE there is still the hard limit.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("read RLIMIT_MEMLOCK: %w", err)
	}
	limit.Cur = limit.Max
	if err := setMemlock(limit); err != nil {
		return Diagnose(err, "raise RLIMIT_MEMLOCK")
	}
	return nil
}

func setMemlock(limit unix.Rlimit) error { return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit) }

// memlockLimits reports whether the kernel charges BPF memory to
// RLIMIT_MEMLOCK and the limit is one. It asks for a map that would not fit,
// of a kind that is charged when it is created but takes memory only when it
// is filled: a trie. With cgroup accounting it is just created.
func memlockLimits() (bool, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return false, fmt.Errorf("read RLIMIT_MEMLOCK: %w", err)
	}
	if limit.Cur >= 1<<31 {
		return false, nil // more than the kernels that charge allow a map to have
	}
	const valueSize = 4096
	err := tryTrie(valueSize, uint32(limit.Cur/valueSize)+1)
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, unix.EPERM) {
		return false, err
	}
	// Refused whatever its size? Then the size is not the reason.
	if limit.Cur >= 64<<10 && tryTrie(4, 1) != nil {
		return false, err
	}
	return true, nil
}

func tryTrie(valueSize, maxEntries uint32) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.LPMTrie, KeySize: 8, ValueSize: valueSize, MaxEntries: maxEntries, Flags: unix.BPF_F_NO_PREALLOC,
	})
	if err != nil {
		return err
	}
	return m.Close()
}

// tryBPF does the least that the bpf system call can do: it creates a map of
// one entry, and closes it.
func tryBPF() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	return m.Close()
}
