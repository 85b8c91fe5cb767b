package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// errGone says that the process has exited, or that its pid is another's now.
var errGone = errors.New("process is gone")

// userHZ is the unit of times in /proc/PID/stat, USER_HZ: 100 on amd64 and
// arm64 whatever the kernel's own HZ (include/asm-generic/param.h).
const userHZ = 100

// status is what /proc says of a process.
type status struct {
	exe     string
	cgroups []cgroup
	uid     uint32
	comm    [16]byte
}

// cgroup is a line of /proc/PID/cgroup; cgroup2's has no controllers.
type cgroup struct{ controllers, path string }

// readStatus reads the process that has the pid and started at start,
// nanoseconds since boot.
func readStatus(proc string, pid uint32, start uint64) (status, error) {
	dir := proc + "/" + strconv.FormatUint(uint64(pid), 10)
	var s status
	before, err := readStat(dir)
	if err != nil {
		return s, err
	}
	// The kernel shows start_boottime in clock ticks, rounded down (fs/proc/
	// array.c, do_task_stat). In a time namespace of one's own it is shifted,
	// and nothing will match: what the kernel told has to do.
	if before.ticks != start/(1e9/userHZ) {
		return s, errGone
	}
	s.comm = before.comm
	if s.uid, err = readUID(dir); err != nil {
		return s, err
	}
	text, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return s, gone(err)
	}
	s.cgroups = parseCgroups(string(text))
	// Kernel threads have no executable, and other users' may be hidden.
	s.exe, _ = os.Readlink(dir + "/exe")
	// The files belong to one process only if it was there to the end.
	after, err := readStat(dir)
	if err != nil {
		return s, err
	}
	if after.ticks != before.ticks {
		return s, errGone
	}
	return s, nil
}

// gone turns the errors of a process that exits while it is read into errGone.
// hidepid hides others' processes as if they were gone.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, fs.ErrPermission) {
		return errGone
	}
	return err
}

// stat is what is used of /proc/PID/stat.
type stat struct {
	ticks uint64 // start, in clock ticks since boot
	comm  [16]byte
}

func readStat(dir string) (stat, error) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return stat{}, gone(err)
	}
	s, ok := parseStat(text)
	if !ok {
		return s, fmt.Errorf("parse %s/stat: %q", dir, text)
	}
	return s, nil
}

// parseStat reads "PID (COMM) STATE PPID … STARTTIME …". The name may hold
// anything, brackets and spaces too: it ends at the last bracket.
func parseStat(text []byte) (stat, bool) {
	var s stat
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, false
	}
	copy(s.comm[:], text[open+1:end])
	rest := text[end+1:]
	for range 20 { // starttime is field 22; the rest begins at field 3
		rest = bytes.TrimLeft(rest, " ")
		var field []byte
		if i := bytes.IndexAny(rest, " \n"); i >= 0 {
			field, rest = rest[:i], rest[i:]
		} else {
			field, rest = rest, nil
		}
		if len(field) == 0 {
			return s, false
		}
		s.ticks, _ = strconv.ParseUint(string(field), 10, 64)
	}
	return s, true
}

// readUID reads the real user id from /proc/PID/status. The owner of the
// directory would not do: it is the effective user, or root if the process
// cannot be dumped.
func readUID(dir string) (uint32, error) {
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return 0, gone(err)
	}
	for line := range strings.Lines(string(text)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			if fields := strings.Fields(ids); len(fields) > 0 {
				uid, err := strconv.ParseUint(fields[0], 10, 32)
				return uint32(uid), err
			}
		}
	}
	return 0, fmt.Errorf("parse %s/status: no Uid line", dir)
}

// parseCgroups reads lines of "ID:CONTROLLERS:PATH". A cgroup that was removed
// under a process has " (deleted)" after its path.
func parseCgroups(text string) []cgroup {
	var cgroups []cgroup
	for line := range strings.Lines(text) {
		_, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok2 := strings.Cut(rest, ":")
		if ok && ok2 && path != "" {
			cgroups = append(cgroups, cgroup{controllers, strings.TrimSuffix(path, " (deleted)")})
		}
	}
	return cgroups
}
