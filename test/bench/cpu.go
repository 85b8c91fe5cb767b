package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on amd64 and arm64.
const tick = time.Second / 100

// processCPU returns the user and system time of a process, by its directory
// in /proc. The kernel splits it by ticks, but the sum is exact.
func processCPU(dir string) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	// utime and stime are fields 14 and 15; what is behind the name begins at 3.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("parse %s/stat: %q", dir, text)
	}
	return sumTicks(fields[11:13])
}

func sumTicks(fields []string) (time.Duration, error) {
	var sum time.Duration
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse CPU time: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// ownCPU returns the CPU time of this process, sender and receiver, to the
// nanosecond. Interrupts that hit it count, and so does the receiving half of
// the network stack, which runs in the sender's name.
func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read own CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// softirqDirs finds the threads that take over packets when there are many.
func softirqDirs() ([]string, error) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, path := range comms {
		// A process may have ended since the listing.
		if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), "ksoftirqd/") {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs, nil
}

// machineCPU returns the time that all CPUs were busy, and all their time.
func machineCPU() (busy, all time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	return parseMachineCPU(string(text))
}

// parseMachineCPU reads the first line of /proc/stat: "cpu user nice system
// idle iowait irq softirq steal guest guest_nice", where guests are in user.
func parseMachineCPU(text string) (busy, all time.Duration, err error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("parse /proc/stat: %q", line)
	}
	if all, err = sumTicks(fields[1:9]); err != nil {
		return 0, 0, err
	}
	waiting, err := sumTicks([]string{fields[4], fields[5], fields[8]}) // stolen is not busy
	return all - waiting, all, err
}

// usage is CPU time since some moment: of those who deal with the packets, of
// netfate among them, and of the whole machine.
type usage struct {
	part, netfate, machine time.Duration
}

// meter measures usage from one moment on: of this process, of the kernel's
// packet threads and of netfate.
type meter struct {
	dirs    []string // of the packet threads, in /proc
	netfate *netfate // nil if it does not run
	start   usage
}

// newMeter starts a meter; n may be nil.
func newMeter(n *netfate) (*meter, error) {
	m := &meter{netfate: n}
	var err error
	if m.dirs, err = softirqDirs(); err != nil {
		return nil, err
	}
	m.start, err = m.read()
	return m, err
}

func (m *meter) read() (u usage, err error) {
	if u.part, err = ownCPU(); err != nil {
		return u, err
	}
	for _, dir := range m.dirs {
		t, err := processCPU(dir)
		if err != nil {
			return u, err
		}
		u.part += t
	}
	if m.netfate != nil {
		if u.netfate, err = m.netfate.cpu(); err != nil {
			return u, err
		}
		u.part += u.netfate
	}
	u.machine, _, err = machineCPU()
	return u, err
}

// stop returns what was used since the start.
func (m *meter) stop() (usage, error) {
	u, err := m.read()
	return usage{u.part - m.start.part, u.netfate - m.start.netfate, u.machine - m.start.machine}, err
}
