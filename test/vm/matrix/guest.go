package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// guestCommand is the first argument of the run inside of a guest.
const guestCommand = "in-guest"

// plan is what a guest gets to do; it finds it in its directory.
type plan struct {
	Kernel string
	Args   []string // for each test binary
	Env    []string
	Tests  []test
}

// outcome is how one package's tests went, in a file of its name.
type outcome struct {
	Test   test
	Failed string // why; empty if all passed
	Took   time.Duration
}

const (
	planFile    = "plan.json"
	runningFile = "running"
)

// base is the name of a test's files in the guest's directory.
func (t *test) base(dir string) string {
	return filepath.Join(dir, strings.ReplaceAll(t.Name, "/", "."))
}

// inGuest runs what the plan in dir says, and writes each outcome as it comes:
// the guest may die with the next.
func inGuest(dir string) int {
	var p plan
	if err := readJSON(filepath.Join(dir, planFile), &p); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		return 1
	}
	for _, t := range p.Tests {
		if err := os.WriteFile(filepath.Join(dir, runningFile), []byte(t.Name), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "matrix:", err)
			return 1
		}
		o := p.one(dir, t)
		if err := writeJSON(t.base(dir)+".json", o); err != nil {
			fmt.Fprintln(os.Stderr, "matrix:", err)
			return 1
		}
		word := "ok  "
		if o.Failed != "" {
			word = "FAIL"
		}
		fmt.Printf("%-5s %s %s %.1f s\n", p.Kernel, word, t.Name, o.Took.Seconds())
	}
	return 0
}

// one runs the tests of one package, with their output in a file.
func (p *plan) one(dir string, t test) (o outcome) {
	began := time.Now()
	o.Test = t
	defer func() { o.Took = time.Since(began) }()
	log, err := os.Create(t.base(dir) + ".log")
	if err != nil {
		o.Failed = err.Error()
		return o
	}
	defer log.Close()
	args := p.Args
	if t.Only != nil {
		args = append(slices.Clone(args), "-test.run", "^("+strings.Join(t.Only, "|")+")$")
	}
	cmd := exec.Command(t.Binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.Dir, log, log
	cmd.Env = append(os.Environ(), p.Env...)
	if err := cmd.Run(); err != nil {
		o.Failed = err.Error()
	}
	return o
}

func readJSON(path string, to any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON writes a file that is whole or not there.
func writeJSON(path string, from any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
