// Package process remembers whose a socket is: process id and start time to
// comm, user, cgroup, container and executable.
//
// Facts come from two sides. The kernel's own arrive with the records, by
// [Table.Learn], and are enough for pid, comm and uid even of a process that
// lived a millisecond. What only /proc knows (the executable; the cgroup on
// hosts with version 1 hierarchies; processes nobody told of) is read in
// [Table.Refresh], for those asked about, which the caller runs in a goroutine
// of its own. [Table.Owner] answers from memory at once and never waits.
//
// A process that has exited keeps its facts until the table is full: records
// about it arrive later. Only internal/agent imports it.
package process

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/netfate/netfate/internal/record"
)

// Fact is what the kernel told of a process. PID and Start together are never
// reused.
type Fact struct {
	// Start is when the thread group's leader started: nanoseconds since boot,
	// suspended time included (task_struct.group_leader.start_boottime).
	Start uint64
	// CgroupID is the process's cgroup in the cgroup2 hierarchy; 0 if not known.
	CgroupID uint64
	// PID is the thread group's id in the initial PID namespace.
	PID uint32
	// UID is the real user id in the initial user namespace.
	UID uint32
	// Comm is the leader's name, ended by a zero byte if it is shorter.
	Comm [16]byte
}

// Config says where facts come from; its zero value is usable.
type Config struct {
	// Proc is where procfs is mounted; empty means /proc.
	Proc string
	// Keep is how many processes are remembered; 0 means 16,384 (some 6 MB).
	Keep int
	// Reads is how many processes one Refresh reads in /proc; 0 means 1,024
	// (about 60 µs each).
	Reads int
	// Cgroup gives the path of a cgroup by its id, from memory at once. Nil
	// means that ids say nothing.
	Cgroup func(id uint64) (string, bool)
	// Describe fills an owner's cgroup, container and names by a cgroup's path,
	// from memory at once; false says that the names may come later. Nil
	// means to fill in the path and no more.
	Describe func(path string, o *record.Owner) bool
	// Legacy says that version 1 cgroup hierarchies are mounted: then cgroup ids
	// do not tell containers apart, and /proc/PID/cgroup is read instead.
	Legacy bool
}

// maxWanted bounds the processes that wait for a Refresh. One that finds no
// room is asked for again with its next record, so nothing is lost.
const maxWanted = 4096

// Table maps processes to owners. Learn, Owner and Refresh may run at the same
// time.
type Table struct {
	cfg Config

	refreshing sync.Mutex

	mu      sync.Mutex // held for memory operations only, never for I/O
	known   *simplelru.LRU[key, *entry]
	wanted  map[key]struct{}
	evicted uint64
	missed  uint64
}

type key struct {
	start uint64
	pid   uint32
}

type entry struct {
	owner    record.Owner
	exe      string
	path     string // the cgroup's, once it is settled; the owner's may be a guess
	cgroupID uint64
	comm     [16]byte
	told     bool // the kernel or /proc told of it; else it is only known to be gone
	placed   bool // the cgroup fields are final
	read     bool // /proc was read or has nothing more
}

// New returns a table that knows nothing yet and touches nothing.
func New(cfg Config) *Table {
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 16384
	}
	if cfg.Reads <= 0 {
		cfg.Reads = 1024
	}
	if cfg.Cgroup == nil {
		cfg.Cgroup = func(uint64) (string, bool) { return "", false }
	}
	if cfg.Describe == nil {
		cfg.Describe = func(path string, o *record.Owner) bool { o.Cgroup = path; return true }
	}
	t := &Table{cfg: cfg, wanted: map[key]struct{}{}}
	t.known, _ = simplelru.NewLRU[key, *entry](cfg.Keep, nil) // errs on sizes below 1 only
	return t
}

// Learn takes in what the kernel told of a process. What it told before is
// replaced: a process changes its name by exec and is moved between cgroups.
// A fact without pid or start is ignored: it could not be told from another
// process's.
func (t *Table) Learn(f Fact) {
	if f.PID == 0 || f.Start == 0 {
		return
	}
	k := key{f.Start, f.PID}
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.known.Get(k)
	if ok && e.told && e.comm == f.Comm && e.cgroupID == f.CgroupID && e.owner.UID != nil && *e.owner.UID == f.UID {
		return
	}
	if !ok {
		e = t.add(k)
	}
	if !e.told || e.comm != f.Comm {
		e.told, e.read = true, false // exec: another executable
		e.comm, e.owner.Comm = f.Comm, commText(f.Comm[:])
	}
	if e.owner.UID == nil || *e.owner.UID != f.UID {
		uid := f.UID // records already handed out keep the old one
		e.owner.UID = &uid
	}
	if e.cgroupID != f.CgroupID {
		e.cgroupID, e.path, e.placed, e.read = f.CgroupID, "", false, false
		t.cfg.Cgroup(f.CgroupID) // have it looked up before it is gone
	}
}

