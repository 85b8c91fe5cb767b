package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// healthy is a root process on a kernel that does everything.
func healthy() surroundings {
	return surroundings{
		process: func() Process {
			return Process{Capabilities: []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"}, Seccomp: "none"}
		},
		mounts:   func() Mounts { return Mounts{TraceFS: "/t", BPFFS: "/b", Cgroup2: "/c", SecurityFS: "/s"} },
		lockdown: func() string { return "integrity" },
		memlock:  func() (bool, error) { return false, nil },
		tryBPF:   func() error { return nil },
	}
}

func TestDiagnose(t *testing.T) {
	user := func(s *surroundings) { s.process = func() Process { return Process{UID: 1000} } }
	tests := []struct {
		name    string
		err     error
		change  func(*surroundings)
		allowed bool // not ErrNotAllowed
		want    []string
	}{
		{"user", unix.EPERM, user, false, []string{"attach it: operation not permitted: this process lacks CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; run netfate as root", "setcap"}},
		{"root in a container", unix.EACCES, func(s *surroundings) {
			s.process = func() Process { return Process{Capabilities: []string{"CAP_NET_ADMIN"}} }
		}, false, []string{"permission denied: this process lacks CAP_BPF and CAP_PERFMON;", "--cap-add"}},
		{"rootless container", unix.EPERM, func(s *surroundings) {
			s.process = func() Process { return Process{Capabilities: []string{"CAP_SYS_ADMIN"}, UserNamespace: true} }
		}, false, []string{"user namespace", "outside of the container"}},
		{"confidentiality", unix.EPERM, func(s *surroundings) { s.lockdown = func() string { return "confidentiality" } },
			false, []string{"locked down to confidentiality", "lockdown=integrity"}},
		{"integrity is no cause", unix.EPERM, func(*surroundings) {}, false, []string{"its vendor left it out"}},
		{"lockdown unknown", unix.EPERM, func(s *surroundings) { s.mounts = func() Mounts { return Mounts{} } }, false,
			[]string{"or it is locked down", "mount -t securityfs"}},
		{"not quite root", unix.EPERM, func(s *surroundings) {
			s.process = func() Process {
				return Process{UID: 1, Capabilities: []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"}}
			}
		}, false, []string{"lacks CAP_SYS_ADMIN", "as root"}},
		{"memlock", unix.EPERM, func(s *surroundings) { s.memlock = func() (bool, error) { return true, nil } },
			false, []string{"RLIMIT_MEMLOCK", "ulimit -l"}},
		{"seccomp", unix.EPERM, func(s *surroundings) {
			s.tryBPF = func() error { return unix.EPERM }
			p := s.process()
			p.Seccomp = "filter"
			s.process = func() Process { return p }
		}, false, []string{"seccomp filter", "seccomp=unconfined"}},
		{"security module", unix.EPERM, func(s *surroundings) { s.tryBPF = func() error { return unix.EPERM } },
			false, []string{"security module's policy"}},
		{"no tracefs", errors.New("trace event skb/x: neither debugfs nor tracefs are mounted"), func(s *surroundings) { s.mounts = func() Mounts { return Mounts{} } },
			false, []string{"tracefs is not mounted", "mount -t tracefs"}},
		{"tracefs before privileges", fmt.Errorf("open /sys/kernel/tracing/events: %w", unix.EACCES), func(s *surroundings) {
			s.mounts = func() Mounts { return Mounts{} }
			user(s)
		}, false, []string{"tracefs is not mounted"}},
		{"tracefs there, event not", fmt.Errorf("open /sys/kernel/tracing/events/x: %w", unix.ENOENT), nil, false, []string{"does not exist", "netfate doctor"}},
		{"no bpffs", errors.New("/x is not on a bpf filesystem"), func(s *surroundings) { s.mounts = func() Mounts { return Mounts{} } },
			false, []string{"mount -t bpf"}},
		{"no BTF", fmt.Errorf("no BTF found for kernel version 5.4: %w", ebpf.ErrNotSupported), nil, false, []string{"CONFIG_DEBUG_INFO_BTF"}},
		{"no such type", fmt.Errorf("find bpf_iter_x: %w", btf.ErrNotFound), nil, false, []string{"no such function, type or tracepoint"}},
		{"no such tracepoint", fmt.Errorf("find x: %w", ErrNoTracepoint), nil, false, []string{"no such function, type or tracepoint"}},
		{"not supported", fmt.Errorf("x: %w", ebpf.ErrNotSupported), nil, false, []string{"does not support it"}},
		{"ENOTSUPP", syscall.Errno(524), nil, false, []string{"attach it: operation not supported: this kernel"}},
		{"EINVAL", fmt.Errorf("x: %w", unix.EINVAL), nil, false, []string{"does not know this kind"}},
		{"ENOENT", os.ErrNotExist, nil, false, []string{"does not exist"}},
		{"ENOSYS", unix.ENOSYS, nil, false, []string{"CONFIG_BPF_SYSCALL"}},
		{"EBUSY", unix.EBUSY, nil, true, []string{"another program", "bpftool net"}},
		{"ENOMEM", unix.ENOMEM, nil, true, []string{"memory.max"}},
		{"EMFILE", unix.EMFILE, nil, true, []string{"ulimit -n"}},
		{"ENODEV", unix.ENODEV, nil, true, []string{"ip link"}},
		{"verifier", &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"0: (85) call x", "R1 invalid mem access 'inv'", "processed 1 insns (limit 1000000)"}}, user,
			true, []string{"permission denied: the kernel's verifier rejects the program: 0: (85) call x: R1 invalid mem access 'inv';"}},
		{"verifier: no helper", &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"unknown func bpf_loop#181"}}, nil,
			false, []string{"lacks something that the program needs: unknown func bpf_loop#181"}},
		{"verifier: no argument", &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"func 'kfree_skb' doesn't have 3-th argument"}}, nil, false, []string{"lacks something"}},
		{"verifier: empty log", &ebpf.VerifierError{Cause: unix.EPERM, Log: []string{"processed 0 insns (limit 1000000)"}}, user, false, []string{"lacks CAP_BPF"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := healthy()
			if test.change != nil {
				test.change(&s)
			}
			got := diagnose(test.err, "attach it", s)
			var r *Refusal
			if !errors.As(got, &r) || r.Doing != "attach it" || !errors.Is(got, test.err) {
				t.Fatalf("got %#v, want a Refusal of the error", got)
			}
			if errors.Is(got, ErrNotAllowed) == test.allowed {
				t.Errorf("%v: ErrNotAllowed: got %v, want %v", got, test.allowed, !test.allowed)
			}
			for _, want := range test.want {
				if !strings.Contains(got.Error(), want) {
					t.Errorf("got %q, want it to say %q", got, want)
				}
			}
			if test.name != "memlock" && strings.Contains(strings.ToLower(got.Error()), "memlock") {
				t.Errorf("got %q, which blames memlock", got)
			}
			if again := diagnose(fmt.Errorf("start: %w", got), "do it twice", s); !errors.Is(again, got) || strings.Contains(again.Error(), "twice") {
				t.Errorf("diagnosed twice: got %v", again)
			}
		})
	}
}

