// Package owner is the sensor that knows whose a socket is: it notes the
// process when a socket is made, bound, or used by another process, and finds
// the sockets that are older than netfate.
//
// It loads bpf/owner.bpf.c and reads its maps; it knows no output and names
// nobody: what a process is called beyond what the kernel says is enrich's.
// The agent imports it.
package owner

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/hook"
	"github.com/netfate/netfate/internal/kernel"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/owner.bpf.c

// Config says how to run the sensor.
type Config struct {
	// CgroupRoot is a directory of the cgroup2 hierarchy whose sockets are
	// watched, its root as a rule. Without one only sockets that send or
	// receive, and those that Scan finds, have owners.
	CgroupRoot string
	// Types are the kernel's types, if they are decoded already; nil decodes
	// them anew.
	Types *btf.Cache
	// Without lists capabilities, by the names that doctor has for them, to do
	// without as if this kernel lacked them: sk_storage, sock_length, fentry,
	// cgroup_sock, iter_task_file and map_batch.
	Without []string
	// MaxSockets bounds the sockets whose owners are kept where there is no
	// socket storage, 0 for 65,536: some 6 MB of the kernel's memory. More are
	// counted as lost, and have owners by address only.
	MaxSockets uint32
}

// maxSockets is the default of Config.MaxSockets.
const maxSockets = 1 << 16

// Sensor tells owners. Its methods belong to one goroutine.
type Sensor struct {
	cfg    Config
	spec   *ebpf.CollectionSpec // with the constants set; programs are loaded from copies
	coll   *ebpf.Collection     // all maps, and the programs without which there is no sensor
	table  bool                 // owners are in sk_table, since tracing programs can't use socket storage
	noSK   bool                 // owners of sockets are not kept at all
	ends   []*end
	links  []link.Link
	iter   *link.Iter
	errors *counting.Errors
	lacks  []string
	single bool // maps are read entry by entry, since the kernel has no batches
}

// The programs that every way needs, by what they hang on.
const (
	sockCreate  = "sock_create"
	postBind4   = "post_bind4"
	postBind6   = "post_bind6"
	openSockets = "open_sockets"
)

// New loads the programs. Nothing is attached yet. What this kernel cannot load
// is left out and listed by Lacks.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the owner object: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	if cfg.MaxSockets == 0 {
		cfg.MaxSockets = maxSockets
	}
	s := &Sensor{cfg: cfg, single: slices.Contains(cfg.Without, "map_batch")}
	if err := s.load(spec); err != nil {
		return nil, fmt.Errorf("load the owner sensor: %w", err)
	}
	s.loadEnds()
	s.watchErrors()
	return s, nil
}

func (s *Sensor) without(capability string) bool { return slices.Contains(s.cfg.Without, capability) }

// load makes the maps and loads the programs that every way needs: with socket
// storage, or where tracing programs cannot use it (before 5.11) with a table;
// with the iterator, or without.
func (s *Sensor) load(spec *ebpf.CollectionSpec) error {
	base := []string{sockCreate, postBind4, postBind6}
	all := append(slices.Clone(base), openSockets)
	if s.without("iter_task_file") {
		all = base
	}
	tries := []struct {
		table    bool
		programs []string
	}{{false, all}, {true, all}, {true, base}}
	if s.without("sk_storage") {
		tries = tries[1:]
	}
	var first error
	for _, try := range tries {
		ready := spec.Copy()
		if err := s.fit(ready, try.table); err != nil {
			return err
		}
		coll, err := ebpf.NewCollectionWithOptions(only(ready, try.programs), ebpf.CollectionOptions{Cache: s.cfg.Types})
		if err == nil && !try.table {
			if err = kernel.StoreOnSocket(coll.Maps["sk_owner"], decode.OwnerRef{}); err != nil {
				coll.Close()
			}
		}
		if err == nil {
			s.coll, s.spec, s.table = coll, ready, try.table
			break
		}
		if first == nil {
			first = err
		}
	}
	if s.coll == nil {
		return first
	}
	if s.coll.Programs[openSockets] == nil {
		s.lacks = append(s.lacks, "no iterator over open files (5.8 has it): "+
			"sockets that are older than netfate have no owner until they are used")
	}
	return nil
}

// fit sets where owners are kept.
func (s *Sensor) fit(spec *ebpf.CollectionSpec, table bool) error {
	if table {
		spec.Maps["sk_table"].MaxEntries = s.cfg.MaxSockets
	}
	return errors.Join(hook.SetVariable(spec, "have_sk_storage", !table), hook.SetVariable(spec, "have_sk_table", table))
}

// only returns a copy of spec with none but these programs.
func only(spec *ebpf.CollectionSpec, programs []string) *ebpf.CollectionSpec {
	spec = spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(programs, name) })
	return spec
}

