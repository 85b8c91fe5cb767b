package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/enrich/netns"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/recording"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/explain"
	"github.com/netfate/netfate/internal/view/table"
	"github.com/netfate/netfate/internal/view/top"
)

// plainEvery is the time between two reports where there is no screen: a log of
// tables, which nobody reads each second.
const plainEvery = 10 * time.Second

func newTop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top [FILTER]",
		Short: "All of it on one screen: overview, tables, what is behind a row",
		Long: `Top fills the terminal with an overview, what the host carries and loses, its ledger,
the latest losses, the busiest flows, and a table for each kind of record: drops, flows,
connections, requests, DNS, ledger. Keys sort, search, freeze and open rows; ? on a loss
tells what it means, the evidence on this host, and the fix; h lists the keys.

Its numbers are those of the commands. What netfate itself could not keep is told
beneath the numbers that it spoils. The screen only reads: however slow a terminal is,
counting goes on.

With -r it shows a recording whole, and step by step: b goes to the beginning, n on by
one interval, Space plays, e goes to the end.

Where standard output is no terminal it is drops and flows as plain tables, every ten
seconds. With FILTER, a pcap-filter expression, or a selection the ledger is not kept,
since the kernel's counters are of everything.`,
		Example: `  sudo netfate                        the same, without a word
  sudo netfate top --netns web        one network namespace
  sudo netfate top port 5432          all that has to do with a database
  netfate top -r night.nfr            a recording, on any machine, without root
  sudo netfate top | tee log          plain tables`,
	}
	screen(cmd)
	return cmd
}

// screen makes a command show everything, on a screen if there is one.
func screen(cmd *cobra.Command) {
	w := &watch{every: time.Second}
	var noTLS bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !w.screenWanted() {
			if !cmd.Flags().Changed("every") {
				w.every = plainEvery
			}
			return w.plain(cmd.Context(), args)
		}
		return w.fullScreen(cmd.Context(), args, !noTLS)
	}
	w.flags(cmd)
	cmd.Flags().Lookup("every").Usage = "time between two reports; where there is no screen 10s"
	w.naming(cmd)
	cmd.Flags().BoolVar(&noTLS, "no-tls", false, "read nothing inside TLS: a call of its libraries then costs nothing")
}

// screenWanted reports whether the terminal can be filled, and keys read.
func (w *watch) screenWanted() bool {
	terminal := term.IsTerminal(int(os.Stdout.Fd()))
	return w.format == string(table.Table) && w.read != "-" && table.RedrawWanted(terminal, os.Getenv)
}

func (w *watch) fullScreen(ctx context.Context, args []string, plaintext bool) error {
	narrowed := expression(args) != "" || w.iface != "" || w.pid != 0 || w.comm != "" || w.container != ""
	w.onScreen = true
	w.cfg.Drops, w.cfg.Flows, w.cfg.Conns, w.cfg.OpenConns, w.cfg.Queries, w.cfg.Requests = true, true, true, true, true, true
	w.cfg.Samples, w.cfg.Plaintext, w.cfg.Ledger = fewSamples, plaintext, !narrowed
	if err := w.prepare(ctx, args); err != nil {
		return err
	}
	book, err := verdict.In(tongue())
	if err != nil {
		return err
	}
	w.cfg.Book = book
	o := w.options()
	o.Screen, o.Rows, o.Why, o.Selected = nil, 0, why(book), w.cfg.Select.Any()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	app := top.New(ctx, top.Config{
		Out: os.Stdout, Env: os.Environ(), Table: o, Recording: w.read, NoLedger: narrowed && w.read == "",
		Explain: func(ctx context.Context, d *record.Drop, width int, colour bool) string {
			return w.explained(ctx, book, d, width, colour)
		},
	})
	if w.read != "" {
		return w.screenOf(ctx, cancel, app)
	}
	return w.screenLive(ctx, cancel, app)
}

