package bpfmap

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/value"
)

// Keyless reports whether get and set take no key, as queues and bloom filters do.
func (m *Map) Keyless() bool { return m.kind.keyless }

// Get returns the entry of a key, written as text; that of a variable by its name
// if the map is global data. The error wraps ErrNotFound if there is no such key
// and is a *UsageError if the text is none of the key's type. Of a bloom filter
// key is the value that may be in it; of a queue it is empty.
func (m *Map) Get(key string) (*Entry, error) {
	if m.kind.get != "" {
		return nil, usagef("%s is a %s and cannot be read by key: %s", m.title(), m.kind.name, m.kind.get)
	}
	e := &Entry{KeyType: m.key, ValueType: m.val, Values: make([][]byte, m.cpus)}
	data := make([]byte, m.valueBytes())
	if m.kind.keyless {
		return e, m.getKeyless(e, key, data)
	}
	at, isVariable, err := m.keyOf(key)
	if err != nil {
		return nil, err
	}
	if e.Key, err = m.parseKey(key); isVariable {
		e.Key, err = make([]byte, m.info.KeySize), nil
	}
	if err != nil {
		return nil, err
	}
	if err := m.lookup(e.Key, data, make([][]byte, m.cpus)); err != nil {
		return nil, m.explain("get", key, err)
	}
	if isVariable {
		m.variable(e, at, data)
		return e, nil
	}
	if m.kind.object {
		data = m.objectValue(data)
	}
	m.split(e, data)
	return e, nil
}

func (m *Map) getKeyless(e *Entry, text string, data []byte) (err error) {
	if m.m.Type() == ebpf.BloomFilter {
		if data, err = m.parse("value", m.val, m.info.ValueSize, text); err != nil {
			return err
		}
		err = m.m.Lookup(nil, data) // the kernel reads the value here
	} else if text != "" {
		return usagef("%s is a %s: its entries have no keys", m.title(), m.kind.name)
	} else {
		err = m.m.Lookup(nil, data)
	}
	if err != nil {
		return m.explain("get", text, err)
	}
	m.split(e, data)
	return nil
}

// Set writes the value of a key, both as text, or of a variable of global data.
// Of a per-CPU map the sum becomes value, or with each the value of every CPU. An
// entry that is not there is made, where the type of the map can. A queue is
// pushed to, and key is empty then. The texts that are no such value are a
// *UsageError.
func (m *Map) Set(key, text string, each bool) error {
	if err := m.writable("set", m.kind.set); err != nil {
		return err
	}
	at, isVariable, err := m.keyOf(key)
	if err != nil {
		return err
	}
	if isVariable {
		return m.setVariable(key, at, text, each)
	}
	var k any
	if !m.kind.keyless {
		if k, err = m.parseKey(key); err != nil {
			return err
		}
	}
	if m.kind.object {
		return m.setObject(key, k, text)
	}
	data, err := m.parse("value", m.val, m.info.ValueSize, text)
	if err != nil {
		return err
	}
	if m.perCPU {
		return m.explain("set", key, m.m.Put(k, m.spread(data, m.val, each)))
	}
	return m.explain("set", key, m.m.Put(k, data))
}

// spread makes values for all CPUs whose sum is value, or each value.
func (m *Map) spread(value []byte, t btf.Type, each bool) [][]byte {
	all := make([][]byte, m.cpus)
	sums := NewSummer(t)
	for cpu := range all {
		all[cpu] = value
		if !each && cpu > 0 {
			// What is no number stays in all, the numbers are in the first.
			all[cpu] = append([]byte(nil), value...)
			for _, n := range sums.numbers {
				n.put(all[cpu], 0)
			}
		}
	}
	return all
}

