package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// What is here changes the whole machine, so that only guests are tried.

// stepped has the host's clock stepped by an hour, on and back, with a flood before and
// behind each step. A time namespace would not do: it shifts the clocks that never step.
func stepped(t *testing.T, d *daemon) (wrong []string) {
	need.Guest(t)
	client, server := pair(d.lab())
	counts := ofFlood(client, server)
	for _, by := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		now := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
		if err := unix.Settimeofday(&now); err != nil {
			t.Fatal(err)
		}
		flood(client, server, 1000, 100)
		for _, what := range d.differ(counts...) {
			wrong = append(wrong, fmt.Sprintf("stepped by %v: %s", by, what))
		}
	}
	return wrong
}

// offline takes a CPU away and gives it back, with a flood in between: what it had counted
// is read all the same.
func offline(t *testing.T, d *daemon) []string {
	need.Guest(t)
	client, server := pair(d.lab())
	counts := ofFlood(client, server)
	for _, state := range []string{"0", "1"} {
		flood(client, server, 2000, 500)
		if err := os.WriteFile("/sys/devices/system/cpu/cpu1/online", []byte(state), 0); err != nil {
			t.Fatal(err)
		}
		flood(client, server, 2000, 500)
	}
	return d.differ(counts...)
}

// bounded is how a process is started in a cgroup whose memory can be bounded, and what
// makes the kernel kill it for that. Elsewhere than in a guest memory need not be
// accounted for, and kill is what ends it.
func bounded(t *testing.T) (attr *syscall.SysProcAttr, kill func(*testing.T, *daemon), how string) {
	t.Helper()
	if !need.InGuest() {
		return nil, func(_ *testing.T, d *daemon) { d.kill() }, "kill -9"
	}
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	write(t, "/sys/fs/cgroup/cgroup.subtree_control", "+memory")
	dir := newCgroup(t, fmt.Sprintf("nf-%d-bounded", os.Getpid()))
	file, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(file.Fd())}, func(t *testing.T, d *daemon) {
		t.Helper()
		write(t, filepath.Join(dir, "memory.max"), "0")
		netlab.WaitFor(t, "the kernel to kill the daemon for its memory", d.over)
		events, err := os.ReadFile(filepath.Join(dir, "memory.events"))
		if err != nil || !strings.Contains(string(events), "oom_kill ") || strings.Contains(string(events), "oom_kill 0") {
			t.Errorf("got events %q of memory, %v, want that the kernel killed", events, err)
		}
	}, "out of memory"
}

// Ports that processes of two names send to, and how many of each there are, of the same
// numbers each time.
const (
	fromLeft  = 47_021
	fromRight = 47_022
	lastPID   = 20_000
	processes = 20
	rounds    = 3
)

// reused has numbers of processes given again at once to processes of another name: what
// each sent is its own.
func reused(t *testing.T, d *daemon) []string {
	need.Guest(t)
	shell, err := os.ReadFile("/bin/bash")
	if err != nil {
		t.Fatal(err)
	}
	dir, n := t.TempDir(), d.lab().NetNS("pids")
	names := map[string]int{"left": fromLeft, "right": fromRight}
	had := map[string]string{} // what had a number first
	again := 0
	for round := range rounds {
		for name, port := range names {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, shell, 0o755); round == 0 && err != nil {
				t.Fatal(err)
			}
			const script = `echo %d >/proc/sys/kernel/ns_last_pid; for i in {1..%d}; do (echo lost >/dev/udp/127.0.0.1/%d; echo "$BASHPID"); done`
			for _, pid := range strings.Fields(n.Exec(path, "-c", fmt.Sprintf(script, lastPID, processes, port))) {
				if was, ok := had[pid]; ok && was != name {
					again++
				} else {
					had[pid] = name
				}
			}
		}
	}
	if again == 0 {
		t.Fatalf("no number was given again to another name, but %v: the test is wrong", had)
	}
	var counts []count
	for name, port := range names {
		where := []string{fmt.Sprintf("netns=%d", n.Inode), fmt.Sprintf("dst_port=%d", port), "comm=" + name}
		counts = append(counts, count{"packets of " + name, "flows", "packets_out", where, func() uint64 { return processes * rounds }})
	}
	return d.differ(counts...)
}
