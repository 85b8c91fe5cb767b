package loader

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkFirstEvent is what a user waits for: an object opened, loaded and
// attached, until its first event is read. Each round loads a program, so it has
// pauses: a kernel that loads and frees them without end may lock up.
func BenchmarkFirstEvent(b *testing.B) {
	bpffs, states := b.TempDir(), b.TempDir()
	object := compileWith(b, counting)
	var took time.Duration
	for b.Loop() {
		begin := time.Now()
		o, err := Open(Config{Object: object, Programs: []string{"count"}, Set: []string{"my_pid=self"}, BPFFS: bpffs, StateDir: states})
		if err != nil {
			b.Fatal(err)
		}
		r, err := o.Load()
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Attach(); err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		go unix.Getpid() // the event
		err = r.Events(ctx, func(*Event) error {
			took += time.Since(begin)
			cancel()
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/event")
}

// BenchmarkMinimal is the same for the example that the loader began with: until
// its first line can be read from trace_pipe.
func BenchmarkMinimal(b *testing.B) {
	source, err := os.ReadFile("../../bpf/examples/minimal.bpf.c")
	if err != nil {
		b.Fatal(err)
	}
	// In mounts of this thread's own, which ends with the benchmark.
	runtime.LockOSThread()
	if err := errors.Join(
		unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, ""),
	); err != nil {
		b.Fatal(err)
	}
	pipe, err := unix.Open("/sys/kernel/tracing/trace_pipe", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(pipe)
	object, buf := compileSource(b, string(source)), make([]byte, 1<<16)
	bpffs, states := b.TempDir(), b.TempDir()
	var took time.Duration
	for b.Loop() {
		begin := time.Now()
		o, err := Open(Config{Object: object, Set: []string{"my_pid=self"}, BPFFS: bpffs, StateDir: states})
		if err != nil {
			b.Fatal(err)
		}
		r, err := o.Load()
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Attach(); err != nil {
			b.Fatal(err)
		}
		for said := false; !said; {
			if _, err := unix.Write(-1, nil); !errors.Is(err, unix.EBADF) { // the event: a write, of nothing to nowhere
				b.Fatal(err)
			}
			n, err := unix.Read(pipe, buf)
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				b.Fatal(err)
			}
			said = n > 0 && bytes.Contains(buf[:n], []byte("BPF triggered"))
		}
		took += time.Since(begin)
		b.StopTimer()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		for n := 1; n > 0; { // what was written since is not of the next round
			n, _ = unix.Read(pipe, buf)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/event")
}
