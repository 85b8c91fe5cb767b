package agent

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is how busy the host's CPUs were for a while, and how much of that was
// this process: shares of all CPUs, from 0 to 1.
type usage struct{ own, idle float64 }

// usageMeter measures it from one call to the next. The zero value is ready.
type usageMeter struct {
	at          time.Time
	own         time.Duration
	idle, total uint64 // ticks
}

// read returns the load since the last call; ok is false for the first one, and
// where a call comes too soon to tell.
func (m *usageMeter) read(now time.Time) (l usage, ok bool, err error) {
	before := *m
	if m.own, err = readOwn(); err != nil {
		return l, false, err
	}
	m.at = now
	if m.idle, m.total, err = readTicks(); err != nil {
		return l, false, err
	}
	passed := now.Sub(before.at)
	if before.total == 0 || m.total <= before.total || passed <= 0 {
		return l, false, nil
	}
	return usage{
		own:  share(m.own-before.own, passed),
		idle: float64(m.idle-before.idle) / float64(m.total-before.total),
	}, true, nil
}

// hurryTime is how soon the meter is read where this process takes hurry times its
// budget or more: some ticks of the clock that tells how busy the host is.
const (
	hurryTime = 50 * time.Millisecond
	hurry     = 4
)

// due reports whether the meter is to be read, which costs more than this: after
// meterTime, or sooner where this process takes far more than its budget.
func (m *usageMeter) due(now time.Time, budget float64) (bool, error) {
	passed := now.Sub(m.at)
	if passed >= meterTime || passed < hurryTime {
		return passed >= meterTime, nil
	}
	own, err := readOwn()
	return share(own-m.own, passed) >= hurry*budget, err
}

// share is CPU time as a share of what all CPUs had.
func share(spent, passed time.Duration) float64 {
	return float64(spent) / float64(passed) / float64(runtime.NumCPU())
}

// readOwn returns the CPU time that this process has taken.
func readOwn() (time.Duration, error) {
	var spent unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &spent); err != nil {
		return 0, fmt.Errorf("read this process's CPU time: %w", err)
	}
	return time.Duration(spent.Utime.Nano() + spent.Stime.Nano()), nil
}

// readTicks reads the first line of /proc/stat (proc_stat(5)): the fourth and
// fifth number are ticks without work.
func readTicks() (idle, total uint64, err error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("read /proc/stat: %w", err)
	}
	fields := strings.Fields(line)
	for i, field := range fields[min(1, len(fields)):] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read /proc/stat: %w", err)
		}
		if i < 8 { // the rest, of guests, is in the first two
			total += n
		}
		if i == 3 || i == 4 {
			idle += n
		}
	}
	return idle, total, nil
}
