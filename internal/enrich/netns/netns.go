// Package netns gives network namespaces names and ways in, by the inode
// number that the kernel and ls -L /proc/PID/ns/net show.
//
// A namespace is called, in this order: host, if it is the initial one; its
// name in /run/netns (ip netns); the container that lives in it; the name its
// runtime made up for it (docker's sandbox, cni-…); its oldest process, as
// "pid 1234 nginx". A container comes before made-up names because it is what
// a user knows it by.
//
// [Names.Name] answers from memory at once; what it does not know is looked for
// in the next [Names.Refresh], which the caller runs in a goroutine of its own.
// Inode numbers are reused soon after a namespace has gone: a name whose
// namespace is no longer found is kept for the records that are still to come,
// and looked for again whenever it is asked for. Only internal/agent imports
// this package.
package netns

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Host is the name of the initial namespace.
const Host = "host"

// Config says where to look and how much to keep; its zero value is usable.
type Config struct {
	// Proc is where procfs is mounted; empty means /proc.
	Proc string
	// Dirs are where users' names are bind-mounted; nil means /run/netns.
	Dirs []string
	// SandboxDirs are where runtimes mount names of their own making; nil means
	// /run/docker/netns. Names in Dirs that a container network plugin made
	// (cni-…, netns-UUID) count as such too.
	SandboxDirs []string
	// Container tells a container from a cgroup's path, from memory at once: its
	// id, and its name if it is known. Nil means that there are none.
	Container func(cgroup string) (id, name string)
	// Keep is how many namespaces are remembered; 0 means 4,096.
	Keep int
	// Procs is how many processes one Refresh looks at; 0 means 32,768 (about
	// 3 µs each).
	Procs int
}

// maxWanted bounds the namespaces that wait for a Refresh. One that finds no
// room is asked for again with its next record, so nothing is lost.
const maxWanted = 1024

// Names maps inode numbers of network namespaces to names. Lookups and Refresh
// may run at the same time.
type Names struct {
	cfg Config

	refreshing sync.Mutex
	seen       map[uint32]struct{} // processes that the last scans looked at

	mu      sync.Mutex // held for memory operations only, never for I/O
	known   *simplelru.LRU[uint32, entry]
	wanted  map[uint32]*search
	evicted uint64
	skipped uint64
}

// rank orders the sources of a name, best last.
type rank uint8

const (
	byProcess rank = iota + 1
	bySandbox
	byContainer
	byName
	byHost
)

type entry struct {
	name string
	path string // for setns
	pid  uint32 // whose path it is; 0 if it is mounted
	rank rank
	gone bool // not found by the last Refresh; the name is kept
	// loose says that the name may yet become another: a process executes
	// another program or is put into its container, a container gets a name.
	loose bool
}

// maxLoose bounds how many such names one Refresh reads again, in any order.
const maxLoose = 64

// search is how an unknown namespace is looked for. One with neither name nor
// process cannot be found (a socket or a descriptor holds it): each whole scan
// in vain doubles the number of refreshes before the next.
type search struct {
	pause, left uint8
}

const maxPause = 64

// New returns a table that knows nothing yet and touches nothing.
func New(cfg Config) *Names {
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Dirs == nil {
		cfg.Dirs = []string{"/run/netns"}
	}
	if cfg.SandboxDirs == nil {
		cfg.SandboxDirs = []string{"/run/docker/netns"}
	}
	if cfg.Container == nil {
		cfg.Container = func(string) (string, string) { return "", "" }
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 4096
	}
	if cfg.Procs <= 0 {
		cfg.Procs = 32768
	}
	n := &Names{cfg: cfg, seen: map[uint32]struct{}{}, wanted: map[uint32]*search{}}
	n.known, _ = simplelru.NewLRU[uint32, entry](cfg.Keep, nil) // errs on sizes below 1 only
	return n
}

