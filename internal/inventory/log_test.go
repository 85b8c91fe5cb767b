package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/tracelog"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// printer attaches a program that writes text whenever a task is renamed, and
// returns its id.
func printer(t *testing.T, text string) uint32 {
	t.Helper()
	data, err := ebpf.NewMap(&ebpf.MapSpec{Name: ".rodata", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(text) + 1), MaxEntries: 1,
		Contents: []ebpf.MapKV{{Key: uint32(0), Value: append([]byte(text), 0)}}, Flags: 1 << 7}) // BPF_F_RDONLY_PROG
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "printer", Type: ebpf.RawTracepoint, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapValue(asm.R1, data.FD(), 0),
		asm.Mov.Imm(asm.R2, int32(len(text)+1)),
		asm.FnTracePrintk.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "task_rename", Program: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return programID(t, p)
}

// TestLinesOfAProgram goes all the way from a program to its line, and from the
// line to the program.
func TestLinesOfAProgram(t *testing.T) {
	need.Root(t)
	var p *tracelog.Pipe
	netlab.WaitFor(t, "trace_pipe", func() bool {
		var err error
		if p, err = tracelog.Open(""); err != nil && !errors.Is(err, tracelog.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	defer p.Close()
	text := fmt.Sprintf("inventory test %d: a-b [000] c", os.Getpid())
	id := printer(t, text)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	comm, err := os.ReadFile("/proc/thread-self/comm")
	if err != nil {
		t.Fatal(err)
	}
	const renamed = "w x-1 [9] d: y"
	for _, name := range []string{renamed, strings.TrimSpace(string(comm))} {
		if err := os.WriteFile("/proc/thread-self/comm", []byte(name), 0); err != nil {
			t.Fatal(err)
		}
	}
	data, err := ReadOnlyData(id)
	if err != nil {
		t.Fatal(err)
	}
	formats := tracelog.FindFormats(data...)
	found := errors.New("found")
	err = p.Run(ctx, func(e *tracelog.Entry) error {
		if !strings.Contains(e.Text, text) {
			return nil // of the rest of the host
		}
		if e.Comm == "" || e.Text != text || !formats.Match(e.Text) || !e.BPF() || e.PID == 0 || e.Since == 0 {
			t.Errorf("got %+v", e)
		}
		return found
	})
	if !errors.Is(err, found) {
		t.Errorf("got %v, want the line of the program", err)
	}
}
