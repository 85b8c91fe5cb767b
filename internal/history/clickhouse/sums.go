package clickhouse

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// lines are how groups of rows are told apart in a statement: those with the largest
// sums by their fields, all others as one.
type lines struct {
	top  string   // whether a row is of one of the largest
	keys []string // the fields as texts, empty in the others
}

// lines makes them for a question, the largest by a sum of rows that conditions hold for.
func (q *question) lines(sum string, conditions ...string) lines {
	if len(q.by) == 0 {
		return lines{top: "1"}
	}
	var keys, columns []string
	for _, c := range q.by {
		keys, columns = append(keys, c.key()), append(columns, quoted(c.name))
	}
	l := lines{top: fmt.Sprintf("(%[1]s) GLOBAL IN (SELECT %[1]s FROM %[2]s%[3]s GROUP BY %[4]s ORDER BY %[5]s DESC, %[4]s LIMIT %[6]d)",
		strings.Join(keys, ", "), q.kind.name, q.filter(conditions...), strings.Join(columns, ", "), sum, q.limit)}
	for _, key := range keys {
		l.keys = append(l.keys, fmt.Sprintf("if(is_top, %s, '')", key))
	}
	return l
}

// key is a column as a text, empty where it is not known.
func (c *column) key() string {
	name := quoted(c.name)
	switch {
	case c.isText():
		return "toString(" + name + ")"
	case c.nullable:
		return "ifNull(toString(" + name + "), '')"
	case c.typ == "bool":
		return "if(" + name + " != 0, 'true', 'false')"
	case c.zeroKnown():
		return "toString(" + name + ")"
	}
	return "if(" + name + " = 0, '', toString(" + name + "))"
}

// ofKey is the value that a key stands for.
func (c *column) ofKey(key string) any {
	switch {
	case key == "":
		return nil
	case c.typ == "uint", c.typ == "int":
		return numberOf(json.Number(key), c.typ)
	case c.typ == "bool":
		return key == "true"
	}
	return key
}

// compareKeys orders two keys as the column's values are.
func (c *column) compareKeys(x, y string) int {
	if !c.isText() {
		if n := cmp.Compare(float(x), float(y)); n != 0 {
			return n
		}
	}
	return strings.Compare(x, y)
}

// list is texts with commas, one in front of each.
func list(texts ...string) string {
	var b strings.Builder
	for _, text := range texts {
		b.WriteString(", " + text)
	}
	return b.String()
}

// named gives expressions names, by which GROUP BY has them.
func named(expressions []string, prefix string) (with, names []string) {
	for i, e := range expressions {
		name := fmt.Sprint(prefix, i)
		with, names = append(with, e+" AS "+name), append(names, name)
	}
	return with, names
}

// Groups returns sums by q.By. Beside the measures there are percentiles of the kind's
// durations, as latency_us_p95; rows that do not know one are not in them.
func (s *store) Groups(ctx context.Context, q history.Question) (t history.Table, err error) {
	c, err := s.check(&q)
	if err != nil {
		return t, err
	}
	s.refresh(ctx)
	for _, col := range c.by {
		t.Columns = append(t.Columns, history.Column{Name: col.name, Type: col.typ, Unit: col.unit})
	}
	var sums []*column
	var values []string
	by := 0 // the place of the measure
	for i := range c.kind.columns {
		if col := &c.kind.columns[i]; col.adds() {
			if col == c.measure {
				by = len(sums)
			}
			t.Columns = append(t.Columns, history.Column{Name: col.name, Type: col.typ, Unit: col.unit})
			sums, values = append(sums, col), append(values, "sum("+quoted(col.name)+")")
		}
	}
	for i := range c.kind.columns {
		if col := &c.kind.columns[i]; col.timed() {
			for _, p := range history.Percentiles() {
				t.Columns = append(t.Columns, history.Column{Name: fmt.Sprintf("%s_p%d", col.name, p), Type: "uint", Unit: col.unit})
				values = append(values, fmt.Sprintf("quantileExactWeightedIf(%g)(%s, %s, %[2]s != 0)", float64(p)/100, quoted(col.name), c.kind.weight()))
			}
		}
	}
	l := c.lines("sum(" + quoted(c.measure.name) + ")")
	keys, names := named(l.keys, "key_")
	results, _ := named(values, "value_")
	a, err := s.answers(ctx, fmt.Sprintf("SELECT %s AS is_top, count()%s%s FROM %s%s GROUP BY is_top%s",
		l.top, list(keys...), list(results...), c.kind.name, c.filter(), list(names...)))
	if err != nil {
		return t, err
	}
	t.Resolution = resolution
	t.Rows = groupRows(&c, a, sums, by)
	return t, nil
}