// Name returns what a namespace is called; empty if that is not known, or not
// yet: the next Refresh looks for it.
func (n *Names) Name(inode uint32) string {
	if inode == 0 {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.known.Get(inode)
	if !ok || e.gone || e.rank == bySandbox { // its container may yet begin
		n.want(inode)
	}
	return e.name
}

// Path returns a file by which setns enters a namespace. Whoever opens it
// compares the inode: the namespace may have gone since, and its process's
// pid may be another's. False says that none is known, or not yet.
func (n *Names) Path(inode uint32) (string, bool) {
	if inode == 0 {
		return "", false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.known.Get(inode)
	if !ok || e.gone {
		n.want(inode)
		return "", false
	}
	return e.path, true
}

// Space is a network namespace that is known.
type Space struct {
	Inode uint32
	Name  string
	Path  string // by which setns enters it
}

// Spaces returns the namespaces that the last Refresh found or that were asked
// about, in the order of their numbers.
func (n *Names) Spaces() []Space {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []Space
	for _, inode := range n.known.Keys() {
		if e, ok := n.known.Peek(inode); ok && !e.gone && e.path != "" {
			list = append(list, Space{Inode: inode, Name: e.name, Path: e.path})
		}
	}
	slices.SortFunc(list, func(a, b Space) int { return cmp.Compare(a.Inode, b.Inode) })
	return list
}

func (n *Names) want(inode uint32) {
	if _, ok := n.wanted[inode]; !ok && len(n.wanted) < maxWanted {
		n.wanted[inode] = &search{pause: 1}
	}
}

// Evicted returns how many namespaces were forgotten for want of room, since
// the start.
func (n *Names) Evicted() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.evicted
}

// Skipped returns how many processes were left out because a Refresh had
// looked at as many as it may, or was out of time, since the start.
func (n *Names) Skipped() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.skipped
}

// Refresh reads the names that are mounted, and looks for the namespaces asked
// about in the processes: new ones first, all others only if those do not have
// them. It stops early when ctx is done; what is left waits for the next call.
func (n *Names) Refresh(ctx context.Context) error {
	n.refreshing.Lock()
	defer n.refreshing.Unlock()
	device, err := n.device()
	if err != nil {
		return err
	}
	found := map[uint32]entry{}
	n.readDirs(device, found)
	n.verify(found)

	first := len(n.seen) == 0
	due := n.takeDue(found)
	if !first && len(due) == 0 {
		n.install(found, nil)
		return nil
	}
	s := scan{names: n, found: found, due: due, holders: map[uint32][]uint32{}}
	if first {
		s.due = nil // everything there is
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	n.install(found, &s)
	return nil
}

// device returns the device number of nsfs, by which a mounted namespace is
// told from a file that is left of one.
func (n *Names) device() (uint64, error) {
	var st syscall.Stat_t
	file := n.cfg.Proc + "/self/ns/net"
	if err := syscall.Stat(file, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", file, err)
	}
	return st.Dev, nil
}

// inodeOf returns the inode number of a namespace's file; 0 if it is none.
func inodeOf(file string, device uint64) uint32 {
	var st syscall.Stat_t
	if syscall.Stat(file, &st) != nil || st.Dev != device {
		return 0
	}
	return uint32(st.Ino)
}

// host finds the initial namespace: that of process 1, of the kernel's own
// threads, or, where those are hidden from us, ours if it is the initial one.
// That it is shows in a sysctl that only the initial namespace has
// (net_core_table in net/core/sysctl_net_core.c).
func (n *Names) host(device uint64) (file string, inode uint32) {
	for _, pid := range []string{"1", "2"} {
		file = n.cfg.Proc + "/" + pid + "/ns/net"
		if inode = inodeOf(file, device); inode != 0 {
			return file, inode
		}
	}
	runtime.LockOSThread() // both files are the thread's
	defer runtime.UnlockOSThread()
	if _, err := os.Stat(n.cfg.Proc + "/sys/net/core/netdev_max_backlog"); err != nil {
		return "", 0
	}
	file = n.cfg.Proc + "/thread-self/ns/net"
	return file, inodeOf(file, device)
}

func (n *Names) readDirs(device uint64, found map[uint32]entry) {
	if file, inode := n.host(device); inode != 0 {
		found[inode] = entry{name: Host, path: file, rank: byHost}
	}
	read := func(dir string, madeUp bool) {
		files, _ := os.ReadDir(dir) // there is none where nobody made names
		for _, f := range files[:min(len(files), n.cfg.Keep)] {
			e := entry{name: f.Name(), path: filepath.Join(dir, f.Name()), rank: byName}
			if madeUp || isMadeUp(f.Name()) {
				e.rank = bySandbox
			}
			if inode := inodeOf(e.path, device); inode != 0 && found[inode].rank < e.rank {
				found[inode] = e
			}
		}
	}
	for _, dir := range n.cfg.Dirs {
		read(dir, false)
	}
	for _, dir := range n.cfg.SandboxDirs {
		read(dir, true)
	}
}

// isMadeUp tells the names that CNI runtimes give: containerd and cri-o
// "cni-UUID" (containerd pkg/netns), podman "netns-UUID" (containers/common
// pkg/netns).
func isMadeUp(name string) bool {
	rest, ok := strings.CutPrefix(name, "cni-")
	if !ok {
		rest, ok = strings.CutPrefix(name, "netns-")
	}
	return ok && len(rest) == 36 && strings.Count(rest, "-") == 4
}

// verify keeps the names by process whose process is still there.
func (n *Names) verify(found map[uint32]entry) {
	n.mu.Lock()
	held := map[uint32]entry{}
	for _, inode := range n.known.Keys() {
		if e, _ := n.known.Peek(inode); !e.gone && (e.rank == byProcess || e.rank == byContainer) {
			held[inode] = e
		}
	}
	n.mu.Unlock()
	loose := maxLoose
	for inode, e := range held {
		mounted, isMounted := found[inode]
		if isMounted && mounted.rank >= e.rank {
			continue
		}
		link, err := os.Readlink(e.path)
		if now, ok := parseLink([]byte(link)); err != nil || !ok || now != inode {
			continue
		}
		if e.loose && loose > 0 {
			loose--
			if again, ok := n.nameHolder([]uint32{e.pid}); ok {
				e = again
			}
		}
		found[inode] = e
	}
}

// takeDue returns the wanted namespaces that it is time to look for.
func (n *Names) takeDue(found map[uint32]entry) map[uint32]struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	due := map[uint32]struct{}{}
	for inode, s := range n.wanted {
		if e, ok := found[inode]; ok && e.rank != bySandbox {
			delete(n.wanted, inode)
			continue
		}
		if s.left > 0 {
			s.left--
			continue
		}
		due[inode] = struct{}{}
	}
	return due
}

