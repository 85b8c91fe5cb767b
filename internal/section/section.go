// Package section tells what a program is by the name of its ELF section: its
// type for the kernel, where it attaches, and what the name says of the place.
//
// It knows libbpf's list (https://docs.kernel.org/bpf/libbpf/program_types.html) and
// the spellings of other loaders that are in use: iproute2's, older examples' and
// those of tools that match by prefix. It knows names only; the loader attaches.
// The loader and the views import it.
package section

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/netfate/netfate/internal/nearest"
)

// Kind is how programs are told apart by what they hang on.
type Kind string

// The kinds, named as libbpf names their sections.
const (
	Tracepoint            Kind = "tracepoint"
	RawTracepoint         Kind = "raw_tp"
	RawTracepointWritable Kind = "raw_tp.w"
	TracingRawTracepoint  Kind = "tp_btf"
	Kprobe                Kind = "kprobe"
	Kretprobe             Kind = "kretprobe"
	Ksyscall              Kind = "ksyscall"
	Kretsyscall           Kind = "kretsyscall"
	KprobeMulti           Kind = "kprobe.multi"
	KretprobeMulti        Kind = "kretprobe.multi"
	KprobeSession         Kind = "kprobe.session"
	Uprobe                Kind = "uprobe"
	Uretprobe             Kind = "uretprobe"
	UprobeMulti           Kind = "uprobe.multi"
	UretprobeMulti        Kind = "uretprobe.multi"
	UprobeSession         Kind = "uprobe.session"
	USDT                  Kind = "usdt"
	Fentry                Kind = "fentry"
	Fexit                 Kind = "fexit"
	Fsession              Kind = "fsession"
	FmodRet               Kind = "fmod_ret"
	Freplace              Kind = "freplace"
	LSM                   Kind = "lsm"
	LSMCgroup             Kind = "lsm_cgroup"
	Iter                  Kind = "iter"
	PerfEvent             Kind = "perf_event"
	TC                    Kind = "tc"
	TCAction              Kind = "action"
	Netkit                Kind = "netkit"
	XDP                   Kind = "xdp"
	XDPDevmap             Kind = "xdp/devmap"
	XDPCpumap             Kind = "xdp/cpumap"
	Cgroup                Kind = "cgroup"
	SockOps               Kind = "sockops"
	SkLookup              Kind = "sk_lookup"
	SkReuseport           Kind = "sk_reuseport"
	SkSKB                 Kind = "sk_skb"
	SkMsg                 Kind = "sk_msg"
	SocketFilter          Kind = "socket"
	FlowDissector         Kind = "flow_dissector"
	Netfilter             Kind = "netfilter"
	StructOps             Kind = "struct_ops"
	LWT                   Kind = "lwt"
	LircMode2             Kind = "lirc_mode2"
	Syscall               Kind = "syscall"
)

// Section is what a section's name says.
type Section struct {
	Name   string // as in the object
	Kind   Kind
	Target string // what it names behind its kind: a function, a tracepoint, an interface; empty if it names nothing
	// Direction is ingress or egress for tc and netkit programs whose section
	// says; else it is for the user to say.
	Direction string
	Optional  bool // it began with ?: not to be loaded unless it is asked for
	Sleepable bool
	Program   ebpf.ProgramType
	Attach    ebpf.AttachType
	// Active: programs of this kind can deny, drop or change something by what
	// they return.
	Active bool
	// Dialect: libbpf does not know this spelling.
	Dialect bool
}

// UnknownError is a section that no loader knows.
type UnknownError struct {
	Name    string
	Nearest string // a known name like it; empty if none is
}

// Error names the nearest known section.
func (e *UnknownError) Error() string {
	text := fmt.Sprintf("section %q is none that a BPF program can be in", e.Name)
	if e.Nearest != "" {
		text += fmt.Sprintf("; did you mean %q?", e.Nearest)
	}
	return text
}

// Parse tells what a section is. The error is an *UnknownError.
func Parse(name string) (Section, error) {
	s := Section{Name: name}
	rest, optional := strings.CutPrefix(name, "?")
	s.Optional = optional
	best, found := row{}, false
	for _, r := range table() {
		if r.fits(rest) && (!found || len(r.name) > len(best.name)) {
			best, found = r, true
		}
	}
	if !found {
		return s, &UnknownError{Name: name, Nearest: closest(rest)}
	}
	s.Kind, s.Program, s.Attach = best.kind, best.program, best.attach
	s.Sleepable, s.Direction, s.Dialect = best.sleepable, best.direction, best.dialect
	s.Active = activeKinds()[s.Kind]
	s.Target = best.targetOf(rest)
	if s.Kind == TC { // what is neither is a name that somebody gave the program
		if s.Target == "ingress" || s.Target == "egress" {
			s.Direction = s.Target
		}
		s.Target = ""
	}
	return s, nil
}

// match is how a row's name is compared with a section's.
type match uint8

const (
	exact  match = iota // the name alone
	target              // the name, or the name, a slash and a target
	prefix              // everything that begins so, whatever follows
)

// row is one line of the table.
type row struct {
	name      string
	match     match
	kind      Kind
	program   ebpf.ProgramType
	attach    ebpf.AttachType
	sleepable bool
	direction string
	dialect   bool
}

func (r *row) fits(name string) bool {
	if name == r.name {
		return true
	}
	rest, ok := strings.CutPrefix(name, r.name)
	if !ok || r.match == exact {
		return false
	}
	return r.match == prefix || strings.HasPrefix(rest, "/")
}

// targetOf is what stands behind the slash; what else follows a prefix is a
// name that somebody gave the program.
func (r *row) targetOf(name string) string {
	rest := strings.TrimPrefix(name, r.name)
	if t, ok := strings.CutPrefix(rest, "/"); ok && (r.match == target || r.kind == TC || r.kind == XDP) {
		return t
	}
	return ""
}

func activeKinds() map[Kind]bool {
	return map[Kind]bool{
		FmodRet: true, Freplace: true, LSM: true, LSMCgroup: true, StructOps: true, XDP: true, XDPDevmap: true, XDPCpumap: true, TC: true,
		TCAction: true, Netkit: true, Cgroup: true, SkLookup: true, SkReuseport: true, SkSKB: true, SkMsg: true, Netfilter: true, LWT: true,
		SockOps: true, FlowDissector: true, RawTracepointWritable: true, KprobeSession: false,
	}
}

// maxEdits bounds how unlike a name may be to be offered for another.
const maxEdits = 3

// closest finds the known name that takes the fewest edits.
func closest(name string) string {
	head, _, _ := strings.Cut(name, "/")
	best, edits := "", maxEdits+1
	for _, r := range table() {
		for _, n := range []string{name, head} {
			if d := nearest.Distance(n, r.name); d < edits && d < len(r.name) {
				best, edits = r.name, d
			}
		}
	}
	return best
}
