package tracelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// open opens trace_pipe, once no other test reads it.
func open(t *testing.T) *Pipe {
	t.Helper()
	var p *Pipe
	netlab.WaitFor(t, "trace_pipe", func() bool {
		var err error
		if p, err = Open(""); err != nil && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	return p
}

// TestPipe sees a line of its own; internal/inventory has the test with a program.
func TestPipe(t *testing.T) {
	need.Root(t)
	p := open(t)
	defer p.Close()
	mount, err := mountTraceFS()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(mount)
	marker, err := unix.Openat(mount, "trace_marker", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(marker)
	text := fmt.Sprintf("tracelog test %d: a-b [000] c", os.Getpid())
	if _, err := unix.Write(marker, []byte(text)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	found := errors.New("found")
	err = p.Run(ctx, func(e *Entry) error {
		if !strings.Contains(e.Text, text) {
			return nil // of the rest of the host
		}
		if e.Text != text || e.Event != "tracing_mark_write" || e.BPF() || e.Comm == "" || e.PID == 0 || e.Since == 0 {
			t.Errorf("got %+v", e)
		}
		return found
	})
	if !errors.Is(err, found) {
		t.Errorf("got %v, want the line", err)
	}
}

// TestRunEnds has nothing to read.
func TestRunEnds(t *testing.T) {
	need.Root(t)
	p := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if err := p.Run(ctx, func(*Entry) error { return nil }); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("ended after %v", took)
	}
	second, err := Open("")
	switch {
	case err == nil: // before 6.9
		second.Close()
	case !errors.Is(err, ErrBusy):
		t.Errorf("a second reader: got %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenNowhere(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
}
