package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/section"
)

// hang keeps a link that a program hangs by.
func (r *Running) hang(s *Status, l link.Link, err error, where string) error {
	if err != nil {
		return kernel.Diagnose(err, "attach "+s.Name+" to "+where)
	}
	stays := canPin(l)
	if !stays && r.object.cfg.Pin {
		s.Notes = append(s.Notes, fmt.Sprintf("this kernel cannot pin how %s is attached (5.15 can), so it ends with netfate", s.Name))
	}
	r.held = append(r.held, attachment{program: s.Name, link: l, stays: stays})
	s.Where = append(s.Where, where)
	return nil
}

// canPin reports whether the kernel knows of a link: tracepoints and probes have
// been mere file descriptors before 5.15.
func canPin(l link.Link) bool {
	_, err := l.Info()
	return !errors.Is(err, link.ErrNotSupported)
}

// attach attaches one program, to each of its places. One that others call through
// a program array is where it belongs, unless the user says where else.
func (r *Running) attach(s *Status) error {
	p := r.progs[s.Name]
	if _, said := r.object.cfg.Targets[s.Name]; len(s.Where) > 0 && !said {
		return nil
	}
	switch s.Section.Kind {
	case section.Tracepoint, section.RawTracepoint, section.TracingRawTracepoint, section.Fentry, section.Fexit, section.FmodRet,
		section.LSM, section.Iter:
		return r.attachTracing(s, p)
	case section.Kprobe, section.Kretprobe, section.Ksyscall, section.Kretsyscall, section.KprobeMulti, section.KretprobeMulti:
		return r.attachKprobe(s, p)
	case section.Uprobe, section.Uretprobe, section.UprobeMulti, section.UretprobeMulti:
		return r.attachUprobe(s, p)
	case section.USDT:
		return r.attachUSDT(s, p)
	case section.PerfEvent:
		return r.attachPerf(s, p)
	case section.XDP, section.TC, section.SocketFilter:
		return r.attachDevices(s, p)
	case section.Cgroup, section.SockOps, section.LSMCgroup:
		return r.attachCgroup(s, p)
	case section.SkLookup, section.FlowDissector:
		return r.attachNetNS(s, p)
	case section.Netfilter:
		return r.attachNetfilter(s, p)
	case section.StructOps:
		return r.attachStructOps(s)
	}
	return fmt.Errorf("attach %s: netfate loads %s programs but has nothing to attach them to; pin it with --pin and attach it yourself",
		s.Name, s.Section.Kind)
}

func (r *Running) attachTracing(s *Status, p *ebpf.Program) error {
	target := s.Section.Target
	if target == "" {
		return usagef("attach %s: its section %q names no place; give one with --target %s=…", s.Name, s.Spec.SectionName, s.Name)
	}
	switch s.Section.Kind {
	case section.Tracepoint:
		group, name, ok := strings.Cut(target, "/")
		if !ok {
			return usagef("attach %s: a tracepoint is named group/name, not %q", s.Name, target)
		}
		l, err := link.Tracepoint(group, name, p, nil)
		return r.hang(s, l, err, "tracepoint "+target)
	case section.RawTracepoint:
		l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: target, Program: p})
		return r.hang(s, l, err, "raw tracepoint "+target)
	case section.LSM:
		if err := askLSM(s); err != nil {
			return err
		}
		l, err := link.AttachLSM(link.LSMOptions{Program: p})
		return r.hang(s, l, err, "LSM hook "+target)
	case section.Iter:
		return r.attachIter(s, p)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	what := "function " + target
	if s.Section.Kind == section.TracingRawTracepoint {
		what = "raw tracepoint " + target
	}
	return r.hang(s, l, err, what)
}

// askLSM refuses what the kernel would attach and never run: it calls security
// programs only where bpf is among the modules that it was booted with.
func askLSM(s *Status) error {
	modules, known := securityModules()
	if !known {
		s.Notes = append(s.Notes, "whether the kernel calls "+s.Name+" cannot be told while securityfs is not mounted: "+
			"mount -t securityfs securityfs /sys/kernel/security")
		return nil
	}
	if slices.Contains(modules, "bpf") {
		return nil
	}
	active := strings.Join(modules, ",")
	return &kernel.Refusal{
		Doing: "attach " + s.Name + " to LSM hook " + s.Section.Target, Cause: "bpf is none of the active security modules (" + active + "), so it would never run",
		Remedy: "boot with lsm=" + active + ",bpf", Err: kernel.ErrNotAllowed,
	}
}

