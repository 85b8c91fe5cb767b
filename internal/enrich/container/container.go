// Package container tells a cgroup's id from its path and a container from a
// cgroup's path.
//
// It answers from memory at once. What it does not know it notes, and looks up
// in the next [Cgroups.Refresh], which the caller runs in a goroutine of its
// own: a cgroup's id is the file handle of its directory, so that one system
// call finds it however many cgroups there are. Ids are never reused: a cgroup
// that is gone keeps its path until the table is full.
//
// It asks no runtime: names come from the [Namer] that it is given. Only
// internal/agent imports it.
package container

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
)

// Names is what a runtime calls a container.
type Names struct {
	Container    string
	Pod          string
	PodNamespace string
}

// Namer gives a container its names, from memory at once; false says that it
// does not know them yet and should be asked again. It may be called from
// several goroutines.
type Namer func(Info) (Names, bool)

// Config says where to look and how much to keep; its zero value is usable.
type Config struct {
	// Mount is where the cgroup2 hierarchy is mounted; empty means to look in
	// /proc/self/mountinfo at each Refresh that needs it.
	Mount string
	// Keep is how many cgroups are remembered; 0 means 16,384.
	Keep int
	// Walk is how many directories one Refresh visits where the kernel does not
	// open cgroups by handle (that takes CAP_DAC_READ_SEARCH); 0 means 65,536.
	Walk int
	// Namer names containers; nil means that only their ids are known.
	Namer Namer
}

// maxWanted bounds the ids that wait for a Refresh. An id that finds no room
// is asked for again with its next record, so nothing is lost.
const maxWanted = 4096

// Cgroups maps the ids that the kernel gives (bpf_get_current_cgroup_id) to
// paths. Lookups and Refresh may run at the same time.
type Cgroups struct {
	cfg Config

	refreshing sync.Mutex

	mu      sync.Mutex // held for map operations only, never for I/O
	paths   *simplelru.LRU[uint64, string]
	wanted  map[uint64]struct{}
	evicted uint64
	missed  uint64
}

// New returns a table that knows nothing yet and touches nothing.
func New(cfg Config) *Cgroups {
	if cfg.Keep <= 0 {
		cfg.Keep = 16384
	}
	if cfg.Walk <= 0 {
		cfg.Walk = 65536
	}
	c := &Cgroups{cfg: cfg, wanted: map[uint64]struct{}{}}
	c.paths, _ = simplelru.NewLRU[uint64, string](cfg.Keep, nil) // errs on sizes below 1 only
	return c
}

// Path returns the path of a cgroup below the root of the cgroup2 hierarchy.
// False says that it is not known, or not yet: the next Refresh looks it up.
func (c *Cgroups) Path(id uint64) (string, bool) {
	if id == 0 {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	path, ok := c.paths.Get(id)
	if !ok && len(c.wanted) < maxWanted {
		c.wanted[id] = struct{}{}
	}
	return path, ok && path != ""
}

// Describe fills what a cgroup's path says into an owner: cgroup, container,
// and its names. It reports whether that is final; false means that the
// container has no name yet and Describe should be asked again.
func (c *Cgroups) Describe(path string, o *record.Owner) bool {
	info := Parse(path)
	o.Cgroup, o.Container = path, info.ID
	o.ContainerName, o.Pod, o.PodNamespace = "", "", ""
	if info.ID == "" {
		return true
	}
	if info.Runtime == "lxc" || info.Runtime == "systemd-nspawn" {
		o.ContainerName = info.FullID // their id is a name
		return true
	}
	if c.cfg.Namer == nil {
		return true
	}
	names, ok := c.cfg.Namer(info)
	o.ContainerName, o.Pod, o.PodNamespace = names.Container, names.Pod, names.PodNamespace
	return ok
}

// Container tells a container from a cgroup's path: its id, and its name if it
// is known. Both are empty if the path is not a container's.
func (c *Cgroups) Container(path string) (id, name string) {
	var o record.Owner
	c.Describe(path, &o)
	return o.Container, o.ContainerName
}

// Evicted returns how many cgroups were forgotten for want of room, since the
// start.
func (c *Cgroups) Evicted() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evicted
}

// Missed returns how many cgroups were gone before their path could be read,
// since the start.
func (c *Cgroups) Missed() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missed
}

