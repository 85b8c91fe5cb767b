package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrNotAllowed is what errors.Is finds in a [Refusal] that is not netfate's
// fault: the kernel lacks what was asked for, or the process may not have it.
// A command that cannot run for it exits with 3.
var ErrNotAllowed = errors.New("the kernel or the privileges do not allow it")

// Refusal is an operation that the kernel refused, explained.
type Refusal struct {
	Doing  string // what was tried, as a bare verb: attach kfree_skb
	Cause  string // why it was refused
	Remedy string // what to do about it; empty if nothing can be done
	Err    error  // what the operation returned

	// fault is set if neither kernel nor privileges are to blame.
	fault bool
}

// Error says what was tried, why it failed and what to do. It holds the text
// of the error number only: what libraries add to it are guesses.
func (r *Refusal) Error() string {
	text := r.Doing + ": "
	var errno syscall.Errno
	if errors.As(r.Err, &errno) {
		text += errnoText(errno) + ": "
	}
	text += r.Cause
	if r.Remedy != "" {
		text += "; " + r.Remedy
	}
	return text
}

// Unwrap returns what the operation returned.
func (r *Refusal) Unwrap() error { return r.Err }

// Is makes errors.Is(r, ErrNotAllowed) true where it is.
func (r *Refusal) Is(target error) bool { return target == ErrNotAllowed && !r.fault }

// Diagnose explains an error of loading or attaching a program, creating a map
// or pinning; doing is what was tried, as a bare verb. It returns nil for nil,
// a *Refusal where it can tell more than the error does, and the error wrapped
// otherwise. To tell the causes of EPERM apart it reads /proc and may create a
// map that it closes at once, so it is not for hot paths.
func Diagnose(err error, doing string) error {
	return diagnose(err, doing, surroundings{
		process:  ReadProcess,
		mounts:   ReadMounts,
		lockdown: func() string { return parseLockdown(readText("/sys/kernel/security/lockdown")) },
		memlock:  memlockLimits,
		tryBPF:   tryBPF,
	})
}

// surroundings are what a diagnosis may look at, each asked only if it matters.
type surroundings struct {
	process  func() Process
	mounts   func() Mounts
	lockdown func() string
	memlock  func() (bool, error) // RLIMIT_MEMLOCK limits BPF memory here
	tryBPF   func() error         // the least that the bpf system call can do
}

func diagnose(err error, doing string, s surroundings) error {
	if err == nil {
		return nil
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	r := &Refusal{Doing: doing, Err: err}
	if explainVerifier(r) || explainMounts(r, s) {
		return r
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		explainPermission(r, s)
		return r
	}
	if !explainErrno(r) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return r
}

const (
	remedySudo = "run netfate as root, or give the program the capabilities: " +
		"setcap cap_bpf,cap_perfmon,cap_net_admin,cap_sys_ptrace,cap_syslog+ep FILE"
	remedyContainer = "start the container with --privileged, or with --cap-add BPF, PERFMON, NET_ADMIN, SYS_PTRACE and SYSLOG"
	remedyDoctor    = "netfate doctor shows what works here and what is lost"
)

// explainPermission tells the causes of EPERM apart, the likeliest first.
func explainPermission(r *Refusal, s surroundings) {
	p := s.process()
	var missing []string
	for _, c := range []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"} {
		if !p.Has(c) {
			missing = append(missing, c)
		}
	}
	if p.UserNamespace {
		r.Cause = "this process is root only in a user namespace (a rootless container), which does not count for BPF"
		r.Remedy = "run netfate as root of the host, outside of the container"
		return
	}
	if len(missing) > 0 {
		r.Cause = "this process lacks " + list(missing)
		r.Remedy = remedySudo
		if p.UID == 0 {
			r.Remedy = remedyContainer
		}
		return
	}
	if s.lockdown() == "confidentiality" {
		r.Cause = "the kernel is locked down to confidentiality, which forbids programs that read kernel memory"
		r.Remedy = "boot with lockdown=integrity or without lockdown (secure boot may imply it)"
		return
	}
	if limited, err := s.memlock(); err == nil && limited {
		r.Cause = "this kernel charges BPF memory to RLIMIT_MEMLOCK, and the limit is too low"
		r.Remedy = "run ulimit -l unlimited first, or set LimitMEMLOCK=infinity in the service"
		return
	}
	if errors.Is(s.tryBPF(), unix.EPERM) {
		if p.Seccomp == "filter" {
			r.Cause = "a seccomp filter refuses the bpf system call, as container runtimes do by default"
			r.Remedy = "start the container with --security-opt seccomp=unconfined or --privileged"
			return
		}
		r.Cause = "the bpf system call is refused though this process has the capabilities: a security module's policy forbids it"
		r.Remedy = "look for the denial in the kernel's log (dmesg, ausearch -m avc) and allow bpf for netfate"
		return
	}
	if !p.Has("CAP_SYS_ADMIN") {
		r.Cause = "this process lacks CAP_SYS_ADMIN, which kernels ask for here besides CAP_BPF and CAP_PERFMON"
		r.Remedy = "run netfate as root"
		return
	}
	r.Cause = "this kernel refuses it even to root, though other BPF works: its vendor left it out or forbids it"
	r.Remedy = remedyDoctor
	if s.mounts().SecurityFS == "" {
		r.Cause = "this kernel refuses it even to root, though other BPF works: its vendor left it out or forbids it, " +
			"or it is locked down, which cannot be seen while securityfs is not mounted"
		r.Remedy = "mount -t securityfs securityfs /sys/kernel/security to know; " + remedyDoctor
	}
}

