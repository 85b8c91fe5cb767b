package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/diff"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/history/remote"
	"github.com/netfate/netfate/internal/recording"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/table"
)

func newDiff() *cobra.Command {
	w := &watch{every: time.Second}
	var all bool
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "Two recordings or times compared: new losses first, then what is gone or changed",
		Long: `Diff compares two recordings of netfate record, or two times of the history that
netfate serve keeps, FROM..UNTIL. They may differ in length: rates are compared. It
shows places that lose packets now and did not before, those that lose none any
more, those that lose at another rate, then the flows and processes whose bytes
differ most. A place is a reason, kernel function, namespace and interface.

FROM and UNTIL are a time of the last 24 hours (03:00), a date with or without one
(2026-11-30T03:00), or how long ago (30m, 7d); FROM.. is until now,
..UNTIL from the history's beginning.

A rate counts as changed if it differs by half or more, and chance explains that
once in ten thousand times at most, by how much the numbers clump. What is new or
gone is always shown, with ? if chance may explain it. Losses that harm nobody
(benign) are left out.

Namespaces and containers are the same if they have the same name.`,
		Example: `  sudo netfate record -w before.nfr -d 10m
  sudo netfate record -w after.nfr -d 10m      after an update, for example
  netfate diff before.nfr after.nfr            what is worse now, and what better
  netfate diff 02:00..03:00 03:00..04:00       what began at three last night
  netfate diff 7d..1d 1d..                     today beside the week before
  netfate diff --comm nginx -n 20 a.nfr b.nfr  one program, twenty flows
  netfate diff a.nfr b.nfr -o json | jq 'select(.what == "loss" and .change == "new")'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("diff needs two recordings or times, got %d; 'netfate diff --help' shows examples", len(args))
			}
			if err := w.prepare(cmd.Context(), nil); err != nil {
				return err
			}
			book, err := verdict.In(tongue())
			if err != nil {
				return err
			}
			view, err := table.NewDiff(os.Stdout, os.Stderr, w.options())
			if err != nil {
				return usageError{err}
			}
			cfg := diff.Config{All: all, Selected: w.cfg.Select.Any(), Rows: w.rows, Why: why(book)}
			report, err := w.diff(cmd.Context(), args[0], args[1], cfg)
			if err != nil {
				return err
			}
			return view.Show(report)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&w.format, "output", "o", "table", "table, json (one object a line) or csv")
	f.IntVarP(&w.rows, "rows", "n", 10, "flows, and processes, to show (0: all)")
	f.BoolVarP(&all, "all", "a", false, "benign losses too")
	f.StringVar(&w.past.query.path, "history", duckdb.DefaultPath, "file that has the history")
	f.StringVar(&w.past.query.socket, "socket", remote.DefaultSocket, "socket of the netfate to ask if that has the file open")
	w.selection(cmd)
	return cmd
}

func (w *watch) diff(ctx context.Context, before, after string, cfg diff.Config) (*diff.Report, error) {
	if err := different(before, after); err != nil {
		return nil, err
	}
	one, first, err := w.side(ctx, before, cfg)
	if err != nil {
		return nil, err
	}
	other, second, err := w.side(ctx, after, cfg)
	if err != nil {
		return nil, err
	}
	if first != second {
		fmt.Fprintf(os.Stderr, "netfate: note: %s is restricted to %q and %s to %q: what only one of them has may look new or gone\n",
			before, first, after, second)
	}
	return diff.Compare(one, other, cfg), nil
}

// different refuses to compare a recording with itself.
func different(before, after string) error {
	switch {
	case before == "-" && after == "-":
		return usagef("only one of the two recordings can come from standard input")
	case before == after, sameFile(before, after):
		return usagef("%s and %s are the same: give two", before, after)
	}
	return nil
}

// sameFile reports whether both are there and the same; what is not there is told
// when it is read.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// side reads a recording or a time of the history, and returns the filter that what
// is there was recorded with.
func (w *watch) side(ctx context.Context, arg string, cfg diff.Config) (s *diff.Side, filter string, err error) {
	s = diff.NewSide(cfg)
	outputs := []agent.Output{{Name: "the comparison", Sink: s}}
	since, until, isTime, err := stretch(arg, time.Now())
	if err != nil {
		return nil, "", usagef("%s: %w", arg, err)
	}
	if isTime {
		err = w.timeSide(ctx, arg, since, until, outputs)
	} else {
		filter, err = w.recordingSide(ctx, arg, outputs)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", arg, err)
	}
	if s.Span == 0 {
		return nil, "", fmt.Errorf("read %s: it holds no interval, so there is nothing to compare", arg)
	}
	return s, filter, nil
}

func (w *watch) timeSide(ctx context.Context, arg string, since, until time.Time, outputs []agent.Output) error {
	if err := needFile(w.past.query.path); err != nil {
		return err
	}
	past, err := openPast(ctx, w.past.query.ask, since, until, history.Drops, history.Flows)
	if err != nil {
		return err
	}
	if err := agent.Replay(ctx, past, w.cfg.Select, outputs); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "netfate: note: %s is from the history, by %s\n", arg, past.resolution())
	return nil
}

func (w *watch) recordingSide(ctx context.Context, path string, outputs []agent.Output) (filter string, err error) {
	var in io.ReadCloser = os.Stdin
	if path != "-" {
		if in, err = os.Open(path); err != nil {
			return "", err
		}
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, err := recording.Open(in)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if err := agent.Replay(ctx, r, w.cfg.Select, outputs); err != nil {
		return "", err
	}
	if note := r.Note(); note != "" {
		fmt.Fprintf(os.Stderr, "netfate: %s: %s\n", path, note)
	}
	return r.Header().Filter, nil
}

// stretch reads FROM..UNTIL, unless a file has that name.
func stretch(arg string, now time.Time) (since, until time.Time, isTime bool, err error) {
	from, to, isTime := strings.Cut(arg, "..")
	if !isTime || strings.ContainsRune(arg, os.PathSeparator) {
		return since, until, false, nil
	}
	if _, err := os.Stat(arg); err == nil {
		return since, until, false, nil
	}
	if since, err = parseMoment(ago(from), now, time.Unix(0, 0)); err != nil {
		return since, until, true, noMoment(from)
	}
	if until, err = parseMoment(ago(to), now, now); err != nil {
		return since, until, true, noMoment(to)
	}
	if !since.Before(until) {
		return since, until, true, fmt.Errorf("it begins at %s, which is not before its end at %s", since.Format(time.DateTime), until.Format(time.DateTime))
	}
	return since, until, true, nil
}

// noMoment is what parseMoment says, without the minus.
func noMoment(text string) error {
	return fmt.Errorf("%q is not a time such as 03:00, 2026-11-30T03:00, 30m or 7d", text)
}

// ago puts the minus before how long ago something was, which an argument cannot begin
// with.
func ago(text string) string {
	if _, ok := parseAgo("-" + text); ok {
		return "-" + text
	}
	return text
}
