package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// firstInode is where the kernel begins to number namespaces: PROC_DYNAMIC_FIRST
// (fs/proc/generic.c), below it the few fixed ones (NET_NS_INIT_INO and its
// neighbours, from Linux 6.18, include/uapi/linux/nsfs.h).
const firstInode = 0xEFFFFFF0

// minPrefix is how much of a container's id is enough to mean it.
const minPrefix = 4

// Resolve finds the namespace that a user means: "host", the path of a
// namespace's file, its inode number, pid:N, a name as ip netns or docker
// know it, or a container's name, id or beginning of an id. It reads the file
// system, for names of containers every process; it is for command lines, not
// for records. Its error says what was tried.
func (n *Names) Resolve(ctx context.Context, spec string) (uint32, error) {
	device, err := n.device()
	if err != nil {
		return 0, err
	}
	if spec == "" {
		return 0, errors.New("no network namespace given: want a name, a path, an inode number, pid:N or a container")
	}
	if spec == Host {
		if _, inode := n.host(device); inode != 0 {
			return inode, nil
		}
		return 0, fmt.Errorf("find the initial network namespace: %s/1/ns/net is not readable (CAP_SYS_PTRACE) and netfate runs in another one", n.cfg.Proc)
	}
	if strings.Contains(spec, "/") {
		return n.resolveFile(spec, device)
	}
	if pid, ok := strings.CutPrefix(spec, "pid:"); ok {
		if _, err := strconv.ParseUint(pid, 10, 32); err != nil {
			return 0, fmt.Errorf("%q is no process id: want pid:1234", spec)
		}
		return n.resolveFile(n.cfg.Proc+"/"+pid+"/ns/net", device)
	}
	for _, dir := range slices.Concat(n.cfg.Dirs, n.cfg.SandboxDirs) {
		if inode := inodeOf(filepath.Join(dir, spec), device); inode != 0 {
			return inode, nil
		}
	}
	if inode, err := strconv.ParseUint(spec, 10, 32); err == nil && inode >= firstInode {
		return uint32(inode), nil // it need not exist yet, nor be in sight
	}
	return n.resolveContainer(ctx, spec)
}

func (n *Names) resolveFile(file string, device uint64) (uint32, error) {
	inode := inodeOf(file, device)
	if inode != 0 {
		return inode, nil
	}
	if _, err := os.Stat(file); err != nil {
		return 0, fmt.Errorf("open network namespace: %w", err)
	}
	return 0, fmt.Errorf("%s is no network namespace: want a file such as /run/netns/NAME or /proc/PID/ns/net", file)
}

// resolveContainer looks for a process in the container meant.
func (n *Names) resolveContainer(ctx context.Context, spec string) (uint32, error) {
	dir, err := os.Open(n.cfg.Proc)
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	files, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	matches := map[uint32]string{}
	for _, file := range files {
		pid, err := strconv.ParseUint(file, 10, 32)
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("look for container %q: %w", spec, ctx.Err())
		}
		id, name := n.container(uint32(pid))
		exact := id != "" && (spec == id || spec == name)
		// A user may give the id in full, of which 12 digits are kept.
		if !exact && (len(spec) < minPrefix || !strings.HasPrefix(id, spec) && (len(id) < 12 || !strings.HasPrefix(spec, id))) {
			continue
		}
		link, err := os.Readlink(fmt.Sprintf("%s/%d/ns/net", n.cfg.Proc, pid))
		if err != nil {
			continue
		}
		if inode, ok := parseLink([]byte(link)); ok {
			if exact {
				return inode, nil
			}
			matches[inode] = id
		}
	}
	return oneOf(spec, matches)
}

func oneOf(spec string, matches map[uint32]string) (uint32, error) {
	var ids []string
	var inode uint32
	for i, id := range matches {
		inode = i
		ids = append(ids, id)
	}
	slices.Sort(ids)
	switch len(matches) {
	case 0:
		return 0, fmt.Errorf("no network namespace %q: no such name in /run/netns or /run/docker/netns, and no process in a container called so; "+
			"for a process say pid:%[1]s, ip netns lists names", spec)
	case 1:
		return inode, nil
	}
	return 0, fmt.Errorf("%q means several containers (%s): give more digits of the id", spec, strings.Join(ids, ", "))
}
