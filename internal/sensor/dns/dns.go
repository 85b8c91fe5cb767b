// Package dns is the sensor that copies questions to name servers and their
// answers, where sockets of this host send and receive them.
//
// It loads bpf/dns.bpf.c, which hangs on the root of the cgroups, and reads its
// ring; what the messages say is not its business. The agent imports it.
package dns

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/hook"
	"github.com/netfate/netfate/internal/kernel"
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
	ring   *ringbuf.Reader
	raw    ringbuf.Record
}

// New loads the programs. Nothing is attached yet. The error wraps
// kernel.ErrNotAllowed where there is no cgroup to hang them on.
func New(cfg Config) (*Sensor, error) {
	if cfg.CgroupRoot == "" {
		return nil, fmt.Errorf("%w: packets of sockets are seen at cgroups, and no cgroup2 hierarchy is mounted: "+
			"mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified", kernel.ErrNotAllowed)
	}
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
	if s.ring, err = ringbuf.NewReader(s.coll.Maps["packets"]); err != nil {
		s.coll.Close()
		return nil, fmt.Errorf("open the ring of DNS: %w", err)
	}
	return s, nil
}

// Attach starts copying.
func (s *Sensor) Attach() error {
	for name, at := range map[string]ebpf.AttachType{"dns_out": ebpf.AttachCGroupInetEgress, "dns_in": ebpf.AttachCGroupInetIngress} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: s.root, Attach: at, Program: s.coll.Programs[name]})
		if err != nil {
			return errors.Join(fmt.Errorf("attach %s at %s: %w", name, s.root, err), s.Detach())
		}
		s.links = append(s.links, l)
	}
	return nil
}

// Next reads the next packet into e and returns its payload, which is good
// until the next call, and waits for one until deadline. ok is false if there is
// none.
func (s *Sensor) Next(deadline time.Time, e *decode.PacketEvent) (payload []byte, ok bool, err error) {
	s.ring.SetDeadline(deadline)
	err = s.ring.ReadInto(&s.raw)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the messages of DNS: %w", err)
	}
	payload, err = decode.Packet(s.raw.RawSample, e)
	return payload, err == nil, err
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
