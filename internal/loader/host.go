package loader

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// syscallPrefix is what the kernel puts in front of the names of system calls'
// functions (arch/*/include/asm/syscall_wrapper.h).
func syscallPrefix() string {
	if runtime.GOARCH == "arm64" {
		return "__arm64_sys_"
	}
	return "__x64_sys_"
}

// hasKprobes reports whether the kernel has kprobes for perf (4.17), by which they
// are attached without touching tracefs.
func hasKprobes() bool {
	_, err := os.Stat("/sys/bus/event_source/devices/kprobe")
	return err == nil
}

// securityModules lists the active ones; known is false where securityfs, which
// tells, is not mounted.
func securityModules() (modules []string, known bool) {
	text, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return nil, false
	}
	return strings.Split(strings.TrimSpace(string(text)), ","), true
}

// onlineCPUs reads lists such as "0-3,8".
func onlineCPUs() ([]int, error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, fmt.Errorf("list the CPUs: %w", err)
	}
	return parseCPUs(strings.TrimSpace(string(text)))
}

// maxCPUs is the largest CONFIG_NR_CPUS.
const maxCPUs = 8192

func parseCPUs(text string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last < first || last >= maxCPUs {
			return nil, fmt.Errorf("list the CPUs: %q is no list of CPUs", text)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// findExecutable finds the file of a uprobe as libbpf does: a path as it is, a
// library where the dynamic loader looks, a program on the PATH.
func findExecutable(name string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := os.Stat(name); err != nil {
			return "", fmt.Errorf("find the file to probe: %w", err)
		}
		return name, nil
	}
	if !strings.Contains(name, ".so") {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("find the program to probe: %w", err)
		}
		return filepath.Abs(path)
	}
	for _, dir := range libraryDirs() {
		path := filepath.Join(dir, name)
		if f, err := elf.Open(path); err == nil {
			right := f.Machine == machine()
			if err := f.Close(); right && err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("find the library %s: %w; give its whole path", name, fs.ErrNotExist)
}

// libraryDirs are where distributions have libraries.
func libraryDirs() []string {
	triplet := "x86_64-linux-gnu"
	if runtime.GOARCH == "arm64" {
		triplet = "aarch64-linux-gnu"
	}
	dirs := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	return append(dirs, "/usr/lib64", "/lib64", "/usr/lib/"+triplet, "/lib/"+triplet, "/usr/local/lib", "/usr/lib", "/lib")
}

func machine() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
}

// isGo reports whether a program was built by Go, whose stacks move.
func isGo(path string) bool {
	_, err := buildinfo.ReadFile(path)
	return err == nil || errors.Is(err, fs.ErrPermission)
}