// explainMounts finds errors that are those of a missing file system. The
// libraries say so in words only.
func explainMounts(r *Refusal, s surroundings) bool {
	text := r.Err.Error()
	switch {
	case strings.Contains(text, "tracefs") || strings.Contains(text, "/tracing/"):
		if s.mounts().TraceFS != "" {
			return false
		}
		r.Cause = "tracefs is not mounted"
		r.Remedy = "mount -t tracefs tracefs /sys/kernel/tracing (ip netns exec hides it: use nsenter --net=)"
	case strings.Contains(text, "bpf filesystem") || strings.Contains(text, "bpffs"):
		if s.mounts().BPFFS != "" {
			return false
		}
		r.Cause = "the BPF file system is not mounted"
		r.Remedy = "mount -t bpf bpf /sys/fs/bpf (ip netns exec hides it: use nsenter --net=)"
	case strings.Contains(text, "no BTF found"), strings.Contains(text, "/sys/kernel/btf/vmlinux"):
		r.Cause = "this kernel has no BTF, the description of its types"
		r.Remedy = "take a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of Debian 11, Ubuntu 20.10, RHEL 8.2 and later are"
	default:
		return false
	}
	return true
}

// explainErrno explains what is no question of permission.
func explainErrno(r *Refusal) bool {
	err := r.Err
	switch {
	case errors.Is(err, unix.ENOSYS):
		r.Cause = "this kernel was built without BPF (CONFIG_BPF_SYSCALL)"
		r.Remedy = "take another kernel"
	case errors.Is(err, btf.ErrNotFound), errors.Is(err, ErrNoTracepoint):
		r.Cause = "this kernel has no such function, type or tracepoint"
		r.Remedy = remedyDoctor
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, link.ErrNotSupported),
		errors.Is(err, errnoNotSupp), errors.Is(err, unix.EOPNOTSUPP):
		r.Cause = "this kernel, or its compiler of BPF for this processor, does not support it"
		r.Remedy = remedyDoctor
	case errors.Is(err, unix.EINVAL):
		r.Cause = "this kernel does not know this kind of program, map or attachment: it is older, or was built without"
		r.Remedy = remedyDoctor
	case errors.Is(err, unix.ENOENT), errors.Is(err, os.ErrNotExist):
		r.Cause = "what it should attach to or open does not exist: this kernel is older, or was built without it, or it is gone"
		r.Remedy = remedyDoctor
	case errors.Is(err, unix.ENODEV):
		r.Cause = "the interface does not exist, or went away meanwhile"
		r.Remedy, r.fault = "see ip link", true
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		r.Cause = "another program is attached there already, and does not share"
		r.Remedy, r.fault = "see bpftool net and bpftool link; netfate never removes what it did not load", true
	case errors.Is(err, unix.ENOMEM):
		r.Cause = "no memory for it: the host's is used up, or that of the cgroup"
		r.Remedy, r.fault = "raise the memory limit of the container or service (memory.max)", true
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		r.Cause = "too many open files"
		r.Remedy, r.fault = "raise the limit with ulimit -n or LimitNOFILE", true
	default:
		return false
	}
	return true
}

// errnoNotSupp is the kernel's ENOTSUPP, which user space was never meant to
// see and which has no name or text there.
const errnoNotSupp = syscall.Errno(524)

// lacks reports whether the verifier says that the program asks for something
// that the kernel does not have, as against that the program is wrong.
func lacks(text string) bool {
	for _, said := range []string{"unknown func", "invalid func", "program of this type cannot use helper", "cannot call this kfunc",
		"calling kernel function", "-th argument", "helper call is not allowed"} {
		if strings.Contains(text, said) {
			return true
		}
	}
	return false
}

// explainVerifier explains a rejected program by the last telling lines of the
// verifier's log. A log that is empty but for its statistics tells nothing:
// then the error number decides.
func explainVerifier(r *Refusal) bool {
	var v *ebpf.VerifierError
	if !errors.As(r.Err, &v) {
		return false
	}
	lines := tellingLines(v.Log)
	if len(lines) == 0 {
		return false
	}
	text := strings.Join(lines, ": ")
	if lacks(text) {
		r.Cause = "this kernel lacks something that the program needs: " + lines[len(lines)-1]
		r.Remedy = remedyDoctor
		return true
	}
	r.Cause = "the kernel's verifier rejects the program: " + text
	r.Remedy, r.fault = "if it is netfate's own, please report it with the output of netfate doctor", true
	return true
}

// tellingLines returns up to three lines of the end of a verifier's log: the
// message, and what led to it.
func tellingLines(log []string) []string {
	var lines []string
	for i := len(log) - 1; i >= 0 && len(lines) < 3; i-- {
		line := strings.TrimSpace(log[i])
		switch {
		case line == "", strings.HasPrefix(line, "processed "), strings.HasPrefix(line, "verification time "),
			strings.HasPrefix(line, "stack depth "), strings.HasPrefix(line, "mark_precise:"):
			continue
		}
		lines = append([]string{line}, lines...)
	}
	return lines
}

// errnoText is the system's text for an error number.
func errnoText(errno syscall.Errno) string {
	if errno == errnoNotSupp {
		return "operation not supported"
	}
	return errno.Error()
}

// list joins words as in a sentence.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
