package confine

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	landsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Daemon takes from this process, and from all that it starts, the system calls that
// netfate never makes after its start, in all threads: they fail with EPERM. It returns
// what holds, which is nothing on a kernel that cannot. Landlock is not for it:
// a process under it may not look at others.
func Daemon() (holds []string, err error) { return filter(daemonCalls()) }

// History takes from this process all but the files in the directory of path, and
// system calls beyond those that a database needs: it starts nothing, speaks to nobody
// new, and looks at no other process. It returns what holds, as far as the kernel can.
func History(path string) (holds []string, err error) {
	dirs := []string{filepath.Dir(path)}
	if at, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(at) != dirs[0] {
		dirs = append(dirs, filepath.Dir(at))
	}
	// Where nothing can be reached, the file cannot either, and whoever opens it says so.
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return unix.Access(dir, unix.X_OK) != nil })
	// Version 5 has files, TCP and devices; what came later is sockets and signals,
	// which seccomp has. Of its own process and of the host's CPUs it may read.
	err = landlock.V5.BestEffort().Restrict(
		landlock.RWDirs(dirs...),
		landlock.RODirs("/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup").IgnoreIfMissing(),
	)
	if err != nil {
		return nil, fmt.Errorf("confine it to %q: %w", dirs, err)
	}
	if holds, err = filter(historyCalls()); err != nil {
		return nil, err
	}
	return append(holds, landlocked()...), nil
}

// landlocked says whether the kernel has Landlock.
func landlocked() []string {
	if version, err := landsys.LandlockGetABIVersion(); err != nil || version < 1 {
		return nil
	}
	return []string{"landlock"}
}

// Holds returns what this kernel makes hold for the daemon, and for the process that
// has its history.
func Holds() (daemon, history []string) {
	if seccomp.Supported() {
		daemon = []string{"seccomp"}
	}
	return daemon, append(daemon[:len(daemon):len(daemon)], landlocked()...)
}
