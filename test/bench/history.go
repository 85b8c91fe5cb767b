package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/historytest"
)

// The aims of the history.
const (
	aimAppend     = 200_000 // rows a second, in bulk
	aimQuestionMS = 300     // of 95 in 100 questions
)

const (
	// historyFlows is how many flows there are in a minute.
	historyFlows = 2000
	// bulkMinutes is how many minutes are put before it is waited for them.
	bulkMinutes = 65
	// askTimes is how often each question is asked.
	askTimes = 40
)

// historyResults is what keeping records and asking for them takes.
type historyResults struct {
	cfg            config
	began          time.Time
	bulk           []float64 // rows a second, of each part
	rows           int64     // of minutes that were asked about
	bytes          int64     // of the file with them and their roll-ups
	dayBytes       int64     // of that of cfg.days, as the daemon keeps it
	dayRows        int64     // that it holds, of all resolutions
	questions      []asked
	sqliteBytes    int64
	sqlitePerSec   float64
	sqliteMeasured bool
}

// asked is one question and how long it took, in ms: the history, and SQLite from
// rows of minutes and of hours.
type asked struct {
	name                   string
	store, minutes, rolled []float64
}

func newHistory(ctx context.Context, cfg config) (*historyResults, error) {
	fmt.Fprintln(os.Stderr, "bench: measuring the history")
	h := &historyResults{cfg: cfg, began: time.Now()}
	dir, err := os.MkdirTemp("", "netfate-bench-")
	if err != nil {
		return nil, err
	}
	err = errors.Join(h.measure(ctx, dir), os.RemoveAll(dir))
	return h, err
}

func (h *historyResults) measure(ctx context.Context, dir string) error {
	if h.cfg.days > 0 {
		if err := h.keepDays(ctx, filepath.Join(dir, "days.duckdb")); err != nil {
			return err
		}
	}
	const long = 1000 * 24 * time.Hour
	s, err := duckdb.Open(duckdb.Config{
		Path: filepath.Join(dir, "rows.duckdb"), MaxBytes: 1 << 40, Ages: [duckdb.Resolutions]time.Duration{long, long, long, long},
	})
	if err != nil {
		return err
	}
	minutes := 60 * h.cfg.hours
	if h.bulk, err = fillHistory(ctx, s, minutes); err != nil {
		return errors.Join(err, s.Close())
	}
	h.rows = int64(minutes) * historyFlows
	return errors.Join(h.ask(ctx, s, dir, minutes), s.Close())
}

// keepDays fills a history as the daemon's is by default, with days.
func (h *historyResults) keepDays(ctx context.Context, path string) error {
	s, err := duckdb.Open(duckdb.Config{Path: path})
	if err != nil {
		return err
	}
	if _, err = fillHistory(ctx, s, h.cfg.days*24*60); err != nil {
		return errors.Join(err, s.Close())
	}
	st, err := s.Status(ctx)
	h.dayBytes = st.Bytes
	for _, k := range st.Kinds {
		h.dayRows += k.Rows
	}
	return errors.Join(err, s.Close(), os.Remove(path))
}

// fillHistory puts minutes of traffic, and returns how many rows a second were taken of
// each part of them.
func fillHistory(ctx context.Context, s history.Store, minutes int) (rates []float64, err error) {
	for m := 0; m < minutes; m += bulkMinutes {
		n := min(bulkMinutes, minutes-m)
		var batches []*record.Batch
		for i := range n {
			batches = append(batches, historytest.Traffic(m+i, historyFlows))
		}
		began := time.Now()
		for _, b := range batches {
			if err := s.Put(ctx, b); err != nil {
				return nil, err
			}
		}
		if err := taken(ctx, s, m+n == minutes); err != nil {
			return nil, err
		}
		rates = append(rates, float64(n*historyFlows)/time.Since(began).Seconds())
	}
	return rates, nil
}

