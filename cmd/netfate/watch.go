package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/enrich/container"
	"github.com/netfate/netfate/internal/enrich/identity"
	"github.com/netfate/netfate/internal/enrich/netns"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/recording"
	"github.com/netfate/netfate/internal/view/table"
)

// watch is what the commands that watch traffic share: flags, and the way from
// there to the agent.
type watch struct {
	format    string
	duration  time.Duration
	every     time.Duration
	rows      int
	iface     string
	read      string
	netns     string
	pid       uint32
	comm      string
	container string
	raw       bool
	noNames   bool
	runtimes  []string
	onScreen  bool // the whole terminal is drawn

	past past
	packets
	cfg agent.Config
}

// flags adds the flags that are the same in every command.
func (w *watch) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&w.format, "output", "o", "table", "table, json (one object a line) or csv")
	f.DurationVarP(&w.duration, "duration", "d", 0, "stop after this long, for example 30s (0: until Ctrl-C)")
	f.DurationVar(&w.every, "every", w.every, "time between two reports")
	f.IntVarP(&w.rows, "rows", "n", 0, "rows to show (0: as many as fit, or all)")
	f.StringVarP(&w.read, "read", "r", "", "read a recording instead of this host; needs no privileges")
	w.selection(cmd)
	w.calling(cmd)
}

// naming adds the flag of commands that show peers.
func (w *watch) naming(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.noNames, "no-names", false, "do not watch DNS answers for the names of peers")
}

// calling adds the flag of commands that show containers.
func (w *watch) calling(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&w.runtimes, "runtimes", []string{identity.Auto}, "who is asked for containers' names: docker:SOCKET, cri:SOCKET, auto or none")
}

// selection adds the flags that restrict what is shown.
func (w *watch) selection(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&w.iface, "interface", "i", "", "only this interface")
	f.StringVar(&w.netns, "netns", "", "only this network namespace: name, path, inode, pid:N or container")
	f.Uint32Var(&w.pid, "pid", 0, "only traffic of this process")
	f.StringVar(&w.comm, "comm", "", "only traffic of processes of this name")
	f.StringVar(&w.container, "container", "", "only traffic of this container: id, its beginning, or name")
	f.BoolVar(&w.raw, "raw-tracepoints", false, "use raw tracepoints even where typed ones work (owners are then not told)")
	if err := f.MarkHidden("raw-tracepoints"); err != nil {
		panic(err)
	}
}

// minEvery is the shortest interval: each waits for an RCU grace period.
const minEvery = 100 * time.Millisecond

// prepare turns flags and the filter expression in args into a configuration.
func (w *watch) prepare(ctx context.Context, args []string) (err error) {
	switch {
	case w.every < minEvery:
		return usagef("--every %v is too short: %v is the shortest", w.every, minEvery)
	case w.duration < 0:
		return usagef("--duration %v is negative", w.duration)
	case w.rows < 0:
		return usagef("--rows %d is negative", w.rows)
	}
	w.cfg.Interval, w.cfg.Raw = w.every, w.raw
	w.cfg.Names = !w.noNames && (w.cfg.Drops || w.cfg.Flows || w.cfg.Conns)
	w.cfg.Select = agent.Select{Interface: w.iface, PID: w.pid, Comm: w.comm, Container: w.container}
	if w.cfg.Containers, err = w.containers(); err != nil {
		return usagef("--runtimes: %w", err)
	}
	expr := expression(args)
	if w.read != "" && expr != "" {
		return usagef("a filter expression looks into packets, and %s holds counts of them: "+
			"give the expression to netfate record, or select with flags", w.read)
	}
	if w.netns != "" {
		inode, err := w.resolveNetNS(ctx)
		if err != nil {
			return usageError{err}
		}
		w.cfg.Select.NetNS = inode
	}
	pair, err := filter.Programs(ctx, expr)
	w.cfg.Filter = pair
	return refusal(expr, err)
}