// attachIter attaches an iterator: nothing runs until it is opened. One over the
// elements of a map takes the map as --target PROGRAM=bpf_map_elem:MAP.
func (r *Running) attachIter(s *Status, p *ebpf.Program) error {
	opts := link.IterOptions{Program: p}
	kind, mapName, hasMap := strings.Cut(s.Section.Target, ":")
	if hasMap {
		if opts.Map = r.maps[mapName]; opts.Map == nil {
			return usagef("attach %s: there is no map %s; the object has %s", s.Name, mapName, names(r.maps))
		}
	}
	it, err := link.AttachIter(opts)
	if err != nil {
		return kernel.Diagnose(err, "attach "+s.Name+" to the iterator "+kind)
	}
	r.held = append(r.held, attachment{program: s.Name, link: it, iter: it, stays: true})
	s.Where = append(s.Where, "iterator "+s.Section.Target)
	return nil
}

func (r *Running) attachKprobe(s *Status, p *ebpf.Program) error {
	target := s.Section.Target
	if target == "" {
		return usagef("attach %s: its section %q names no function; give one with --target %s=…", s.Name, s.Spec.SectionName, s.Name)
	}
	if !hasKprobes() {
		return &kernel.Refusal{
			Doing: "attach " + s.Name + " to kernel function " + target, Cause: "this kernel was built without kprobes (CONFIG_KPROBE_EVENTS)",
			Remedy: "use a tracepoint: raw_tp and tp_btf work on any kernel that netfate runs on", Err: kernel.ErrNotAllowed,
		}
	}
	switch s.Section.Kind {
	case section.KprobeMulti, section.KretprobeMulti:
		symbols, err := kernelFunctions(target)
		if err != nil {
			return fmt.Errorf("attach %s: %w", s.Name, err)
		}
		opts := link.KprobeMultiOptions{Symbols: symbols}
		attach := link.KprobeMulti
		if s.Section.Kind == section.KretprobeMulti {
			attach = link.KretprobeMulti
		}
		l, err := attach(p, opts)
		return r.hang(s, l, err, fmt.Sprintf("%d kernel functions like %s", len(symbols), target))
	}
	symbol, offset, err := splitOffset(target)
	if err != nil {
		return usagef("attach %s: %w", s.Name, err)
	}
	opts := &link.KprobeOptions{Offset: offset}
	switch s.Section.Kind {
	case section.Ksyscall, section.Kretsyscall:
		symbol = syscallPrefix() + symbol
	}
	if s.Section.Kind == section.Kretprobe || s.Section.Kind == section.Kretsyscall {
		l, err := link.Kretprobe(symbol, p, opts)
		return r.hang(s, l, err, "return of kernel function "+symbol)
	}
	l, err := link.Kprobe(symbol, p, opts)
	return r.hang(s, l, err, "kernel function "+target)
}

// splitOffset reads "function+0x10".
func splitOffset(target string) (symbol string, offset uint64, err error) {
	symbol, text, ok := strings.Cut(target, "+")
	if !ok {
		return target, 0, nil
	}
	if offset, err = strconv.ParseUint(text, 0, 64); err != nil {
		return "", 0, fmt.Errorf("offset %q is no number", text)
	}
	return symbol, offset, nil
}

// maxFunctions bounds the functions that a pattern may stand for.
const maxFunctions = 10_000

// kernelFunctions lists the functions that can be traced and match a pattern
// with * and ?.
func kernelFunctions(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}, nil
	}
	text, err := os.ReadFile("/sys/kernel/tracing/available_filter_functions")
	if err != nil {
		return nil, kernel.Diagnose(err, "list the kernel's functions")
	}
	var symbols []string
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		ok, err := filepath.Match(pattern, name)
		if err != nil {
			return nil, usagef("pattern %q: %w", pattern, err)
		}
		if ok && !slices.Contains(symbols, name) {
			if symbols = append(symbols, name); len(symbols) > maxFunctions {
				return nil, usagef("more than %d kernel functions are like %s; narrow it down", maxFunctions, pattern)
			}
		}
	}
	if len(symbols) == 0 {
		return nil, usagef("no kernel function is like %s", pattern)
	}
	return symbols, nil
}

