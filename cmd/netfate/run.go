package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/loader"
	"github.com/netfate/netfate/internal/view/programs"
)

// runFlags are the flags of run.
type runFlags struct {
	cfg      loader.Config
	mode     string
	targets  []string
	events   []string
	pin      string
	format   string
	log      bool
	duration time.Duration
	every    time.Duration // between two looks at the maps
}

// pinDefault is what --pin means without a directory.
const pinDefault = "default"

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run OBJECT [PROGRAM…]",
		Short: "Load, attach and read any BPF object",
		Long: `Run loads a BPF object as clang makes it, attaches each program where its section
says, and shows what the programs send until Ctrl-C; then everything is taken off.
Programs are loaded one by one: one that the kernel refuses says why and does not
take the others with it.

Programs that can drop, deny or change something are attached only with
--allow-active. With --detach everything is left pinned and running; netfate ps
shows it, netfate stop takes it off.`,
		Example: `  sudo netfate run minimal.bpf.o --set my_pid=self
  sudo netfate run url_map.bpf.o --dev eth0 --pin     then: netfate map watch url_map
  sudo netfate run prog.bpf.o xdp_count --dev eth0 --mode generic
  sudo netfate run trace.bpf.o --set min_duration_ns=5ms -o json
  sudo netfate run filter.bpf.o --dev eth0 --allow-active --for 30s
  sudo netfate run probe.bpf.o --target handler=/usr/bin/bash:readline
  netfate check prog.bpf.o                            what is in it, without loading`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("name the object to run: netfate run FILE.bpf.o")
			}
			f.cfg.Object, f.cfg.Programs = args[0], f.takePinDir(args[1:])
			if err := f.complete(cmd); err != nil {
				return err
			}
			return f.run(cmd.Context())
		},
	}
	f.add(cmd)
	return cmd
}

func (f *runFlags) add(cmd *cobra.Command) {
	p := cmd.Flags()
	p.SortFlags = false
	p.StringArrayVar(&f.cfg.Devices, "dev", nil, "interface for tc, XDP and socket filter programs; may be given again")
	p.StringArrayVar(&f.cfg.Set, "set", nil, "set a global variable: NAME=VALUE; self is netfate's pid, durations have units (5ms)")
	p.StringArrayVar(&f.targets, "target", nil, "where a program attaches: PROGRAM=TARGET, in place of what its section says")
	p.StringArrayVar(&f.events, "event", nil, "what a ring or perf buffer carries: MAP=STRUCT")
	p.StringVar(&f.mode, "mode", string(loader.Auto), "of XDP: native, generic or auto")
	p.StringVar(&f.cfg.Cgroup, "cgroup", "", "directory for cgroup programs (default: the root of the hierarchy)")
	p.StringVar(&f.cfg.Name, "name", "", "what to call it (default: the file's name)")
	p.StringVar(&f.pin, "pin", "", "pin maps, programs and links, in this directory")
	p.Lookup("pin").NoOptDefVal = pinDefault
	p.Lookup("pin").DefValue = loader.DefaultBPFFS + "/netfate/NAME"
	p.BoolVar(&f.cfg.Detach, "detach", false, "leave it pinned and running; netfate stop NAME takes it off")
	p.DurationVar(&f.cfg.For, "for", 0, "take it off by itself after this long, for example 30s")
	p.BoolVar(&f.cfg.Replace, "replace", false, "take the place of another XDP program while this one runs")
	p.BoolVar(&f.cfg.AllowActive, "allow-active", false, "attach programs that can drop, deny or change something")
	p.BoolVar(&f.log, "verifier-log", false, "show the verifier's whole log of programs that it rejects")
	p.DurationVar(&f.every, "every", time.Second, "time between two looks at the maps, whose changes are shown (0: none)")
	p.StringVarP(&f.format, "output", "o", "table", "table or json (one object a line)")
	p.DurationVarP(&f.duration, "duration", "d", 0, "the same as --for")
}

// takePinDir lets --pin stand before its directory without an equals sign, as
// people write it, though it needs none: no program's name has a slash.
func (f *runFlags) takePinDir(args []string) []string {
	at := slices.IndexFunc(args, func(a string) bool { return strings.Contains(a, "/") })
	if f.pin != pinDefault || at < 0 {
		return args
	}
	f.pin = args[at]
	return slices.Delete(slices.Clone(args), at, at+1)
}

