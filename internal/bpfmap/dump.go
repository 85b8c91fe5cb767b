package bpfmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Report says how a dump went.
type Report struct {
	Entries int  // given to the callback
	Batched bool // read in batches, not key by key

	// Changed is set if the map changed so that keys that were there all the time
	// may be missing or twice. It is never set for what was added or removed.
	Changed bool
	// Note is a sentence on what could not be read; empty if all was.
	Note string
}

// ErrStop ends a Dump without an error, if its callback returns it.
var ErrStop = errors.New("stop")

const (
	batchBytes = 1 << 20 // of keys and values in a batch
	maxBatch   = 1 << 14 // entries
	// ctxEvery is how many keys are read between two looks at the context.
	ctxEvery = 1024
)

func (m *Map) id() string { return strconv.FormatUint(uint64(m.info.ID), 10) }

// valueBytes is what the kernel copies for one entry.
func (m *Map) valueBytes() int { return m.stride * m.cpus }

// Dump calls each for all entries, in the map's own order, with memory for one
// batch. It ends with the error of each, if there is one, or of ctx. That the map
// is of a type that cannot be read is a *UsageError.
func (m *Map) Dump(ctx context.Context, each func(*Entry) error) (Report, error) {
	if m.kind.dump != "" {
		return Report{}, usagef("%s is a %s and cannot be dumped: %s", m.title(), m.kind.name, m.kind.dump)
	}
	d := &dump{m: m, each: each, ctx: ctx}
	d.entry.Values = make([][]byte, m.cpus)
	err := d.run()
	if errors.Is(err, ErrStop) {
		err = nil
	}
	if err != nil && !errors.Is(err, errEach) {
		err = fmt.Errorf("read %s: %w", m.title(), err)
	}
	return d.report, err
}

// errEach marks errors that are not the map's.
var errEach = errors.New("callback")

type eachError struct{ error }

func (eachError) Is(target error) bool { return target == errEach }
func (e eachError) Unwrap() error      { return e.error }

// dump is one pass over a map.
type dump struct {
	m      *Map
	ctx    context.Context // that of the call of Dump
	each   func(*Entry) error
	entry  Entry
	report Report
	first  []byte // the key that came first: if it comes again, the pass began anew
	holes  int    // keys without a value
}

func (d *dump) run() error {
	if d.m.kind.keyless {
		return d.peek()
	}
	done, err := d.batches()
	if err != nil || done {
		return err
	}
	return d.keys()
}

// peek shows the element of a queue or stack that is taken next.
func (d *dump) peek() error {
	d.report.Note = "of a " + d.m.kind.name + " only the entry that is taken next can be seen without taking it"
	value := make([]byte, d.m.valueBytes())
	err := d.m.m.Lookup(nil, value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		d.report.Note = ""
		return nil
	}
	if err != nil {
		return err
	}
	return d.emit(nil, value)
}

// batch is room for many entries in the form that the library takes: slices of
// arrays, whose length the compiler does not know.
type batch struct {
	keys, values []byte
	keysArg      any
	valuesArg    any
}

func newBatch(n, keySize, valueSize int) *batch {
	b := &batch{keys: make([]byte, n*keySize), values: make([]byte, n*valueSize)}
	arrays := func(data []byte, size int) any {
		t := reflect.ArrayOf(size, reflect.TypeFor[byte]())
		return reflect.SliceAt(t, unsafe.Pointer(&data[0]), n).Interface()
	}
	b.keysArg, b.valuesArg = arrays(b.keys, keySize), arrays(b.values, valueSize)
	return b
}

