package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/runstate"
	"github.com/netfate/netfate/internal/section"
)

// Status is what became of one program.
type Status struct {
	Program
	ID    uint32
	Where []string // where it is attached; empty if it is not
	Notes []string // what the user should know about that
	Err   error    // why it is not loaded or not attached
}

// Running is an object in the kernel. It belongs to one goroutine; Close frees
// it.
type Running struct {
	object *Object
	types  *btf.Cache
	maps   map[string]*ebpf.Map
	progs  map[string]*ebpf.Program
	status []Status
	held   []attachment
	pins   *pins
	state  runstate.State
	pinned map[string]string // where maps are pinned, by us or by those that had them before
	probes uint32            // of USDT, that have their arguments told
}

// attachment is one place where a program hangs.
type attachment struct {
	program string
	link    link.Link        // nil if it hangs by other means
	iter    *link.Iter       // of iterators: the link, to be opened
	filter  *runstate.Filter // of tc before 6.6
	release func() error     // of what is neither
	stays   bool             // it can outlive this process by a pin
}

// Load makes the maps and loads the programs, each for itself: one that the
// kernel refuses has its Status say why, and the others go on. The error is about
// what all of them need. Nothing is attached yet.
func (o *Object) Load() (*Running, error) {
	if err := kernel.LiftMemlock(); err != nil {
		return nil, err
	}
	r := &Running{
		object: o, types: btf.NewCache(), maps: map[string]*ebpf.Map{}, progs: map[string]*ebpf.Program{},
		pinned: map[string]string{},
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	if err := r.load(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Running) load() error {
	if err := r.makeMaps(); err != nil {
		return err
	}
	loaded := 0
	for i := range r.object.programs {
		p := &r.object.programs[i]
		s := Status{Program: *p}
		if s.Err = r.loadProgram(p, &s); s.Err == nil {
			loaded++
		}
		r.status = append(r.status, s)
	}
	if loaded == 0 {
		return fmt.Errorf("run %s: none of its programs could be loaded: %w", r.object.cfg.Name, r.refusals())
	}
	return r.fillProgramArrays()
}

// refusals joins why programs are not loaded or attached.
func (r *Running) refusals() error {
	var errs []error
	for i := range r.status {
		if err := r.status[i].Err; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.status[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// makeMaps makes every map once, or opens it where it is pinned already.
func (r *Running) makeMaps() error {
	reused := map[string]*ebpf.Map{}
	for name := range r.object.byName {
		m, path, err := r.findPinned(name)
		if err != nil {
			return err
		}
		if m != nil {
			reused[name], r.pinned[name] = m, path
			defer m.Close()
		}
	}
	spec := r.object.spec.Copy()
	spec.Programs = nil
	for name, m := range spec.Maps {
		switch {
		case m.Type == ebpf.StructOpsMap:
			delete(spec.Maps, name) // it is made with its programs
		case m.Type == ebpf.ProgramArray:
			m.Contents = nil // they are not loaded yet
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: reused, Cache: r.types})
	if err != nil {
		return mapRefusal(err, spec.Maps, "create the maps of "+r.object.cfg.Name)
	}
	for name := range spec.Maps {
		r.maps[name] = coll.DetachMap(name)
	}
	coll.Close()
	return nil
}

// mapRefusal explains why maps were not made. The library names the one that it
// was at in its text only.
func mapRefusal(err error, specs map[string]*ebpf.MapSpec, doing string) error {
	for name, spec := range specs {
		if !strings.HasPrefix(err.Error(), "map "+name+":") {
			continue
		}
		doing = fmt.Sprintf("create map %s (%s)", name, shape(spec.Type, spec.KeySize, spec.ValueSize, spec.MaxEntries))
		if errors.Is(err, unix.E2BIG) {
			return fmt.Errorf("%s: larger than any that the kernel makes: %w", doing, err)
		}
	}
	return kernel.Diagnose(err, doing)
}

// findPinned opens the map that another object has pinned under this name in
// the same directory; nil if there is none.
func (r *Running) findPinned(name string) (m *ebpf.Map, path string, err error) {
	path = filepath.Join(r.object.cfg.PinDir, "maps", r.object.byName[name])
	m, err = ebpf.LoadPinnedMap(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", kernel.Diagnose(err, "open the pinned map "+path)
	}
	spec := r.object.spec.Maps[name]
	if err := spec.Compatible(m); err != nil {
		return nil, "", errors.Join(fmt.Errorf(
			"run %s: map %s is pinned at %s as another kind of map: there %s, here %s; stop what uses it, or choose another --pin directory",
			r.object.cfg.Name, name, path, shape(m.Type(), m.KeySize(), m.ValueSize(), m.MaxEntries()),
			shape(spec.Type, spec.KeySize, spec.ValueSize, spec.MaxEntries)), m.Close())
	}
	return m, path, nil
}

func shape(t ebpf.MapType, key, value, entries uint32) string {
	return fmt.Sprintf("%v, key %d bytes, value %d bytes, %d entries", t, key, value, entries)
}

// loadProgram loads one program against the maps; those of struct_ops all at once,
// with the maps that they are the functions of.
func (r *Running) loadProgram(p *Program, s *Status) error {
	if r.progs[p.Name] == nil {
		if err := r.loadOne(p); err != nil {
			return err
		}
	}
	info, err := r.progs[p.Name].Info()
	if err != nil {
		return fmt.Errorf("ask for the id of %s: %w", p.Name, err)
	}
	if id, ok := info.ID(); ok {
		s.ID = uint32(id)
	}
	return nil
}

func (r *Running) loadOne(p *Program) error {
	spec := r.object.spec.Copy()
	opts := ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{}, Cache: r.types}
	for name, m := range r.maps {
		if m.Type() == ebpf.StructOpsMap {
			continue
		}
		opts.MapReplacements[name] = m
		spec.Maps[name].Contents = nil
	}
	operations := p.Section.Kind == section.StructOps
	keep := map[string]*ebpf.ProgramSpec{p.Name: spec.Programs[p.Name]}
	for _, other := range r.object.programs {
		if operations && other.Section.Kind == section.StructOps {
			keep[other.Name] = spec.Programs[other.Name]
		}
	}
	spec.Programs = keep
	for name, m := range spec.Maps {
		if m.Type == ebpf.StructOpsMap && !operations {
			delete(spec.Maps, name)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return refusal(err, "load "+p.Name)
	}
	defer coll.Close()
	for name := range keep {
		r.progs[name] = coll.DetachProgram(name)
	}
	for name, m := range coll.Maps {
		if m.Type() == ebpf.StructOpsMap {
			r.maps[name] = coll.DetachMap(name)
		}
	}
	return nil
}

// fillProgramArrays puts the programs into the arrays that they call each other
// through. The arrays must be held or pinned as long as the programs run: the
// kernel empties one when its last user reference goes.
func (r *Running) fillProgramArrays() error {
	for name, spec := range r.object.spec.Maps {
		if spec.Type != ebpf.ProgramArray {
			continue
		}
		for _, kv := range spec.Contents {
			program, ok := kv.Value.(string)
			if !ok {
				continue
			}
			p := r.progs[program]
			if p == nil {
				continue // its status says why
			}
			if err := r.maps[name].Put(kv.Key, p); err != nil {
				return kernel.Diagnose(err, fmt.Sprintf("put %s into the program array %s", program, name))
			}
			r.mark(program, fmt.Sprintf("tail call %s[%v]", name, kv.Key))
		}
	}
	return nil
}

// mark notes where a program is.
func (r *Running) mark(program, where string) {
	for i := range r.status {
		if r.status[i].Name == program {
			r.status[i].Where = append(r.status[i].Where, where)
		}
	}
}

// Status returns what became of each program, by name.
func (r *Running) Status() []Status { return r.status }

// Maps returns the maps by name. They belong to r.
func (r *Running) Maps() map[string]*ebpf.Map { return r.maps }

// Values returns the maps whose entries can be read and change, of at most
// maxEntries. They belong to r.
func (r *Running) Values(maxEntries uint32) map[string]*ebpf.Map {
	values := map[string]*ebpf.Map{}
	for name, m := range r.maps {
		switch m.Type() {
		case ebpf.Hash, ebpf.Array, ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUHash, ebpf.LRUCPUHash, ebpf.LPMTrie:
			const readOnly = unix.BPF_F_RDONLY_PROG // constants
			if m.MaxEntries() <= maxEntries && m.Flags()&readOnly == 0 {
				values[name] = m
			}
		}
	}
	return values
}
