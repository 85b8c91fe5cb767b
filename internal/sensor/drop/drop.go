// Package drop is the sensor that knows what is lost: it counts every buffer
// that the kernel frees as dropped, by reason, place and flow, and samples
// some of them whole.
//
// It loads bpf/drop.bpf.c, drains its tables and reads its ring; it knows no
// output and does not judge. The agent imports it.
package drop

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/hook"
	"github.com/netfate/netfate/internal/kernel"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/drop.bpf.c

// Config says what to count and sample.
type Config struct {
	// Args are the positions of kfree_skb's arguments on this kernel.
	Args kernel.FreeArgs
	// Filter restricts what is counted; nil counts everything.
	Filter *filter.Pair
	// MaxDrops bounds the different drops of one interval, 0 for 16,384;
	// more are counted without addresses.
	MaxDrops uint32
	// Stack takes the kernel stack with each sample: some µs each.
	Stack bool
	// Snaplen is how many bytes of a packet's head a sample has, 0 for
	// decode.PacketLen; with more, samples have a ring of 16 MiB. Of what lies in
	// pages beside the buffer a sample has nothing.
	Snaplen uint16
	// Owners is the owner sensor's map; nil leaves drops without owners.
	Owners *ebpf.Map
	// Types are the kernel's types, if another sensor has decoded them; nil
	// decodes them anew.
	Types *btf.Cache
	// Raw uses a raw tracepoint where a typed one would do, as kernels
	// that refuse those need it: counts are the same, owners are not told.
	Raw bool
}

// largeRing is the bytes of the ring for samples with more than their headers:
// at 256 bytes each, some 40,000.
const largeRing = 16 << 20

// cacheHooks is how many of the cache's hooks the programs use.
const cacheHooks = 1

// Sensor counts drops. Its methods belong to one goroutine.
type Sensor struct {
	coll   *ebpf.Collection
	hooks  *hook.Set
	table  *counting.Table[decode.DropKey, decode.DropCount]
	errors *counting.Errors
	ring   *ringbuf.Reader
	raw    ringbuf.Record
	tokens *ebpf.Memory
	fill   []byte
	lacks  []string
}

// New loads the programs. Nothing is attached yet.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the drop object: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	opts := ebpf.CollectionOptions{Cache: cfg.Types}
	if err := hook.UseOwners(spec, cfg.Owners, &opts); err != nil {
		return nil, err
	}
	s := &Sensor{lacks: lacking(cfg.Args)}
	s.hooks, s.coll, err = hook.Load(spec, []string{"kfree_skb"}, cfg.Raw, opts, func(spec *ebpf.CollectionSpec) error { return prepare(spec, cfg) })
	if err != nil {
		return nil, fmt.Errorf("load the drop sensor: %w", err)
	}
	if err := s.open(); err != nil {
		s.coll.Close()
		return nil, fmt.Errorf("open the drop tables: %w", err)
	}
	return s, nil
}

// lacking says what the tracepoint does not tell.
func lacking(args kernel.FreeArgs) (lacks []string) {
	if args.Reason < 0 {
		lacks = append(lacks, "no reasons of drops (5.17 has them): verdicts come from the place alone")
	}
	if args.RxSK < 0 {
		lacks = append(lacks, "no receiving socket of drops (6.11 has it): "+
			"drops on established TCP connections have no socket state, and few of them no namespace")
	}
	return lacks
}

// prepare fits the object to this host and to what is asked of it.
func prepare(spec *ebpf.CollectionSpec, cfg Config) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count the CPUs: %w", err)
	}
	entries, err := counting.CacheEntries()
	if err != nil {
		return err
	}
	spec.Maps["drop_cache"].MaxEntries = entries
	spec.Maps["drop_tokens"].MaxEntries = uint32(cpus)
	if cfg.MaxDrops != 0 {
		spec.Maps["drops_0"].MaxEntries = cfg.MaxDrops
		spec.Maps["drops_1"].MaxEntries = cfg.MaxDrops
	}
	snaplen := uint32(decode.PacketLen)
	if cfg.Snaplen > decode.PacketLen {
		snaplen = (uint32(cfg.Snaplen) + 7) &^ 7
		spec.Maps["drop_samples"].MaxEntries = largeRing
	}
	for name, value := range map[string]any{
		"snaplen":      snaplen,
		"location_arg": position(cfg.Args.Location),
		"reason_arg":   position(cfg.Args.Reason),
		"rx_sk_arg":    position(cfg.Args.RxSK),
		"want_stack":   cfg.Stack,
	} {
		if err := hook.SetVariable(spec, name, value); err != nil {
			return err
		}
	}
	return hook.InstallFilter(spec, cfg.Filter)
}

// position is how the program takes an argument's position: 0 for none, which
// is always the packet's own.
func position(arg int) uint32 {
	if arg < 0 {
		return 0
	}
	return uint32(arg)
}

func (s *Sensor) open() (err error) {
	m := s.coll.Maps
	s.errors = counting.NewErrors("drops", m["errors"], s.hooks.Programs(s.coll), counting.Skipped)
	if s.tokens, err = m["drop_tokens"].Memory(); err != nil {
		return err
	}
	s.fill = make([]byte, 8)
	if s.ring, err = ringbuf.NewReader(m["drop_samples"]); err != nil {
		return err
	}
	s.table, err = counting.New[decode.DropKey, decode.DropCount](counting.Maps{
		Cache:      m["drop_cache"],
		Table:      [2]*ebpf.Map{m["drops_0"], m["drops_1"]},
		Rest:       [2]*ebpf.Map{m["drop_rest_0"], m["drop_rest_1"]},
		Generation: s.coll.Variables["generation"],
	}, cacheHooks)
	if err != nil {
		return errors.Join(err, s.ring.Close())
	}
	return nil
}

// Lacks says what this kernel cannot tell of drops, each with what it costs.
func (s *Sensor) Lacks() []string { return append(s.hooks.Lacks(), s.lacks...) }

// Attach starts counting.
func (s *Sensor) Attach() error { return s.hooks.Attach(s.coll) }

// Allow lets each CPU take n samples, in place of those it has left. Without
// it none is taken.
func (s *Sensor) Allow(n int64) error {
	for i := range 8 {
		s.fill[i] = byte(n >> (8 * i)) // both architectures are little-endian
	}
	for at := int64(0); at+8 <= int64(s.tokens.Size()); at += 8 {
		if _, err := s.tokens.WriteAt(s.fill, at); err != nil {
			return fmt.Errorf("allow samples: %w", err)
		}
	}
	return nil
}

// Next reads the next sample into e, whose Packet is good until the next call,
// and waits for one until deadline. ok is false if there is none.
func (s *Sensor) Next(deadline time.Time, e *decode.Sample) (ok bool, err error) {
	s.ring.SetDeadline(deadline)
	err = s.ring.ReadInto(&s.raw)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the samples: %w", err)
	}
	err = decode.Event(s.raw.RawSample, e)
	return err == nil, err
}

// Poll visits what was counted since the last call. A key can come more than
// once; the pointers are good until visit returns. It waits for running
// programs, some 10 ms.
func (s *Sensor) Poll(visit func(*decode.DropKey, *decode.DropCount)) error {
	if err := s.table.Drain(visit); err != nil {
		return fmt.Errorf("drops: %w", err)
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
	err := errors.Join(s.hooks.Detach(), s.ring.Close(), s.table.Close())
	s.coll.Close()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) { return hook.Measure(s.coll.Maps, s.coll.Programs) }
