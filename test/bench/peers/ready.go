package peers

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Running is a tool that has been started.
type Running struct {
	PIDs []int  // it and what it has started
	Said string // so far, on stderr
}

// Ready reports whether a tool has begun to watch.
type Ready func(Running) bool

// says waits for words on stderr.
func says(words string) Ready {
	return func(r Running) bool { return strings.Contains(r.Said, words) }
}

// listens waits for a socket that gets packets, in the namespace of the tool: no
// other program has one there.
func listens(r Running) bool {
	for _, pid := range r.PIDs {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "net/packet"))
		if err == nil && bound(string(text)) {
			return true
		}
	}
	return false
}

// bound reads /proc/net/packet: whether a socket runs on an interface of its own
// choice.
func bound(table string) bool {
	for line := range strings.Lines(table) {
		// sk RefCnt Type Proto Iface R Rmem User Inode
		f := strings.Fields(line)
		if len(f) == 9 && f[0] != "sk" && f[4] != "0" && f[5] == "1" {
			return true
		}
	}
	return false
}

// hasEvents waits for more perf events than those of the buffers that a tool has
// for each CPU.
func hasEvents(r Running) bool {
	events := 0
	for _, pid := range r.PIDs {
		files, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd/*")) // the pattern is good
		for _, f := range files {
			if target, err := os.Readlink(f); err == nil && target == "anon_inode:[perf_event]" {
				events++
			}
		}
	}
	return events > runtime.NumCPU()
}
