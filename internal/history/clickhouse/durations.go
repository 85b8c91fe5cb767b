package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// Durations returns how many took how long: rows are told apart by their rounded
// durations, so that a histogram is a sum like any other.
func (s *store) Durations(ctx context.Context, q history.Question) (d history.Durations, err error) {
	of := q.Measure
	q.Measure = ""
	c, err := s.check(&q)
	if err != nil {
		return d, err
	}
	took := c.kind.find(of)
	if took == nil || !took.timed() {
		return d, fmt.Errorf("%w: the history of %s has no duration %q", history.ErrQuestion, q.Kind, of)
	}
	if err := wholeSeconds(q.Step); err != nil {
		return d, err
	}
	s.refresh(ctx)
	times, step, err := s.times(ctx, &c, int64(q.Step.Seconds()), history.MaxHistograms)
	if err != nil {
		return d, err
	}
	d = history.Durations{Unit: took.unit, Step: time.Duration(step) * time.Second, Times: times}
	if len(times) == 0 {
		return d, nil
	}
	a, err := s.answers(ctx, c.durationsText(took, step))
	if err != nil {
		return d, err
	}
	found, totals := map[string]*history.Histograms{}, map[string]float64{}
	for _, row := range a.Data {
		p, err := c.placeOf(row, times[0].Unix(), step)
		if err != nil {
			return d, err
		}
		numbers, err := uints(row[len(row)-3:])
		if err != nil {
			return d, err
		}
		line := found[p.line]
		if line == nil {
			line = &history.Histograms{Key: p.key, Counts: make([]map[uint64]uint64, len(times))}
			found[p.line] = line
		}
		if line.Counts[p.step] == nil {
			line.Counts[p.step] = map[uint64]uint64{}
		}
		line.Counts[p.step][numbers[0]] += numbers[1]
		totals[p.line] += float64(numbers[1])
		d.Sampled += numbers[2]
	}
	for _, name := range ordered(totals) {
		d.Lines = append(d.Lines, *found[name])
	}
	return d, nil
}

// durationsText asks for the rows of equal durations in each step of each line.
func (q *question) durationsText(took *column, step int64) string {
	name, many, sampled := quoted(took.name), "sum("+q.kind.weight()+")", "toUInt64(0)"
	if q.kind.find(history.Sampled) != nil {
		sampled = "sum(" + quoted(history.Sampled) + ")"
	}
	l := q.lines(many, name+" != 0")
	keys, names := named(l.keys, "key_")
	return fmt.Sprintf("SELECT %s AS is_top, %s AS step_begins%s, %s AS took, %s AS many, %s AS guessed FROM %s%s GROUP BY is_top, step_begins%s, took",
		l.top, stepOf(step), list(keys...), name, many, sampled, q.kind.name, q.filter(name+" != 0"), list(names...))
}