func (r *Running) attachUprobe(s *Status, p *ebpf.Program) error {
	if s.Section.Target == "" {
		return usagef("attach %s: its section %q names no file and function; give them with --target %s=PATH:FUNCTION", s.Name, s.Spec.SectionName, s.Name)
	}
	path, symbol, offset, err := section.ParseUprobe(s.Section.Target)
	if err != nil {
		return usagef("attach %s: %w", s.Name, err)
	}
	if path, err = findExecutable(path); err != nil {
		return fmt.Errorf("attach %s: %w", s.Name, err)
	}
	exe, err := link.OpenExecutable(path)
	if err != nil {
		return fmt.Errorf("attach %s: open %s: %w", s.Name, path, err)
	}
	where := fmt.Sprintf("%s in %s", symbol, path)
	opts := &link.UprobeOptions{Offset: offset}
	multi := &link.UprobeMultiOptions{}
	var l link.Link
	switch s.Section.Kind {
	case section.UprobeMulti:
		l, err = exe.UprobeMulti([]string{symbol}, p, multi)
	case section.UretprobeMulti:
		l, err = exe.UretprobeMulti([]string{symbol}, p, multi)
	case section.Uretprobe:
		if isGo(path) {
			return usagef("attach %s: %s is a Go program: a probe on the return of a function would crash it when its stack moves", s.Name, path)
		}
		l, err = exe.Uretprobe(symbol, p, opts)
		where = "return of " + where
	default:
		l, err = exe.Uprobe(symbol, p, opts)
	}
	return r.hang(s, l, err, where)
}

func (r *Running) attachCgroup(s *Status, p *ebpf.Program) error {
	if s.Section.Kind == section.LSMCgroup {
		if err := askLSM(s); err != nil {
			return err
		}
	}
	dir := r.object.cfg.Cgroup
	if s.Section.Target != "" && strings.HasPrefix(s.Section.Target, "/") {
		dir = s.Section.Target
	}
	if dir == "" {
		if dir = kernel.ReadMounts().Cgroup2; dir == "" {
			return &kernel.Refusal{
				Doing: "attach " + s.Name, Cause: "no cgroup2 hierarchy is mounted",
				Remedy: "mount one with mount -t cgroup2 none DIR, or name a directory in one with --cgroup", Err: kernel.ErrNotAllowed,
			}
		}
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: s.Section.Attach, Program: p})
	return r.hang(s, l, err, "cgroup "+dir)
}

func (r *Running) attachNetNS(s *Status, p *ebpf.Program) error {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("attach %s: %w", s.Name, err)
	}
	defer ns.Close()
	l, err := link.AttachNetNs(int(ns.Fd()), p)
	if err != nil {
		return kernel.Diagnose(err, "attach "+s.Name+" to this network namespace")
	}
	return r.hang(s, l, nil, "this network namespace")
}

// attachNetfilter hooks into IPv4 and IPv6 as --target PROGRAM=FAMILY/HOOK[/PRIORITY]
// says: ip/input without one.
func (r *Running) attachNetfilter(s *Status, p *ebpf.Program) error {
	opts, where, err := netfilterHook(s.Section.Target)
	if err != nil {
		return usagef("attach %s: %w", s.Name, err)
	}
	opts.Program = p
	l, err := link.AttachNetfilter(opts)
	return r.hang(s, l, err, where)
}

