package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/netfate/netfate/test/term"
)

var update = flag.Bool("update", false, "rewrite testdata/screens from what the program shows")

// terminal is a terminal with this program in it.
type terminal struct {
	*term.Terminal
	t *testing.T
}

// runIn starts this program in a terminal of so many columns and lines.
func runIn(t *testing.T, width, height int, env []string, args ...string) *terminal {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Args[0] = "netfate"
	cmd.Env = env
	return &terminal{term.Start(t, cmd, width, height), t}
}

// golden waits until the screen is as testdata/screens has it. The texts are in it,
// by which it is known when the file is written anew.
func (x *terminal) golden(name string, texts ...string) {
	x.t.Helper()
	path := filepath.Join("testdata", "screens", name+".txt")
	screen := x.Shows(texts...)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			x.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(screen), 0o644); err != nil {
			x.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		x.t.Fatalf("%v; run go test -update", err)
	}
	x.Becomes(name, string(want))
}
