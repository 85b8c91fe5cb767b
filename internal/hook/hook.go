// Package hook is what sensors of the kernel's tracepoints share: choosing the
// programs of an object, putting the user's filter into them, and attaching
// them so that the kernel takes them off again when netfate dies.
//
// Sensors import it; it knows none of them.
package hook

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/filter"
)

// Prefix of the programs that are raw tracepoints, where their namesakes
// without it are typed ones.
const rawPrefix = "raw_"

// Set is the programs of one object, chosen and attached together. It belongs
// to one goroutine.
type Set struct {
	names []string
	raw   bool
	links []link.Link
}

// Choose leaves in spec only the programs of these tracepoints, which have
// their names; raw takes the raw ones.
func Choose(spec *ebpf.CollectionSpec, tracepoints []string, raw bool) *Set {
	s := &Set{raw: raw}
	for _, name := range tracepoints {
		if raw {
			name = rawPrefix + name
		}
		s.names = append(s.names, name)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains(s.names, name)
	})
	return s
}

// Programs returns the chosen programs of the loaded collection.
func (s *Set) Programs(coll *ebpf.Collection) []*ebpf.Program {
	progs := make([]*ebpf.Program, 0, len(s.names))
	for _, name := range s.names {
		progs = append(progs, coll.Programs[name])
	}
	return progs
}

// Attach attaches all of them, or none.
func (s *Set) Attach(coll *ebpf.Collection) error {
	for _, name := range s.names {
		l, err := s.attach(coll.Programs[name], name)
		if err != nil {
			return errors.Join(fmt.Errorf("attach %s: %w", name, err), s.Detach())
		}
		s.links = append(s.links, l)
	}
	return nil
}

func (s *Set) attach(p *ebpf.Program, name string) (link.Link, error) {
	if s.raw {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: name[len(rawPrefix):], Program: p})
	}
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// Detach takes off what Attach attached. It may be called more than once.
func (s *Set) Detach() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	s.links = nil
	return errors.Join(errs...)
}

// InstallFilter puts the expression in place of the stubs in bpf/lib/filter.h,
// in every program of spec. A nil pair leaves the object without a filter.
func InstallFilter(spec *ebpf.CollectionSpec, pair *filter.Pair) error {
	if pair == nil {
		return nil
	}
	if err := SetVariable(spec, "have_filter", true); err != nil {
		return err
	}
	for symbol, lt := range map[string]filter.Link{"filter_ethernet": filter.Ethernet, "filter_raw": filter.Raw} {
		code, err := filter.Translate(pair.Program(lt), filter.Options{})
		if err != nil {
			return err
		}
		for _, prog := range spec.Programs {
			if err := filter.Install(prog, symbol, code); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetVariable sets a constant of the object before it is loaded.
func SetVariable(spec *ebpf.CollectionSpec, name string, value any) error {
	v, ok := spec.Variables[name]
	if !ok {
		return fmt.Errorf("set %s: the object has no such variable", name)
	}
	if err := v.Set(value); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// Moment reads one moment on two clocks from the variables of bpf/lib/maps.h:
// CLOCK_MONOTONIC ns and jiffies. Both are 0 before the first packet.
func Moment(coll *ebpf.Collection) (mono, jiffies uint64, err error) {
	err = errors.Join(coll.Variables["moment_ns"].Get(&mono), coll.Variables["moment_jiffies"].Get(&jiffies))
	if err != nil {
		err = fmt.Errorf("read the clocks: %w", err)
	}
	return mono, jiffies, err
}
