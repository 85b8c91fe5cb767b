package loader

import (
	"context"
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
