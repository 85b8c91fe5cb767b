// Package term puts a program into a terminal and looks at what it shows. For tests
// only.
package term

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// patience is how long a screen may take: a bound for what hangs, never reached by
// what works.
const patience = time.Minute

// pause is the time between two looks at a screen.
const pause = 20 * time.Millisecond

// Terminal is a terminal with a program in it, driven through a pseudo-terminal.
type Terminal struct {
	Screen  *vt.SafeEmulator // what is shown, with its attributes
	Process *os.Process

	t      testing.TB
	master *os.File
	ended  chan error
}

// Start starts cmd in a terminal of so many columns and lines, which knows UTF-8 and
// colours unless its environment says otherwise. It is killed at the end of the test.
func Start(t testing.TB, cmd *exec.Cmd, width, height int) *Terminal {
	t.Helper()
	cmd.Env = append([]string{"TERM=xterm-256color", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=/"}, cmd.Env...)
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)})
	if err != nil {
		t.Fatal(err)
	}
	x := &Terminal{t: t, master: master, Screen: vt.NewSafeEmulator(width, height), Process: cmd.Process, ended: make(chan error, 1)}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(x.Screen, master) // Until the program is gone
	}()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = io.Copy(master, x.Screen) // what the terminal is asked, it answers
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-shown
		_ = x.Screen.InputPipe().(io.Closer).Close()
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

// Keys types.
func (x *Terminal) Keys(s string) {
	x.t.Helper()
	if _, err := x.master.WriteString(s); err != nil {
		x.t.Fatal(err)
	}
}

// Resize makes the terminal another size.
func (x *Terminal) Resize(width, height int) {
	x.t.Helper()
	x.Screen.Resize(width, height)
	if err := pty.Setsize(x.master, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		x.t.Fatal(err)
	}
}

// Mode is how the terminal treats what is typed.
func (x *Terminal) Mode() uint32 {
	x.t.Helper()
	state, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return state.Lflag
}

// Text is what is on the screen, without attributes.
func (x *Terminal) Text() string {
	lines := strings.Split(ansi.Strip(strings.ReplaceAll(x.Screen.Render(), "\r\n", "\n")), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// Until waits for a screen.
func (x *Terminal) Until(what string, good func(screen string) bool) string {
	x.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		screen := x.Text()
		if good(screen) {
			return screen
		}
		if time.Now().After(end) {
			x.t.Fatalf("%s never came; the screen is\n%s", what, screen)
		}
	}
}

// Shows waits until all the texts are on the screen.
func (x *Terminal) Shows(texts ...string) string {
	x.t.Helper()
	return x.Until(strings.Join(texts, " and "), func(screen string) bool {
		for _, s := range texts {
			if !strings.Contains(screen, s) {
				return false
			}
		}
		return true
	})
}

// Lacks waits until a text is gone.
func (x *Terminal) Lacks(text string) {
	x.t.Helper()
	x.Until("a screen without "+text, func(screen string) bool { return !strings.Contains(screen, text) })
}

// Becomes waits until the screen is as wanted; what says which one that is.
func (x *Terminal) Becomes(what, want string) {
	x.t.Helper()
	screen := x.Text()
	for end := time.Now().Add(patience); screen != want; screen = x.Text() {
		if time.Now().After(end) {
			x.t.Fatalf("%s (-want +got):\n%s", what, cmp.Diff(want, screen))
		}
		time.Sleep(pause)
	}
}

// Ends waits for the program and returns its exit code.
func (x *Terminal) Ends() int {
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
		x.t.Fatalf("the program does not end; the screen is\n%s", x.Text())
	}
	return -1
}
