package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// other is the key of the sum of what is beyond a limit.
const other = "~other"

// Rows implements history.Store. The newest are those that came last.
func (s *Store) Rows(ctx context.Context, q history.Question) (history.Table, error) {
	p, err := parse(q)
	if err != nil {
		return history.Table{}, err
	}
	before := uint64(math.MaxUint64)
	if q.After != "" {
		if before, err = strconv.ParseUint(q.After, 36, 64); err != nil {
			return history.Table{}, fmt.Errorf("%w: %q is not from an earlier answer", history.ErrQuestion, q.After)
		}
	}
	t := history.Table{Columns: columns(p.fields)}
	var last uint64
	err = p.newest(ctx, s.snapshot(q.Kind).parts, func(number uint64, rec any) bool {
		if number >= before {
			return true
		}
		if len(t.Rows) == p.Limit {
			t.Next = strconv.FormatUint(last, 36)
			return false
		}
		row := make([]any, len(p.fields))
		for i := range p.fields {
			row[i] = p.fields[i].Get(rec)
		}
		t.Rows, last = append(t.Rows, row), number
		return true
	})
	return t, err
}

func columns(fields []record.Field) (cols []history.Column) {
	for i := range fields {
		cols = append(cols, column(&fields[i]))
	}
	return cols
}

func column(f *record.Field) history.Column {
	return history.Column{Name: f.Name, Type: f.Type, Unit: f.Unit}
}

// group is the sums of one key.
type group struct {
	id   string // the key as text, to tell it from others
	key  []any
	sums []any // uint64 or int64, nil while nothing was known
}

// id returns the record's key as one text; what is not known differs from what is
// empty by the mark behind it.
func (p *question) id(rec any) string {
	var b strings.Builder
	for _, f := range p.by {
		b.WriteString(f.Text(rec))
		if f.Get(rec) == nil {
			b.WriteByte(1)
		}
		b.WriteByte(0)
	}
	return b.String()
}

func (p *question) key(rec any) []any {
	key := make([]any, len(p.by))
	for i, f := range p.by {
		key[i] = f.Get(rec)
	}
	return key
}

// add returns the sum of two values of a measure.
func add(a, b any) any {
	switch b := b.(type) {
	case uint64:
		if a, ok := a.(uint64); ok {
			return a + b
		}
		return b
	case int64:
		if a, ok := a.(int64); ok {
			return a + b
		}
		return b
	}
	return a
}

// number returns a value of a measure.
func number(v any) float64 {
	switch v := v.(type) {
	case uint64:
		return float64(v)
	case int64:
		return float64(v)
	}
	return 0
}

func (p *question) measureIndex() int { return slices.Index(p.sums, p.measure) }

// largest sorts groups by the measure, those of equal ones by their keys.
func (p *question) largest(groups map[string]*group) []*group {
	all := slices.Collect(maps.Values(groups))
	m := p.measureIndex()
	slices.SortFunc(all, func(a, b *group) int {
		if m >= 0 {
			if c := cmp.Compare(number(b.sums[m]), number(a.sums[m])); c != 0 {
				return c
			}
		}
		return strings.Compare(a.id, b.id)
	})
	return all
}

// sum adds up what is asked for by its key, and returns the largest sums first.
func (p *question) sum(ctx context.Context, parts []part) ([]*group, error) {
	groups := map[string]*group{}
	err := p.newest(ctx, parts, func(_ uint64, rec any) bool {
		id := p.id(rec)
		g := groups[id]
		if g == nil {
			g = &group{id: id, key: p.key(rec), sums: make([]any, len(p.sums))}
			groups[id] = g
		}
		for i, f := range p.sums {
			g.sums[i] = add(g.sums[i], f.Get(rec))
		}
		return true
	})
	return p.largest(groups), err
}

