package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// guestDied is what test/vm/run exits with when the guest did not get to the
// end, and tookTooLong when it was ended.
const (
	tookTooLong = 124
	guestDied   = 125
)

// run is the tests on one kernel.
type run struct {
	*options
	kernel string
	tests  []test

	outcomes []outcome
	skips    []string
	failures []string            // with the output that explains them
	names    map[string][]string // the tests that failed, of packages that came to their end
	retried  []string            // failures of the first time, if there was a second
	err      error
}

// golden is where the tests of test/kernels keep what each kernel says.
const golden = "test/kernels/testdata"

// play runs all tests, in as many guests as it takes.
func (r *run) play(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "netfate-matrix-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := r.guests(ctx, dir, r.tests); err != nil {
		return err
	}
	if err := r.again(ctx, dir); err != nil {
		return err
	}
	if r.update {
		return r.copyGolden(dir)
	}
	return nil
}

// again runs the tests that failed once more, in a guest of its own, which tells what
// is wrong from what an earlier one left behind; all of a package that did not come to
// its end. What passes then is reported.
func (r *run) again(ctx context.Context, dir string) error {
	var failed []test
	var passed []outcome
	for _, o := range r.outcomes {
		if o.Failed == "" {
			passed = append(passed, o)
			continue
		}
		o.Test.Only = r.names[o.Test.Name]
		failed = append(failed, o.Test)
		if err := os.Remove(o.Test.base(dir) + ".json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(failed) == 0 || r.update {
		return nil
	}
	first := r.failures
	r.outcomes, r.failures, r.names = passed, nil, nil
	if err := r.guests(ctx, dir, failed); err != nil {
		return err
	}
	r.retried = first
	return nil
}

// guests runs tests, in as many guests as it takes.
func (r *run) guests(ctx context.Context, dir string, left []test) error {
	for deaths := 0; len(left) > 0; deaths++ {
		status, err := r.guest(ctx, dir, left)
		if err != nil {
			return err
		}
		left = r.collect(dir, left)
		switch {
		case len(left) == 0:
		case ctx.Err() != nil:
			return ctx.Err()
		case status != guestDied || deaths == 3:
			return fmt.Errorf("the guest ended with %d; %d packages were not run", status, len(left))
		default:
			r.outcomes = append(r.outcomes, outcome{Test: left[0], Failed: "the guest died: see its console above"})
			r.failures = append(r.failures, left[0].Name+": the guest died in it")
			left = left[1:]
		}
	}
	return nil
}

// guest runs the tests in one guest and returns its exit status.
func (r *run) guest(ctx context.Context, dir string, tests []test) (int, error) {
	p := plan{Kernel: r.kernel, Tests: tests, Args: []string{"-test.v", "-test.timeout", r.each.String()}}
	built, err := filepath.Abs(commands)
	if err != nil {
		return 0, err
	}
	p.Env = append(p.Env, "NETFATE_COMMANDS="+built, "NETFATE_BIN="+filepath.Join(built, "netfate"))
	if r.short {
		p.Args = append(p.Args, "-test.short")
	}
	if r.run != "" {
		p.Args = append(p.Args, "-test.run", r.run)
	}
	if r.update {
		p.Args = append(p.Args, "-update")
		p.Env = append(p.Env, "NETFATE_GOLDEN="+filepath.Join(dir, "golden"))
	}
	if err := writeJSON(filepath.Join(dir, planFile), p); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	seconds := fmt.Sprint(int(r.limit / time.Second))
	cmd := exec.CommandContext(ctx, "test/vm/run", "-o", dir, "-t", seconds, "-m", r.memory, r.kernel, self, guestCommand, dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// collect reads the outcomes of tests and returns those that have none, the
// one that was running first.
func (r *run) collect(dir string, tests []test) (left []test) {
	running, _ := os.ReadFile(filepath.Join(dir, runningFile)) // none: it died before
	for _, t := range tests {
		var o outcome
		if err := readJSON(t.base(dir)+".json", &o); err != nil {
			left = append(left, t)
			continue
		}
		r.outcomes = append(r.outcomes, o)
		r.read(t, t.base(dir)+".log", o.Failed)
	}
	slices.SortStableFunc(left, func(a, b test) int {
		return rank(a.Name == string(running)) - rank(b.Name == string(running))
	})
	return left
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// read takes skips, and what explains failures, from the output of one
// package's tests.
func (r *run) read(t test, path, failed string) {
	f, err := os.Open(path)
	if err != nil {
		r.failures = append(r.failures, t.Name+": "+err.Error())
		return
	}
	defer f.Close()
	skips, names, told := digest(f)
	for _, s := range skips {
		if s = t.Name + ": " + s; !slices.Contains(r.skips, s) {
			r.skips = append(r.skips, s)
		}
	}
	if failed == "" {
		return
	}
	r.failures = append(r.failures, t.Name+": "+failed+"\n"+strings.Join(told, "\n"))
	if names != nil {
		if r.names == nil {
			r.names = map[string][]string{}
		}
		r.names[t.Name] = names
	}
}

// mostLines bounds what is shown of a package that fails.
const mostLines = 200

// digest reads the output of verbose tests: it returns one line for each that
// was skipped, the names of those that failed, if all came to their end, and the
// output without that of tests that passed, its end if it is long.
func digest(in io.Reader) (skips, failed, told []string) {
	var block []string // the output of the test that runs
	last := ""
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		line := scan.Text()
		result := strings.TrimLeft(line, " ")
		last = line
		if name, is := strings.CutPrefix(line, "--- FAIL: "); is {
			name, _, _ = strings.Cut(name, " ")
			failed = append(failed, name)
		}
		switch {
		case strings.HasPrefix(result, "--- PASS"):
			block = nil
		case strings.HasPrefix(result, "--- SKIP: "):
			name, _, _ := strings.Cut(strings.TrimPrefix(result, "--- SKIP: "), " ")
			skips = append(skips, name+": "+reason(block))
			block = nil
		case strings.HasPrefix(result, "--- FAIL"):
			told = append(append(told, block...), line)
			block = nil
		case strings.HasPrefix(line, "=== "), line == "PASS":
		default:
			block = append(block, line)
		}
	}
	told = append(told, block...)
	if len(told) > mostLines {
		told = append([]string{"…"}, told[len(told)-mostLines:]...)
	}
	if last != "FAIL" {
		failed = nil
	}
	return skips, failed, told
}

// reason is what a skipped test said last, without where it said so.
func reason(block []string) string {
	if len(block) == 0 {
		return "no reason"
	}
	_, text, ok := strings.Cut(strings.TrimSpace(block[len(block)-1]), ": ")
	if !ok {
		return strings.TrimSpace(block[len(block)-1])
	}
	return text
}

// report writes how it went, and reports whether all passed.
func (r *run) report(w io.Writer) bool {
	failed := 0
	var took time.Duration
	for _, o := range r.outcomes {
		took += o.Took
		if o.Failed != "" {
			failed++
		}
	}
	for _, f := range r.retried {
		fmt.Fprintf(w, "\n%s, run again: %s\n", r.kernel, f)
	}
	for _, f := range r.failures {
		fmt.Fprintf(w, "\n%s: %s\n", r.kernel, f)
	}
	if len(r.skips) > 0 {
		fmt.Fprintf(w, "\n%s lacks what %d tests need:\n", r.kernel, len(r.skips))
		for _, s := range r.skips {
			fmt.Fprintf(w, "  %s\n", s)
		}
	}
	if r.err != nil {
		fmt.Fprintf(w, "\n%s: %v\n", r.kernel, r.err)
	}
	fmt.Fprintf(w, "\n%s: %d packages, %d failed, in %s\n", r.kernel, len(r.outcomes), failed, took.Round(time.Second))
	return failed == 0 && r.err == nil
}

// copyGolden takes what the kernel said to where the tests compare it.
func (r *run) copyGolden(dir string) error {
	from, to := filepath.Join(dir, "golden", r.kernel), filepath.Join(golden, r.kernel)
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, f.Name()), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