// add makes an entry for k.
func (t *Table) add(k key) *entry {
	e := &entry{owner: record.Owner{PID: k.pid}}
	if t.known.Add(k, e) {
		t.evicted++
	}
	return e
}

// Owner returns what is known of a process: start as in [Fact]. False says
// that nothing is known, or not yet: the next Refresh looks for it in /proc.
func (t *Table) Owner(pid uint32, start uint64) (record.Owner, bool) {
	if pid == 0 || start == 0 {
		return record.Owner{}, false
	}
	k := key{start, pid}
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.known.Get(k)
	if !ok {
		t.want(k)
		return record.Owner{}, false
	}
	if !e.told {
		return record.Owner{}, false
	}
	if !e.placed {
		t.place(e)
	}
	if !e.read {
		t.want(k)
	}
	return e.owner, true
}

// Exe returns the path of a process's executable as /proc/PID/exe shows it, in
// the process's own mount namespace. False says that it is not known, or not
// yet, or that there is none: kernel threads.
func (t *Table) Exe(pid uint32, start uint64) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.known.Get(key{start, pid})
	if !ok {
		return "", false
	}
	return e.exe, e.exe != ""
}

// Evicted returns how many processes were forgotten for want of room, since
// the start.
func (t *Table) Evicted() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.evicted
}

// Missed returns how many processes nobody told of were gone before /proc
// could be read, since the start: their owners stay unknown.
func (t *Table) Missed() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.missed
}

func (t *Table) want(k key) {
	if len(t.wanted) < maxWanted {
		t.wanted[k] = struct{}{}
	}
}

// place fills the cgroup's fields from what is in memory. With version 1
// hierarchies the path comes from /proc; until then cgroup2's has to do, unless
// it is the root and says nothing.
func (t *Table) place(e *entry) {
	path := e.path
	if path == "" {
		var ok bool
		if path, ok = t.cfg.Cgroup(e.cgroupID); !ok || t.cfg.Legacy && path == "/" {
			return
		}
		if !t.cfg.Legacy {
			e.path = path
		}
	}
	final := t.cfg.Describe(path, &e.owner)
	e.placed = final && e.path != ""
}

// Refresh reads in /proc what is missing of the processes asked about since
// the last one, a bounded number of them; the rest waits for the next call, as
// it does when ctx is done. A process that has gone is no error.
func (t *Table) Refresh(ctx context.Context) error {
	t.refreshing.Lock()
	defer t.refreshing.Unlock()
	for _, k := range t.takeWanted() {
		if ctx.Err() != nil {
			t.mu.Lock()
			t.want(k)
			t.mu.Unlock()
			continue
		}
		status, err := readStatus(t.cfg.Proc, k.pid, k.start)
		if err != nil && !errors.Is(err, errGone) {
			return err
		}
		t.install(k, status, err == nil)
	}
	return nil
}

func (t *Table) takeWanted() []key {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([]key, 0, min(len(t.wanted), t.cfg.Reads))
	for k := range t.wanted {
		if len(keys) == t.cfg.Reads {
			break
		}
		keys = append(keys, k)
		delete(t.wanted, k)
	}
	return keys
}

// install merges what /proc said. What the kernel told wins where both know.
func (t *Table) install(k key, s status, alive bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.known.Get(k)
	if !ok {
		e = t.add(k)
	}
	e.read = true
	if !alive {
		if !e.told {
			t.missed++
		}
		return
	}
	e.exe = s.exe
	if !e.told {
		e.told = true
		e.comm, e.owner.Comm = s.comm, commText(s.comm[:])
		e.owner.UID = &s.uid
	}
	// The id gives the path as of the last packet, /proc as of now: the first is
	// the better one wherever the id tells anything.
	if _, ok := t.cfg.Cgroup(e.cgroupID); ok && !t.cfg.Legacy {
		return
	}
	if path := t.choose(s.cgroups); path != "" {
		e.path = path
		e.placed = t.cfg.Describe(path, &e.owner)
	}
}

// choose picks the path that tells most of a process's cgroups: the one of a
// container, else cgroup2's, else systemd's own hierarchy's, else any that is
// not the root.
func (t *Table) choose(cgroups []cgroup) string {
	best, rank := "", 0
	for _, c := range cgroups {
		var o record.Owner
		t.cfg.Describe(c.path, &o)
		r := 1
		switch {
		case o.Container != "":
			r = 5
		case c.path == "/":
		case c.controllers == "":
			r = 4
		case c.controllers == "name=systemd":
			r = 3
		default:
			r = 2
		}
		if r > rank {
			best, rank = c.path, r
		}
	}
	return best
}

// commText cuts a name at its first zero byte.
func commText(comm []byte) string {
	if i := bytes.IndexByte(comm, 0); i >= 0 {
		comm = comm[:i]
	}
	return string(comm)
}
