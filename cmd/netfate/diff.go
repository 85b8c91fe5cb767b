package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/diff"
	"github.com/netfate/netfate/internal/recording"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/table"
)

func newDiff() *cobra.Command {
	w := &watch{every: time.Second}
	var all bool
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "Two recordings compared: new losses first, then what is gone or changed",
		Long: `Diff compares two recordings of netfate record, by time, since they differ in
length: places that lose packets now and did not before, those that lose none any
more, those that lose at another rate, then the flows and processes whose bytes
differ most. A place is a reason, kernel function, namespace and interface.

A rate counts as changed if it differs by half or more, and chance explains that
once in ten thousand times at most, by how much the numbers clump. What is new or
gone is always shown, with ? if chance may explain it. Losses that harm nobody
(benign) are left out.

Namespaces and containers are the same if they have the same name.`,
		Example: `  sudo netfate record -w before.nfr -d 10m
  sudo netfate record -w after.nfr -d 10m      after an update, for example
  netfate diff before.nfr after.nfr            what is worse now, and what better
  netfate diff --comm nginx -n 20 a.nfr b.nfr  one program, twenty flows
  netfate diff a.nfr b.nfr -o json | jq 'select(.what == "loss" and .change == "new")'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("diff needs two recordings, got %d; 'netfate diff --help' shows examples", len(args))
			}
			if err := w.prepare(cmd.Context(), nil); err != nil {
				return err
			}
			book, err := verdict.New()
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
	if first.Filter != second.Filter {
		fmt.Fprintf(os.Stderr, "netfate: note: %s is restricted to %q and %s to %q: what only one of them has may look new or gone\n",
			before, first.Filter, after, second.Filter)
	}
	return diff.Compare(one, other, cfg), nil
}

// different refuses to compare a recording with itself.
func different(before, after string) error {
	switch {
	case before == "-" && after == "-":
		return usagef("only one of the two recordings can come from standard input")
	case sameFile(before, after):
		return usagef("%s and %s are the same recording: give two", before, after)
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

// side reads one recording.
func (w *watch) side(ctx context.Context, path string, cfg diff.Config) (s *diff.Side, h recording.Header, err error) {
	var in io.ReadCloser = os.Stdin
	if path != "-" {
		if in, err = os.Open(path); err != nil {
			return nil, h, err
		}
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, err := recording.Open(in)
	if err != nil {
		return nil, h, fmt.Errorf("read %s: %w", path, err)
	}
	defer r.Close()
	s = diff.NewSide(cfg)
	if err := agent.Replay(ctx, r, w.cfg.Select, []agent.Output{{Name: "the comparison", Sink: s}}); err != nil {
		return nil, h, fmt.Errorf("read %s: %w", path, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, h, err
	}
	if note := r.Note(); note != "" {
		fmt.Fprintf(os.Stderr, "netfate: %s: %s\n", path, note)
	}
	if s.Span == 0 {
		return nil, h, fmt.Errorf("read %s: it holds no interval, so there is nothing to compare", path)
	}
	return s, r.Header(), nil
}
