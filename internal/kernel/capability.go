package kernel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Capability is one thing that a kernel may or may not allow netfate to do.
type Capability struct {
	Name   string `json:"name"`   // short, unique and stable: tp_btf
	Title  string `json:"title"`  // for people: raw tracepoints with types
	OK     bool   `json:"ok"`     // it works here
	Why    string `json:"why"`    // why it does not; a remark if it does, mostly empty
	Costs  string `json:"costs"`  // what netfate loses without it, in terms of its commands
	Remedy string `json:"remedy"` // what to do about it, if it does not work
	// Since is the release that brought it; empty if the oldest that netfate
	// runs on, 5.10, can have it.
	Since string `json:"since"`
	// Options are what the kernel must be built with to have it.
	Options []string `json:"-"`
}

// Capabilities lists all capabilities as Probe returns them, without trying
// any: Remedy is the one for kernels that lack it.
func Capabilities() []Capability {
	var caps []Capability
	for _, p := range probes() {
		c := p.capability()
		c.Remedy = p.remedy
		if len(p.options) > 0 && c.Remedy == "" {
			c.Remedy = "take a kernel built with " + list(p.options)
		}
		caps = append(caps, c)
	}
	return caps
}

// Probe tries what netfate can make use of, by doing it: it creates maps and
// loads and attaches tiny programs that do nothing, and closes each at once.
// Nothing is left behind. Programs for interfaces are attached in a network
// namespace that Probe makes for itself, so that no traffic passes them; those
// on tracepoints, functions and the cgroup root run, if at all, for the
// moment until they are closed, and allow what they are asked about.
//
// All capabilities are returned, in the order of docs/doctor.md, also if the
// process has no privileges; then each says so. If ctx ends, the rest says
// that it was not tried. It takes some 0.1 to 0.5 s.
func Probe(ctx context.Context) []Capability {
	var caps []Capability
	OnOwnThread(func() { caps = probeAll(ctx, newLab()) })
	return caps
}

// OnOwnThread calls f on a thread that ends afterwards, and with it the
// network namespace that f moved it to. The process's first thread is spared:
// it cannot end, and /proc/self/ns speaks of it.
func OnOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		defer runtime.UnlockOSThread()
		OnOwnThread(f) // elsewhere, since this thread is taken
	}()
	<-done
}

func probeAll(ctx context.Context, l *lab) []Capability {
	defer l.close()
	var caps []Capability
	for _, p := range probes() {
		c := p.capability()
		err := ctx.Err()
		if err == nil {
			err = p.try(l)
		}
		var remark remark
		switch {
		case err == nil:
			c.OK = true
		case errors.As(err, &remark):
			c.OK, c.Why = true, string(remark)
		case ctx.Err() != nil:
			c.Why, c.Remedy = "not tried: "+ctx.Err().Error(), "run netfate doctor again"
		default:
			c.Why, c.Remedy = explain(err)
			// It is doctor that says so.
			c.Remedy = strings.TrimSuffix(strings.TrimSuffix(c.Remedy, remedyDoctor), "; ")
			if c.Remedy == "" && errors.Is(err, unix.EPERM) {
				c.Remedy = "take another kernel"
			}
			if off := l.unbuilt(p.options); off != "" {
				c.Why, c.Remedy = "this kernel was built without "+off, "take a kernel built with it"
			}
			if c.Remedy == "" {
				c.Remedy = p.remedy
			}
		}
		caps = append(caps, c)
	}
	return caps
}

// explain returns the cause and the remedy of a probe's error.
func explain(err error) (why, remedy string) {
	var r *Refusal
	if errors.As(Diagnose(err, "try it"), &r) {
		return r.Cause, r.Remedy
	}
	return err.Error(), ""
}

// remark is what a probe returns for something that works, but not plainly.
type remark string

func (r remark) Error() string { return string(r) }

// absent is what a probe returns for something that this kernel just lacks.
func absent(format string, args ...any) error {
	return &Refusal{Doing: "try it", Cause: fmt.Sprintf(format, args...), Err: unix.EOPNOTSUPP}
}

// probe is one thing to try.
type probe struct {
	name, title, costs, remedy string
	// options are what the kernel must be built with. They only explain: what
	// works, works.
	options []string
	try     func(*lab) error
}

// capability is what p tries, not yet tried.
func (p *probe) capability() Capability {
	return Capability{Name: p.name, Title: p.title, Costs: p.costs, Since: since(p.name), Options: p.options}
}

// lab is where probes are tried: the thread's own network namespace, and what
// several of them need.
type lab struct {
	cache   *btf.Cache
	spec    *btf.Spec // nil, and specErr says why
	specErr error
	netErr  error // why there is no network namespace to try in
	mounts  Mounts
	memlock unix.Rlimit // as it was found; zero if it was not raised
	charged bool        // BPF memory is charged to RLIMIT_MEMLOCK
	config  func() map[string]string
}

// newLab moves the calling thread to a network namespace of its own.
func newLab() *lab {
	l := &lab{mounts: ReadMounts(), cache: btf.NewCache()}
	l.spec, l.specErr = l.cache.Kernel()
	l.config = sync.OnceValue(func() map[string]string {
		var uts unix.Utsname
		if err := unix.Uname(&uts); err != nil {
			return nil
		}
		config, _ := readConfig(unix.ByteSliceToString(uts.Release[:]), configOptions())
		return config
	})
	l.netErr = unix.Unshare(unix.CLONE_NEWNET)
	// On kernels that charge it, a low limit would fail every probe.
	if limited, err := memlockLimits(); err == nil && limited {
		l.charged = true
		var before unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before) == nil && LiftMemlock() == nil {
			l.memlock = before
		}
	}
	return l
}

// close puts the process's limit back. The namespace goes with its thread.
func (l *lab) close() {
	if l.memlock != (unix.Rlimit{}) {
		// It was the process's own, so there is no right to it that could lack.
		_ = setMemlock(l.memlock)
	}
}

// kernelSpec returns the kernel's BTF.
func (l *lab) kernelSpec() (*btf.Spec, error) { return l.spec, l.specErr }

// unbuilt returns the first of the options that the kernel was built without.
// It returns none for a process without privileges: that is reason enough.
func (l *lab) unbuilt(options []string) string {
	if p := ReadProcess(); !p.Has("CAP_BPF") || !p.Has("CAP_PERFMON") {
		return ""
	}
	for _, o := range options {
		if l.config()[o] == "n" {
			return o
		}
	}
	return ""
}

// netns returns an error if there is no network namespace to try in.
func (l *lab) netns() error {
	if l.netErr == nil {
		return nil
	}
	if p := ReadProcess(); p.Has("CAP_BPF") && p.Has("CAP_NET_ADMIN") && !p.Has("CAP_SYS_ADMIN") {
		return &Refusal{
			Doing: "try it", Cause: "it is tried in a network namespace, and this process lacks CAP_SYS_ADMIN to make one",
			Remedy: "run netfate doctor as root to know", Err: l.netErr,
		}
	}
	return Diagnose(l.netErr, "make a network namespace")
}
