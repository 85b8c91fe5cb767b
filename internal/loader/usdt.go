package loader

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/section"
	"github.com/netfate/netfate/internal/usdt"
)

// fitUSDT makes programs for USDT probes such as this kernel can load.
func (o *Object) fitUSDT() error {
	if !slices.ContainsFunc(o.programs, func(p Program) bool { return p.Section.Kind == section.USDT }) {
		return nil
	}
	if err := usdt.Fit(o.spec, haveCookie()); err != nil {
		return fmt.Errorf("fit the USDT programs of %s: %w", o.cfg.Object, err)
	}
	return nil
}

// haveCookie reports whether probes can be told apart by a cookie (5.15).
func haveCookie() bool { return features.HaveProgramHelper(ebpf.Kprobe, asm.FnGetAttachCookie) == nil }

// attachUSDT attaches a program to each place where a probe was compiled in, and
// tells it where the arguments are there.
func (r *Running) attachUSDT(s *Status, p *ebpf.Program) error {
	if s.Section.Target == "" {
		return usagef("attach %s: its section %q names no probe; give one with --target %s=PATH:PROVIDER:NAME", s.Name, s.Spec.SectionName, s.Name)
	}
	path, provider, name, err := section.ParseUSDT(s.Section.Target)
	if err != nil {
		return usagef("attach %s: %w", s.Name, err)
	}
	if path, err = findExecutable(path); err != nil {
		return fmt.Errorf("attach %s: %w", s.Name, err)
	}
	probes, err := usdt.Find(path, provider, name)
	if err != nil {
		return fmt.Errorf("attach %s: %w", s.Name, err)
	}
	exe, err := link.OpenExecutable(path)
	if err != nil {
		return fmt.Errorf("attach %s: open %s: %w", s.Name, path, err)
	}
	for i := range probes {
		if err := r.attachProbe(s, p, exe, &probes[i]); err != nil {
			return err
		}
	}
	s.Where = []string{fmt.Sprintf("%d places of probe %s:%s in %s", len(probes), provider, name, path)}
	return nil
}

func (r *Running) attachProbe(s *Status, p *ebpf.Program, exe *link.Executable, probe *usdt.Probe) error {
	opts := &link.UprobeOptions{Address: probe.Address, RefCtrOffset: probe.Semaphore}
	if specs := r.maps[usdt.SpecsMap]; specs != nil { // else the object asks for no arguments
		if r.probes >= specs.MaxEntries() {
			return fmt.Errorf("attach %s: the object has room for %d probes; compile with a larger BPF_USDT_MAX_SPEC_CNT", s.Name, specs.MaxEntries())
		}
		if err := specs.Put(r.probes, probe.Spec); err != nil {
			return fmt.Errorf("attach %s: tell where the arguments are: %w", s.Name, err)
		}
		switch {
		case haveCookie():
			opts.Cookie = uint64(r.probes)
		case probe.IP != 0 && r.maps[usdt.IPMap] != nil:
			if err := r.maps[usdt.IPMap].Put(probe.IP, r.probes); err != nil {
				return fmt.Errorf("attach %s: tell where the arguments are: %w", s.Name, err)
			}
		default:
			return &kernel.Refusal{
				Doing: "attach " + s.Name, Cause: "probes of libraries and position-independent programs need attach cookies, which Linux 5.15 has",
				Remedy: "build the program with -no-pie", Err: kernel.ErrNotAllowed,
			}
		}
		r.probes++
	}
	l, err := exe.Uprobe("", p, opts)
	return r.hang(s, l, err, "probe "+s.Section.Target)
}
