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
		if before, err = parseCursor(q.After); err != nil {
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
			t.Next = cursor + strconv.FormatUint(last, 36)
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

// cursor begins what asks for the next page: the number of a row.
const cursor = "row-"

func parseCursor(text string) (uint64, error) {
	number, ok := strings.CutPrefix(text, cursor)
	if !ok {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(number, 36, 64)
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
	// took is of each duration how many took so long.
	took []map[uint64]uint64
}

func (p *question) newGroup() *group {
	g := &group{key: make([]any, len(p.by)), sums: make([]any, len(p.sums)), took: make([]map[uint64]uint64, len(p.timed))}
	for i := range g.took {
		g.took[i] = map[uint64]uint64{}
	}
	return g
}

// add adds one record up.
func (g *group) add(p *question, rec any) {
	for i := range p.sums {
		g.sums[i] = add(g.sums[i], p.sums[i].of(rec))
	}
	for i, f := range p.timed {
		if us, ok := f.Get(rec).(uint64); ok {
			g.took[i][history.Bucket(us)] += history.Weight(rec)
		}
	}
}

// merge adds another group up.
func (g *group) merge(o *group) {
	for i := range g.sums {
		g.sums[i] = add(g.sums[i], o.sums[i])
	}
	for i := range g.took {
		for us, n := range o.took[i] {
			g.took[i][us] += n
		}
	}
}

// row is the group as a table has it: with percentiles of its durations.
func (g *group) row() []any {
	row := slices.Concat(g.key, g.sums)
	for _, took := range g.took {
		for _, percent := range history.Percentiles() {
			row = append(row, percentile(took, uint64(percent)))
		}
	}
	return row
}

// percentile returns what so many percent took at the most, nil of none.
func percentile(took map[uint64]uint64, percent uint64) any {
	var all, upTo uint64
	for _, n := range took {
		all += n
	}
	for _, us := range slices.Sorted(maps.Keys(took)) {
		if upTo += took[us]; upTo*100 >= all*percent {
			return us
		}
	}
	return nil
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

// largest sorts groups by a sum, those of equal ones by their keys.
func largest(groups map[string]*group, by int) []*group {
	all := slices.Collect(maps.Values(groups))
	slices.SortFunc(all, func(a, b *group) int {
		return cmp.Or(cmp.Compare(number(b.sums[by]), number(a.sums[by])), slices.CompareFunc(a.key, b.key, compare))
	})
	return all
}

// compare orders values of one field: numbers by their size, what is not known last.
func compare(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Or(cmp.Compare(number(a), number(b)), strings.Compare(fmt.Sprint(a), fmt.Sprint(b)))
}

// sum adds up what is asked for by its key, and returns the largest sums first.
func (p *question) sum(ctx context.Context, parts []part) ([]*group, error) {
	groups := map[string]*group{}
	err := p.newest(ctx, parts, func(_ uint64, rec any) bool {
		if !history.Happened(rec) {
			return true
		}
		id := p.id(rec)
		g := groups[id]
		if g == nil {
			g = p.newGroup()
			g.id, g.key = id, p.key(rec)
			groups[id] = g
		}
		g.add(p, rec)
		return true
	})
	by := slices.IndexFunc(p.sums, func(m measure) bool { return m.Name == p.measure.Name })
	return largest(groups, by), err
}

// Groups implements history.Store. Beside the measures there are percentiles of the
// kind's durations, as latency_us_p95.
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
	for _, f := range p.by {
		t.Columns = append(t.Columns, column(f))
	}
	for i := range p.sums {
		t.Columns = append(t.Columns, p.sums[i].Column)
	}
	for _, f := range p.timed {
		for _, percent := range history.Percentiles() {
			t.Columns = append(t.Columns, history.Column{Name: fmt.Sprintf("%s_p%d", f.Name, percent), Type: "uint", Unit: f.Unit})
		}
	}
	for _, g := range all[:min(len(all), p.Limit)] {
		t.Rows = append(t.Rows, g.row())
	}
	if len(all) > p.Limit {
		rest := p.newGroup()
		if len(p.by) > 0 {
			rest.key[0] = other
		}
		for _, g := range all[p.Limit:] {
			rest.merge(g)
		}
		t.Rows = append(t.Rows, rest.row())
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
		key := p.texts(g.id)
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
		if history.Happened(rec) {
			i := min(max(int(at.Sub(first)/step), 0), n-1) // of single events, the first may be of before
			lines[p.id(rec)][i] += number(p.measure.of(rec))
		}
		return true
	})
	blank(&out, h.oldest, h.newest)
	return out, err
}

// Durations implements history.Store.
func (s *Store) Durations(ctx context.Context, q history.Question) (history.Durations, error) {
	of := q.Measure
	q.Measure = ""
	p, err := parse(q)
	if err != nil {
		return history.Durations{}, err
	}
	at := slices.IndexFunc(p.timed, func(f *record.Field) bool { return f.Name == of })
	if at < 0 {
		return history.Durations{}, fmt.Errorf("%w: %s have no duration %q", history.ErrQuestion, q.Kind, of)
	}
	h := s.snapshot(q.Kind)
	first, step, n, err := p.steps(h.oldest, h.newest)
	if err != nil {
		return history.Durations{}, err
	}
	if n*(p.Limit+1) > history.MaxHistograms && len(p.by) > 0 {
		return history.Durations{}, fmt.Errorf("%w: %d steps of %d lines are more than %d", history.ErrQuestion, n, p.Limit, history.MaxHistograms)
	}
	d := history.Durations{Unit: p.timed[at].Unit, Step: step}
	for i := range n {
		d.Times = append(d.Times, first.Add(time.Duration(i)*step))
	}
	lines := map[string]*timed{}
	err = p.newest(ctx, h.parts, func(_ uint64, rec any) bool {
		us, ok := p.timed[at].Get(rec).(uint64)
		if !ok || !history.Happened(rec) {
			return true
		}
		when, _ := p.time.Get(rec).(time.Time)
		id, weighs := p.id(rec), history.Weight(rec)
		if lines[id] == nil {
			lines[id] = &timed{id: id, counts: make([]map[uint64]uint64, n)}
		}
		i := min(max(int(when.Sub(first)/step), 0), n-1)
		lines[id].add(i, history.Bucket(us), weighs)
		if history.Stands(rec) > 1 {
			d.Sampled += weighs
		}
		return true
	})
	d.Lines = p.histograms(lines)
	return d, err
}

// timed is the histograms of one key.
type timed struct {
	id     string
	total  uint64
	counts []map[uint64]uint64 // of each step
}

func (l *timed) add(step int, us, n uint64) {
	if l.counts[step] == nil {
		l.counts[step] = map[uint64]uint64{}
	}
	l.counts[step][us] += n
	l.total += n
}

// histograms returns the lines with most first, those beyond the limit as one.
func (p *question) histograms(lines map[string]*timed) (all []history.Histograms) {
	sorted := slices.SortedFunc(maps.Values(lines), func(a, b *timed) int {
		return cmp.Or(cmp.Compare(b.total, a.total), strings.Compare(a.id, b.id))
	})
	for i, l := range sorted {
		switch {
		case i < p.Limit:
			all = append(all, history.Histograms{Key: p.texts(l.id), Counts: l.counts})
		case i == p.Limit:
			all = append(all, history.Histograms{Key: []string{other}, Counts: l.counts})
		default:
			for step, counts := range l.counts {
				for us, n := range counts {
					sorted[p.Limit].add(step, us, n)
				}
			}
		}
	}
	return all
}

// texts returns a group's key as text.
func (p *question) texts(id string) []string {
	texts := make([]string, len(p.by))
	for i, part := range strings.SplitN(id, "\x00", len(p.by)+1)[:len(p.by)] {
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
