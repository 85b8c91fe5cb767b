// Package flow is the sensor that knows who talks to whom: it counts every
// packet where the stack takes it from a device and where it gives it to one,
// in all namespaces, and attaches to no interface.
//
// It loads bpf/flow.bpf.c and drains its tables; it knows no output. The agent
// imports it.
package flow

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/hook"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/flow.bpf.c

// Config says what to count.
type Config struct {
	// Filter restricts what is counted; nil counts everything.
	Filter *filter.Pair
	// MaxFlows bounds the flows of one interval, 0 for 65,536; more are
	// counted without addresses.
	MaxFlows uint32
	// Owners is the owner sensor's map; nil leaves flows without owners.
	Owners *ebpf.Map
	// Types are the kernel's types, if another sensor has decoded them; nil
	// decodes them anew.
	Types *btf.Cache
	// Raw uses raw tracepoints where typed ones would do, as kernels
	// that refuse those need it: counts are the same, owners are not told.
	Raw bool
}

// cacheHooks is how many of the cache's hooks the programs use.
const cacheHooks = 3

// Sensor counts flows. Its methods belong to one goroutine.
type Sensor struct {
	coll   *ebpf.Collection
	hooks  *hook.Set
	table  *counting.Table[decode.FlowKey, decode.FlowCount]
	errors *counting.Errors
}

// New loads the programs. Nothing is attached yet.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the flow object: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	opts := ebpf.CollectionOptions{Cache: cfg.Types}
	if err := hook.UseOwners(spec, cfg.Owners, &opts); err != nil {
		return nil, err
	}
	s := &Sensor{}
	s.hooks, s.coll, err = hook.Load(spec, []string{"netif_receive_skb", "net_dev_start_xmit", "net_dev_xmit"}, cfg.Raw, opts, func(spec *ebpf.CollectionSpec) error { return prepare(spec, cfg) })
	if err != nil {
		return nil, fmt.Errorf("load the flow sensor: %w", err)
	}
	m := s.coll.Maps
	s.errors = counting.NewErrors("flows", m["errors"], s.hooks.Programs(s.coll), counting.Skipped)
	s.table, err = counting.New[decode.FlowKey, decode.FlowCount](counting.Maps{
		Cache:      m["flow_cache"],
		Table:      [2]*ebpf.Map{m["flows_0"], m["flows_1"]},
		Rest:       [2]*ebpf.Map{m["flow_rest_0"], m["flow_rest_1"]},
		Generation: s.coll.Variables["generation"],
	}, cacheHooks)
	if err != nil {
		s.coll.Close()
		return nil, fmt.Errorf("open the flow tables: %w", err)
	}
	return s, nil
}

// prepare fits the object to this host and to what is asked of it.
func prepare(spec *ebpf.CollectionSpec, cfg Config) error {
	entries, err := counting.CacheEntries()
	if err != nil {
		return err
	}
	spec.Maps["flow_cache"].MaxEntries = entries
	if cfg.MaxFlows != 0 {
		spec.Maps["flows_0"].MaxEntries = cfg.MaxFlows
		spec.Maps["flows_1"].MaxEntries = cfg.MaxFlows
	}
	return hook.InstallFilter(spec, cfg.Filter)
}

// Lacks says what this kernel cannot tell of flows, each with what it costs.
func (s *Sensor) Lacks() []string { return s.hooks.Lacks() }

// Attach starts counting.
func (s *Sensor) Attach() error { return s.hooks.Attach(s.coll) }

// Poll visits what was counted since the last call. A key can come more than
// once; the pointers are good until visit returns. It waits for running
// programs, some 10 ms.
func (s *Sensor) Poll(visit func(*decode.FlowKey, *decode.FlowCount)) error {
	if err := s.table.Drain(visit); err != nil {
		return fmt.Errorf("flows: %w", err)
	}
	return nil
}

// Moment returns one moment on two clocks: CLOCK_MONOTONIC ns and jiffies.
func (s *Sensor) Moment() (mono, jiffies uint64, err error) { return hook.Moment(s.coll) }

// Losses returns what could not be kept since the last call.
func (s *Sensor) Losses() ([]counting.Loss, error) { return s.errors.Since() }

// Detach stops counting; what was counted can still be read, by two Polls.
func (s *Sensor) Detach() error { return s.hooks.Detach() }

// Close detaches and frees everything.
func (s *Sensor) Close() error {
	err := errors.Join(s.hooks.Detach(), s.table.Close())
	s.coll.Close()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) { return hook.Measure(s.coll.Maps, s.coll.Programs) }
