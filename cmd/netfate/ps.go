package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netfate/netfate/internal/inventory"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/view/programs"
	"github.com/netfate/netfate/internal/view/table"
)

// psFlags are the flags of ps.
type psFlags struct {
	all      bool
	watch    bool
	every    time.Duration
	sample   time.Duration
	duration time.Duration
	format   string

	noted map[string]bool
}

func newPs() *cobra.Command {
	f := psFlags{noted: map[string]bool{}}
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "Which BPF programs run, where, at what cost, whose",
		Long: `Ps lists the BPF programs that netfate runs, its own sensors included, or with --all
every program of the host: where it is attached, how often it ran and how long a run
takes, which processes hold it, where it is pinned.

The kernel counts runs only while somebody asks it to: ps does so for --sample, and
--watch all the while, which costs each run of each program some 20 to 50 ns. RUNS
and NS/RUN are of all that was ever counted; with --watch, of the last interval, and
CPU% is of one CPU.`,
		Example: `  sudo netfate ps                       what netfate runs
  sudo netfate ps --all --watch         a top of all programs
  sudo netfate ps --all -o json | jq 'select(.owners == [] and .pins == [])'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			err := f.run(cmd.Context())
			if errors.Is(err, syscall.EPIPE) {
				return nil // the reader has what it wanted
			}
			return err
		},
	}
	p := cmd.Flags()
	p.SortFlags = false
	p.BoolVarP(&f.all, "all", "a", false, "every program of the host, not only netfate's")
	p.BoolVarP(&f.watch, "watch", "w", false, "show rates, and refresh until Ctrl-C")
	p.DurationVar(&f.every, "every", 2*time.Second, "time between two refreshes of --watch")
	p.DurationVarP(&f.duration, "duration", "d", 0, "end --watch after this long, for example 30s (0: until Ctrl-C)")
	p.DurationVar(&f.sample, "sample", 200*time.Millisecond, "how long runs are counted without --watch (0: not at all)")
	p.StringVarP(&f.format, "output", "o", "table", "table, json (one object a line) or csv")
	return cmd
}

func (f *psFlags) check(cmd *cobra.Command) error {
	switch {
	case !slices.Contains([]string{"table", "json", "csv"}, f.format):
		return usagef("--output is table, json or csv, not %s", f.format)
	case f.every < minEvery:
		return usagef("--every %v is too short: %v is the shortest", f.every, minEvery)
	case f.duration < 0:
		return usagef("--duration %v is negative", f.duration)
	case f.sample < 0:
		return usagef("--sample %v is negative", f.sample)
	case !f.watch && (cmd.Flags().Changed("every") || cmd.Flags().Changed("duration")):
		return usagef("--every and --duration are for --watch")
	}
	return nil
}

func (f *psFlags) run(ctx context.Context) error {
	if f.watch {
		return f.refresh(ctx)
	}
	counted := f.count(f.sample > 0)
	if counted != nil {
		wait(ctx, f.sample)
		defer counted.Close()
	}
	found, err := f.look(ctx)
	if err != nil {
		return asInterrupted(ctx, err)
	}
	rows := programs.PsRows(found)
	switch f.format {
	case "json":
		err = programs.WritePsJSON(os.Stdout, rows)
	case "csv":
		err = programs.WritePsCSV(os.Stdout, rows, true, false)
	default:
		err = printLines(programs.PsLines(rows, 0))
	}
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		fmt.Fprintln(os.Stderr, "netfate:", f.nothing())
	case counted != nil:
		fmt.Fprintf(os.Stderr, "netfate: runs are counted only while somebody asks for it: here for %v; --watch counts on\n", f.sample)
	}
	return nil
}

func (f *psFlags) nothing() string {
	if f.all {
		return "no BPF program is loaded on this host"
	}
	return "netfate runs no BPF program; --all shows those of others"
}

// count has the kernel count runs, unless it does anyway; nil if it does not. That
// it cannot is noted: the rest of ps works.
func (f *psFlags) count(wanted bool) io.Closer {
	if !wanted || inventory.StatsEnabled() {
		return nil
	}
	c, err := inventory.EnableStats()
	if err != nil {
		if !errors.Is(err, os.ErrPermission) { // then listing tells why
			f.note(kernel.Diagnose(err, "count runs").Error())
		}
		return nil
	}
	return c
}

// note says something on stderr, once.
func (f *psFlags) note(text string) {
	if !f.noted[text] {
		f.noted[text] = true
		fmt.Fprintln(os.Stderr, "netfate: note:", text)
	}
}

// look returns the programs to show.
func (f *psFlags) look(ctx context.Context) ([]inventory.Program, error) {
	found, err := inventory.Programs(ctx, inventory.Config{Note: f.note})
	if err != nil || f.all {
		return found, err
	}
	return slices.DeleteFunc(found, func(p inventory.Program) bool { return !p.Netfate }), nil
}

// refresh shows rates until ctx ends.
func (f *psFlags) refresh(ctx context.Context) error {
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	if counted := f.count(true); counted != nil {
		defer counted.Close()
	}
	before, err := f.look(ctx)
	if err != nil {
		return asInterrupted(ctx, err)
	}
	var screen *table.Screen
	terminal := term.IsTerminal(int(os.Stdout.Fd()))
	if f.format == "table" && table.RedrawWanted(terminal, os.Getenv) {
		screen = table.NewScreen(os.Stdout, terminalSize)
	}
	start := time.Now()
	for first := true; ; first = false {
		wait(ctx, f.every)
		if ctx.Err() != nil {
			return nil
		}
		now, err := f.look(ctx)
		if err != nil {
			return asInterrupted(ctx, err)
		}
		end := time.Now()
		if err := f.show(screen, programs.PsRates(before, now, end, end.Sub(start)), end, first); err != nil {
			return err
		}
		before, start = now, end
	}
}

// show writes the rows of one interval.
func (f *psFlags) show(screen *table.Screen, rows []programs.PsRow, end time.Time, first bool) error {
	switch f.format {
	case "json":
		return programs.WritePsJSON(os.Stdout, rows)
	case "csv":
		return programs.WritePsCSV(os.Stdout, rows, first, true)
	}
	width := 0
	if screen != nil {
		width, _ = terminalSize()
	}
	total := 0.0
	for i := range rows {
		total += rows[i].Rate.CPUPercent
	}
	plural := "s"
	if len(rows) == 1 {
		plural = ""
	}
	head := fmt.Sprintf("%s  %d program%s, %.2f %% of a CPU", end.Format(time.TimeOnly), len(rows), plural, total)
	if len(rows) == 0 {
		head = end.Format(time.TimeOnly) + "  " + f.nothing()
	}
	lines := append([]string{head, ""}, programs.PsLines(rows, width)...)
	if screen != nil {
		return screen.Draw(lines)
	}
	return printLines(append(lines, ""))
}

func printLines(lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := fmt.Println(strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("write programs: %w", err)
	}
	return nil
}

// wait waits for d or the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// asInterrupted makes no error of what failed because the user wanted to end.
func asInterrupted(ctx context.Context, err error) error {
	if errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}