// install publishes what was found. What was known and not found is kept, as
// gone.
func (n *Names) install(found map[uint32]entry, s *scan) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, inode := range n.known.Keys() {
		e, _ := n.known.Peek(inode)
		if _, ok := found[inode]; !ok && !e.gone {
			e.gone = true
			n.replace(inode, e)
		}
	}
	for _, inode := range slices.Sorted(keys(found)) {
		n.replace(inode, found[inode])
		if found[inode].rank != bySandbox {
			delete(n.wanted, inode)
		}
	}
	if s == nil {
		return
	}
	n.skipped += s.skipped
	for inode := range s.due {
		if w, ok := n.wanted[inode]; ok && s.whole {
			w.left = w.pause
			w.pause = min(2*w.pause, maxPause)
		}
	}
}

func keys(m map[uint32]entry) func(yield func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// replace sets an entry. One that has not changed stays in its place, so that
// what nobody asks about is evicted first.
func (n *Names) replace(inode uint32, e entry) {
	if old, ok := n.known.Peek(inode); ok && old == e {
		return
	}
	if n.known.Add(inode, e) {
		n.evicted++
	}
}

// holder is a process that lives in a namespace.
type holder struct {
	pid   uint32
	start uint64 // clock ticks since boot
	comm  string
}

// nameHolder chooses among the processes of a namespace: the oldest, for it is
// most likely the one that the namespace was made for.
func (n *Names) nameHolder(pids []uint32) (entry, bool) {
	var oldest []holder
	for _, pid := range pids {
		if h, ok := readHolder(n.cfg.Proc, pid); ok {
			oldest = append(oldest, h)
		}
	}
	if len(oldest) == 0 {
		return entry{}, false
	}
	h := slices.MinFunc(oldest, func(a, b holder) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.pid, b.pid))
	})
	e := entry{path: fmt.Sprintf("%s/%d/ns/net", n.cfg.Proc, h.pid), pid: h.pid}
	if id, name := n.container(h.pid); id != "" {
		e.name, e.rank, e.loose = cmp.Or(name, id), byContainer, name == ""
	} else {
		e.name, e.rank, e.loose = fmt.Sprintf("pid %d %s", h.pid, h.comm), byProcess, true
	}
	return e, true
}
