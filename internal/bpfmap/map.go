package bpfmap

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Map is an open map. It is for one goroutine.
type Map struct {
	m    *ebpf.Map
	info Info
	kind kind

	key, val btf.Type // nil if not known
	section  *btf.Datasec
	perCPU   bool
	cpus     int // values of an entry: 1, or the number of possible CPUs
	stride   int // bytes from one CPU's value to the next
}

// Entry is one key with its value or, of a per-CPU map, the value of each CPU.
// Variables of global data are entries too, with their names as keys. It is valid
// until the function that it was given to returns.
type Entry struct {
	Key       []byte
	KeyType   btf.Type // nil if it is not known
	Values    [][]byte // one, or one for each possible CPU
	ValueType btf.Type // nil if it is not known
}

// Open opens the map that what names: the path of a pin, the id of a map, or the
// name of a map or pin. The error wraps ErrNotFound if there is none and is a
// *UsageError, which lists them, if there are several. The caller closes it.
func Open(what string) (*Map, error) {
	m, pins, err := find(what)
	if err != nil {
		return nil, err
	}
	opened, err := New(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	opened.info.Pins = pins
	return opened, nil
}

// New returns m with the types that the kernel has for it. The Map owns m, unless
// there is an error.
func New(m *ebpf.Map) (*Map, error) {
	info, err := infoOf(m)
	if err != nil {
		return nil, err
	}
	key, val, err := typesOf(m, info)
	if err != nil {
		return nil, err
	}
	r := &Map{m: m, info: info, kind: kindOf(m.Type()), key: key, val: val, perCPU: perCPU(m.Type()), cpus: 1}
	if r.key == nil {
		r.key = plainKey(m)
	}
	if r.kind.object {
		r.val = objectType()
	}
	r.section, _ = r.val.(*btf.Datasec)
	r.stride = int(info.ValueSize)
	if r.perCPU {
		if r.cpus, err = ebpf.PossibleCPU(); err != nil {
			return nil, err
		}
		r.stride = (r.stride + 7) &^ 7 // as the kernel copies them: round_up(value_size, 8)
	}
	return r, nil
}

// Close closes the map, which goes on living if anything else holds it.
func (m *Map) Close() error { return m.m.Close() }

// Info returns what the kernel told when the map was opened.
func (m *Map) Info() Info { return m.info }

// PerCPU reports whether entries have a value for each CPU.
func (m *Map) PerCPU() bool { return m.perCPU }

// Types returns the types of all keys and values. The value's is nil if each
// entry has its own, as the variables of global data have, and either is nil if
// it is not known; the entries then tell.
func (m *Map) Types() (key, val btf.Type) {
	if m.section != nil {
		return charArray(0), nil
	}
	return m.key, m.val
}

// Global reports whether the map holds the global variables of a program.
func (m *Map) Global() bool { return m.section != nil }

// title names the map in errors.
func (m *Map) title() string {
	if m.info.Name == "" {
		return "map " + m.id()
	}
	return "map " + m.info.Name + " (id " + m.id() + ")"
}