func (f *runFlags) complete(cmd *cobra.Command) (err error) {
	if f.format != "table" && f.format != "json" {
		return usagef("--output is table or json, not %s", f.format)
	}
	if f.every != 0 && f.every < minEvery {
		return usagef("--every %v is too short: %v is the shortest, 0 shows no maps", f.every, minEvery)
	}
	if f.cfg.For == 0 {
		f.cfg.For = f.duration
	}
	if f.cfg.For < 0 {
		return usagef("--for %v is negative", f.cfg.For)
	}
	if f.cfg.For > 0 && f.cfg.Detach {
		return usagef("--for needs netfate to stay: it cannot be given with --detach")
	}
	f.cfg.Mode = loader.Mode(f.mode)
	if f.cfg.Pin = cmd.Flags().Changed("pin"); f.pin != pinDefault {
		f.cfg.PinDir = f.pin
	}
	if f.cfg.Targets, err = pairs("--target", "PROGRAM=TARGET", f.targets); err != nil {
		return err
	}
	f.cfg.Events, err = pairs("--event", "MAP=STRUCT", f.events)
	return err
}

// pairs reads flags of the form a=b.
func pairs(flag, form string, values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" || value == "" {
			return nil, usagef("%s %s: give it as %s", flag, v, form)
		}
		m[key] = value
	}
	return m, nil
}

func (f *runFlags) run(ctx context.Context) (err error) {
	// A reader that goes away (| head) would kill this process with SIGPIPE, and
	// leave what it had pinned.
	signal.Ignore(syscall.SIGPIPE)
	object, err := loader.Open(f.cfg)
	if err != nil {
		return asUsage(err)
	}
	running, err := object.Load()
	if err != nil {
		f.showLog(err)
		return asUsage(err)
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, running.Close())
		}
	}()
	if err := running.Attach(); err != nil {
		f.showStatus(os.Stderr, object, running)
		return asUsage(err)
	}
	if f.cfg.Detach {
		if err := running.Detach(); err != nil {
			return asUsage(err)
		}
		closed = true
		return f.showDetached(object, running)
	}
	f.showStatus(os.Stderr, object, running)
	return f.stream(ctx, running)
}

// asUsage gives requests that cannot be meant the exit code of wrong usage.
func asUsage(err error) error {
	var usage *loader.UsageError
	if errors.As(err, &usage) {
		return usageError{err}
	}
	return err
}

// showLog shows the verifier's log, if that is wanted and err has one.
func (f *runFlags) showLog(err error) {
	var rejected *loader.RejectedError
	if f.log && errors.As(err, &rejected) {
		fmt.Fprintln(os.Stderr, strings.Join(rejected.Log, "\n"))
	}
}

// status is a program in JSON.
type status struct {
	Program string   `json:"program"`
	Section string   `json:"section"`
	Kind    string   `json:"kind"`
	ID      uint32   `json:"id,omitempty"`
	Where   []string `json:"attached"`
	Error   string   `json:"error,omitempty"`
}

func statusOf(s *loader.Status) status {
	row := status{s.Name, s.Spec.SectionName, string(s.Section.Kind), s.ID, s.Where, ""}
	if row.Where == nil {
		row.Where = []string{}
	}
	if s.Err != nil {
		row.Error = s.Err.Error()
	}
	return row
}

// showDetached prints what was left behind: that is the result then.
func (f *runFlags) showDetached(object *loader.Object, running *loader.Running) error {
	if f.format == "json" {
		enc := json.NewEncoder(os.Stdout)
		for _, s := range running.Status() {
			if err := enc.Encode(statusOf(&s)); err != nil {
				return fmt.Errorf("write status: %w", err)
			}
		}
		return nil
	}
	f.showStatus(os.Stdout, object, running)
	fmt.Fprintf(os.Stderr, "netfate: %s stays; netfate stop %[1]s takes it off\n", object.Name())
	return nil
}

