package loader

import (
	"math/bits"
	"os"

	"github.com/cilium/ebpf"
)

// mendMaps changes what the kernel would refuse for certain, and notes it; what
// asks to be pinned by name is taken over from the library.
func (o *Object) mendMaps() error {
	for _, name := range sorted(o.spec.Maps) {
		m := o.spec.Maps[name]
		if m.Pinning == ebpf.PinByName {
			o.byName[name] = m.Name
			m.Pinning = ebpf.PinNone
		}
		if m.Extra != nil && m.Extra.Len() > 0 {
			o.note("map %s: its definition is longer than the one libbpf knows; the rest is ignored", name)
			m.Extra = nil
		}
		if err := o.mendSize(name, m); err != nil {
			return err
		}
	}
	return nil
}

func (o *Object) mendSize(name string, m *ebpf.MapSpec) error {
	switch m.Type {
	case ebpf.PerfEventArray: // the library makes it one entry a CPU
		return nil
	case ebpf.TaskStorage, ebpf.InodeStorage, ebpf.SkStorage, ebpf.CgroupStorage, ebpf.PerCPUCGroupStorage, ebpf.StructOpsMap:
		return nil // sized by what they are attached to
	case ebpf.RingBuf, ebpf.UserRingbuf:
		return o.mendRing(name, m)
	}
	if m.MaxEntries == 0 {
		m.MaxEntries = 1
		o.note("map %s: it has room for nothing (max_entries is 0), so it gets 1 entry", name)
	}
	return nil
}

// maxRing is the largest ring buffer whose size is a power of two in 32 bits.
const maxRing = 1 << 31

// mendRing makes a ring's size a power of two of at least a page, as
// kernel/bpf/ringbuf.c wants it.
func (o *Object) mendRing(name string, m *ebpf.MapSpec) error {
	m.Key, m.Value, m.KeySize, m.ValueSize = nil, nil, 0, 0 // a __type(value) says what events are; the kernel wants none
	page := uint32(os.Getpagesize())
	size := m.MaxEntries
	switch {
	case size == 0:
		size = 64 * page
	case size > maxRing:
		return usagef("map %s: a ring buffer of %d bytes is larger than the %d that the kernel makes", name, size, uint32(maxRing))
	case size < page:
		size = page
	case size&(size-1) != 0:
		size = 1 << bits.Len32(size)
	}
	if size != m.MaxEntries {
		o.note("map %s: a ring buffer of %d bytes cannot be made, so it gets %d: a power of two of at least a page", name, m.MaxEntries, size)
		m.MaxEntries = size
	}
	return nil
}