// batches reads the map in batches. It reports false if the map cannot be read so.
func (d *dump) batches() (done bool, err error) {
	keySize, valueSize := int(d.m.info.KeySize), d.m.valueBytes()
	if keySize == 0 || valueSize == 0 {
		return false, nil
	}
	n := max(1, min(maxBatch, batchBytes/(keySize+valueSize), int(d.m.info.MaxEntries)))
	b := newBatch(n, keySize, valueSize)
	var cursor ebpf.MapBatchCursor
	for {
		if err := d.ctx.Err(); err != nil {
			return true, err
		}
		got, err := d.m.m.BatchLookup(&cursor, b.keysArg, b.valuesArg, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		switch {
		case end || err == nil:
		case errors.Is(err, unix.ENOSPC) && n <= int(d.m.info.MaxEntries):
			// The next bucket has more entries than the batch has room for.
			n *= 2
			b = newBatch(n, keySize, valueSize)
			continue
		case !d.report.Batched: // no batches here: the kernel or the type has none
			return false, nil
		default:
			return true, err
		}
		d.report.Batched = true
		for i := range min(got, n) {
			key := b.keys[i*keySize : (i+1)*keySize]
			if again := d.again(key); again {
				return true, nil
			}
			if err := d.emit(key, b.values[i*valueSize:(i+1)*valueSize]); err != nil {
				return true, err
			}
		}
		if end || got == 0 && err == nil {
			return true, nil
		}
	}
}

// again reports whether the pass began anew, as that over a map does whose next
// key is asked for with one that was deleted meanwhile. Hash maps in batches go
// bucket by bucket and have every key once.
func (d *dump) again(key []byte) bool {
	if d.first == nil {
		d.first = bytes.Clone(key)
		return false
	}
	// The first key may be gone too: no map has more entries than its maximum,
	// though some types bend that a little for each CPU.
	more := d.report.Entries+d.holes > 2*int(d.m.info.MaxEntries)+1024
	if more || bytes.Equal(key, d.first) {
		d.report.Changed = true
		return true
	}
	return false
}

// keys reads the map key by key: two calls an entry.
func (d *dump) keys() error {
	key, next := make([]byte, d.m.info.KeySize), make([]byte, d.m.info.KeySize)
	value := make([]byte, d.m.valueBytes())
	split := make([][]byte, d.m.cpus)
	var from any // nil asks for the first key
	for n := 0; ; n++ {
		if n%ctxEvery == 0 && d.ctx.Err() != nil {
			return d.ctx.Err()
		}
		err := d.m.m.NextKey(from, next)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		key, next = next, key
		from = key
		if d.again(key) {
			return nil
		}
		err = d.m.lookup(key, value, split)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			// An empty slot of an array, or a key deleted just now: then the next
			// question begins anew.
			d.holes++
			continue
		}
		if err != nil {
			return d.unreadable(err)
		}
		if err := d.emit(key, value); err != nil {
			return err
		}
	}
}

// unreadable explains why a value cannot be read.
func (d *dump) unreadable(err error) error {
	switch d.m.m.Type() {
	case ebpf.SockMap, ebpf.SockHash, ebpf.ReusePortSockArray:
		if d.m.info.ValueSize < 8 { // sock_map_lookup_sys: ENOSPC
			return usagef("%s keeps sockets as file descriptors: only with values of 8 bytes the kernel shows their cookies", d.m.title())
		}
	}
	return err
}

// lookup reads the value of key into value, of m.valueBytes. split is room for
// slices, one a CPU.
func (m *Map) lookup(key any, value []byte, split [][]byte) error {
	if !m.perCPU {
		return m.m.Lookup(key, value)
	}
	if err := m.m.Lookup(key, &split); err != nil {
		return err
	}
	for cpu, v := range split {
		copy(value[cpu*m.stride:], v)
	}
	return nil
}

// emit gives one entry to the callback.
func (d *dump) emit(key, value []byte) error {
	if d.m.section != nil {
		return d.variables(value)
	}
	d.entry.Key, d.entry.KeyType, d.entry.ValueType = key, d.m.key, d.m.val
	if d.m.kind.object {
		value = d.m.objectValue(value)
	}
	d.m.split(&d.entry, value)
	return d.give()
}

func (d *dump) give() error {
	if err := d.each(&d.entry); err != nil {
		return eachError{err}
	}
	d.report.Entries++
	return nil
}

// split cuts the value of an entry into those of the CPUs.
func (m *Map) split(e *Entry, value []byte) {
	size := int(m.info.ValueSize)
	if !m.perCPU {
		size = len(value)
	}
	for cpu := range e.Values {
		e.Values[cpu] = value[cpu*m.stride:][:size]
	}
}

// variables gives the variables of a section, each as an entry.
func (d *dump) variables(value []byte) error {
	for _, v := range d.m.section.Vars {
		if !d.m.variable(&d.entry, v, value) {
			continue
		}
		if err := d.give(); err != nil {
			return err
		}
	}
	return nil
}

// variable makes the entry of one variable. It reports false if there is no such
// one in the value, as in a section that says nonsense.
func (m *Map) variable(e *Entry, at btf.VarSecinfo, value []byte) bool {
	v, ok := at.Type.(*btf.Var)
	end := uint64(at.Offset) + uint64(at.Size)
	if !ok || end > uint64(m.info.ValueSize) {
		return false
	}
	e.Key, e.KeyType, e.ValueType = []byte(v.Name), charArray(len(v.Name)), v.Type
	m.split(e, value)
	for cpu := range e.Values {
		e.Values[cpu] = e.Values[cpu][at.Offset:end]
	}
	return true
}
