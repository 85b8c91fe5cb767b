package main

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite testdata/screens from what the program shows")

// patience is how long a screen may take: a bound for what hangs, never reached by
// what works.
const patience = time.Minute

// pause is the time between two looks at a screen.
const pause = 20 * time.Millisecond

// terminal is a terminal with the program in it, driven through a pseudo-terminal.
type terminal struct {
	t      *testing.T
	master *os.File
	screen *vt.SafeEmulator
	proc   *os.Process
	ended  chan error
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
	cmd.Env = append([]string{"TERM=xterm-256color", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=/"}, env...)
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)})
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, master: master, screen: vt.NewSafeEmulator(width, height), proc: cmd.Process, ended: make(chan error, 1)}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(x.screen, master) // until the program is gone
	}()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = io.Copy(master, x.screen) // what the terminal is asked, it answers
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-shown
		_ = x.screen.InputPipe().(io.Closer).Close()
		<-answered
		master.Close()
	})
	go func() {
		err := cmd.Wait()
		<-shown
		x.ended <- err
	}()
	return x
}

// keys types.
func (x *terminal) keys(s string) {
	x.t.Helper()
	if _, err := x.master.WriteString(s); err != nil {
		x.t.Fatal(err)
	}
}

// resize makes the terminal another size.
func (x *terminal) resize(width, height int) {
	x.t.Helper()
	x.screen.Resize(width, height)
	if err := pty.Setsize(x.master, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		x.t.Fatal(err)
	}
}

// mode is how the terminal treats what is typed.
func (x *terminal) mode() uint32 {
	x.t.Helper()
	state, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return state.Lflag
}

// text is what is on the screen, without attributes.
func (x *terminal) text() string {
	lines := strings.Split(ansi.Strip(strings.ReplaceAll(x.screen.Render(), "\r\n", "\n")), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// until waits for a screen.
func (x *terminal) until(what string, good func(screen string) bool) string {
	x.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		screen := x.text()
		if good(screen) {
			return screen
		}
		if time.Now().After(end) {
			x.t.Fatalf("%s never came; the screen is\n%s", what, screen)
		}
	}
}

// shows waits until all the texts are on the screen.
func (x *terminal) shows(texts ...string) string {
	x.t.Helper()
	return x.until(strings.Join(texts, " and "), func(screen string) bool {
		for _, s := range texts {
			if !strings.Contains(screen, s) {
				return false
			}
		}
		return true
	})
}

// lacks waits until a text is gone.
func (x *terminal) lacks(text string) {
	x.t.Helper()
	x.until("a screen without "+text, func(screen string) bool { return !strings.Contains(screen, text) })
}

// golden waits until the screen is as testdata/screens has it. The texts are in it,
// by which it is known when the file is written anew.
func (x *terminal) golden(name string, texts ...string) {
	x.t.Helper()
	path := filepath.Join("testdata", "screens", name+".txt")
	screen := x.shows(texts...)
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
	for end := time.Now().Add(patience); screen != string(want); screen = x.text() {
		if time.Now().After(end) {
			x.t.Fatalf("%s (-want +got):\n%s", name, cmp.Diff(string(want), screen))
		}
		time.Sleep(pause)
	}
}

// ends waits for the program and returns its exit code.
func (x *terminal) ends() int {
	x.t.Helper()
	select {
	case err := <-x.ended:
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // as Wait returns it
			return exit.ExitCode()
		}
		if err != nil {
			x.t.Fatal(err)
		}
		return 0
	case <-time.After(patience):
		x.t.Fatalf("the program does not end; the screen is\n%s", x.text())
	}
	return -1
}
