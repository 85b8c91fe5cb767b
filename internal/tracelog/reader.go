package tracelog

import (
	"bytes"
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
)

// ErrBusy is wrapped by Open if another process reads trace_pipe and the kernel,
// 6.9 and newer, allows only one.
var ErrBusy = errors.New("another process reads trace_pipe, and the kernel allows only one")

// idle is the time between two looks at an empty trace_pipe. Waiting for it with
// poll(2) would not do: since Linux 6.2 it wakes only when the buffer is half full
// (42fb0a1e84ff), and a blocking read cannot be called back.
const idle = 20 * time.Millisecond

// maxLine bounds a line; the kernel's own bound on what one event prints is a page.
const maxLine = 64 << 10

// Pipe is an open trace_pipe. It is for one goroutine.
type Pipe struct {
	fd   int
	buf  []byte // what was read and is no whole line yet
	last Entry
	head []byte // the short line before: see line
}

// Open opens trace_pipe in dir, where tracefs is mounted. If dir is empty the file
// system is mounted for this process alone, in no directory, and goes with it;
// that needs Linux 5.2. From then on what the host traces is read here and by
// nobody else. The error wraps that of the system call, or ErrBusy.
func Open(dir string) (*Pipe, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC
	const name = "trace_pipe"
	var fd int
	var err error
	if dir != "" {
		fd, err = unix.Open(filepath.Join(dir, name), flags, 0)
	} else {
		var mount int
		if mount, err = mountTraceFS(); err != nil {
			return nil, fmt.Errorf("mount tracefs: %w", err)
		}
		fd, err = unix.Openat(mount, name, flags, 0)
		unix.Close(mount)
	}
	if errors.Is(err, unix.EBUSY) {
		err = ErrBusy
	}
	if err != nil {
		return nil, fmt.Errorf("open trace_pipe of tracefs: %w", err)
	}
	return &Pipe{fd: fd}, nil
}

// mountTraceFS returns tracefs, mounted nowhere.
func mountTraceFS() (int, error) {
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

// Close closes the file; others can read it again.
func (p *Pipe) Close() error {
	if err := unix.Close(p.fd); err != nil {
		return fmt.Errorf("close trace_pipe: %w", err)
	}
	return nil
}

// Run calls f for each line until ctx ends, which is no error, or f returns an
// error, which it passes on. A line comes to f some 20 ms after it was written.
func (p *Pipe) Run(ctx context.Context, f func(*Entry) error) error {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	chunk := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := unix.Read(p.fd, chunk)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), err == nil && n == 0: // 0 while tracing is off
			timer.Reset(idle)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		case err != nil:
			return fmt.Errorf("read trace_pipe: %w", err)
		default:
			if err := p.feed(chunk[:n], f); err != nil {
				return err
			}
		}
	}
	return nil
}

// feed takes in what was read and passes on the lines that are whole.
func (p *Pipe) feed(b []byte, f func(*Entry) error) error {
	p.buf = append(p.buf, b...)
	for {
		line, rest, ok := bytes.Cut(p.buf, []byte("\n"))
		if !ok {
			if len(p.buf) < maxLine {
				return nil
			}
			line, rest = p.buf, nil
		}
		err := p.line(line, f)
		p.buf = append(p.buf[:0], rest...)
		if err != nil {
			return err
		}
	}
}

func (p *Pipe) line(line []byte, f func(*Entry) error) error {
	e, ok := Parse(line)
	var head []byte
	if !ok {
		// A task can have line feeds in its name, and the kernel prints them.
		whole := slices.Concat(p.head, line)
		e, ok = Parse(whole)
		if !ok && len(whole) < commWidth {
			head = append(whole, '\n')
		}
	}
	p.head = head
	switch {
	case ok && e.Lost == 0:
		p.last = e
	case ok:
	case len(line) == 0:
		return nil // a text that ended with a line feed of its own
	default:
		e = p.last
		e.Continued, e.Text = true, string(line)
	}
	return f(&e)
}

// Reader is a process that has a trace_pipe open.
type Reader struct {
	PID  int
	Comm string
}

// Readers returns the processes, other than this one, that have a trace_pipe open,
// as far as this process may see. It walks /proc and takes some ms.
func Readers() []Reader {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		panic(err) // the pattern is constant
	}
	var readers []Reader
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !readsPipe(dir) {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue // it ended
		}
		readers = append(readers, Reader{pid, strings.TrimSuffix(string(comm), "\n")})
	}
	slices.SortFunc(readers, func(a, b Reader) int { return a.PID - b.PID })
	return readers
}

// readsPipe reports whether the process of a directory in /proc has it open.
func readsPipe(dir string) bool {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err == nil && filepath.Base(target) == "trace_pipe" {
			return true
		}
	}
	return false
}
