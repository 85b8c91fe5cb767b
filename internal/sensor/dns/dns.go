// Package dns is the sensor that copies questions to name servers and their
// answers, where sockets of this host send and receive them.
//
// It loads bpf/dns.bpf.c, which hangs on the root of the cgroups, and reads its
// ring; what the messages say is not its business. The agent imports it.
package dns

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/hook"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/dns.bpf.c

// Config says where to look.
type Config struct {
	// CgroupRoot is a directory of the cgroup2 hierarchy whose sockets are
	// watched, its root as a rule.
	CgroupRoot string
	// Owners is the owner sensor's map; nil leaves messages without owners.
	Owners *ebpf.Map
	// Types are the kernel's types, if another sensor has decoded them; nil
	// decodes them anew.
	Types *btf.Cache
}

// Sensor copies messages. Its methods belong to one goroutine.
type Sensor struct {
	root   string
	coll   *ebpf.Collection
	links  []link.Link
	errors *counting.Errors
	ring   *hook.Packets
}

// New loads the programs. Nothing is attached yet.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the DNS object: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	opts := ebpf.CollectionOptions{Cache: cfg.Types}
	if err := hook.UseOwners(spec, cfg.Owners, &opts); err != nil {
		return nil, err
	}
	s := &Sensor{root: cfg.CgroupRoot}
	if s.coll, err = ebpf.NewCollectionWithOptions(spec, opts); err != nil {
		return nil, fmt.Errorf("load the DNS sensor: %w", err)
	}
	// The kernel skips none of these programs, so there are no misses to count.
	s.errors = counting.NewErrors("dns", s.coll.Maps["errors"], nil, "")
	if s.ring, err = hook.NewPackets(s.coll); err != nil {
		s.coll.Close()
		return nil, err
	}
	return s, nil
}

// Attach starts copying. The error wraps kernel.ErrNotAllowed where there is no
// cgroup to hang the programs on.
func (s *Sensor) Attach() error {
	links, err := hook.AtSockets(s.root, s.coll.Programs["dns_out"], s.coll.Programs["dns_in"])
	s.links = links
	return err
}

// Next is that of [hook.Packets].
func (s *Sensor) Next(deadline time.Time, e *decode.PacketEvent) (payload []byte, ok bool, err error) {
	return s.ring.Next(deadline, e)
}

// Losses returns what could not be kept since the last call.
func (s *Sensor) Losses() ([]counting.Loss, error) { return s.errors.Since() }

// Detach stops copying; what was copied can still be read.
func (s *Sensor) Detach() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	s.links = nil
	return errors.Join(errs...)
}

// Close detaches and frees everything.
func (s *Sensor) Close() error {
	err := errors.Join(s.Detach(), s.ring.Close())
	s.coll.Close()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) { return hook.Measure(s.coll.Maps, s.coll.Programs) }
