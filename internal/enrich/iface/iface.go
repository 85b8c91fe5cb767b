// Package iface remembers the network interfaces of every namespace: name,
// kind, what lies above and below, and how the kernel counts on them.
//
// [Table.Lookup] answers from memory at once; what it does not know is asked
// of rtnetlink in the next [Table.Refresh], which the caller runs in a
// goroutine of its own: one dump a namespace, about 50 µs, and only of
// namespaces that somebody asked about. An interface that has gone keeps its
// last name until the table is full: records about it arrive later. Only
// internal/agent imports this package.
package iface

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/vishvananda/netns"
)

// Iface is what is known of an interface.
type Iface struct {
	Name string
	// Kind is rtnetlink's: veth, bridge, vlan, vxlan, tun …; lo for the loopback
	// and physical for what has no kind: network cards, virtual machines' too.
	Kind string
	// Master is the index of the bridge, bond or VRF that this is a port of; 0 if
	// it is of none.
	Master uint32
	// Link is the index of the interface below it or, of a veth, the other end;
	// 0 if there is none or it is out of sight.
	Link uint32
	// LinkNSID is the id that this interface's namespace has for the one that
	// Link is an index in (RTM_GETNSID); -1 if that is the same.
	LinkNSID int32
	// MTU is in bytes, from the network header on.
	MTU uint32
	// HeaderLen is the length in bytes of the link-layer header that the kernel
	// pulls before netif_receive_skb: 14 for Ethernet, 0 where there is none.
	HeaderLen uint16
	// XDP says that a program is attached in the driver (not generic XDP).
	XDP bool
	Class
}

const (
	keep      = 16384 // interfaces remembered
	maxWanted = 4096  // lookups that wait; one without room is made again with its next record
	batch     = 256   // namespaces that one Refresh reads because they were asked about
	others    = 16    // and besides, to notice new names
	maxSpaces = 4096  // namespaces that are read again in turn
	maxPause  = 64    // refreshes between two searches for an interface that is not there
)

// Table maps namespaces (inode) and interface indexes to interfaces. Lookup
// and Refresh may run at the same time.
//
// An index is used again within a namespace only after 2^31 others or if asked
// for by number (dev_index_reserve in net/core/dev.c). Namespaces' inodes are
// reused soon: then the new one's interfaces replace the old one's when it
// is first read, which is when one of its interfaces is not known, or in turn.
type Table struct {
	paths func(inode uint32) (string, bool)

	refreshing sync.Mutex

	mu      sync.Mutex // held for memory operations only, never for I/O
	known   *simplelru.LRU[key, entry]
	wanted  map[key]struct{}
	spaces  []uint32 // namespaces read before, to be read in turn
	next    int      // in spaces
	evicted uint64
}

type key struct{ netns, ifindex uint32 }

type entry struct {
	Iface
	absent      bool // looked for in vain
	pause, left uint8
}

// New returns a table that knows nothing yet and touches nothing. The function
// gives the path of a file that enters a namespace, from memory at once.
func New(paths func(inode uint32) (string, bool)) *Table {
	t := &Table{paths: paths, wanted: map[key]struct{}{}}
	t.known, _ = simplelru.NewLRU[key, entry](keep, nil) // errs on sizes below 1 only
	return t
}

// Lookup returns an interface by its namespace's inode and its index there.
// False says that it is not known, or not yet: the next Refresh looks for it.
func (t *Table) Lookup(netns, ifindex uint32) (Iface, bool) {
	if netns == 0 || ifindex == 0 {
		return Iface{}, false
	}
	k := key{netns, ifindex}
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.known.Get(k)
	if ok && !e.absent {
		return e.Iface, true
	}
	if len(t.wanted) < maxWanted {
		t.wanted[k] = struct{}{}
	}
	return Iface{}, false
}

// Evicted returns how many interfaces were forgotten for want of room, since
// the start.
func (t *Table) Evicted() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.evicted
}