// loadMore loads a program of the object with the maps that there are.
func (s *Sensor) loadMore(name string) (*ebpf.Program, error) {
	coll, err := ebpf.NewCollectionWithOptions(only(s.spec, []string{name}),
		ebpf.CollectionOptions{Cache: s.cfg.Types, MapReplacements: s.coll.Maps})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

// Owners is the map from sockets to owners, for the other sensors' programs:
// socket storage or, where tracing programs cannot use that, a hash by the
// socket's address; nil where neither can be kept.
func (s *Sensor) Owners() *ebpf.Map {
	switch {
	case s.noSK:
		return nil
	case s.table:
		return s.coll.Maps["sk_table"]
	}
	return s.coll.Maps["sk_owner"]
}

// Lacks lists what could not be loaded or attached, each with what it costs.
func (s *Sensor) Lacks() []string { return s.lacks }

// Attach starts noting owners. What this kernel cannot attach is replaced by
// what it can, or left out and listed by Lacks.
func (s *Sensor) Attach() error {
	if s.cfg.Types == nil {
		s.cfg.Types = btf.NewCache()
	}
	if err := s.attachEnds(); err != nil {
		return err
	}
	s.attachCgroup()
	s.cfg.Types = nil // nobody needs them any more
	if s.coll.Programs[openSockets] == nil {
		return nil
	}
	it, err := link.AttachIter(link.IterOptions{Program: s.coll.Programs[openSockets]})
	if err != nil {
		return fmt.Errorf("attach the socket iterator: %w", err)
	}
	s.iter = it
	return nil
}

func (s *Sensor) attachCgroup() {
	if s.cfg.CgroupRoot == "" || s.without("cgroup_sock") {
		s.lacks = append(s.lacks, "no cgroup2 hierarchy is mounted: sockets have no owner before they first send or receive")
		return
	}
	for _, name := range []string{sockCreate, postBind4, postBind6} {
		l, err := s.attach(name, s.coll.Programs[name])
		if err != nil {
			s.lacks = append(s.lacks, fmt.Sprintf("attach %s at %s: %v", name, s.cfg.CgroupRoot, err))
			continue
		}
		s.links = append(s.links, l)
	}
}

// attach attaches a program where its section says.
func (s *Sensor) attach(name string, p *ebpf.Program) (link.Link, error) {
	if spec := s.spec.Programs[name]; spec.Type == ebpf.CGroupSock {
		return link.AttachCgroup(link.CgroupOptions{Path: s.cfg.CgroupRoot, Attach: spec.AttachType, Program: p})
	}
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// Scan visits every internet socket that some process has open and gives an
// owner to those that had none. It reads the file tables of all processes:
// about 1 ms for each thousand open files.
func (s *Sensor) Scan(visit func(*decode.OpenSocket)) error {
	if s.iter == nil {
		return nil
	}
	rows, err := s.iter.Open()
	if err != nil {
		return fmt.Errorf("open the socket iterator: %w", err)
	}
	text, err := io.ReadAll(rows)
	if err = errors.Join(err, rows.Close()); err != nil {
		return fmt.Errorf("read the socket iterator: %w", err)
	}
	var row decode.OpenSocket
	for len(text) > 0 {
		if text, err = decode.Socket(text, &row); err != nil {
			return err
		}
		visit(&row)
	}
	return nil
}

// Process returns what the kernel side knows of a process; false if it knows
// nothing, or had to forget it.
func (s *Sensor) Process(key decode.ProcessKey) (decode.Process, bool) {
	var p decode.Process
	return p, s.coll.Maps["processes"].Lookup(&key, &p) == nil
}

// boundBatch is how many addresses one system call reads.
const boundBatch = 1024

// Bound visits every local address that is known to be bound, and who bound it.
// Some may come twice while others are being bound.
func (s *Sensor) Bound(visit func(decode.BoundKey, decode.OwnerRef)) error {
	m := s.coll.Maps["bound"]
	keys, owners := make([]decode.BoundKey, boundBatch), make([]decode.OwnerRef, boundBatch)
	var cursor ebpf.MapBatchCursor
	for !s.single {
		n, err := m.BatchLookup(&cursor, keys, owners, nil)
		for i := range n {
			visit(keys[i], owners[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil && counting.NoBatches(err):
			s.single = true
		case err != nil:
			return fmt.Errorf("read the bound addresses: %w", err)
		}
	}
	all := m.Iterate()
	for all.Next(&keys[0], &owners[0]) {
		visit(keys[0], owners[0])
	}
	// Those that are unbound meanwhile make it begin anew, and give up at last.
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the bound addresses one by one: %w", err)
	}
	return nil
}

// Losses returns what could not be kept since the last call.
func (s *Sensor) Losses() ([]counting.Loss, error) { return s.errors.Since() }

// Detach stops noting owners; the maps can still be read.
func (s *Sensor) Detach() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	s.links = nil
	if s.iter != nil {
		errs = append(errs, s.iter.Close())
		s.iter = nil
	}
	return errors.Join(errs...)
}

// Close detaches and frees everything.
func (s *Sensor) Close() error {
	err := s.Detach()
	for _, e := range s.ends {
		e.close()
	}
	s.coll.Close()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) {
	programs := []map[string]*ebpf.Program{s.coll.Programs}
	for _, e := range s.ends {
		programs = append(programs, e.programs)
	}
	return hook.Measure(s.coll.Maps, programs...)
}