// taken waits until what was put has made room for as much again, as in a long import, and in
// the end until all is durable.
func taken(ctx context.Context, s history.Store, end bool) error {
	if t, ok := s.(interface{ Taken(context.Context) error }); ok && !end {
		return t.Taken(ctx)
	}
	return s.Flush(ctx)
}

// question is one that a dashboard asks, and the same as SQL.
type question struct {
	name string
	ask  func(ctx context.Context, s history.Store, q history.Question) error
	sql  string // %s is the table, %d are since and until in seconds
}

func dashboard() []question {
	groups := func(by ...string) func(context.Context, history.Store, history.Question) error {
		return func(ctx context.Context, s history.Store, q history.Question) error {
			q.By = by
			_, err := s.Groups(ctx, q)
			return err
		}
	}
	series := func(where []history.Condition, by ...string) func(context.Context, history.Store, history.Question) error {
		return func(ctx context.Context, s history.Store, q history.Question) error {
			q.By, q.Where = by, where
			_, err := s.Series(ctx, q)
			return err
		}
	}
	return []question{
		{"bytes by process", groups("comm"), "SELECT comm, " + sums() + " FROM %s WHERE time >= %d AND time < %d GROUP BY 1 ORDER BY sum(bytes_out) DESC LIMIT 21"},
		{"bytes by peer", groups("dst_addr"), "SELECT dst_addr, " + sums() + " FROM %s WHERE time >= %d AND time < %d GROUP BY 1 ORDER BY sum(bytes_out) DESC LIMIT 21"},
		{"rate by process", series(nil, "comm"), "SELECT time - time %% 3600, comm, sum(bytes_out) FROM %s WHERE time >= %d AND time < %d GROUP BY 1, 2"},
		{
			"rate of one process", series([]history.Condition{{Field: "comm", Values: []string{"process-7"}}}),
			"SELECT time - time %% 3600, sum(bytes_out) FROM %s WHERE time >= %d AND time < %d AND comm = 'process-7' GROUP BY 1",
		},
	}
}

// sums are all measures of a flow, as an answer has them.
func sums() string {
	var all []string
	for _, f := range record.Fields(record.Flow{}) {
		if f.Role == record.Measure {
			all = append(all, "sum("+f.Name+")")
		}
	}
	return strings.Join(all, ", ")
}

// ask asks the history and SQLite in turns.
func (h *historyResults) ask(ctx context.Context, s history.Store, dir string, minutes int) (err error) {
	st, err := s.Status(ctx)
	if err != nil {
		return err
	}
	h.bytes = st.Bytes
	var beside *sqlite
	if h.cfg.sqlite != "" {
		if beside, err = h.startSQLite(ctx, dir, minutes); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, beside.close()) }()
	}
	until := historytest.Begin().Add(time.Duration(minutes) * time.Minute)
	for _, d := range dashboard() {
		for _, hours := range []int{1, 24, h.cfg.hours} {
			if hours > h.cfg.hours {
				continue
			}
			q := history.Question{Kind: history.Flows, Measure: "bytes_out", Since: until.Add(-time.Duration(hours) * time.Hour), Until: until, Limit: 20}
			a := asked{name: fmt.Sprintf("%s, %d h", d.name, hours)}
			for i := range askTimes {
				began := time.Now()
				if err := d.ask(ctx, s, q); err != nil {
					return fmt.Errorf("%s: %w", a.name, err)
				}
				a.store = append(a.store, milliseconds(time.Since(began)))
				if beside != nil && i < askTimes/8 {
					if err := beside.both(&a, d.sql, q); err != nil {
						return fmt.Errorf("%s: %w", a.name, err)
					}
				}
			}
			h.questions = append(h.questions, a)
		}
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// sqlite is the program that has the same flows in SQLite.
type sqlite struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Reader
}

