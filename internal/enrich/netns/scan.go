package netns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxHolders is how many processes of one namespace are compared to find the
// oldest; those with the lowest pids, which are the oldest until pids wrap.
const maxHolders = 16

// scan looks for namespaces in the processes.
type scan struct {
	names   *Names
	found   map[uint32]entry
	due     map[uint32]struct{} // namespaces looked for; nil means any
	holders map[uint32][]uint32 // namespace to processes in it
	visited int
	skipped uint64
	whole   bool // every process was looked at
}

// run visits the processes that appeared since the last scan, and the others
// only if a namespace that is due was not among those. Processes that it had
// no time for count as new in the next scan, which so begins where this ended.
func (s *scan) run(ctx context.Context) error {
	n := s.names
	dir, err := os.Open(n.cfg.Proc)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	files, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	var fresh, old []uint32
	seen := make(map[uint32]struct{}, len(files))
	for _, name := range files {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue
		}
		if _, ok := n.seen[uint32(pid)]; ok {
			old = append(old, uint32(pid))
			seen[uint32(pid)] = struct{}{}
		} else {
			fresh = append(fresh, uint32(pid))
		}
	}
	n.seen = seen
	fd := int(dir.Fd())
	done := s.visit(ctx, fd, fresh)
	if done && !s.satisfied() {
		done = s.visit(ctx, fd, old)
		s.whole = done
	}
	for _, inode := range s.sorted() {
		if ctx.Err() != nil {
			s.whole = false
			break
		}
		e, ok := n.nameHolder(s.holders[inode])
		mounted, isMounted := s.found[inode]
		if !ok || isMounted && mounted.rank >= e.rank {
			continue
		}
		s.found[inode] = e
	}
	return nil
}

// visit reads the namespaces of the processes; it reports whether it saw all.
func (s *scan) visit(ctx context.Context, proc int, pids []uint32) bool {
	link := make([]byte, 64)
	for i, pid := range pids {
		if s.visited >= s.names.cfg.Procs || i%64 == 0 && ctx.Err() != nil {
			s.skipped += uint64(len(pids) - i)
			return false
		}
		s.visited++
		s.names.seen[pid] = struct{}{}
		size, err := unix.Readlinkat(proc, strconv.FormatUint(uint64(pid), 10)+"/ns/net", link)
		if err != nil {
			continue // exited meanwhile
		}
		inode, ok := parseLink(link[:size])
		if !ok || s.found[inode].rank >= byContainer {
			continue
		}
		if _, wanted := s.due[inode]; s.due != nil && !wanted {
			continue
		}
		if h := s.holders[inode]; len(h) < maxHolders {
			s.holders[inode] = append(h, pid)
		}
	}
	return true
}

// satisfied reports whether a process was seen of every namespace looked for.
func (s *scan) satisfied() bool {
	if s.due == nil {
		return false
	}
	for inode := range s.due {
		if len(s.holders[inode]) == 0 {
			return false
		}
	}
	return true
}

func (s *scan) sorted() []uint32 {
	inodes := make([]uint32, 0, len(s.holders))
	for inode := range s.holders {
		inodes = append(inodes, inode)
	}
	slices.Sort(inodes)
	return inodes
}

// parseLink reads net:[4026531840].
func parseLink(link []byte) (uint32, bool) {
	digits, ok := bytes.CutPrefix(link, []byte("net:["))
	if !ok {
		return 0, false
	}
	digits, ok = bytes.CutSuffix(digits, []byte("]"))
	if !ok || len(digits) == 0 || len(digits) > 10 {
		return 0, false
	}
	var inode uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		inode = inode*10 + uint64(c-'0')
	}
	return uint32(inode), inode>>32 == 0
}

// readHolder reads a process's name and start time from /proc/PID/stat, "PID
// (COMM) STATE …", where the start is field 22.
func readHolder(proc string, pid uint32) (holder, bool) {
	text, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", proc, pid))
	if err != nil {
		return holder{}, false
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return holder{}, false
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 20 {
		return holder{}, false
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return holder{pid: pid, start: start, comm: string(text[open+1 : end])}, err == nil
}

// container returns the container that a process is in, if any.
func (n *Names) container(pid uint32) (id, name string) {
	text, err := os.ReadFile(fmt.Sprintf("%s/%d/cgroup", n.cfg.Proc, pid))
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		_, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		if id, name = n.cfg.Container(path); id != "" {
			return id, name
		}
	}
	return "", ""
}