func TestDiagnoseOthers(t *testing.T) {
	if err := Diagnose(nil, "x"); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	for _, err := range []error{io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded} {
		got := Diagnose(err, "read ring")
		if got.Error() != "read ring: "+err.Error() || !errors.Is(got, err) || errors.Is(got, ErrNotAllowed) {
			t.Errorf("got %v, want it wrapped and no more", got)
		}
	}
}

// A program that is wrong for sure, with a real log.
func TestDiagnoseRealVerifier(t *testing.T) {
	root(t)
	_, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{asm.LoadMem(asm.R0, asm.R3, 0, asm.DWord), asm.Return()}})
	got := Diagnose(err, "load wrong")
	if got == nil || errors.Is(got, ErrNotAllowed) || !strings.Contains(got.Error(), "R3 !read_ok") {
		t.Errorf("got %v, want the verifier's words and not ErrNotAllowed", got)
	}
}

// root skips a test that needs privileges.
func root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
}

func TestMemlock(t *testing.T) {
	root(t)
	limited, err := memlockLimits()
	if err != nil {
		t.Fatal(err)
	}
	var before, after unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
		t.Fatal(err)
	}
	if err := LiftMemlock(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &after); err != nil {
		t.Fatal(err)
	}
	t.Logf("limited: %v; %d, then %d bytes", limited, before.Cur, after.Cur)
	if (before != after) != limited {
		t.Errorf("got the limit raised from %d to %d, though it counts: %v", before.Cur, after.Cur, limited)
	}
	if again, err := memlockLimits(); err != nil || again {
		t.Errorf("got a limit after lifting it: %v, %v", again, err)
	}
}
