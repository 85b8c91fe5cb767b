// Package packet is the sensor that copies packets where they pass devices, in all
// network namespaces, for captures.
//
// It loads bpf/packet.bpf.c and reads its rings; what the packets say is not its
// business. The agent imports it.
package packet

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/hook"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/packet.bpf.c

// MaxSnaplen is the most bytes of a packet that can be copied: what a perf event holds,
// of 16 bits, less its head.
const MaxSnaplen = 65_400

const (
	// ringBytes is what the rings of all CPUs have, and leastRing what one has at the
	// least: some of the largest packets.
	ringBytes = 64 << 20
	leastRing = 512 << 10
	// mostHeld is the bytes of packets that are read at once at the most.
	mostHeld = 32 << 20
	// moment is how long after its time a packet is in its ring at the latest, in ns:
	// a program takes a thousandth of that.
	moment = 1e6
)

// Config says what to copy.
type Config struct {
	// Filter restricts it; nil copies everything.
	Filter *filter.Pair
	// Snaplen is how many bytes of a packet to copy, up to MaxSnaplen.
	Snaplen uint32
	// NetNS is the only namespace to look at, 0 for all.
	NetNS uint32
	// Owners is the owner sensor's map; nil leaves packets without owners.
	Owners *ebpf.Map
	// Types are the kernel's types, if another sensor has decoded them; nil
	// decodes them anew.
	Types *btf.Cache
	// Raw uses raw tracepoints where typed ones would do: owners are not told, and
	// what lies in pages is not copied.
	Raw bool
}

// Frame is a packet and what is known of it, which whoever visits it may keep.
type Frame struct {
	decode.FrameEvent
	Bytes []byte
}

// Sensor copies packets. Its methods belong to one goroutine.
type Sensor struct {
	coll   *ebpf.Collection
	hooks  *hook.Set
	errors *counting.Errors
	rings  *perf.Reader
	record perf.Record
	frames []Frame // read and not yet given
	bytes  []byte  // theirs
	lost   map[decode.DeviceKey]uint64
}

// New loads the programs. Nothing is attached yet.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the packet object: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	opts := ebpf.CollectionOptions{Cache: cfg.Types}
	if err := hook.UseOwners(spec, cfg.Owners, &opts); err != nil {
		return nil, err
	}
	s := &Sensor{lost: map[decode.DeviceKey]uint64{}}
	s.hooks, s.coll, err = hook.Load(spec, []string{"netif_receive_skb", "net_dev_start_xmit"}, cfg.Raw, opts, func(spec *ebpf.CollectionSpec) error {
		snaplen := cfg.Snaplen
		if snaplen == 0 || snaplen > MaxSnaplen {
			snaplen = MaxSnaplen
		}
		return errors.Join(hook.SetVariable(spec, "snaplen", snaplen), hook.SetVariable(spec, "only_netns", cfg.NetNS),
			hook.InstallFilter(spec, cfg.Filter))
	})
	if err != nil {
		return nil, fmt.Errorf("load the packet sensor: %w", err)
	}
	s.errors = counting.NewErrors("packets", s.coll.Maps["errors"], s.hooks.Programs(s.coll), "the kernel skipped these packets: they are counted nowhere")
	size, err := ringSize()
	if err == nil {
		// Nobody is woken before a ring is half full: they are looked at.
		s.rings, err = perf.NewReaderWithOptions(s.coll.Maps["frames"], size, perf.ReaderOptions{Watermark: size / 2})
	}
	if err != nil {
		s.coll.Close()
		return nil, fmt.Errorf("open the rings of packets: %w", err)
	}
	return s, nil
}

// ringSize is the bytes of each CPU's ring, a power of two.
func ringSize() (int, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return 0, fmt.Errorf("count the CPUs: %w", err)
	}
	return max(leastRing, 1<<(bits.Len(uint(ringBytes/cpus))-1)), nil
}

// Lacks says what this kernel cannot tell, each with what it costs.
func (s *Sensor) Lacks() []string { return s.hooks.Lacks() }

// Attach starts copying.
func (s *Sensor) Attach() error { return s.hooks.Attach(s.coll) }

// Read waits until deadline and visits the packets that have passed by then, but for the
// last moment, in the order of their time; less, if they are too many to be held. It
// reports whether there are more that have passed.
func (s *Sensor) Read(deadline time.Time, visit func(*Frame) error) (more bool, err error) {
	until, err := now()
	if err != nil {
		return false, err
	}
	until += uint64(max(time.Until(deadline), 0)) - moment
	s.rings.SetDeadline(deadline)
	for len(s.bytes) < mostHeld {
		err = s.rings.ReadInto(&s.record)
		if err != nil {
			break
		}
		if s.record.LostSamples > 0 {
			continue // counted where they were lost
		}
		var f Frame
		b, err := decode.Frame(s.record.RawSample, &f.FrameEvent)
		if err != nil {
			return false, err
		}
		s.keep(f, b)
	}
	more = err == nil
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, fmt.Errorf("read the rings of packets: %w", err)
	}
	err = s.give(until, more, visit)
	return more || len(s.frames) > 0, err
}

// keep takes in a packet.
func (s *Sensor) keep(f Frame, b []byte) {
	at := len(s.bytes)
	s.bytes = append(s.bytes, b...)
	f.Bytes = s.bytes[at:len(s.bytes):len(s.bytes)]
	s.frames = append(s.frames, f)
}

// give visits those that passed before until: of later ones another CPU's ring may have
// some that were not there yet. With all, those too.
func (s *Sensor) give(until uint64, all bool, visit func(*Frame) error) error {
	slices.SortStableFunc(s.frames, func(a, b Frame) int { return cmp.Compare(a.Time, b.Time) })
	n := 0
	for n < len(s.frames) && (all || s.frames[n].Time <= until) {
		if err := visit(&s.frames[n]); err != nil {
			return err
		}
		n++
	}
	rest := s.frames[n:]
	s.frames, s.bytes = nil, nil
	for i := range rest {
		s.keep(rest[i], rest[i].Bytes)
	}
	return nil
}

// now returns CLOCK_MONOTONIC in ns.
func now() (uint64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return uint64(t.Nano()), nil
}

// Matched returns how many packets were selected since Attach, copied or not.
func (s *Sensor) Matched() (n uint64, err error) {
	for hook := range uint32(2) {
		var cpus []uint64
		if err := s.coll.Maps["frames_matched"].Lookup(hook, &cpus); err != nil {
			return 0, fmt.Errorf("read how many packets were selected: %w", err)
		}
		for _, one := range cpus {
			n += one
		}
	}
	return n, nil
}

// Missed visits the devices whose packets found no room, with how many since the last
// call.
func (s *Sensor) Missed(visit func(decode.DeviceKey, uint64)) error {
	var key decode.DeviceKey
	var count uint64
	all := s.coll.Maps["frames_lost"].Iterate()
	for all.Next(&key, &count) {
		if n := count - s.lost[key]; n > 0 {
			visit(key, n)
			s.lost[key] = count
		}
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("read which packets are missing: %w", err)
	}
	return nil
}

// Losses returns what could not be kept since the last call.
func (s *Sensor) Losses() ([]counting.Loss, error) { return s.errors.Since() }

// Detach stops copying; what was copied can still be read.
func (s *Sensor) Detach() error { return s.hooks.Detach() }

// Close detaches and frees everything.
func (s *Sensor) Close() error {
	err := errors.Join(s.Detach(), s.rings.Close())
	s.coll.Close()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) { return hook.Measure(s.coll.Maps, s.coll.Programs) }