// explained is what `netfate explain` prints of a loss.
func (w *watch) explained(ctx context.Context, book *verdict.Book, d *record.Drop, width int, colour bool) string {
	var text bytes.Buffer
	style := explain.Style{Width: width, Colour: colour, Language: book.Language()}
	e := explainer{book: book, watch: w, out: &text, errs: &text, style: style}
	if err := e.loss(ctx, netns.New(netns.Config{}), d); err != nil {
		fmt.Fprintln(&text, "netfate:", err)
	}
	return text.String()
}

// screenLive shows this host until the user quits, or the agent fails.
func (w *watch) screenLive(ctx context.Context, cancel func(), app *top.App) error {
	say("the kernel checks the sensors; that takes some seconds")
	ready, done := make(chan []string, 1), make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, w.cfg, []agent.Output{{Name: "the screen", Sink: app}}, func(lacks []string) { ready <- lacks })
		app.Quit()
	}()
	select {
	case err := <-done:
		return err
	case lacks := <-ready:
		if w.duration > 0 {
			time.AfterFunc(w.duration, cancel)
		}
		err := shown(func() error { return app.Run(ctx, lacks) })
		cancel()
		return errors.Join(err, <-done)
	}
}

// shown runs what fills the terminal and puts it back as it was. Signals are heard
// until then and do nothing more: main lets a second one end the program at once, and
// who signals a group of processes sends two, which would leave the last frame, and a
// terminal that does not echo.
func shown(run func() error) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	return run()
}

// screenOf shows the recording until the user quits.
func (w *watch) screenOf(ctx context.Context, cancel func(), app *top.App) error {
	if _, err := w.feed(ctx, nil); err != nil { // it can be read at all
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- app.Replay(ctx, func() (string, error) { return w.feed(ctx, app) })
		app.Quit()
	}()
	err := shown(func() error { return app.Run(ctx, nil) })
	cancel()
	return errors.Join(err, <-done)
}

// feed reads the recording into a sink, from its beginning, and returns a note about
// it. Without a sink it reads no more than whether it is one.
func (w *watch) feed(ctx context.Context, sink agent.Sink) (note string, err error) {
	in, err := os.Open(w.read)
	if err != nil {
		return "", err
	}
	defer in.Close()
	r, err := recording.Open(in)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", w.read, err)
	}
	defer r.Close()
	if sink == nil {
		return "", nil
	}
	err = agent.Replay(ctx, r, w.cfg.Select, []agent.Output{{Name: "the screen", Sink: sink}})
	return r.Note(), err
}

// plain shows drops and flows as tables, one beneath the other.
func (w *watch) plain(ctx context.Context, args []string) error {
	w.cfg.Flows, w.cfg.Drops, w.cfg.Samples = true, true, fewSamples
	if err := w.prepare(ctx, args); err != nil {
		return err
	}
	o := w.options()
	o.Screen = nil
	if o.Rows == 0 {
		o.Rows = 10
	}
	book, err := verdict.In(tongue())
	if err != nil {
		return err
	}
	drops, flows := o, o
	w.cfg.Book, drops.Why = book, why(book)
	dropView, err := table.NewDrops(os.Stdout, os.Stderr, drops)
	if err != nil {
		return usageError{err}
	}
	flowView, err := table.NewFlows(os.Stdout, os.Stderr, flows)
	if err != nil {
		return usageError{err}
	}
	say("first report in %v", w.every)
	return w.run(ctx, "drops and flows", []agent.Output{{Name: "the tables", Sink: both{dropView, flowView}}})
}

// both is two views that take turns.
type both [2]table.View

func (v both) Batch(b *record.Batch) error {
	if err := v[0].Batch(b); err != nil {
		return err
	}
	return v[1].Batch(b)
}

func (v both) Close() error {
	if err := v[0].Close(); err != nil {
		return err
	}
	return v[1].Close()
}
