package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/history/remote"
	"github.com/netfate/netfate/internal/record"
)

// past is what a command shows of the history instead of what happens now.
type past struct {
	since, until string
	query        query
}

// pastFlags adds the flags of commands that the history can answer.
func (w *watch) pastFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.past.since, "since", "", "show the history from then on, by whole minutes: 03:00, 2026-11-30T03:00, -30m, -7d")
	f.StringVar(&w.past.until, "until", "", "up to then, without --since from its beginning")
	f.StringVar(&w.past.query.path, "history", duckdb.DefaultPath, "file that has the history")
}

// isPast reports whether the history is asked for, and gone whether anything is that
// is over: that, or a recording.
func (w *watch) isPast() bool { return w.past.since != "" || w.past.until != "" }
func (w *watch) gone() bool   { return w.isPast() || w.read != "" }

// checkPast refuses what the history does not have.
func (w *watch) checkPast(cmd *cobra.Command, args []string) error {
	if !w.isPast() {
		return nil
	}
	if expr := expression(args); expr != "" {
		return usagef("a filter expression looks into packets, and the history has counts of them: select with flags")
	}
	for _, name := range []string{"read", "duration", "every", "each", "stack", "live", "listeners", "rtt", "count", "promisc", "show-secrets"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			return usagef("--%s: the history has sums of minutes, so leave it out, or --since and --until", name)
		}
	}
	return nil
}

// pastRows is how many rows of the history are asked for at once, and in how many parts a
// minute that has more is read at the most.
const (
	pastRows   = 50_000
	pastShares = 64
)

