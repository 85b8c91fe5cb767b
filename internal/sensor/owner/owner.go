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

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
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
}

// Sensor tells owners. Its methods belong to one goroutine.
type Sensor struct {
	cfg    Config
	coll   *ebpf.Collection
	links  []link.Link
	iter   *link.Iter
	errors *counting.Errors
	lacks  []string
	noSK   bool // tracing programs cannot use socket storage here
}

// The programs, by what they hang on.
const (
	sockCreate  = "sock_create"
	postBind4   = "post_bind4"
	postBind6   = "post_bind6"
	openSockets = "open_sockets"
)

// users are the tracepoints that tell who uses a socket: 6.3 has them.
func users() []string { return []string{"sock_send_length", "sock_recv_length"} }

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
	s := &Sensor{cfg: cfg}
	if err := s.leaveOut(spec); err != nil {
		return nil, err
	}
	if err := s.load(spec); err != nil {
		return nil, fmt.Errorf("load the owner sensor: %w", err)
	}
	var progs []*ebpf.Program
	for _, name := range users() {
		if p := s.coll.Programs[name]; p != nil {
			progs = append(progs, p)
		}
	}
	s.errors = counting.NewErrors("owner", s.coll.Maps["errors"], progs)
	return s, nil
}

// leaveOut removes programs whose tracepoints this kernel does not have.
func (s *Sensor) leaveOut(spec *ebpf.CollectionSpec) error {
	host, err := s.cfg.Types.Kernel()
	if err != nil {
		return fmt.Errorf("read the kernel's types: %w", err)
	}
	for _, name := range users() {
		if !kernel.HasTracepoint(host, name) {
			delete(spec.Programs, name)
			s.lacks = append(s.lacks, "no tracepoint "+name+" (6.3 has it): "+
				"a socket that a worker inherited stays its maker's")
		}
	}
	return nil
}

// load loads everything, or where tracing programs cannot use socket storage
// (before 5.11) those that the others can do without.
func (s *Sensor) load(spec *ebpf.CollectionSpec) (err error) {
	reduced := spec.Copy()
	if s.coll, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: s.cfg.Types}); err == nil {
		return nil
	}
	for _, name := range append(users(), openSockets) {
		delete(reduced.Programs, name)
	}
	var retry error
	if s.coll, retry = ebpf.NewCollectionWithOptions(reduced, ebpf.CollectionOptions{Cache: s.cfg.Types}); retry != nil {
		return err
	}
	s.noSK = true
	s.lacks = append(s.lacks, "tracing programs cannot read socket storage (5.11 can): "+
		"only sockets that were bound since the start have owners")
	return nil
}

// Owners is the map from sockets to owners, for the other sensors' programs;
// nil where they cannot use it.
func (s *Sensor) Owners() *ebpf.Map {
	if s.noSK {
		return nil
	}
	return s.coll.Maps["sk_owner"]
}

// Lacks lists what could not be attached, each with what it costs.
func (s *Sensor) Lacks() []string { return s.lacks }

// Attach starts noting owners. What this kernel cannot attach is left out and
// listed by Lacks.
func (s *Sensor) Attach() error {
	s.cfg.Types = nil // nobody needs them any more
	s.attachCgroup()
	for _, name := range users() {
		p := s.coll.Programs[name]
		if p == nil {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
		s.links = append(s.links, l)
	}
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
	if s.cfg.CgroupRoot == "" {
		s.lacks = append(s.lacks, "no cgroup2 hierarchy is mounted: sockets have no owner before they first send or receive")
		return
	}
	hooks := []struct {
		name string
		at   ebpf.AttachType
	}{
		{sockCreate, ebpf.AttachCGroupInetSockCreate},
		{postBind4, ebpf.AttachCGroupInet4PostBind},
		{postBind6, ebpf.AttachCGroupInet6PostBind},
	}
	for _, h := range hooks {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: s.cfg.CgroupRoot, Attach: h.at, Program: s.coll.Programs[h.name]})
		if err != nil {
			s.lacks = append(s.lacks, fmt.Sprintf("attach %s at %s: %v", h.name, s.cfg.CgroupRoot, err))
			continue
		}
		s.links = append(s.links, l)
	}
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
	keys, owners := make([]decode.BoundKey, boundBatch), make([]decode.OwnerRef, boundBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := s.coll.Maps["bound"].BatchLookup(&cursor, keys, owners, nil)
		for i := range n {
			visit(keys[i], owners[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("read the bound addresses: %w", err)
		}
	}
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
	s.coll.Close()
	return err
}
