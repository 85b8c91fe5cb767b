package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Lines collects what a process prints while others read it; a talkative process keeps
// only its first 64 kB.
type Lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() < 64<<10 {
		l.text.Write(b)
	}
	return len(b), nil
}

// String returns what was printed so far.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Children are the processes that a process has started and that go on.
func Children(pid int) (all []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	for _, dir := range dirs {
		one, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && StatusOf(one, "PPid: %d") == uint64(pid) {
			all = append(all, one)
		}
	}
	return all
}

// StatusOf is a number of proc_pid_status(5), in a line of such a format; 0 if it is not
// there.
func StatusOf(pid int, format string) (n uint64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, format, &n); err == nil {
			return n
		}
	}
	return 0
}