// groupRows are the groups of an answer, the largest of the measure at a place first and
// the others last.
func groupRows(q *question, a *answer, sums []*column, by int) (rows [][]any) {
	slices.SortFunc(a.Data, func(x, y []any) int {
		if c := cmp.Compare(word(y[0]), word(x[0])); c != 0 {
			return c // the others are those that are not of the top
		}
		at := 2 + len(q.by) + by
		if c := compareSums(y[at], x[at]); c != 0 {
			return c
		}
		for i, c := range q.by {
			if n := c.compareKeys(word(x[2+i]), word(y[2+i])); n != 0 {
				return n
			}
		}
		return 0
	})
	for _, data := range a.Data {
		if word(data[1]) == "0" {
			continue // the sum of no rows
		}
		var row []any
		for i, c := range q.by {
			row = append(row, c.ofKey(word(data[2+i])))
		}
		if word(data[0]) == "0" {
			row[0] = other
		}
		for i, v := range data[2+len(q.by):] {
			if i < len(sums) {
				row = append(row, sums[i].value(v))
			} else if got := value(v, "UInt64", time.UTC); got == uint64(0) {
				row = append(row, nil) // none of them is known
			} else {
				row = append(row, got)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// compareSums orders two sums, which may be larger than floats are exact for; null is
// the smallest.
func compareSums(x, y any) int {
	switch a := value(x, "Int64", time.UTC).(type) {
	case nil:
		if y == nil {
			return 0
		}
		return -1
	case int64:
		if b, ok := value(y, "Int64", time.UTC).(int64); ok {
			return cmp.Compare(a, b)
		}
	}
	if y == nil {
		return 1
	}
	return cmp.Compare(float(x), float(y))
}

func float(v any) float64 {
	n, err := strconv.ParseFloat(word(v), 64)
	if err != nil {
		return 0
	}
	return n
}

// points is how many steps a series has that may choose.
const points = 300

// maxPoints is how many steps a series may have, and maxValues how many values.
const (
	maxPoints = 10_000
	maxValues = 1_000_000
)

// steps are the steps to choose from, in seconds.
func steps() []int64 {
	return []int64{60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400}
}

func wholeSeconds(step time.Duration) error {
	if step < 0 || step%time.Second != 0 {
		return fmt.Errorf("%w: a step of %v is not of whole seconds", history.ErrQuestion, step)
	}
	return nil
}

// times are the beginnings of a question's steps, none if there is nothing, and the
// step in seconds. With its lines there may be so many values at the most.
func (s *store) times(ctx context.Context, q *question, step, most int64) (all []time.Time, _ int64, err error) {
	const finest = int64(resolution / time.Second)
	if err := s.close(ctx, q); err != nil || q.since >= q.until {
		return nil, max(step, finest), err
	}
	if step == 0 {
		choice := steps()
		step = choice[len(choice)-1]
		if i := slices.IndexFunc(choice, func(s int64) bool { return (q.until-q.since)/s <= points }); i >= 0 {
			step = choice[i]
		}
	}
	step = max((step+finest-1)/finest*finest, finest)
	first := q.since - q.since%step
	n := (q.until - first + step - 1) / step
	if n > maxPoints || n*int64(q.limit+1) > most && len(q.by) > 0 {
		return nil, step, fmt.Errorf("%w: %d steps of %d lines are too many: %d and %d values are the most", history.ErrQuestion, n, q.limit, maxPoints, most)
	}
	for i := range n {
		all = append(all, time.Unix(first+i*step, 0).UTC())
	}
	return all, step, nil
}

// close closes the ends of a question that are open, by what there is.
func (s *store) close(ctx context.Context, q *question) error {
	if q.since > 0 && q.until < forever {
		return nil
	}
	a, err := s.answers(ctx, fmt.Sprintf("SELECT count(), toUInt32(min(time)), toUInt32(max(time)) FROM %s%s", q.kind.name, q.filter()))
	if err != nil {
		return err
	}
	if len(a.Data) == 0 {
		q.until = q.since
		return nil
	}
	got, err := uints(a.Data[0])
	if err != nil {
		return err
	}
	if got[0] == 0 {
		q.until = q.since
		return nil
	}
	q.since = max(q.since, int64(got[1]))
	// The newest row is of a minute.
	q.until = min(q.until, int64(got[2])+int64(resolution/time.Second))
	return nil
}

// stepOf is the beginning of the step that a row is in, in seconds.
func stepOf(step int64) string {
	return fmt.Sprintf("toUInt32(intDiv(toUInt32(time), %d) * %[1]d)", step)
}

// place is where a row of an answer belongs: its line, by whether that is one of the
// largest and by its key, and its step.
type place struct {
	line string // of the others, empty
	key  []string
	step int
}

// placeOf reads the beginning of a row: is_top, the step, the keys.
func (q *question) placeOf(row []any, first, step int64) (p place, err error) {
	at, err := strconv.ParseInt(word(row[1]), 10, 64)
	if err != nil {
		return p, err
	}
	p.step = int((at - first) / step)
	if word(row[0]) == "0" {
		p.key = []string{other}
		return p, nil
	}
	p.key = []string{}
	for _, v := range row[2 : 2+len(q.by)] {
		p.key = append(p.key, word(v))
	}
	p.line = "top\x00" + strings.Join(p.key, "\x00")
	return p, nil
}

// ordered are the names of lines, those with the largest totals first and the others last.
func ordered(totals map[string]float64) []string {
	return slices.SortedFunc(maps.Keys(totals), func(a, b string) int {
		if (a == "") != (b == "") {
			return strings.Compare(b, a)
		}
		return cmp.Or(cmp.Compare(totals[b], totals[a]), strings.Compare(a, b))
	})
}

// Series returns the sums of q.Measure in each step: not by second.
func (s *store) Series(ctx context.Context, q history.Question) (r history.Series, err error) {
	c, err := s.check(&q)
	if err != nil {
		return r, err
	}
	if err := wholeSeconds(q.Step); err != nil {
		return r, err
	}
	s.refresh(ctx)
	times, step, err := s.times(ctx, &c, int64(q.Step.Seconds()), maxValues)
	r = history.Series{Unit: c.measure.unit, Step: time.Duration(step) * time.Second, Times: times}
	if err != nil || len(times) == 0 {
		return r, err
	}
	sum := "sum(" + quoted(c.measure.name) + ")"
	l := c.lines(sum)
	keys, names := named(l.keys, "key_")
	a, err := s.answers(ctx, fmt.Sprintf("SELECT %s AS is_top, %s AS step_begins%s, %s AS total FROM %s%s GROUP BY is_top, step_begins%s",
		l.top, stepOf(step), list(keys...), sum, c.kind.name, c.filter(), list(names...)))
	if err != nil {
		return r, err
	}
	found, totals := map[string]*history.Line{}, map[string]float64{}
	for _, row := range a.Data {
		p, err := c.placeOf(row, times[0].Unix(), step)
		if err != nil {
			return r, err
		}
		if found[p.line] == nil {
			found[p.line] = &history.Line{Key: p.key, Values: make([]float64, len(times))}
		}
		n := float(row[len(row)-1])
		found[p.line].Values[p.step] += n
		totals[p.line] += n
	}
	for _, name := range ordered(totals) {
		r.Lines = append(r.Lines, *found[name])
	}
	return r, nil
}