// startSQLite starts it, and waits until it has all flows.
func (h *historyResults) startSQLite(ctx context.Context, dir string, minutes int) (*sqlite, error) {
	b := &sqlite{cmd: exec.CommandContext(ctx, h.cfg.sqlite, "-dir", dir, "-minutes", strconv.Itoa(minutes), "-flows", strconv.Itoa(historyFlows))}
	b.cmd.Stderr = os.Stderr
	var err error
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.answers = bufio.NewReader(out)
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start SQLite: %w; build test/bench/sqlite first, or leave it out with -sqlite ''", err)
	}
	var filled struct {
		Rows, Bytes int64
		Seconds     float64
	}
	if err := b.read(&filled); err != nil {
		return nil, errors.Join(err, b.close())
	}
	h.sqliteMeasured, h.sqliteBytes, h.sqlitePerSec = true, filled.Bytes, float64(filled.Rows)/filled.Seconds
	return b, nil
}

func (b *sqlite) read(into any) error {
	line, err := b.answers.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what SQLite says: %w", err)
	}
	return json.Unmarshal(line, into)
}

func (b *sqlite) close() error { return errors.Join(b.in.Close(), b.cmd.Wait()) }

// both asks for rows of minutes and of hours.
func (b *sqlite) both(a *asked, statement string, q history.Question) error {
	for table, into := range map[string]*[]float64{"flows_1m": &a.minutes, "flows_1h": &a.rolled} {
		if _, err := fmt.Fprintf(b.in, statement+"\n", table, q.Since.Unix(), q.Until.Unix()); err != nil {
			return err
		}
		var answer struct {
			Micros int64
			Rows   [][]any
		}
		if err := b.read(&answer); err != nil {
			return err
		}
		if len(answer.Rows) == 0 {
			return errors.New("SQLite has no rows of it")
		}
		*into = append(*into, float64(answer.Micros)/1000)
	}
	return nil
}

// late is what 95 in 100 kept below.
func late(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*95+99)/100-1]
}

func (h *historyResults) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s; load %s.\n\n", h.began.UTC().Format(time.DateOnly), machine(), load())
	b.WriteString("| what | | aim | |\n| --- | --- | --- | --- |\n")
	rate := median(h.bulk)
	fmt.Fprintf(&b, "| rows appended in bulk, durable, with their roll-ups, a second | %s | %d | %s |\n", span(h.bulk, "%.0f"), aimAppend, verdict(aimAppend, rate))
	fmt.Fprintf(&b, "| file of %d million rows of minutes and their roll-ups | %d MB | | |\n", h.rows/1e6, h.bytes/megabyte)
	if h.cfg.days > 0 {
		fmt.Fprintf(&b, "| file of %d days of %d flows a minute, kept as by default | %d MB | 2048 MB | %s |\n",
			h.cfg.days, historyFlows, h.dayBytes/megabyte, verdict(float64(h.dayBytes/megabyte), 2048))
	}
	if h.sqliteMeasured {
		fmt.Fprintf(&b, "| SQLite beside it: rows appended in bulk, a second | %.0f | | |\n", h.sqlitePerSec)
		fmt.Fprintf(&b, "| SQLite's file, minutes and hours | %d MB | | |\n", h.sqliteBytes/megabyte)
	}
	fmt.Fprintf(&b, "\nQuestions of a dashboard over %d rows of minutes: ms that 95 in 100 kept below, %d asked; at most %d is the aim. SQLite has the same flows, an index on the time, "+
		"and the hours added up by the same columns.\n\n", h.rows, askTimes, aimQuestionMS)
	b.WriteString("| question | history | | SQLite, of minutes | of hours |\n| --- | --- | --- | --- | --- |\n")
	for _, a := range h.questions {
		fmt.Fprintf(&b, "| %s | %.0f | %s | %s | %s |\n", a.name, late(a.store), verdict(late(a.store), aimQuestionMS), besideMS(a.minutes), besideMS(a.rolled))
	}
	return b.String()
}

func besideMS(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", late(values))
}

// load is how many tasks wanted a CPU, in the last minute: what else ran spoils the
// numbers.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}
