//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// durations returns how many took how long, from the coarsest rows that have steps as
// short as are asked for: rows are told apart by their rounded durations, so that a
// histogram is a sum like any other.
func (f *file) durations(ctx context.Context, q history.Question) (d history.Durations, err error) {
	of := q.Measure
	q.Measure = ""
	c, err := f.check(&q)
	if err != nil {
		return d, err
	}
	took := c.kind.find(of)
	if took == nil || took.class != bucketColumn && took.class != latestColumn {
		return d, fmt.Errorf("%w: the history of %s has no duration %q", history.ErrQuestion, q.Kind, of)
	}
	if err := wholeSeconds(q.Step); err != nil {
		return d, err
	}
	err = f.read(ctx, func(v *view) (err error) {
		d, err = v.durations(ctx, &c, took, int64(q.Step.Seconds()))
		return err
	})
	return d, err
}

func (v *view) durations(ctx context.Context, q *question, took *column, step int64) (d history.Durations, err error) {
	times, step, err := v.times(ctx, q, step, history.MaxHistograms)
	if err != nil {
		return d, err
	}
	d = history.Durations{Unit: took.unit, Step: time.Duration(step) * time.Second, Times: times}
	if len(times) == 0 {
		return d, nil
	}
	text, args := v.durationsText(q, took, step)
	all, err := v.query(ctx, text, args)
	if err != nil {
		return d, err
	}
	var last int64
	for _, values := range all {
		rank, when := values[0].(int64), values[1].(time.Time)
		if rank != last {
			last = rank
			d.Lines = append(d.Lines, history.Histograms{Key: q.key(rank, values[5:]), Counts: make([]map[uint64]uint64, len(times))})
		}
		counts := d.Lines[len(d.Lines)-1].Counts
		at := int(when.Sub(times[0]).Seconds()) / int(step)
		if counts[at] == nil {
			counts[at] = map[uint64]uint64{}
		}
		counts[at][values[2].(uint64)] += values[3].(uint64)
		d.Sampled += values[4].(uint64)
	}
	return d, nil
}

func (v *view) durationsText(q *question, took *column, step int64) (text string, args []any) {
	keys, names, columns := q.keys()
	columns = append(columns, quoted(took.name), q.kind.weight()+" AS weighs")
	sampled := "0"
	if c := q.kind.find(history.Sampled); c != nil {
		sampled = "sum(" + quoted(c.name) + ")"
		columns = append(columns, quoted(c.name))
	}
	slices.Sort(columns)
	from, args := v.from(q, step, slices.Compact(columns)...)
	var b strings.Builder
	fmt.Fprintf(&b, "WITH steps AS MATERIALIZED (SELECT %s AS step_begins, %s %s AS took, sum(weighs) AS many, %s AS guessed FROM %s WHERE %[3]s IS NOT NULL GROUP BY ALL)",
		bucketOf("time", step), list(keys), quoted(took.name), sampled, from)
	b.WriteString(", " + ranked("steps", "sum(many)", names, q.limit) + " SELECT line_rank, step_begins, took, sum(many)::UBIGINT, coalesce(sum(guessed), 0)::UBIGINT")
	for _, name := range names {
		fmt.Fprintf(&b, ", any_value(%s)", name)
	}
	fmt.Fprintf(&b, " FROM steps %s GROUP BY line_rank, step_begins, took ORDER BY line_rank, step_begins, took", joined(names))
	return b.String(), args
}