// setVariable writes one variable. Where the map can be mapped into memory its
// bytes alone change; otherwise what a program writes to other variables of the
// section at the same moment can be lost.
func (m *Map) setVariable(name string, at btf.VarSecinfo, text string, each bool) error {
	v := at.Type.(*btf.Var)
	b, err := value.ParseNamed(v.Name, v.Type, text, os.Getpid())
	if err != nil {
		return usagef("set %s of %s: %v (it is of type %s)", name, m.title(), err, typeName(v.Type, at.Size))
	}
	end := int(at.Offset) + len(b)
	if end > int(m.info.ValueSize) {
		return usagef("set %s of %s: the map ends before it", name, m.title())
	}
	if m.m.Flags()&unix.BPF_F_MMAPABLE != 0 {
		memory, err := m.m.Memory()
		if err == nil && !memory.ReadOnly() {
			_, err = memory.WriteAt(b, int64(at.Offset))
			return m.explain("set", name, err)
		}
	}
	key := make([]byte, m.info.KeySize)
	data := make([]byte, m.valueBytes())
	if err := m.lookup(key, data, make([][]byte, m.cpus)); err != nil {
		return m.explain("set", name, err)
	}
	if !m.perCPU {
		copy(data[at.Offset:], b)
		return m.explain("set", name, m.m.Put(key, data))
	}
	e := Entry{Values: make([][]byte, m.cpus)}
	m.split(&e, data)
	for cpu, b := range m.spread(b, v.Type, each) {
		copy(e.Values[cpu][at.Offset:], b)
	}
	return m.explain("set", name, m.m.Put(key, e.Values))
}

// Delete removes the entry of a key, written as text.
func (m *Map) Delete(key string) error {
	if err := m.writable("delete", m.kind.delete); err != nil {
		return err
	}
	k, err := m.parseKey(key)
	if err != nil {
		return err
	}
	return m.explain("delete", key, m.m.Delete(k))
}

// writable refuses what the map does not take.
func (m *Map) writable(verb, why string) error {
	if why != "" {
		return usagef("%s is a %s: cannot %s: %s", m.title(), m.kind.name, verb, why)
	}
	info, err := infoOf(m.m) // it may have been frozen since
	if err != nil {
		return err
	}
	if info.Frozen {
		return fmt.Errorf("%s %s: it is frozen: its loader made it read-only for user space, for good", verb, m.title())
	}
	return nil
}

// keyOf finds the variable that text names, if the map is global data.
func (m *Map) keyOf(text string) (at btf.VarSecinfo, found bool, err error) {
	if m.section == nil {
		return btf.VarSecinfo{}, false, nil
	}
	var names []string
	for _, at := range m.section.Vars {
		v, ok := at.Type.(*btf.Var)
		if !ok || uint64(at.Offset)+uint64(at.Size) > uint64(m.info.ValueSize) {
			continue
		}
		if v.Name == text {
			return at, true, nil
		}
		names = append(names, v.Name)
	}
	return btf.VarSecinfo{}, false, usagef("%s holds global variables and none is called %q: there are %s",
		m.title(), text, strings.Join(names, ", "))
}

func (m *Map) parseKey(text string) ([]byte, error) {
	if m.m.Type() == ebpf.LPMTrie {
		if key, ok := parsePrefix(text, int(m.info.KeySize)); ok {
			return key, nil
		}
	}
	return m.parse("key", m.key, m.info.KeySize, text)
}

// parse turns text into bytes of type t, or of unknown ones.
func (m *Map) parse(what string, t btf.Type, size uint32, text string) ([]byte, error) {
	var b []byte
	var err error
	if t == nil {
		b, err = parseBytes(text, int(size))
	} else {
		b, err = value.Parse(t, text)
	}
	if err == nil && len(b) != int(size) {
		err = fmt.Errorf("%q makes %d bytes", text, len(b))
	}
	if err != nil {
		return nil, usagef("%s of %s: %v (it is of type %s, %d bytes)", what, m.title(), err, typeName(t, size), size)
	}
	return b, nil
}

// explain says why the kernel refused.
func (m *Map) explain(verb, key string, err error) error {
	doing := fmt.Sprintf("%s %s of %s", verb, strconv.Quote(key), m.title())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ebpf.ErrKeyNotExist) && m.kind.keyless:
		if m.m.Type() == ebpf.BloomFilter {
			return fmt.Errorf("%s: %w: it is surely not in", doing, ErrNotFound)
		}
		return fmt.Errorf("%s: %w: it is empty", doing, ErrNotFound)
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return fmt.Errorf("%s: %w: there is no such key", doing, ErrNotFound)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%s: no room: it has at most %d entries: %w", doing, m.info.MaxEntries, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		// BPF_F_RDONLY and BPF_F_WRONLY belong to the descriptor, not to the map.
		if verb == "get" {
			return fmt.Errorf("%s: the way it was opened or pinned allows writing only: %w", doing, err)
		}
		return fmt.Errorf("%s: the way it was opened or pinned allows reading only: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