// Refresh reads the namespaces that have interfaces asked for and not known,
// and a few of the others in turn. It stops early when ctx is done; what is
// left waits for the next call. A namespace that has gone is no error; the
// first that cannot be read is, after all others were.
func (t *Table) Refresh(ctx context.Context) error {
	t.refreshing.Lock()
	defer t.refreshing.Unlock()
	asked := t.takeDue()
	var first error
	for _, inode := range slices.Concat(sortedKeys(asked), t.takeTurn(asked)) {
		if ctx.Err() != nil {
			t.wantAgain(asked)
			return first
		}
		links, err := t.read(inode)
		switch {
		case errors.Is(err, errGone):
			t.forget(inode, asked[inode])
		case err != nil:
			if first == nil {
				first = err
			}
			t.forget(inode, asked[inode])
		default:
			t.install(inode, links, asked[inode])
		}
		delete(asked, inode)
	}
	return first
}

// takeDue returns the interfaces that it is time to look for, by namespace.
func (t *Table) takeDue() map[uint32][]uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	due := map[uint32][]uint32{}
	for k := range t.wanted {
		if due[k.netns] == nil && len(due) == batch {
			continue // stays wanted
		}
		delete(t.wanted, k)
		if e, ok := t.known.Peek(k); ok {
			if !e.absent {
				continue // found in turn meanwhile
			}
			if e.left > 0 {
				e.left--
				t.put(k, e)
				continue
			}
		}
		due[k.netns] = append(due[k.netns], k.ifindex)
	}
	return due
}

// takeTurn returns the next few namespaces to read besides those asked for.
func (t *Table) takeTurn(asked map[uint32][]uint32) []uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var turn []uint32
	for range min(others, len(t.spaces)) {
		t.next %= len(t.spaces)
		inode := t.spaces[t.next]
		t.next++
		if _, ok := asked[inode]; !ok {
			turn = append(turn, inode)
		}
	}
	return turn
}

func (t *Table) wantAgain(asked map[uint32][]uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for inode, indexes := range asked {
		for _, i := range indexes {
			t.wanted[key{inode, i}] = struct{}{}
		}
	}
}

// install publishes the interfaces of a namespace. Those that are gone keep
// their names; those asked for and not there are looked for ever less often.
func (t *Table) install(inode uint32, links map[uint32]Iface, asked []uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for index, link := range links {
		k := key{inode, index}
		if old, ok := t.known.Peek(k); !ok || old.absent || old.Iface != link {
			t.put(k, entry{Iface: link})
		}
	}
	for _, index := range asked {
		if _, ok := links[index]; !ok {
			t.miss(key{inode, index})
		}
	}
	if !slices.Contains(t.spaces, inode) && len(t.spaces) < maxSpaces {
		t.spaces = append(t.spaces, inode)
	}
}

// forget takes a namespace that cannot be read out of the turn.
func (t *Table) forget(inode uint32, asked []uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, index := range asked {
		t.miss(key{inode, index})
	}
	if i := slices.Index(t.spaces, inode); i >= 0 {
		t.spaces = slices.Delete(t.spaces, i, i+1)
	}
}

// miss notes that an interface was looked for in vain.
func (t *Table) miss(k key) {
	e, ok := t.known.Peek(k)
	if ok && !e.absent {
		return // gone since; its name is kept
	}
	e.absent = true
	e.left = e.pause
	e.pause = min(2*e.pause+1, maxPause)
	t.put(k, e)
}

func (t *Table) put(k key, e entry) {
	if t.known.Add(k, e) {
		t.evicted++
	}
}

// errGone says that a namespace has gone or has no known way in.
var errGone = errors.New("network namespace is gone")

// read lists the interfaces of a namespace.
func (t *Table) read(inode uint32) (map[uint32]Iface, error) {
	// Its own namespace netfate reads without the privilege to enter one. The
	// thread's is asked for, not the process's: they are the same unless
	// somebody left a thread elsewhere.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var own syscall.Stat_t
	if err := syscall.Stat("/proc/thread-self/ns/net", &own); err == nil && uint32(own.Ino) == inode {
		return dump(netns.None())
	}
	path, ok := t.paths(inode)
	if !ok {
		return nil, errGone
	}
	handle, err := netns.GetFromPath(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer handle.Close()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(handle), &st); err != nil {
		return nil, fmt.Errorf("stat network namespace %s: %w", path, err)
	}
	if uint32(st.Ino) != inode {
		return nil, errGone // the path leads to another one now
	}
	links, err := dump(handle)
	if err != nil {
		return nil, fmt.Errorf("list interfaces of network namespace %s: %w", path, err)
	}
	return links, nil
}

func sortedKeys(m map[uint32][]uint32) []uint32 {
	keys := make([]uint32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