func netfilterHook(target string) (link.NetfilterOptions, string, error) {
	const defaultPriority = -128 // before the filter chains of nftables, which have 0
	opts := link.NetfilterOptions{Priority: defaultPriority}
	if target == "" {
		target = "ip/input"
	}
	parts := strings.Split(target, "/")
	families := map[string]link.NetfilterProtocolFamily{"ip": link.NetfilterProtoIPv4, "ip6": link.NetfilterProtoIPv6}
	hooks := map[string]link.NetfilterInetHook{
		"prerouting": link.NetfilterInetPreRouting, "input": link.NetfilterInetLocalIn, "forward": link.NetfilterInetForward,
		"output": link.NetfilterInetLocalOut, "postrouting": link.NetfilterInetPostRouting,
	}
	if len(parts) < 2 || len(parts) > 3 {
		return opts, "", fmt.Errorf("a netfilter hook is FAMILY/HOOK or FAMILY/HOOK/PRIORITY, as in ip/input, not %q", target)
	}
	var ok bool
	if opts.ProtocolFamily, ok = families[parts[0]]; !ok {
		return opts, "", fmt.Errorf("family %q is none of %s", parts[0], names(families))
	}
	if opts.Hook, ok = hooks[parts[1]]; !ok {
		return opts, "", fmt.Errorf("hook %q is none of %s", parts[1], names(hooks))
	}
	if len(parts) == 3 {
		priority, err := strconv.ParseInt(parts[2], 10, 32)
		if err != nil {
			return opts, "", fmt.Errorf("priority %q is no number", parts[2])
		}
		opts.Priority = int32(priority)
	}
	return opts, fmt.Sprintf("netfilter hook %s/%s, priority %d", parts[0], parts[1], opts.Priority), nil
}

// attachStructOps registers the maps of function pointers, once for all programs
// that are in them.
func (r *Running) attachStructOps(s *Status) error {
	var errs []error
	for _, name := range sorted(r.maps) {
		m := r.maps[name]
		if m.Type() != ebpf.StructOpsMap {
			continue
		}
		if slices.ContainsFunc(r.held, func(a attachment) bool { return a.program == name }) {
			s.Where = append(s.Where, "kernel operations "+name)
			continue
		}
		l, err := link.AttachStructOps(link.StructOpsOptions{Map: m})
		if err != nil {
			errs = append(errs, kernel.Diagnose(err, "register the operations "+name))
			continue
		}
		r.held = append(r.held, attachment{program: name, link: l, stays: true})
		s.Where = append(s.Where, "kernel operations "+name)
	}
	return errors.Join(errs...)
}

// attachPerf makes a program run on a timer of each CPU. The target is a frequency
// in Hz: 99 without one, which misses what happens at whole fractions of a second
// less often than 100.
func (r *Running) attachPerf(s *Status, p *ebpf.Program) error {
	frequency := uint64(99)
	if t := s.Section.Target; t != "" {
		n, err := strconv.ParseUint(strings.TrimSuffix(t, "hz"), 10, 32)
		if err != nil || n == 0 || n > 10_000 {
			return usagef("attach %s: the target of a perf_event program is a frequency of 1 to 10000 Hz, not %q", s.Name, t)
		}
		frequency = n
	}
	cpus, err := onlineCPUs()
	if err != nil {
		return fmt.Errorf("attach %s: %w", s.Name, err)
	}
	for _, cpu := range cpus {
		if err := r.attachTimer(s, p, cpu, frequency); err != nil {
			return err
		}
	}
	s.Where = append(s.Where, fmt.Sprintf("timer of %d CPUs, %d Hz", len(cpus), frequency))
	return nil
}

func (r *Running) attachTimer(s *Status, p *ebpf.Program, cpu int, frequency uint64) error {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample: frequency, Bits: unix.PerfBitFreq,
	}
	attr.Size = uint32(unix.PERF_ATTR_SIZE_VER1)
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return kernel.Diagnose(err, fmt.Sprintf("open the timer of CPU %d for %s", cpu, s.Name))
	}
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: p, Attach: ebpf.AttachPerfEvent})
	if errors.Is(err, link.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		// Before 5.15 the program belongs to the file descriptor.
		if err = unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, p.FD()); err == nil {
			r.held = append(r.held, attachment{program: s.Name, release: func() error { return unix.Close(fd) }})
			return nil
		}
	}
	if err != nil {
		return errors.Join(kernel.Diagnose(err, fmt.Sprintf("attach %s to the timer of CPU %d", s.Name, cpu)), unix.Close(fd))
	}
	r.held = append(r.held, attachment{program: s.Name, link: l, stays: true})
	return unix.Close(fd) // the link has a reference of its own
}
