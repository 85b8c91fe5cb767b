// Package counting reads the tables that BPF programs count in, so that no
// count is lost between reading and clearing: bpf/lib/maps.h is its other
// half. It knows how a table is kept, not what is counted.
//
// Sensors import it; with them it is one of the few that import cilium/ebpf.
package counting

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Slots and Hooks are the shape of the per-CPU caches in bpf/lib/maps.h.
const (
	Slots = 1 << 8
	Hooks = 4
)

// Maps are the parts of one table: the cache in front of it, nil if there is none,
// and for each generation the table itself and the remainder of what did not fit.
type Maps struct {
	Cache      *ebpf.Map
	Table      [2]*ebpf.Map
	Rest       [2]*ebpf.Map
	Generation *ebpf.Variable // volatile __u32 generation
}

// Count is a value that can tell whether anything was counted in it: a slot of
// the cache without buffers is empty.
type Count interface{ Empty() bool }

// Table drains one set of maps. K and V are the key and value as they lie in
// memory, without pointers and without padding of their own. It belongs to one
// goroutine.
type Table[K any, V Count] struct {
	maps   Maps
	cache  *ebpf.Memory // nil if there is none
	grace  *grace
	gen    uint32
	hooks  int
	region []byte // one CPU's, hook's and generation's slots
	zero   []byte
	keys   []K
	values []V
	single bool // the kernel has no batch operations for these maps
}

type slot[K, V any] struct {
	key   K
	value V
}

// batch is how many rows one system call reads.
const batch = 4096

// New prepares to drain maps, whose programs use the first hooks of the cache, if
// there is one.
// It owns none of them. Close frees what it made itself.
func New[K any, V Count](maps Maps, hooks int) (*Table[K, V], error) {
	t := &Table[K, V]{maps: maps, hooks: hooks, keys: make([]K, batch), values: make([]V, batch)}
	if err := t.openCache(); err != nil {
		return nil, fmt.Errorf("map the cache: %w", err)
	}
	var err error
	if t.grace, err = newGrace(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Table[K, V]) openCache() (err error) {
	if t.maps.Cache == nil {
		return nil
	}
	size := int(unsafe.Sizeof(slot[K, V]{}))
	if got := int(t.maps.Cache.ValueSize()); got != size {
		return fmt.Errorf("a slot has %d bytes, want %d", got, size)
	}
	t.region, t.zero = make([]byte, Slots*size), make([]byte, size)
	t.cache, err = t.maps.Cache.Memory()
	return err
}

// CacheEntries returns how many entries the cache map must have before it is
// loaded: a set of slots for each possible CPU.
func CacheEntries() (uint32, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return 0, fmt.Errorf("count the CPUs: %w", err)
	}
	return uint32(cpus) * Hooks * 2 * Slots, nil
}

// Close frees what New made. The maps stay.
func (t *Table[K, V]) Close() error { return t.grace.close() }

// Drain gives the programs the other generation, waits until none counts in
// this one any more, and calls visit for each key and its counts, which are
// cleared. A key can come more than once. The pointers are good until visit
// returns. After the programs are detached, drain twice to get everything.
func (t *Table[K, V]) Drain(visit func(*K, *V)) error {
	old := t.gen
	t.gen ^= 1
	if err := t.maps.Generation.Set(t.gen); err != nil {
		return fmt.Errorf("flip the generation: %w", err)
	}
	if err := t.grace.wait(); err != nil {
		return err
	}
	if err := t.drainCache(old, visit); err != nil {
		return err
	}
	if err := t.drainTable(t.maps.Table[old], visit); err != nil {
		return err
	}
	return t.drainTable(t.maps.Rest[old], visit)
}

func (t *Table[K, V]) drainCache(gen uint32, visit func(*K, *V)) error {
	if t.cache == nil {
		return nil
	}
	size := int(unsafe.Sizeof(slot[K, V]{}))
	cpus := int(t.cache.Size()) / (Hooks * 2 * len(t.region))
	for cpu := range cpus {
		for hook := range t.hooks {
			at := int64(((cpu*Hooks+hook)*2 + int(gen)) * len(t.region))
			if _, err := t.cache.ReadAt(t.region, at); err != nil {
				return fmt.Errorf("read the cache: %w", err)
			}
			for i := range Slots {
				s := (*slot[K, V])(unsafe.Pointer(&t.region[i*size]))
				if s.value.Empty() {
					continue
				}
				visit(&s.key, &s.value)
				if _, err := t.cache.WriteAt(t.zero, at+int64(i*size)); err != nil {
					return fmt.Errorf("clear the cache: %w", err)
				}
			}
		}
	}
	return nil
}

// drainTable visits and deletes all there is in m, which nobody else uses.
func (t *Table[K, V]) drainTable(m *ebpf.Map, visit func(*K, *V)) error {
	var cursor ebpf.MapBatchCursor
	for !t.single {
		n, err := m.BatchLookupAndDelete(&cursor, t.keys, t.values, nil)
		for i := range n {
			visit(&t.keys[i], &t.values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil && NoBatches(err):
			t.single = true // what there is, is still there
		case err != nil:
			return fmt.Errorf("read %v: %w", m, err)
		}
	}
	return t.drainSingly(m, visit)
}

// drainSingly is drainTable in three system calls an entry. The next key is
// asked for before this one is gone, or the kernel would begin anew each time.
func (t *Table[K, V]) drainSingly(m *ebpf.Map, visit func(*K, *V)) error {
	key, next, value := &t.keys[0], &t.keys[1], &t.values[0]
	err := m.NextKey(nil, memory(key))
	for err == nil {
		more := m.NextKey(memory(key), memory(next))
		if err := errors.Join(m.Lookup(memory(key), memory(value)), m.Delete(memory(key))); err != nil {
			return fmt.Errorf("read %v entry by entry: %w", m, err)
		}
		visit(key, value)
		key, next, err = next, key, more
	}
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read %v entry by entry: %w", m, err)
	}
	return nil
}

// memory is a key or a value as the kernel reads and writes it.
func memory[T any](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// NoBatches reports whether an error of a batch operation says that the kernel
// has none for the map. They came for hashes with 5.6, and vendors leave them
// out.
func NoBatches(err error) bool {
	return errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

// grace waits for programs that run to finish. The kernel has no call for
// that, but replacing a map inside a map waits for an RCU grace period before
// it returns (1ae80cf31938, "bpf: wait for running BPF programs when updating
// map-in-map", 4.18), so that nobody uses the old inner map afterwards.
type grace struct{ outer, inner *ebpf.Map }

func newGrace() (*grace, error) {
	inner, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("create a map to wait with: %w", err)
	}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		InnerMap: &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create a map to wait with: %w", err), inner.Close())
	}
	return &grace{outer, inner}, nil
}

func (g *grace) wait() error {
	if err := g.outer.Update(uint32(0), g.inner, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

func (g *grace) close() error { return errors.Join(g.outer.Close(), g.inner.Close()) }
