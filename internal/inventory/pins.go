package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pins walks every BPF file system that this process sees and returns where each
// object is pinned.
func (s *scan) pins(ctx context.Context) map[object][]string {
	found := map[object][]string{}
	b, err := os.ReadFile(filepath.Join(s.cfg.Proc, "self/mountinfo"))
	s.miss("mounts", err)
	entries := 0
	for _, root := range bpfMounts(string(b)) {
		s.walk(ctx, root, &entries, found)
	}
	return found
}

// walk looks at one BPF file system: symbolic links are not followed, and what
// else is mounted below is left to its own walk.
func (s *scan) walk(ctx context.Context, root string, entries *int, found map[object][]string) {
	var device uint64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			s.miss("pins", err)
			return nil
		}
		if *entries++; *entries > maxPins {
			s.miss("pins", fmt.Errorf("only the first %d entries of BPF file systems were looked at", maxPins))
			return fs.SkipAll
		}
		if d.IsDir() {
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return fs.SkipDir
			}
			if path == root {
				device = st.Dev
			}
			if st.Dev != device {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		o, err := pinnedObject(path)
		if err != nil {
			s.miss("pins", fmt.Errorf("open %s: %w", path, err))
			return nil
		}
		found[o] = append(found[o], path)
		return nil
	})
	s.miss("pins", err)
}

// errNoObject is a file in a BPF file system that is no object.
var errNoObject = errors.New("it is no program, map or link")

// pinnedObject tells what is pinned at path. The kernel's own interface is used
// since it opens whatever it is in one call, where cilium/ebpf has a function for
// each kind that fails on the others.
func pinnedObject(path string) (object, error) {
	fd, err := objGet(path, 0)
	if errors.Is(err, os.ErrPermission) {
		const readOnly = 1 << 3 // BPF_F_RDONLY
		fd, err = objGet(path, readOnly)
	}
	if err != nil {
		return object{}, err
	}
	defer unix.Close(fd)
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return object{}, err
	}
	o, ok := parseFdinfo(string(b))
	if !ok {
		return object{}, errNoObject
	}
	return o, nil
}

// objGet is the command BPF_OBJ_GET of bpf(2).
func objGet(path string, flags uint32) (int, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	attr := struct {
		path  uint64
		fd    uint32
		flags uint32
	}{path: uint64(uintptr(unsafe.Pointer(name))), flags: flags}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(name)
	if errno != 0 {
		return -1, errno
	}
	unix.CloseOnExec(int(fd))
	return int(fd), nil
}

// bpfMounts returns where BPF file systems are mounted, from the text of
// /proc/self/mountinfo: proc_pid_mountinfo(5). Of one that is mounted at several
// places the first is enough.
func bpfMounts(mountinfo string) []string {
	var roots []string
	seen := map[string]bool{}
	for line := range strings.Lines(mountinfo) {
		head, tail, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(head), strings.Fields(tail)
		if !ok || len(fields) < 5 || len(kind) == 0 || kind[0] != "bpf" {
			continue
		}
		if id := fields[2] + fields[3]; !seen[id] {
			seen[id] = true
			roots = append(roots, unescape(fields[4]))
		}
	}
	return roots
}

// unescape undoes the kernel's \040 for a space and the like.
func unescape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+4 <= len(path) {
			if n, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}
