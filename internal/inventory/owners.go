package inventory

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// owned are the processes that hold each object.
type owned map[object][]Owner

// owners looks through the open files of all processes. Most are no BPF objects,
// which the name of the file tells; only of those that are the details are read.
func (s *scan) owners(ctx context.Context) owned {
	found := owned{}
	files := 0
	for _, pid := range s.processes() {
		if ctx.Err() != nil {
			return found
		}
		dir := filepath.Join(s.cfg.Proc, strconv.Itoa(pid))
		fds, err := readNames(filepath.Join(dir, "fd"))
		s.miss("open files of processes", err)
		var owner *Owner
		for _, fd := range fds {
			if files++; files > maxFiles {
				s.miss("owners", fmt.Errorf("only the first %d open files of the host were looked at", maxFiles))
				return found
			}
			target, err := os.Readlink(filepath.Join(dir, "fd", fd))
			isEvent := target == perfEventFile
			if err != nil || !isEvent && !strings.HasPrefix(target, "anon_inode:bpf") {
				continue // closed meanwhile, or something else
			}
			var o object
			var e perfEvent
			var ok bool
			if isEvent {
				e, ok = queryPerfEvent(pid, fdNumber(fd))
			} else {
				o, ok = s.fdinfo(filepath.Join(dir, "fdinfo", fd))
			}
			if !ok {
				continue
			}
			if owner == nil {
				owner = readOwner(dir, pid)
			}
			if isEvent {
				e.owner = *owner
				s.perf = append(s.perf, e)
				continue
			}
			found[o] = append(found[o], *owner)
		}
	}
	return found
}

// fdNumber is the number of an open file, by its name in /proc/PID/fd.
func fdNumber(name string) int {
	n, err := strconv.Atoi(name)
	if err != nil {
		return -1 // which no process has open
	}
	return n
}

// processes returns the pids of all processes.
func (s *scan) processes() []int {
	names, err := readNames(s.cfg.Proc)
	s.miss("processes", err)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func readOwner(dir string, pid int) *Owner {
	o := &Owner{PID: pid}
	if b, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		o.Comm = strings.TrimSuffix(string(b), "\n")
	}
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		o.Netfate = filepath.Base(strings.TrimSuffix(exe, " (deleted)")) == "netfate"
	}
	return o
}

// fdinfo reads which object an open file is.
func (s *scan) fdinfo(path string) (object, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		s.miss("open BPF objects of processes", err)
		return object{}, false
	}
	return parseFdinfo(string(b))
}

// parseFdinfo finds the id in a file of /proc/PID/fdinfo. A link names its
// program as well as itself, and so does a program array its owner: the order
// below tells them apart.
func parseFdinfo(text string) (object, bool) {
	ids := map[string]uint32{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		if id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
			ids[key] = uint32(id)
		}
	}
	for _, k := range []struct {
		key  string
		kind kind
	}{{"link_id", linkKind}, {"map_id", mapKind}, {"prog_id", programKind}} {
		if id, ok := ids[k.key]; ok && id != 0 {
			return object{k.kind, id}, true
		}
	}
	return object{}, false
}

// uniqueOwners returns a sorted copy without repeats; never nil.
func uniqueOwners(owners []Owner) []Owner {
	out := append([]Owner{}, owners...)
	slices.SortFunc(out, func(a, b Owner) int { return cmp.Compare(a.PID, b.PID) })
	return slices.CompactFunc(out, func(a, b Owner) bool { return a.PID == b.PID })
}
