package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/inventory"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/tracelog"
	"github.com/netfate/netfate/internal/view/programs"
)

// logFlags are the flags of log.
type logFlags struct {
	progs    []string
	comm     string
	pid      int
	format   string
	duration time.Duration

	formats tracelog.Formats
	others  uint64 // events that are no lines of BPF programs
	skip    bool   // the line before was not shown, nor is what continues it
}

func newLog() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "log",
		Short: "What BPF programs print (bpf_printk)",
		Long: `Log shows what BPF programs write by bpf_printk, as it comes out of the kernel's
trace_pipe. There is one for the whole host: what is read here is gone for every other
reader, and since Linux 6.9 there can be only one at a time.

TIME is that of the kernel's trace clock: seconds, roughly since boot. PID and COMM are
those of the thread on whose behalf, or on whose time, the program ran.

The kernel does not say which program wrote a line. --prog NAME shows the lines that
one of the format strings in the read-only data of the program NAME can have made: a
program with the same formats is not told from it, and one that keeps its formats
elsewhere, as very old ones do, cannot be selected.`,
		Example: `  sudo netfate log
  sudo netfate log --prog handle_tp          what this program can have written
  sudo netfate log --comm nginx -o json -d 30s`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.format != "table" && f.format != "json":
				return usagef("--output is table or json, not %s", f.format)
			case f.duration < 0:
				return usagef("--duration %v is negative", f.duration)
			case f.pid < 0:
				return usagef("--pid %d is negative", f.pid)
			}
			return f.run(cmd.Context())
		},
	}
	p := cmd.Flags()
	p.SortFlags = false
	p.StringArrayVar(&f.progs, "prog", nil, "only lines that this program, by name or id, can have written; may be given again")
	p.StringVar(&f.comm, "comm", "", "only lines of threads of this name")
	p.IntVar(&f.pid, "pid", 0, "only lines of this thread, as in the column PID")
	p.DurationVarP(&f.duration, "duration", "d", 0, "stop after this long, for example 30s (0: until Ctrl-C)")
	p.StringVarP(&f.format, "output", "o", "table", "table or json (one object a line)")
	return cmd
}

func (f *logFlags) run(ctx context.Context) (err error) {
	if err := f.findFormats(ctx); err != nil {
		return err
	}
	readers := tracelog.Readers()
	pipe, err := tracelog.Open(kernel.ReadMounts().TraceFS)
	if err != nil {
		return explainLog(err, readers)
	}
	defer func() { err = errors.Join(err, pipe.Close()) }()
	fmt.Fprintln(os.Stderr, "netfate: reading trace_pipe; it is shared: what is shown here is gone for other readers; Ctrl-C ends")
	for _, r := range readers {
		fmt.Fprintf(os.Stderr, "netfate: warning: process %d (%q) has it open too: each line goes to one of you\n", r.PID, r.Comm)
	}
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	err = f.show(ctx, pipe)
	if errors.Is(err, syscall.EPIPE) {
		err = nil // the reader has what it wanted
	}
	return err
}

// explainLog says why trace_pipe cannot be read.
func explainLog(err error, readers []tracelog.Reader) error {
	if !errors.Is(err, tracelog.ErrBusy) {
		return kernel.Diagnose(err, "read what programs print")
	}
	for _, r := range readers {
		err = fmt.Errorf("%w: process %d (%q) has it open: end that first", err, r.PID, r.Comm)
	}
	return err
}

// findFormats looks for the formats of the programs of --prog.
func (f *logFlags) findFormats(ctx context.Context) error {
	if len(f.progs) == 0 {
		return nil
	}
	found, err := inventory.Programs(ctx, inventory.Config{})
	if err != nil {
		return err
	}
	var data [][]byte
	for _, name := range f.progs {
		ids := programsCalled(found, name)
		if len(ids) == 0 {
			return fmt.Errorf("no program called %s is loaded; netfate ps --all lists those that are", name)
		}
		for _, id := range ids {
			d, err := inventory.ReadOnlyData(id)
			if err != nil {
				return err
			}
			data = append(data, d...)
		}
	}
	if f.formats = tracelog.FindFormats(data...); f.formats.Empty() {
		return fmt.Errorf("%s has no format strings in read-only data, so its lines cannot be told from those of others; "+
			"leave --prog away, or select with --comm or --pid", strings.Join(f.progs, ", "))
	}
	return nil
}

// programsCalled returns the ids of programs by name, by the first 15 bytes of it,
// which is all that the kernel keeps, or by id.
func programsCalled(found []inventory.Program, name string) []uint32 {
	const kept = 15
	var ids []uint32
	for i := range found {
		p := &found[i]
		if p.Name == name || len(name) > kept && p.Name == name[:kept] || fmt.Sprint(p.ID) == name {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

func (f *logFlags) show(ctx context.Context, pipe *tracelog.Pipe) error {
	view := programs.NewLog(os.Stdout, f.format == "json")
	var lost uint64
	err := pipe.Run(ctx, func(e *tracelog.Entry) error {
		lost += e.Lost
		if e.Lost == 0 && !f.wanted(e) {
			return nil
		}
		return view.Add(e)
	})
	if lost > 0 {
		fmt.Fprintf(os.Stderr, "netfate: lost %d events: they came faster than they were read\n", lost)
	}
	if f.others > 0 {
		fmt.Fprintf(os.Stderr, "netfate: note: %d events that somebody traces were read and are no lines of BPF programs\n", f.others)
	}
	return err
}

// wanted reports whether a line is to be shown.
func (f *logFlags) wanted(e *tracelog.Entry) bool {
	if e.Continued {
		return !f.skip
	}
	if !e.BPF() {
		f.others++
		f.skip = true
		return false
	}
	f.skip = f.comm != "" && e.Comm != f.comm || f.pid != 0 && e.PID != f.pid ||
		len(f.progs) > 0 && !f.formats.Match(e.Text)
	return !f.skip
}