// showStatus prints a row a program, and beneath what there is to say.
func (f *runFlags) showStatus(w io.Writer, object *loader.Object, running *loader.Running) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROGRAM\tID\tSECTION\tKIND\tATTACHED")
	var said []string
	for _, s := range running.Status() {
		row := statusOf(&s)
		id, where := "-", strings.Join(row.Where, ", ")
		if row.ID != 0 {
			id = fmt.Sprint(row.ID)
		}
		switch {
		case row.Error != "" && row.ID == 0:
			where = "- (not loaded)"
		case row.Error != "":
			where = strings.TrimPrefix(where+", - (not attached)", ", ")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", row.Program, id, row.Section, row.Kind, where)
		if row.Error != "" {
			said = append(said, row.Program+": "+row.Error)
			f.showLog(s.Err)
		}
		said = append(said, s.Notes...)
	}
	_ = t.Flush() // an error of the error writer has nowhere to go
	for _, s := range append(object.Notes(), said...) {
		fmt.Fprintln(os.Stderr, "netfate: note:", s)
	}
	for _, name := range slices.Sorted(maps.Keys(running.EventTypes())) {
		if e := running.EventTypes()[name]; e.Note != "" {
			fmt.Fprintf(os.Stderr, "netfate: note: events of %s: %s\n", name, e.Note)
		}
	}
}

// stream shows iterators' output once, and events until the end.
func (f *runFlags) stream(ctx context.Context, running *loader.Running) error {
	if f.cfg.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.cfg.For)
		defer cancel()
	}
	view := programs.NewEvents(os.Stdout, f.format == "json")
	for _, program := range running.Iterators() {
		if err := f.iterate(running, program, view); err != nil {
			return err
		}
	}
	say("running; Ctrl-C ends")
	out := &runOutput{view: view, lost: map[string]uint64{}}
	watching, err := newRunMaps(running, f.every)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var maps sync.WaitGroup
	maps.Go(func() { cancel(watching.run(ctx, out)) })
	err = running.Events(ctx, out.event)
	if err == nil {
		<-ctx.Done() // without events it runs all the same
	}
	cancel(nil)
	maps.Wait()
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		err = cause
	}
	if errors.Is(err, syscall.EPIPE) {
		err = nil // the reader has what it wanted
	}
	out.tellLost()
	return errors.Join(err, watching.close())
}

// maxRow bounds the row of an iterator that is shown as hex, and is where one that
// writes text without line ends is cut.
const maxRow = 4096

// iterate runs an iterator and shows what it writes: rows by their struct if that
// is known, text as it is, anything else as hex, in rows if their size is known.
func (f *runFlags) iterate(running *loader.Running, program string, view *programs.Events) (err error) {
	rows, err := running.Iterate(program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	in := bufio.NewReaderSize(rows, maxRow)
	known := running.EventTypes()[program]
	head, err := in.Peek(maxRow)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the iterator %s: %w", program, err)
	}
	text := isText(head)
	row := make([]byte, maxRow)
	if known.Size > 0 {
		text, row = false, make([]byte, known.Size)
	}
	for {
		var got []byte
		if text {
			got, err = in.ReadSlice('\n')
		} else {
			var n int
			n, err = io.ReadFull(in, row)
			got = row[:n]
		}
		if len(got) > 0 {
			if err := f.iteratorRow(program, got, text, view, running); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read the iterator %s: %w", program, err)
		}
	}
}

// isText reports whether bytes are lines for people.
func isText(b []byte) bool {
	return !strings.ContainsFunc(string(b), func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f })
}

func (f *runFlags) iteratorRow(program string, row []byte, text bool, view *programs.Events, running *loader.Running) error {
	if t := running.EventTypes()[program].Type; t != nil {
		return view.Add(&programs.Event{Time: time.Now(), Map: program, CPU: -1, Type: t, Data: row})
	}
	line := fmt.Sprintf("%x", row)
	if text {
		line = strings.ToValidUTF8(strings.TrimSuffix(string(row), "\n"), "\ufffd")
	}
	var err error
	if f.format == "json" {
		err = json.NewEncoder(os.Stdout).Encode(map[string]string{"iterator": program, "line": line})
	} else {
		_, err = fmt.Println(line)
	}
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}