// fromHistory feeds the outputs with what the history has of the kind.
func (w *watch) fromHistory(ctx context.Context, kind string, outputs []agent.Output) error {
	now := time.Now()
	since, err := parseMoment(w.past.since, now, time.Unix(0, 0))
	if err != nil {
		return usagef("--since %s: %w", w.past.since, err)
	}
	until, err := parseMoment(w.past.until, now, now.Add(time.Minute))
	if err != nil {
		return usagef("--until %s: %w", w.past.until, err)
	}
	if !since.Before(until) {
		return usagef("--since %s is not before --until %s", since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	if err := needFile(w.past.query.path); err != nil {
		return err
	}
	w.past.query.socket = remote.DefaultSocket
	s, err := openPast(ctx, w.past.query.ask, since, until, kind)
	if err != nil {
		return err
	}
	if err := agent.Replay(ctx, s, w.cfg.Select, outputs); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "netfate: note: from the history, by %s: no single events; durations are within 6 %%\n", s.resolution())
	return nil
}

// parseMoment reads a time: of today or yesterday, a date, or how long ago. An empty
// one is what it is if nothing is said.
func parseMoment(text string, now, empty time.Time) (time.Time, error) {
	if text == "" {
		return empty, nil
	}
	if ago, ok := parseAgo(text); ok {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if t.After(now) {
				t = t.AddDate(0, 0, -1)
			}
			return t, nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return now, errors.New("not a time such as 03:00, 2026-11-30T03:00, -30m or -7d")
}

// parseAgo reads how long ago something was: -90s, -30m, -2h, -7d.
func parseAgo(text string) (time.Duration, bool) {
	text, ok := strings.CutPrefix(text, "-")
	if !ok {
		return 0, false
	}
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// asker answers statements, from a file or from whoever has it open.
type asker func(ctx context.Context, statement string, l history.Limits) (history.Table, error)

// pastSource gives the rows of some kinds, and what netfate lost then, as batches of
// what a row is of, oldest first. There is one for each time of which the history has
// anything, even nothing of those kinds: netfate watched.
type pastSource struct {
	ctx       context.Context
	ask       asker
	kinds     []string
	at, until time.Time     // what is not read yet
	window    time.Duration // how much is read at once
	shares    int           // in how many parts
	ready     []*record.Batch
	steps     map[string]bool // lengths of rows that there were
}

// openPast goes to the first row, so that time of which there is nothing is not asked
// for hour by hour. Rows are of whole minutes, and those count that began before since.
func openPast(ctx context.Context, ask asker, since, until time.Time, kinds ...string) (*pastSource, error) {
	since = since.Truncate(time.Minute)
	s := &pastSource{ctx: ctx, ask: ask, kinds: kinds, window: time.Hour, shares: 1, steps: map[string]bool{}}
	var times []string
	for _, kind := range kinds {
		times = append(times, fmt.Sprintf("SELECT time FROM %s WHERE %s", kind, between(since, until)))
	}
	t, err := ask(ctx, fmt.Sprintf("SELECT min(time) AS first, max(time) AS last FROM (%s)", strings.Join(times, " UNION ALL ")), history.Limits{})
	if err != nil {
		return nil, err
	}
	first, ok := t.Rows[0][0].(time.Time)
	last, ok2 := t.Rows[0][1].(time.Time)
	if !ok || !ok2 {
		return nil, fmt.Errorf("the history has no %s of %s to %s", strings.Join(kinds, " and no "), since.Format(time.DateTime), until.Format(time.DateTime))
	}
	s.at, s.until = first, last.Add(time.Second)
	return s, nil
}

// resolution is what rows are of, in words.
func (s *pastSource) resolution() string {
	return strings.Join(slices.Sorted(maps.Keys(s.steps)), ", ")
}

func between(since, until time.Time) string {
	const layout = "2006-01-02 15:04:05.999999"
	return fmt.Sprintf("time >= TIMESTAMP '%s' AND time < TIMESTAMP '%s'", since.UTC().Format(layout), until.UTC().Format(layout))
}

// Next returns the next batch, io.EOF after the last.
func (s *pastSource) Next() (*record.Batch, error) {
	for len(s.ready) == 0 {
		if !s.at.Before(s.until) {
			return nil, io.EOF
		}
		if err := s.read(); err != nil {
			return nil, err
		}
	}
	b := s.ready[0]
	s.ready = s.ready[1:]
	return b, nil
}

// read reads the next window, a smaller one where there is much.
func (s *pastSource) read() error {
	end := s.at.Add(s.window)
	if end.After(s.until) {
		end = s.until
	}
	batches := map[time.Time]*record.Batch{}
	for _, kind := range s.kinds {
		for share := range s.shares {
			where := between(s.at, end)
			if s.shares > 1 {
				where += fmt.Sprintf(" AND hash(%s) %% %d = %d", kind, s.shares, share)
			}
			t, err := s.ask(s.ctx, fmt.Sprintf("SELECT * FROM %s WHERE %s ORDER BY time", kind, where), history.Limits{Rows: pastRows})
			if err != nil {
				return err
			}
			if t.Cut && s.window > time.Minute {
				s.window = max(s.window/4, time.Minute)
				return nil
			}
			if t.Cut && s.shares < pastShares {
				s.shares *= 4
				return nil
			}
			if t.Cut {
				fmt.Fprintf(os.Stderr, "netfate: note: of %s not all %s are shown\n", s.at.Format(time.DateTime), kind)
			}
			if err := s.add(batches, kind, t); err != nil {
				return err
			}
		}
	}
	if err := s.watched(batches, end); err != nil {
		return err
	}
	for _, when := range slices.SortedFunc(maps.Keys(batches), time.Time.Compare) {
		s.ready = append(s.ready, batches[when])
	}
	s.at = end
	return nil
}

// watched adds what netfate lost, and batches of the times of which there are rows of
// other kinds only.
func (s *pastSource) watched(batches map[time.Time]*record.Batch, end time.Time) error {
	for _, kind := range history.Kinds() {
		if slices.Contains(s.kinds, kind) {
			continue
		}
		what := "DISTINCT time, step_s"
		if kind == history.Lost {
			what = "*"
		}
		t, err := s.ask(s.ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY time", what, kind, between(s.at, end)), history.Limits{Rows: pastRows})
		if err != nil {
			return err
		}
		add := s.add
		if kind != history.Lost {
			add = s.addTimes
		}
		if err := add(batches, kind, t); err != nil {
			return err
		}
	}
	return nil
}

// add puts the rows of an answer into the batches of their times.
func (s *pastSource) add(batches map[time.Time]*record.Batch, kind string, t history.Table) error {
	fields := map[string][]record.Field{
		history.Drops: record.Fields(record.Drop{}), history.Flows: record.Fields(record.Flow{}), history.Conns: record.Fields(record.Conn{}),
		history.Requests: record.Fields(record.Request{}), history.Queries: record.Fields(record.Query{}),
		history.Ledger: record.Fields(record.Entry{}), history.Lost: record.Fields(record.Lost{}),
	}[kind]
	return s.each(batches, kind, t, func(b *record.Batch, row map[string]any) error {
		s.steps[lengths(b.End.Sub(b.Start))] = true
		row["time"], row["start"] = b.End, b.Start
		if err := appendRow(b, kind, fields, row); err != nil {
			return fmt.Errorf("read %s of the history: %w", kind, err)
		}
		return nil
	})
}

// addTimes makes the batches of an answer's times.
func (s *pastSource) addTimes(batches map[time.Time]*record.Batch, kind string, t history.Table) error {
	return s.each(batches, kind, t, func(*record.Batch, map[string]any) error { return nil })
}

// each calls do with each row of an answer, and the batch of its time.
func (s *pastSource) each(batches map[time.Time]*record.Batch, kind string, t history.Table, do func(*record.Batch, map[string]any) error) error {
	for _, values := range t.Rows {
		row := map[string]any{}
		for i, c := range t.Columns {
			row[c.Name] = values[i]
		}
		start, ok := row["time"].(time.Time)
		step, ok2 := row["step_s"].(uint64)
		if !ok || !ok2 {
			return fmt.Errorf("the history's %s have no time", kind)
		}
		b := batches[start]
		if b == nil {
			b = &record.Batch{Start: start, End: start.Add(time.Duration(step) * time.Second)}
			batches[start] = b
		}
		if err := do(b, row); err != nil {
			return err
		}
	}
	return nil
}

// lengths is a resolution in words.
func lengths(d time.Duration) string {
	switch d {
	case time.Minute:
		return "minutes"
	case time.Hour:
		return "hours"
	case 24 * time.Hour:
		return "days"
	}
	return fmt.Sprintf("%d minutes", int(d.Minutes()))
}

// appendRow adds a row to the batch as the records that it is the sum of, as far as
// that can be told: several share its numbers.
func appendRow(b *record.Batch, kind string, fields []record.Field, row map[string]any) error {
	many, _ := row[kind].(uint64) // of those that are counted
	var err error
	switch kind {
	case history.Drops:
		b.Drops, err = appended(b.Drops, fields, row)
	case history.Flows:
		b.Flows, err = appended(b.Flows, fields, row)
	case history.Ledger:
		b.Ledger, err = appended(b.Ledger, fields, row)
	case history.Lost:
		b.Lost, err = appended(b.Lost, fields, row)
	case history.Conns:
		var one []record.Conn
		if one, err = appended(one, fields, row); err != nil || many == 0 {
			return err
		}
		one[0].DurationMicros /= many
		b.Conns = append(b.Conns, one[0])
		rest := one[0]
		rest.BytesIn, rest.BytesOut, rest.SegmentsIn, rest.SegmentsOut, rest.Retransmits, rest.OutOfOrder, rest.RwndMicros = 0, 0, 0, 0, 0, 0, 0
		b.Conns = append(b.Conns, slices.Repeat([]record.Conn{rest}, int(many-1))...)
	case history.Requests:
		var one []record.Request
		if one, err = appended(one, fields, row); err != nil || many == 0 {
			return err
		}
		b.Requests = append(b.Requests, shares(one[0], many)...)
	case history.Queries:
		var one []record.Query
		if one, err = appended(one, fields, row); err != nil || many == 0 {
			return err
		}
		b.Queries = append(b.Queries, one[0])
		one[0].Retries = 0
		b.Queries = append(b.Queries, slices.Repeat(one, int(many-1))...)
	}
	return err
}

// shares are requests that add up to n of the same sums: one, and one that stands for
// the others.
func shares(r record.Request, n uint64) []record.Request {
	r.OneIn = 0 // those that it stood for are among the n
	if n == 1 {
		return []record.Request{r}
	}
	others := r
	others.OneIn = uint32(n - 1)
	others.RequestBytes, others.ResponseBytes = r.RequestBytes/n, r.ResponseBytes/n
	r.RequestBytes -= others.RequestBytes * (n - 1)
	r.ResponseBytes -= others.ResponseBytes * (n - 1)
	return []record.Request{r, others}
}

// appended appends a row as a record.
func appended[R any](list []R, fields []record.Field, row map[string]any) ([]R, error) {
	text, err := json.Marshal(row)
	if err != nil {
		return list, err
	}
	var r R
	if err := record.ParseJSON(text, fields, &r); err != nil {
		return list, err
	}
	return append(list, r), nil
}