// Groups implements history.Store.
func (s *Store) Groups(ctx context.Context, q history.Question) (history.Table, error) {
	p, err := parse(q)
	if err != nil {
		return history.Table{}, err
	}
	all, err := p.sum(ctx, s.snapshot(q.Kind).parts)
	if err != nil {
		return history.Table{}, err
	}
	var t history.Table
	for _, f := range slices.Concat(p.by, p.sums) {
		t.Columns = append(t.Columns, column(f))
	}
	for _, g := range all[:min(len(all), p.Limit)] {
		t.Rows = append(t.Rows, slices.Concat(g.key, g.sums))
	}
	if len(all) > p.Limit {
		rest := &group{key: make([]any, len(p.by)), sums: make([]any, len(p.sums))}
		rest.key[0] = other
		for _, g := range all[p.Limit:] {
			for i := range rest.sums {
				rest.sums[i] = add(rest.sums[i], g.sums[i])
			}
		}
		t.Rows = append(t.Rows, slices.Concat(rest.key, rest.sums))
	}
	return t, nil
}

const (
	usualPoints = 300
	maxPoints   = 10_000
)

// steps returns the beginning of the first step, the length of each and how many
// there are. Steps begin at multiples of their length.
func (p *question) steps(oldest, newest time.Time) (first time.Time, step time.Duration, n int, err error) {
	since, until := p.Since, p.Until
	if since.IsZero() {
		since = oldest
	}
	if until.IsZero() {
		until = newest.Add(1) // the end of an interval belongs to what is held
	}
	if !until.After(since) {
		return since, max(p.Step, time.Second), 0, nil
	}
	step = p.Step
	if step <= 0 {
		step = (until.Sub(since)/usualPoints + time.Second - 1).Truncate(time.Second)
		step = max(step, time.Second)
	}
	first = since.Truncate(step)
	count := (until.Sub(first) + step - 1) / step
	if count > maxPoints {
		return first, step, 0, fmt.Errorf("%w: %d steps of %v are more than %d", history.ErrQuestion, count, step, maxPoints)
	}
	return first, step, int(count), nil
}

// Series implements history.Store. What lies outside of what is held is not a
// number.
func (s *Store) Series(ctx context.Context, q history.Question) (history.Series, error) {
	p, err := parse(q)
	if err != nil {
		return history.Series{}, err
	}
	if p.measure == nil {
		return history.Series{}, fmt.Errorf("%w: %s have no measure", history.ErrQuestion, q.Kind)
	}
	h := s.snapshot(q.Kind)
	first, step, n, err := p.steps(h.oldest, h.newest)
	if err != nil {
		return history.Series{}, err
	}
	out := history.Series{Unit: p.measure.Unit, Step: step}
	for i := range n {
		out.Times = append(out.Times, first.Add(time.Duration(i)*step))
	}
	all, err := p.sum(ctx, h.parts)
	if err != nil || n == 0 {
		return out, err
	}
	lines := map[string][]float64{} // of those beyond the limit, the same
	for i, g := range all {
		key := p.texts(g)
		if i >= p.Limit {
			key = []string{other}
		}
		if i <= p.Limit {
			out.Lines = append(out.Lines, history.Line{Key: key, Values: make([]float64, n)})
		}
		lines[g.id] = out.Lines[min(i, p.Limit)].Values
	}
	err = p.newest(ctx, h.parts, func(_ uint64, rec any) bool {
		at, _ := p.time.Get(rec).(time.Time)
		i := min(max(int(at.Sub(first)/step), 0), n-1) // of single events, the first may be of before
		lines[p.id(rec)][i] += number(p.measure.Get(rec))
		return true
	})
	blank(&out, h.oldest, h.newest)
	return out, err
}

// texts returns a group's key as text.
func (p *question) texts(g *group) []string {
	texts := make([]string, len(p.by))
	for i, part := range strings.SplitN(g.id, "\x00", len(p.by)+1)[:len(p.by)] {
		texts[i] = strings.TrimSuffix(part, "\x01")
	}
	return texts
}

// blank takes the values of steps of which nothing is known.
func blank(s *history.Series, oldest, newest time.Time) {
	for i, at := range s.Times {
		if at.Add(s.Step).After(oldest) && !at.After(newest) {
			continue
		}
		for _, l := range s.Lines {
			l.Values[i] = math.NaN()
		}
	}
}
