package loader

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/section"
)

// hostView is what this host's kernel has, asked when it is first needed; the
// library remembers what it has probed.
type hostView struct {
	mayProbe bool // this process may load programs
	mounts   kernel.Mounts
	types    *btf.Spec // nil until they are needed, and if there are none
	asked    bool
	notes    []string
}

func newHost() *hostView {
	p := kernel.ReadProcess()
	h := &hostView{mounts: kernel.ReadMounts(), mayProbe: !p.UserNamespace && (p.Has("CAP_BPF") || p.Has("CAP_SYS_ADMIN"))}
	if !h.mayProbe {
		h.notes = append(h.notes, "what this kernel lacks for it can be told to root only: sudo netfate check")
	}
	return h
}

// kernelTypes returns the kernel's types, nil if it has none.
func (h *hostView) kernelTypes() *btf.Spec {
	if !h.asked {
		h.asked = true
		types, err := kernel.LoadBTF()
		if err != nil {
			h.notes = append(h.notes, "whether what it attaches to exists cannot be told: "+err.Error())
			return nil
		}
		h.types = types
	}
	return h.types
}

// lacksProgram says why a program would not run here, as far as can be told
// without loading it; empty if nothing is known.
func (h *hostView) lacksProgram(p *Program) string {
	if h.mayProbe {
		if text := why(probeKind(&p.Section), fmt.Sprintf("load a %s program", p.Section.Kind)); text != "" {
			return text
		}
	}
	return h.lacksTarget(&p.Section)
}

func (h *hostView) lacksMap(t ebpf.MapType) string {
	if !h.mayProbe {
		return ""
	}
	return why(features.HaveMapType(t), fmt.Sprintf("create a map of type %v", t))
}

// why explains what a probe came back with.
func why(err error, doing string) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ebpf.ErrNotSupported):
		return "this kernel cannot " + doing + ": it is older, or was built without"
	case errors.Is(err, os.ErrPermission):
		var refusal *kernel.Refusal
		if errors.As(kernel.Diagnose(err, doing), &refusal) {
			return refusal.Cause
		}
	}
	return "" // the probe itself went wrong, which says nothing of the kernel
}

// probeKind asks the kernel for what a section needs.
func probeKind(s *section.Section) error {
	switch s.Kind {
	case section.TracingRawTracepoint, section.Iter:
		return nil // the library's probe of this type attaches to a function, which more kernels refuse
	case section.KprobeMulti, section.KretprobeMulti:
		return features.HaveBPFLinkKprobeMulti()
	case section.KprobeSession:
		return features.HaveBPFLinkKprobeSession()
	case section.UprobeMulti, section.UretprobeMulti:
		return features.HaveBPFLinkUprobeMulti()
	}
	return features.HaveProgramType(s.Program)
}

// lacksTarget looks for what the section names, and for what finding it takes.
func (h *hostView) lacksTarget(s *section.Section) string {
	if needsTypes(s.Kind) && h.kernelTypes() == nil {
		return "this kernel has no BTF, the description of its types, or it cannot be read"
	}
	if s.Kind == section.Kprobe || s.Kind == section.Kretprobe || s.Kind == section.Ksyscall || s.Kind == section.Kretsyscall {
		if !hasKprobes() {
			return "this kernel has no kprobes (CONFIG_KPROBE_EVENTS), or is older than 4.17"
		}
	}
	if s.Target == "" || strings.ContainsAny(s.Target, "*?[") {
		return ""
	}
	switch s.Kind {
	case section.Tracepoint:
		return h.lacksTracepoint(s.Target)
	case section.RawTracepoint, section.RawTracepointWritable, section.TracingRawTracepoint:
		if types := h.kernelTypes(); types != nil && !kernel.HasTracepoint(types, s.Target) {
			return fmt.Sprintf("this kernel has no tracepoint %s; one of a module's could have that name", s.Target)
		}
	case section.Fentry, section.Fexit, section.FmodRet:
		return h.lacksFunction(s.Target, "function "+s.Target)
	case section.LSM, section.LSMCgroup:
		return h.lacksFunction("bpf_lsm_"+s.Target, "LSM hook "+s.Target)
	case section.Iter:
		kind, _, _ := strings.Cut(s.Target, ":")
		return h.lacksFunction("bpf_iter_"+kind, "iterator "+kind)
	case section.Uprobe, section.Uretprobe, section.UprobeMulti, section.UretprobeMulti:
		path, _, _, err := section.ParseUprobe(s.Target)
		return lacksFile(path, err)
	case section.USDT:
		path, _, _, err := section.ParseUSDT(s.Target)
		return lacksFile(path, err)
	case section.XDP:
		if _, err := net.InterfaceByName(s.Target); err != nil {
			return fmt.Sprintf("there is no interface %s in this network namespace; --target names another", s.Target)
		}
	}
	return ""
}

// needsTypes reports whether the kernel finds a program's place by its BTF.
func needsTypes(kind section.Kind) bool {
	switch kind {
	case section.TracingRawTracepoint, section.Fentry, section.Fexit, section.Fsession, section.FmodRet, section.LSM, section.LSMCgroup,
		section.Iter, section.StructOps:
		return true
	}
	return false
}

func (h *hostView) lacksTracepoint(target string) string {
	group, name, ok := strings.Cut(target, "/")
	if !ok || strings.Contains(name, "/") || !filepath.IsLocal(target) {
		return fmt.Sprintf("a tracepoint is named group/name, not %q", target)
	}
	if h.mounts.TraceFS == "" {
		return "tracefs, by which tracepoints are found, is not mounted: mount -t tracefs tracefs /sys/kernel/tracing"
	}
	if _, err := os.Stat(filepath.Join(h.mounts.TraceFS, "events", group, name)); errors.Is(err, os.ErrNotExist) {
		return "this kernel has no tracepoint " + target
	}
	return ""
}

func (h *hostView) lacksFunction(name, what string) string {
	types := h.kernelTypes()
	if types == nil {
		return ""
	}
	var f *btf.Func
	if err := types.TypeByName(name, &f); errors.Is(err, btf.ErrNotFound) {
		return fmt.Sprintf("this kernel has no %s outside of modules, by its types", what)
	}
	return ""
}

func lacksFile(path string, err error) string {
	if err == nil {
		_, err = findExecutable(path)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
