// Package runstate keeps, for each object that `netfate run` has loaded, a small
// file that says what was attached and pinned: it outlives a crash, so that
// `netfate stop` can clean up what the kernel does not, and `netfate ps` can tell
// whose a program is.
//
// It knows files and no kernel. The loader writes it; the loader, the inventory
// and the commands read it.
package runstate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultDir is where states are kept. It is empty after a boot, as are BPF file
// systems.
const DefaultDir = "/run/netfate"

// State is one loaded object.
type State struct {
	Name   string `json:"name"`   // unique among the states
	Object string `json:"object"` // absolute path
	// PID and PIDStart (clock ticks since boot, field 22 of /proc/PID/stat) are
	// the process that holds it; PID is 0 once it is detached: then pins hold it.
	PID      int       `json:"pid,omitempty"`
	PIDStart uint64    `json:"pid_start,omitempty"`
	Since    time.Time `json:"since"`
	// Until is when it is to be taken off; zero for never.
	Until    time.Time `json:"until,omitzero"`
	Pins     string    `json:"pins,omitempty"` // directory of its pins
	Programs []Program `json:"programs"`
	Maps     []Map     `json:"maps"`
	Filters  []Filter  `json:"filters,omitempty"`
	// Made are pins and directories, in the order in which they were made; each
	// is noted before it is made.
	Made []string `json:"made,omitempty"`
}

// Uses reports whether the object has its map pinned at path.
func (s *State) Uses(path string) bool {
	return slices.ContainsFunc(s.Maps, func(m Map) bool { return m.Pin == path })
}

// Program is one of its programs.
type Program struct {
	Name    string `json:"name"`
	Section string `json:"section"`
	ID      uint32 `json:"id,omitempty"`       // 0 if it was not loaded
	Where   string `json:"attached,omitempty"` // empty if it is not attached
	Why     string `json:"why,omitempty"`      // why not
}

// Map is one of its maps.
type Map struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`
	Pin  string `json:"pin,omitempty"` // path, empty if it is not pinned
}

// Filter is a tc filter in the old way, which the kernel does not take off when
// its owner dies.
type Filter struct {
	NetNS     uint32 `json:"netns"` // inode
	IfName    string `json:"ifname"`
	IfIndex   int    `json:"ifindex"`
	Direction string `json:"direction"` // ingress or egress
	Handle    uint32 `json:"handle"`
	Priority  uint16 `json:"priority"`
	ProgramID uint32 `json:"program_id"`
	Qdisc     bool   `json:"qdisc"` // the clsact qdisc was made for it
}

const suffix = ".json"

// ErrNotFound is wrapped by Read for a name that has no state.
var ErrNotFound = errors.New("not loaded by netfate run")

// ValidName reports whether name can name a state: it becomes a file name.
func ValidName(name string) bool {
	return name != "" && len(name) <= 128 && name[0] != '.' && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == '/' || r == 0x7f
	})
}

// Write keeps s in dir, in place of what was kept under its name, at once or
// not at all.
func Write(dir string, s *State) error {
	if !ValidName(s.Name) {
		return fmt.Errorf("keep the state of %q: not a name", s.Name)
	}
	text, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("keep the state of %s: %w", s.Name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keep the state of %s: %w", s.Name, err)
	}
	f, err := os.CreateTemp(dir, begun(os.Getpid())+"*")
	if err != nil {
		return fmt.Errorf("keep the state of %s: %w", s.Name, err)
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, s.Name+suffix))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep the state of %s: %w", s.Name, err), os.Remove(f.Name()))
	}
	return nil
}

// Lock waits until no other process changes states in dir, and keeps them out
// until unlock is called. The kernel releases it if this process dies.
func Lock(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock the states: %w", err)
	}
	f, err := os.Open(dir) // a directory can be locked, so no file for it stays
	if err != nil {
		return nil, fmt.Errorf("lock the states: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the states: %w", err), f.Close())
	}
	return f.Close, nil
}

// begun is what names of files that a process has not ended to write begin with.
func begun(pid int) string { return fmt.Sprintf(".new-%d-", pid) }

// Sweep removes what processes that are dead had begun to write into dir.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sweep states: %w", err)
	}
	var errs []error
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), ".new-%d-", &pid); err != nil || !strings.HasPrefix(e.Name(), begun(pid)) {
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("sweep states: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Read returns the state of name; the error wraps ErrNotFound if it has none.
func Read(dir, name string) (*State, error) {
	if !ValidName(name) {
		return nil, fmt.Errorf("%q: %w", name, ErrNotFound)
	}
	text, err := os.ReadFile(filepath.Join(dir, name+suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of %s: %w", name, err)
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read the state of %s: %w", name, err)
	}
	s.Name = name
	return &s, nil
}

// List returns all states by name. One that cannot be read is left out, and
// joined to the error.
func List(dir string) ([]*State, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list states: %w", err)
	}
	var states []*State
	var errs []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || !ValidName(name) {
			continue
		}
		s, err := Read(dir, name)
		switch {
		case errors.Is(err, ErrNotFound): // removed meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			states = append(states, s)
		}
	}
	slices.SortFunc(states, func(a, b *State) int { return strings.Compare(a.Name, b.Name) })
	return states, errors.Join(errs...)
}

// Remove forgets name. That it has no state is no error.
func Remove(dir, name string) error {
	if !ValidName(name) {
		return nil
	}
	if err := os.Remove(filepath.Join(dir, name+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the state of %s: %w", name, err)
	}
	return nil
}
