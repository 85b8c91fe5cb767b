package scenario

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// loaded lists the programs and links that the kernel has, by kind, id and name.
func loaded(t *testing.T) []string {
	t.Helper()
	var all []string
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			t.Fatalf("list programs: %v", err)
		}
		id = next
		all = append(all, fmt.Sprintf("program %d %s", id, name(id)))
	}
	links := &link.Iterator{}
	for links.Next() {
		info, err := links.Link.Info()
		if err != nil {
			t.Fatalf("read a link: %v", err)
		}
		all = append(all, fmt.Sprintf("link %d of %s", info.ID, name(info.Program)))
	}
	if err := links.Err(); err != nil {
		t.Fatalf("list links: %v", err)
	}
	return all
}

// name returns what a program is called, its id if it has just gone.
func name(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "one that is gone"
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "one that is gone"
	}
	return info.Name
}

// TestNothingStays checks that whatever ends netfate, nothing of it stays in
// the kernel, and that several at once do not disturb each other.
func TestNothingStays(t *testing.T) {
	need.Root(t)
	before := loaded(t)
	ignore := func([]byte) error { return nil }

	first := startWatch(t, ignore, "drops")
	second := startWatch(t, ignore, "flows")
	third := startWatch(t, ignore, "conns")
	if got := loaded(t); len(got) <= len(before) {
		t.Errorf("got %d programs and links while three netfates watch, want more than the %d before", len(got), len(before))
	}
	for _, w := range []*watch{first, third} {
		if err := w.cmd.Process.Kill(); err != nil {
			t.Fatalf("kill -9: %v", err)
		}
		if err := w.cmd.Wait(); err == nil {
			t.Error("got exit code 0 from a netfate that was killed")
		}
	}
	second.stop()

	// Of what was there before, some may go: the kernel frees what earlier tests
	// had loaded when it has time.
	var left []string
	netlab.Poll(30*time.Second, func() bool {
		left = slices.DeleteFunc(loaded(t), func(s string) bool { return slices.Contains(before, s) })
		return len(left) == 0
	})
	if len(left) > 0 {
		t.Errorf("got %q in the kernel after kill -9 and Ctrl-C, want nothing that was not there before", left)
	}
}