// Refresh looks up the ids asked for since the last one. It stops early when
// ctx is done; what is left waits for the next call.
func (c *Cgroups) Refresh(ctx context.Context) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	ids := c.takeWanted()
	if len(ids) == 0 {
		return nil
	}
	mount := c.cfg.Mount
	if mount == "" {
		h, err := ownHierarchies()
		if err != nil {
			return err
		}
		if mount = h.Unified; mount == "" {
			c.store(ids, nil, true) // no cgroup2: nothing has a path
			return nil
		}
	}
	root, err := unix.Open(mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup root %s: %w", mount, err)
	}
	defer unix.Close(root)
	for i, id := range ids {
		if ctx.Err() != nil {
			c.wantAgain(ids[i:])
			return nil
		}
		path, err := pathByHandle(root, mount, id)
		switch {
		case err == nil, errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENOENT):
			c.store(ids[i:i+1], map[uint64]string{id: path}, true)
		default: // EPERM, EOPNOTSUPP: handles are not for us
			found, whole := c.walk(ctx, mount, ids[i:])
			c.store(ids[i:], found, whole)
			return nil
		}
	}
	return nil
}

func (c *Cgroups) takeWanted() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]uint64, 0, len(c.wanted))
	for id := range c.wanted {
		ids = append(ids, id)
	}
	clear(c.wanted)
	return ids
}

func (c *Cgroups) wantAgain(ids []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		c.wanted[id] = struct{}{}
	}
}

// store keeps what was found. An id that was not found is remembered as gone,
// since ids are not reused; but not after a search that was cut short.
func (c *Cgroups) store(ids []uint64, found map[uint64]string, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		path := found[id]
		if path == "" {
			if !whole {
				continue
			}
			c.missed++
		}
		if c.paths.Add(id, path) {
			c.evicted++
		}
	}
}

// fileidKernfs is FILEID_KERNFS of include/linux/exportfs.h: a handle that is
// the 64-bit id of a kernfs node, which cgroup2 uses as the cgroup's id (Linux
// commit 33c5ac917519, 5.5).
const fileidKernfs = 0xfe

func pathByHandle(root int, mount string, id uint64) (string, error) {
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(root, handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	path, ok := below(mount, path)
	if !ok {
		return "", unix.ENOENT // outside of what this mount shows
	}
	return path, nil
}

// below takes the mount point off a path.
func below(mount, path string) (string, bool) {
	mount = strings.TrimSuffix(mount, "/")
	rest, ok := strings.CutPrefix(path, mount)
	switch {
	case !ok || strings.HasSuffix(rest, " (deleted)"):
		return "", false
	case rest == "":
		return "/", true
	}
	return rest, rest[0] == '/'
}

// walk looks for ids by visiting directories, whose inode numbers are the ids.
// It reports whether it saw all of them.
func (c *Cgroups) walk(ctx context.Context, mount string, ids []uint64) (map[uint64]string, bool) {
	found := make(map[uint64]string, len(ids))
	for _, id := range ids {
		found[id] = ""
	}
	left, visited, whole := len(ids), 0, true
	_ = filepath.WalkDir(mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // removed meanwhile
		}
		if !d.IsDir() {
			return nil
		}
		if visited++; visited > c.cfg.Walk || ctx.Err() != nil {
			whole = false
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile, so it is not the one
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if old, wanted := found[st.Ino]; wanted && old == "" {
			found[st.Ino], _ = below(mount, path)
			if left--; left == 0 {
				return fs.SkipAll
			}
		}
		return nil
	})
	return found, whole
}

// Hierarchies says which cgroup hierarchies are mounted.
type Hierarchies struct {
	// Unified is the mount point of cgroup2; empty if there is none.
	Unified string
	// Legacy is true where hierarchies of version 1 are mounted, alone or beside
	// cgroup2. There a container's processes may all be in the root of
	// cgroup2, and only /proc/PID/cgroup tells.
	Legacy bool
}

// FindHierarchies reads the text of a mountinfo file (proc_pid_mountinfo(5));
// it errs on a line of more than 1 MiB.
func FindHierarchies(mountinfo string) (Hierarchies, error) {
	var h Hierarchies
	lines := bufio.NewScanner(strings.NewReader(mountinfo))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if !ok || len(fields) < 5 {
			continue
		}
		switch kind {
		case "cgroup2":
			if h.Unified == "" {
				h.Unified = unescapeOctal(fields[4])
			}
		case "cgroup":
			h.Legacy = true
		}
	}
	if err := lines.Err(); err != nil {
		return h, fmt.Errorf("read mountinfo: %w", err)
	}
	return h, nil
}

// ownHierarchies tells which hierarchies netfate itself sees.
func ownHierarchies() (Hierarchies, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Hierarchies{}, fmt.Errorf("find cgroup mounts: %w", err)
	}
	return FindHierarchies(string(text))
}

// unescapeOctal undoes mountinfo's \040 for a space and its like.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && len(s) > i+3 {
			n := 0
			for _, c := range s[i+1 : i+4] {
				n = n<<3 | int(c-'0')
			}
			b.WriteByte(byte(n))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