// nobody is what --runtimes says to ask nobody.
const nobody = "none"

// containers is who names containers, nil for nobody.
func (w *watch) containers() (*identity.Table, error) {
	if len(w.runtimes) == 0 || slices.Equal(w.runtimes, []string{nobody}) || w.gone() {
		return nil, nil
	}
	sources, err := identity.Runtimes(w.runtimes)
	if err != nil {
		return nil, err
	}
	return identity.New(w.note, sources...), nil
}

// note says what is worth to know and no error, unless the screen is not for it.
func (w *watch) note(text string) {
	if !w.onScreen {
		say("note: %s", text)
	}
}

func expression(args []string) string { return strings.TrimSpace(strings.Join(args, " ")) }

// refusal makes wrong usage of an expression that libpcap refuses.
func refusal(expr string, err error) error {
	var syntax *filter.SyntaxError
	if errors.As(err, &syntax) {
		return usagef("filter %q: %s%s", expr, syntax.Message, hint(syntax.Hint))
	}
	return err
}

func hint(text string) string {
	if text == "" {
		return ""
	}
	return "; " + text
}

func (w *watch) resolveNetNS(ctx context.Context) (uint32, error) {
	called := w.cfg.Containers
	if called != nil {
		called.Refresh(ctx)
	}
	cgroups := container.New(container.Config{Namer: agent.Namer(called)})
	inode, err := netns.New(netns.Config{Container: cgroups.Container}).Resolve(ctx, w.netns)
	if err != nil {
		return 0, fmt.Errorf("--netns: %w", err)
	}
	return inode, nil
}

// options are how the terminal, or the lack of one, wants its tables.
func (w *watch) options() table.Options {
	terminal := term.IsTerminal(int(os.Stdout.Fd()))
	o := table.Options{
		Format:  table.Format(w.format),
		Rows:    w.rows,
		Colour:  table.ColourWanted(terminal, os.Getenv),
		Unicode: table.UnicodeWanted(os.Getenv),
		Once:    w.isPast(),
	}
	if terminal {
		o.Width, _ = terminalSize()
		if o.Format == table.Table && table.RedrawWanted(terminal, os.Getenv) && !w.gone() {
			o.Screen = table.NewScreen(os.Stdout, terminalSize)
		}
	}
	return o
}

func terminalSize() (width, height int) {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// run feeds the outputs from the recording or from this host.
func (w *watch) run(ctx context.Context, what string, outputs []agent.Output) error {
	if w.read != "" {
		return w.replay(ctx, outputs)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return agent.Run(ctx, w.cfg, outputs, w.ready(what, cancel))
}

// ready returns what says that everything is attached, and ends it after its duration.
func (w *watch) ready(what string, cancel func()) func(lacks []string) {
	return func(lacks []string) {
		if w.duration > 0 {
			time.AfterFunc(w.duration, cancel) // counted from here, not from the start of the program
		}
		if what = tongue().Translate(what); w.netns == "" {
			say("watching %s of all network namespaces; Ctrl-C ends", what)
		} else {
			say("watching %s of namespace %s; Ctrl-C ends", what, w.netns)
		}
		for _, l := range lacks {
			say("note: %s", tongue().Translate(l))
		}
	}
}

func (w *watch) replay(ctx context.Context, outputs []agent.Output) (err error) {
	var in io.ReadCloser = os.Stdin
	if w.read != "-" {
		if in, err = os.Open(w.read); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return w.replayFrom(ctx, in, outputs)
}

func (w *watch) replayFrom(ctx context.Context, in io.Reader, outputs []agent.Output) error {
	r, err := recording.Open(in)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.read, err)
	}
	defer r.Close()
	if err := agent.Replay(ctx, r, w.cfg.Select, outputs); err != nil {
		return err
	}
	if note := r.Note(); note != "" {
		fmt.Fprintln(os.Stderr, "netfate:", note)
	}
	return nil
}
