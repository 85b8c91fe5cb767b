// Command matrix runs netfate's tests on other kernels: each in a guest of its
// own, by test/vm/run, with all test binaries one after the other.
//
//	matrix [-short] [-run REGEXP] [-jobs N] [-update] SERIES… [-- PACKAGE…]
//
// Packages are those below the current directory, or the ones named. The
// binaries are built once, on this machine. In the short form all
// kernels get those that are about netfate's programs; the others are shared out among the
// first two, unless packages are named. A test that fails, a package that takes too long and a guest that dies are failures; after a death a new guest
// takes the packages that are left. What a kernel lacks, tests skip by
// internal/need, which fails where the kernel is new enough to have it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	short    bool
	update   bool
	run      string
	jobs     int
	memory   string
	limit    time.Duration // of a guest
	each     time.Duration // of a package
	kernels  []string
	packages []string
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == guestCommand {
		os.Exit(inGuest(os.Args[2]))
	}
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := o.all(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
	}
	if err != nil || !ok {
		os.Exit(1) //nolint:gocritic // stop only gives signals back, as exiting does
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("matrix", flag.ContinueOnError)
	f.BoolVar(&o.short, "short", false, "the tests' short forms, and what is not about netfate's programs on one kernel only")
	f.BoolVar(&o.update, "update", false, "write test/kernels/testdata anew from what the kernels say")
	f.StringVar(&o.run, "run", "", "only tests that match")
	f.IntVar(&o.jobs, "jobs", 2, "guests at once; each keeps one CPU busy")
	f.StringVar(&o.memory, "memory", "3G", "memory of a guest")
	f.DurationVar(&o.limit, "limit", 50*time.Minute, "how long one guest may take")
	f.DurationVar(&o.each, "timeout", 20*time.Minute, "how long the tests of one package may take")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	to := &o.kernels
	for _, word := range f.Args() {
		if word == "--" {
			to = &o.packages
			continue
		}
		*to = append(*to, word)
	}
	if len(o.kernels) == 0 {
		return nil, fmt.Errorf("no kernel: one or more of 5.10 6.1 6.12 sid")
	}
	if o.update {
		o.packages = []string{"./test/kernels"}
	}
	return o, nil
}

// all builds the tests and runs them on every kernel, some at a time.
func (o *options) all(ctx context.Context) (ok bool, err error) {
	tests, err := build(ctx, o.packages)
	if err != nil {
		return false, err
	}
	runs := make([]*run, len(o.kernels))
	slots := make(chan struct{}, max(o.jobs, 1))
	var wg sync.WaitGroup
	for i, kernel := range o.kernels {
		runs[i] = &run{options: o, kernel: kernel, tests: tests}
		if o.short && len(o.packages) == 0 {
			runs[i].tests = slices.DeleteFunc(slices.Clone(tests), func(t test) bool { return !takes(i, len(o.kernels), t.Name) })
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			runs[i].err = runs[i].play(ctx)
		})
	}
	wg.Wait()
	ok = true
	for _, r := range runs {
		ok = r.report(os.Stdout) && ok
	}
	return ok, nil
}
