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
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/owner.bpf.c

// Config says how to run the sensor.
type Config struct {
	// CgroupRoot is a directory of the cgroup2 hierarchy whose sockets are
	// watched, its root as a rule. Without one only sockets that send or
	// receive, and those that Scan finds, have owners.
	CgroupRoot string
}

// Sensor tells owners. Its methods belong to one goroutine.
type Sensor struct {
	cfg    Config
	types  *btf.Cache
	objs   bpfObjects
	links  []link.Link
	iter   *link.Iter
	errors *counting.Errors
	lacks  []string
}

// New loads the programs. Nothing is attached yet.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the owner object: %w", err)
	}
	s := &Sensor{cfg: cfg, types: btf.NewCache()}
	if err := spec.LoadAndAssign(&s.objs, &ebpf.CollectionOptions{Cache: s.types}); err != nil {
		return nil, fmt.Errorf("load the owner sensor: %w", err)
	}
	s.errors = counting.NewErrors("owner", s.objs.Errors,
		[]*ebpf.Program{s.objs.SockSendLength, s.objs.SockRecvLength})
	return s, nil
}

// Owners is the map from sockets to owners, for the other sensors' programs.
func (s *Sensor) Owners() *ebpf.Map { return s.objs.SkOwner }

// Types are the kernel's types, decoded once for all sensors; nil after Attach,
// when nobody needs them any more.
func (s *Sensor) Types() *btf.Cache { return s.types }

// Lacks lists what could not be attached, each with what it costs.
func (s *Sensor) Lacks() []string { return s.lacks }

// Attach starts noting owners. What this kernel cannot attach is left out and
// listed by Lacks.
func (s *Sensor) Attach() error {
	s.types = nil
	s.attachCgroup()
	for _, p := range []*ebpf.Program{s.objs.SockSendLength, s.objs.SockRecvLength} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attach %s: %w", p, err)
		}
		s.links = append(s.links, l)
	}
	it, err := link.AttachIter(link.IterOptions{Program: s.objs.OpenSockets})
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
		prog *ebpf.Program
		at   ebpf.AttachType
	}{
		{s.objs.SockCreate, ebpf.AttachCGroupInetSockCreate},
		{s.objs.PostBind4, ebpf.AttachCGroupInet4PostBind},
		{s.objs.PostBind6, ebpf.AttachCGroupInet6PostBind},
	}
	for _, h := range hooks {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: s.cfg.CgroupRoot, Attach: h.at, Program: h.prog})
		if err != nil {
			s.lacks = append(s.lacks, fmt.Sprintf("attach %v at %s: %v", h.at, s.cfg.CgroupRoot, err))
			continue
		}
		s.links = append(s.links, l)
	}
}

// Scan visits every internet socket that some process has open and gives an
// owner to those that had none. It reads the file tables of all processes:
// about 1 ms for each thousand open files.
func (s *Sensor) Scan(visit func(*decode.OpenSocket)) error {
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
	return p, s.objs.Processes.Lookup(&key, &p) == nil
}

// Bound returns who bound a local address; false if nobody did.
func (s *Sensor) Bound(key decode.BoundKey) (decode.OwnerRef, bool) {
	var o decode.OwnerRef
	return o, s.objs.Bound.Lookup(&key, &o) == nil
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
	return errors.Join(s.Detach(), ignoreClosed(s.objs.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
