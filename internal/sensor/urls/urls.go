// Package urls is the sensor that counts requests of HTTP/1 by method, host and
// path, where sockets of this host send and receive them, and copies nothing.
//
// It loads bpf/urls.bpf.c, which hangs on the root of the cgroups, and drains its
// tables; it knows no output. The agent imports it.
package urls

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/hook"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/urls.bpf.c

// Config says where to look.
type Config struct {
	// CgroupRoot is a directory of the cgroup2 hierarchy whose sockets are
	// watched, its root as a rule.
	CgroupRoot string
	// MaxURLs bounds the rows of one interval, 0 for 8,192; more are counted
	// without host and path.
	MaxURLs uint32
	// Types are the kernel's types, if another sensor has decoded them; nil
	// decodes them anew.
	Types *btf.Cache
}

// Sensor counts requests. Its methods belong to one goroutine.
type Sensor struct {
	root   string
	coll   *ebpf.Collection
	links  []link.Link
	table  *counting.Table[decode.URLKey, decode.URLCount]
	errors *counting.Errors
}

// New loads the programs. Nothing is attached yet.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the object that counts requests: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	if cfg.MaxURLs != 0 {
		spec.Maps["urls_0"].MaxEntries = cfg.MaxURLs
		spec.Maps["urls_1"].MaxEntries = cfg.MaxURLs
	}
	s := &Sensor{root: cfg.CgroupRoot}
	if s.coll, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: cfg.Types}); err != nil {
		return nil, fmt.Errorf("load the sensor that counts requests: %w", err)
	}
	m := s.coll.Maps
	// The kernel skips none of these programs, so there are no misses to count.
	s.errors = counting.NewErrors("http", m["errors"], nil, "")
	s.table, err = counting.New[decode.URLKey, decode.URLCount](counting.Maps{
		Table:      [2]*ebpf.Map{m["urls_0"], m["urls_1"]},
		Rest:       [2]*ebpf.Map{m["url_rest_0"], m["url_rest_1"]},
		Generation: s.coll.Variables["generation"],
	}, 0)
	if err != nil {
		s.coll.Close()
		return nil, fmt.Errorf("open the tables of requests: %w", err)
	}
	return s, nil
}

// Attach starts counting. The error wraps kernel.ErrNotAllowed where there is no
// cgroup to hang the programs on.
func (s *Sensor) Attach() error {
	links, err := hook.AtSockets(s.root, s.coll.Programs["urls_out"], s.coll.Programs["urls_in"])
	s.links = links
	return err
}

// Poll visits what was counted since the last call. A key can come more than
// once; the pointers are good until visit returns. It waits for running
// programs, some 10 ms.
func (s *Sensor) Poll(visit func(*decode.URLKey, *decode.URLCount)) error {
	if err := s.table.Drain(visit); err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	return nil
}

// Losses returns what could not be kept since the last call.
func (s *Sensor) Losses() ([]counting.Loss, error) { return s.errors.Since() }

// Detach stops counting; what was counted can still be read, by two Polls.
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
	err := errors.Join(s.Detach(), s.table.Close())
	s.coll.Close()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) { return hook.Measure(s.coll.Maps, s.coll.Programs) }
