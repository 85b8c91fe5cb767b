package tls

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/tlslib"
)

// Bounds of what is remembered so that nothing is looked at twice. What is
// forgotten is looked at again.
const (
	maxRefused   = 16384 // files
	maxProcesses = 8192
	maxUnread    = 64
	maxMappings  = 4096 // files of one process
)

// maxLook is how long one call of Discover looks at new processes: 5 % of a
// second. The rest has its turn at the next one.
const maxLook = 50 * time.Millisecond

// processID is a program as long as it runs: a process has another one once it
// has called execve.
type processID struct {
	pid        uint32
	dev, inode uint64 // of the program
}

// looks counts how often a process was to be looked at. It is, each time that
// this has doubled: a library may be loaded later.
type looks struct {
	asked, next uint64
}

// forget makes the sensor begin anew with files and processes.
func (s *Sensor) forget() (err error) {
	s.files, s.unread, s.alive = map[fileID][]link.Link{}, map[string]bool{}, map[uint32]uint8{}
	if s.refused, err = lru.New[contentID, string](maxRefused); err != nil {
		return err
	}
	s.known, err = lru.New[processID, *looks](maxProcesses)
	return err
}

// installed are where distributions put libraries that programs share.
func installed() []string {
	return []string{
		"/usr/lib/*-linux-gnu/libssl.so*", "/usr/lib64/libssl.so*", "/usr/lib/libssl.so*", "/usr/local/lib*/libssl.so*",
		"/usr/lib/*-linux-gnu/libgnutls.so*", "/usr/lib64/libgnutls.so*", "/usr/lib/libgnutls.so*",
	}
}

// Attach begins to read, in the libraries of this host, so that programs which
// have them are read from their first byte on, and in what the processes that
// there are have mapped. What comes later is found by Discover and Look.
func (s *Sensor) Attach() error {
	for _, pattern := range installed() {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("list %s: %w", pattern, err)
		}
		for _, name := range names {
			s.scanFile(mapping{name: name, link: name})
		}
	}
	pids, err := processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		s.scan(pid)
		s.alive[pid] = settled
	}
	return nil
}

// settled is how many calls of Discover it takes until a process is not looked at
// any more.
const settled = 65

// Discover begins to read the processes that there were not when it was called
// first, so that those that listen before they are asked are read from their first
// connection on. Each is looked at again after 1, 2, 4 and so on to 64 calls, as
// programs take a moment, or long, until they have loaded their libraries. It takes a
// µs for each process that there is, and what Look takes for each that is looked
// at, 50 ms in all: who comes later has a turn at the next call.
func (s *Sensor) Discover() error {
	pids, err := processes()
	if err != nil {
		return err
	}
	end := time.Now().Add(maxLook)
	alive := make(map[uint32]uint8, len(pids))
	for _, pid := range pids {
		age, known := s.alive[pid]
		due := age&(age-1) == 0
		switch {
		case age == settled:
			alive[pid] = age
		case !due:
			alive[pid] = age + 1
		case time.Now().Before(end):
			s.scan(pid)
			alive[pid] = age + 1
		case known:
			alive[pid] = age
		}
	}
	s.alive = alive
	return nil
}

// processes lists the processes that there are.
func processes() (pids []uint32, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}

// Look begins to read a process that uses TLS, if it is not read yet, and what
// else has the same libraries. It takes 0.1 to 1 ms for a process that was not
// looked at before, some ms more for a library, and up to 0.3 s for the largest
// programs; most calls find that nothing is to be done, in some µs.
func (s *Sensor) Look(pid uint32) {
	id := processID{pid: pid}
	var st unix.Stat_t
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	if unix.Stat(exe, &st) != nil {
		return // it is gone, or the kernel's own
	}
	id.dev, id.inode = st.Dev, st.Ino
	l, ok := s.known.Get(id)
	if !ok {
		l = &looks{next: 1}
		s.known.Add(id, l)
	}
	l.asked++
	if l.asked < l.next {
		return
	}
	l.next *= 2
	found, ok := s.scan(pid)
	if found || !ok {
		return
	}
	if name, err := os.Readlink(exe); err == nil {
		s.tell(name + ": it uses TLS by none of OpenSSL, BoringSSL, GnuTLS and Go's crypto/tls that could be found")
	}
}

// tell keeps what Unread lists.
func (s *Sensor) tell(what string) {
	if len(s.unread) < maxUnread {
		s.unread[what] = true
	}
}

// scan looks at what a process has mapped. It reports whether any of it is
// watched, or is known to be unreadable; ok is false if the process could not
// be looked at, as one that has gone.
func (s *Sensor) scan(pid uint32) (found, ok bool) {
	if pid == s.cfg.Except {
		return true, true
	}
	mapped, err := mappings(pid)
	if err != nil {
		return false, false
	}
	for _, m := range mapped {
		found = s.scanFile(m) || found
	}
	return found, true
}

// scanFile watches a file that can be. It reports whether it is watched, or is
// known to be unreadable.
func (s *Sensor) scanFile(m mapping) bool {
	// To open a device may do something.
	if st, err := os.Stat(m.link); err != nil || !st.Mode().IsRegular() {
		return false // or it was unmapped meanwhile
	}
	f, err := os.Open(m.link)
	if err != nil {
		return false
	}
	defer f.Close()
	id, content, err := identify(f)
	if err != nil {
		return false
	}
	if s.files[id] != nil {
		return true
	}
	if why, ok := s.refused.Get(content); ok {
		return why != ""
	}
	if len(s.files) >= s.cfg.MaxFiles {
		// Only what would have been watched counts.
		if _, err := tlslib.Find(f); err == nil {
			s.excess++
			s.refused.Add(content, "too many files")
			return true
		}
	}
	links, err := s.watch(f)
	switch {
	case errors.Is(err, tlslib.ErrNone):
		s.refused.Add(content, "")
		return false
	case err != nil:
		s.refused.Add(content, err.Error())
		s.tell(fmt.Sprintf("%s: %v", m.name, err))
		return true
	}
	s.files[id] = links
	return true
}

// mapping is a file whose code a process has mapped.
type mapping struct {
	name string // for people, as the process sees it
	link string // opens it, whatever has become of its name
}

// mappings lists the files whose code a process has mapped, each once.
func mappings(pid uint32) ([]mapping, error) {
	dir := filepath.Join("/proc", strconv.FormatUint(uint64(pid), 10))
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []mapping
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() && len(found) < maxMappings {
		where, name, file, ok := parseMapping(lines.Text())
		if !ok || seen[file] {
			continue
		}
		seen[file] = true
		found = append(found, mapping{name: name, link: filepath.Join(dir, "map_files", where)})
	}
	if err := lines.Err(); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return nil, err
	}
	return found, nil
}

// parseMapping reads a line of /proc/PID/maps: where it is, its name, and the
// device and inode of its file; false if it has no code of a file.
func parseMapping(line string) (where, name, file string, ok bool) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 || len(fields[1]) < 4 || fields[1][2] != 'x' || fields[4] == "0" {
		return "", "", "", false
	}
	// map_files has them without the zeros in front.
	begin, end, ok := strings.Cut(fields[0], "-")
	where = strings.TrimLeft(begin, "0") + "-" + strings.TrimLeft(end, "0")
	return where, strings.TrimSuffix(strings.TrimLeft(fields[5], " "), " (deleted)"), fields[3] + " " + fields[4], ok
}
