package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/runstate"
)

// Stopped is what Stop has ended.
type Stopped struct {
	Name    string
	Crashed bool // its process had died without cleaning up
}

// Stop ends what runs under name: the process that holds it is asked to end and
// waited for, and what it left is removed. It touches nothing that is not written
// down as made by that run. The error wraps runstate.ErrNotFound if nothing of
// that name runs.
func Stop(ctx context.Context, dir, name string) (Stopped, error) {
	s, err := runstate.Read(dir, name)
	if err != nil {
		return Stopped{}, err
	}
	stopped := Stopped{Name: name, Crashed: s.PID != 0 && !alive(s)}
	if alive(s) {
		if err := endProcess(ctx, s); err != nil {
			return stopped, err
		}
		if s, err = runstate.Read(dir, name); errors.Is(err, runstate.ErrNotFound) {
			return stopped, nil // it has cleaned up
		} else if err != nil {
			return stopped, err
		}
	}
	return stopped, lockedCleanUp(dir, s)
}

// lockedCleanUp is cleanUp of a run that this process does not hold.
func lockedCleanUp(dir string, s *runstate.State) error {
	unlock, err := runstate.Lock(dir)
	if err != nil {
		return err
	}
	now, err := runstate.Read(dir, s.Name) // others may have left it something
	if err == nil {
		err = cleanUp(dir, now)
	} else if errors.Is(err, runstate.ErrNotFound) {
		err = nil
	}
	return errors.Join(err, unlock())
}

// patience is how long Stop waits for a process to end by itself.
const patience = 10 * time.Second

// endProcess asks the process to end, as Ctrl-C does, and waits for it.
func endProcess(ctx context.Context, s *runstate.State) error {
	fd, err := unix.PidfdOpen(s.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: open process %d: %w", s.Name, s.PID, err)
	}
	defer unix.Close(fd)
	if !alive(s) { // the pid was another's by the time it was opened
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop %s: signal process %d: %w", s.Name, s.PID, err)
	}
	late := time.Now().Add(patience)
	for {
		left := time.Until(late)
		if left <= 0 {
			return fmt.Errorf("stop %s: process %d does not end within %v; kill -9 %[2]d, then netfate stop %[1]s again", s.Name, s.PID, patience)
		}
		const slice = 100 * time.Millisecond // so that Ctrl-C is heard
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(min(left, slice).Milliseconds())+1)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("stop %s: wait for process %d: %w", s.Name, s.PID, err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// cleanUp removes what a run has made and the kernel would keep, and forgets the
// run. A map that another run uses as well stays pinned, and becomes that one's.
// The states must be locked.
func cleanUp(dir string, s *runstate.State) error {
	others, listErr := runstate.List(dir)
	others = slices.DeleteFunc(others, func(o *runstate.State) bool { return o.Name == s.Name })
	heir := func(path string) *runstate.State {
		for _, o := range others {
			if o.Uses(path) {
				return o
			}
		}
		return nil
	}
	var errs []error
	for i := range slices.Backward(s.Filters) { // the first was made with the qdisc
		errs = append(errs, removeFilter(&s.Filters[i]), bequeathQdisc(dir, others, &s.Filters[i]))
	}
	for _, path := range s.Made {
		if o := heir(path); o != nil {
			errs = append(errs, bequeath(dir, o, s.Made, path))
		}
	}
	for _, path := range s.Made {
		errs = append(errs, bequeathDir(dir, others, path))
	}
	errs = append(errs, removePins(s.Made, func(path string) bool { return heir(path) != nil }))
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, listErr) // it stays written down: stop can try again
	}
	return errors.Join(runstate.Remove(dir, s.Name), listErr)
}

// bequeath writes down that the pin at path, and the directories, where the other
// run may have pins beside, are now that one's to remove.
func bequeath(dir string, to *runstate.State, made []string, path string) error {
	var mine []string
	for _, p := range made {
		info, err := os.Stat(p)
		if (p == path || err == nil && info.IsDir()) && !slices.Contains(to.Made, p) {
			mine = append(mine, p)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	to.Made = append(mine, to.Made...)
	return runstate.Write(dir, to)
}

// bequeathDir writes down that a directory is for another run to remove, if one
// has pins in it.
func bequeathDir(dir string, others []*runstate.State, path string) error {
	for _, o := range others {
		below := func(made string) bool { return strings.HasPrefix(made, path+"/") }
		if slices.ContainsFunc(o.Made, below) {
			if slices.Contains(o.Made, path) {
				return nil
			}
			o.Made = append([]string{path}, o.Made...)
			return runstate.Write(dir, o)
		}
	}
	return nil
}

// bequeathQdisc writes down that a qdisc that was made for f is for another run of
// netfate to remove, if one has filters there.
func bequeathQdisc(dir string, others []*runstate.State, f *runstate.Filter) error {
	if !f.Qdisc {
		return nil
	}
	for _, o := range others {
		for i := range o.Filters {
			if theirs := &o.Filters[i]; theirs.NetNS == f.NetNS && theirs.IfIndex == f.IfIndex {
				theirs.Qdisc = true
				return runstate.Write(dir, o)
			}
		}
	}
	return nil
}

// alive reports whether the process that s names is that process still.
func alive(s *runstate.State) bool {
	if s.PID == 0 {
		return false
	}
	start, err := startOf(s.PID)
	return err == nil && start == s.PIDStart
}

// startOf returns when a process began, in clock ticks since boot: with the pid
// it is never used twice. See proc_pid_stat(5), field 22.
func startOf(pid int) (uint64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	const state, start = 2, 21 // counted from 0; the name before them may hold spaces
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= start-state || fields[0] == "Z" {
		return 0, fmt.Errorf("look at process %d: it has ended", pid)
	}
	ticks, err := strconv.ParseUint(fields[start-state], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return ticks, nil
}
