// Command demo plays a small company network inside network namespaces, for a
// newcomer who wants to see netfate at work on an idle machine: an office
// behind a router, a server, a branch behind a narrow line. They talk, and
// they lose packets for a dozen reasons at rates that can be seen.
//
//	demo                      plays until Ctrl-C
//	demo netfate drops        plays, runs the command beside it, and ends with it
//
// It needs root. Nothing of it leaves its namespaces, and they are gone when it
// ends; what a killed demo leaves is swept away by the next one.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/netfate/netfate/test/netlab"
)

func main() {
	name := filepath.Base(os.Args[0])
	if role, ok := roles()[name]; ok {
		os.Exit(act(name, role))
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run plays until a signal comes, or until the command has ended.
func run(command []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(stop)
	var ended error
	err := netlab.Run(func(tb netlab.TB) {
		c := build(tb)
		cast(tb, c)
		fmt.Fprintln(os.Stderr, "demo: playing; watch it with `netfate drops` and `netfate flows`; Ctrl-C ends it")
		if len(command) == 0 {
			<-stop
			return
		}
		ended = beside(command, stop)
	})
	return errors.Join(err, ended)
}

// beside runs the command to its end. A signal that the demo gets and the
// command, in a terminal, has had already, is passed on all the same.
func beside(command []string, stop <-chan os.Signal) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", strings.Join(command, " "), err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("run %s: %w", strings.Join(command, " "), err)
			}
			return nil
		case s := <-stop:
			// It may have ended in between; then Wait says so.
			_ = cmd.Process.Signal(s)
		}
	}
}

// cast starts every role in its namespace. Each is a process of its own, named
// after its role, that ends when this one does: its standard input closes.
func cast(tb netlab.TB, c *company) {
	self, err := os.Executable()
	if err != nil {
		tb.Fatalf("find own program: %v", err)
	}
	dir, err := os.MkdirTemp("", "netfate-demo-")
	if err != nil {
		tb.Fatalf("make directory: %v", err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	for name, role := range roles() {
		path := filepath.Join(dir, name)
		if err := os.Symlink(self, path); err != nil {
			tb.Fatalf("name a role: %v", err)
		}
		cmd := exec.Command(path)
		cmd.Stderr = os.Stderr
		// Out of the terminal's group: Ctrl-C is for the demo, which ends them.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		input, err := cmd.StdinPipe()
		if err != nil {
			tb.Fatalf("open pipe: %v", err)
		}
		tb.Cleanup(func() { input.Close() })
		c.place(role.where).Start(cmd)
	}
}
