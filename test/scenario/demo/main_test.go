package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestDemo plays the demo beside a command that looks at it from outside, and
// checks that nothing of it is left.
func TestDemo(t *testing.T) {
	need.Root(t)
	binary := need.Command(t, "../demo")
	var out bytes.Buffer
	dir := t.TempDir()                 // where the roles' programs are, and no other demo's
	cmd := exec.Command(binary, "cat") // until its standard input ends
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pattern := fmt.Sprintf("/run/netns/nf-%d-*", cmd.Process.Pid)
	netlab.WaitFor(t, "every role to be on stage", func() bool {
		return len(running(t, dir)) == len(roles()) && len(spaces(t, pattern)) == 4
	})
	input.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("got %v from the demo, want exit code 0\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "demo: playing") {
		t.Errorf("got %q, want a word that it plays", &out)
	}
	if left := spaces(t, pattern); len(left) != 0 {
		t.Errorf("got %v left behind, want nothing", left)
	}
	netlab.WaitFor(t, "every role to be gone", func() bool { return len(running(t, dir)) == 0 })
}

func spaces(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// running returns the names of the processes of the demo whose directory for
// temporary files is tmp.
func running(t *testing.T, tmp string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		// A process may end while it is looked at.
		text, _ := os.ReadFile(file)
		path := string(bytes.TrimRight(text, "\x00"))
		name := filepath.Base(path)
		if _, ok := roles()[name]; ok && strings.HasPrefix(path, tmp) {
			names = append(names, name)
		}
	}
	return names
}

func TestRoleNamesFitComm(t *testing.T) {
	for name, role := range roles() {
		if len(name) > 15 {
			t.Errorf("got role %q of %d letters, want at most 15", name, len(name))
		}
		if role.play == nil {
			t.Errorf("role %q does nothing", name)
		}
	}
}
