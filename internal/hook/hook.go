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
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/filter"
)

// Variant is one of the programs that an object has for each tracepoint; its
// value is the prefix of their names.
type Variant string

// The variants.
const (
	// Typed programs know the types of what they read.
	Typed Variant = ""
	// Raw programs work on kernels that refuse typed ones. They tell no owners.
	Raw Variant = "raw_"
)

// Load loads the programs of these tracepoints, which prepare gets before, in
// the first variant that the kernel takes; raw takes the raw ones only. The
// error is that of the first: the other was to save what it could not.
func Load(spec *ebpf.CollectionSpec, tracepoints []string, raw bool, opts ebpf.CollectionOptions,
	prepare func(*ebpf.CollectionSpec) error,
) (*Set, *ebpf.Collection, error) {
	variants := []Variant{Typed, Raw}
	if raw {
		variants = variants[1:]
	}
	var first error
	for _, v := range variants {
		ready := spec.Copy()
		set := Choose(ready, tracepoints, v)
		if err := prepare(ready); err != nil {
			return nil, nil, err
		}
		coll, err := ebpf.NewCollectionWithOptions(ready, opts)
		if err == nil {
			return set, coll, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, nil, first
}

// Set is the programs of one object, chosen and attached together. It belongs
// to one goroutine.
type Set struct {
	names   []string
	variant Variant
	links   []link.Link
}

// Choose leaves in spec only the programs of these tracepoints, in one variant.
func Choose(spec *ebpf.CollectionSpec, tracepoints []string, v Variant) *Set {
	s := &Set{variant: v}
	for _, name := range tracepoints {
		s.names = append(s.names, string(v)+name)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains(s.names, name)
	})
	return s
}

// Lacks says what the chosen variant costs; nothing for most.
func (s *Set) Lacks() []string {
	if s.variant != Raw {
		return nil
	}
	return []string{"tracepoints without types are used: packets do not tell the owners of their sockets, which are found by address only"}
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
	if s.variant == Raw {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: strings.TrimPrefix(name, string(Raw)), Program: p})
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

// UseOwners lets the programs of spec read the owner sensor's map: socket
// storage or a hash by the socket's address. Without one they tell no owners.
func UseOwners(spec *ebpf.CollectionSpec, owners *ebpf.Map, opts *ebpf.CollectionOptions) error {
	storage := owners != nil && owners.Type() == ebpf.SkStorage
	table := owners != nil && !storage
	name := "sk_owner"
	if table {
		name = "sk_table"
		spec.Maps[name].MaxEntries = owners.MaxEntries()
	}
	if owners != nil {
		opts.MapReplacements = map[string]*ebpf.Map{name: owners}
	}
	return errors.Join(SetVariable(spec, "have_sk_storage", storage), SetVariable(spec, "have_sk_table", table))
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
