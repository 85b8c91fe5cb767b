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

// groups returns sums by q.By. Beside the measures there are percentiles of the kind's
// durations, as latency_us_p95; rows that do not know one are not in them.
func (f *file) groups(ctx context.Context, q history.Question) (t history.Table, err error) {
	c, err := f.check(&q)
	if err != nil {
		return t, err
	}
	err = f.read(ctx, func(v *view) (err error) {
		t, err = v.groups(ctx, &c)
		return err
	})
	return t, err
}

func (v *view) groups(ctx context.Context, q *question) (t history.Table, err error) {
	var by, sums, needed []string
	for _, c := range q.by {
		t.Columns = append(t.Columns, history.Column{Name: c.name, Type: c.typ, Unit: c.unit})
		by, needed = append(by, quoted(c.name)), append(needed, quoted(c.name))
	}
	var durations []*column
	for i := range q.kind.columns {
		c := &q.kind.columns[i]
		if c.adds() {
			t.Columns = append(t.Columns, history.Column{Name: c.name, Type: c.typ, Unit: c.unit})
			sums = append(sums, c.name)
			needed = append(needed, quoted(c.name))
		}
		if c.class == bucketColumn || c.class == latestColumn {
			durations = append(durations, c)
			needed = append(needed, quoted(c.name))
		}
	}
	slices.Sort(needed)
	from, args := v.from(q, forever, slices.Compact(needed)...)
	all, err := v.query(ctx, groupsText(q, from, by, sums, durations), args)
	if err != nil {
		return t, err
	}
	for _, d := range durations {
		for _, p := range history.Percentiles() {
			t.Columns = append(t.Columns, history.Column{Name: fmt.Sprintf("%s_p%d", d.name, p), Type: "uint", Unit: d.unit})
		}
	}
	for _, r := range all {
		rank := r[0].(int64)
		r = r[1:]
		if rank > int64(q.limit) && len(q.by) > 0 {
			r[0] = other
		}
		t.Rows = append(t.Rows, r)
	}
	t.Resolution = v.resolution(q)
	return t, nil
}

// groupsText is the statement: groups by rank, what is beyond the limit as one, and
// percentiles by adding up rows of equal durations.
func groupsText(q *question, from string, by, sums []string, durations []*column) string {
	var b strings.Builder
	fmt.Fprintf(&b, "WITH rows_read AS MATERIALIZED (SELECT * FROM %s)", from)
	// Ranks of the groups by their sum of the measure.
	b.WriteString(", totals AS (SELECT " + list(by) + q.measure.sum() + " AS total_measured FROM rows_read" + groupBy(by) + ")")
	order := append([]string{"total_measured DESC NULLS LAST"}, by...)
	fmt.Fprintf(&b, ", ranked AS (SELECT %s least(row_number() OVER (ORDER BY %s), %d)::BIGINT AS group_rank FROM totals)", list(by), strings.Join(order, ", "), q.limit+1)
	// Each row with the rank of its group.
	on := "true"
	if len(by) > 0 {
		var same []string
		for _, name := range by {
			same = append(same, fmt.Sprintf("rows_read.%[1]s IS NOT DISTINCT FROM ranked.%[1]s", name))
		}
		on = strings.Join(same, " AND ")
	}
	fmt.Fprintf(&b, ", placed AS (SELECT rows_read.*, group_rank FROM rows_read JOIN ranked ON %s)", on)
	b.WriteString(", summed AS (SELECT group_rank")
	for _, name := range by {
		fmt.Fprintf(&b, ", CASE WHEN group_rank > %d THEN NULL ELSE any_value(%s) END AS %s", q.limit, name, name)
	}
	for _, name := range sums {
		b.WriteString(", " + q.kind.find(name).sum() + " AS " + quoted(name))
	}
	b.WriteString(" FROM placed GROUP BY group_rank)")
	for i, d := range durations {
		fmt.Fprintf(&b, ", counted_%d AS (SELECT group_rank, %s AS took, sum(%s) AS many FROM placed WHERE %[2]s IS NOT NULL GROUP BY ALL)", i, quoted(d.name), q.kind.weight())
		fmt.Fprintf(&b, ", passed_%d AS (SELECT group_rank, took, sum(many) OVER (PARTITION BY group_rank ORDER BY took) AS up_to, sum(many) OVER (PARTITION BY group_rank) AS of_all FROM counted_%[1]d)", i)
		fmt.Fprintf(&b, ", parts_%d AS (SELECT group_rank", i)
		for _, p := range history.Percentiles() {
			fmt.Fprintf(&b, ", min(took) FILTER (up_to * 100 >= of_all * %d) AS p%[1]d", p)
		}
		fmt.Fprintf(&b, " FROM passed_%d GROUP BY group_rank)", i)
	}
	b.WriteString(" SELECT summed.*")
	for i := range durations {
		for _, p := range history.Percentiles() {
			fmt.Fprintf(&b, ", parts_%d.p%d", i, p)
		}
	}
	b.WriteString(" FROM summed")
	for i := range durations {
		fmt.Fprintf(&b, " LEFT JOIN parts_%d USING (group_rank)", i)
	}
	b.WriteString(" ORDER BY group_rank")
	return b.String()
}

// list is names with commas, one behind each.
func list(names []string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(name + ", ")
	}
	return b.String()
}

func groupBy(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " GROUP BY " + strings.Join(names, ", ")
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

// series returns the sums of q.Measure in each step: not by second.
func (f *file) series(ctx context.Context, q history.Question) (r history.Series, err error) {
	c, err := f.check(&q)
	if err != nil {
		return r, err
	}
	if err := wholeSeconds(q.Step); err != nil {
		return r, err
	}
	err = f.read(ctx, func(v *view) (err error) {
		r, err = v.series(ctx, &c, int64(q.Step.Seconds()))
		return err
	})
	return r, err
}

func wholeSeconds(step time.Duration) error {
	if step < 0 || step%time.Second != 0 {
		return fmt.Errorf("%w: a step of %v is not of whole seconds", history.ErrQuestion, step)
	}
	return nil
}

// times are the beginnings of a question's steps, none if there is nothing, and the
// step in seconds. With its lines there may be so many values at the most.
func (v *view) times(ctx context.Context, q *question, step, most int64) (all []time.Time, _ int64, err error) {
	if err := v.close(ctx, q); err != nil || q.since >= q.until {
		return nil, max(step, resolutions()[0].step), err
	}
	step = v.step(q, step)
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

// key is that of a line by its rank, given its parts.
func (c *question) key(rank int64, parts []any) []string {
	if rank > int64(c.limit) && len(c.by) > 0 {
		return []string{other}
	}
	key := []string{}
	for _, part := range parts {
		key = append(key, part.(string))
	}
	return key
}

func (v *view) series(ctx context.Context, q *question, step int64) (r history.Series, err error) {
	times, step, err := v.times(ctx, q, step, maxValues)
	r = history.Series{Unit: q.measure.unit, Step: time.Duration(step) * time.Second, Times: times}
	if err != nil || len(times) == 0 {
		return r, err
	}
	text, args := v.seriesText(q, step)
	all, err := v.query(ctx, text, args)
	if err != nil {
		return r, err
	}
	var last int64
	for _, values := range all {
		rank, when := values[0].(int64), values[1].(time.Time)
		if rank != last {
			last = rank
			r.Lines = append(r.Lines, history.Line{Key: q.key(rank, values[3:]), Values: make([]float64, len(times))})
		}
		r.Lines[len(r.Lines)-1].Values[int64(when.Sub(times[0]).Seconds())/step] = values[2].(float64)
	}
	return r, nil
}

// step is the step to take: that which was asked for, or one that gives some points,
// and a multiple of what the rows are of.
func (v *view) step(q *question, asked int64) int64 {
	finest := int64(v.resolution(q).Seconds())
	if asked == 0 {
		all := steps()
		asked = all[len(all)-1]
		for _, s := range all {
			if (q.until-q.since)/s <= points {
				asked = s
				break
			}
		}
	}
	return max((asked+finest-1)/finest*finest, finest)
}

// close closes the ends of a question that are open, by what there is.
func (v *view) close(ctx context.Context, q *question) error {
	if q.since > 0 && q.until < forever {
		return nil
	}
	from, args := v.from(q, forever, "1")
	all, err := v.query(ctx, "SELECT min(time), max(time) FROM "+from, args)
	if err != nil {
		return err
	}
	oldest, some := all[0][0].(time.Time)
	newest, _ := all[0][1].(time.Time)
	if !some {
		q.until = q.since
		return nil
	}
	q.since = max(q.since, oldest.Unix())
	// The newest row may be of a minute, or of a step that has not ended.
	q.until = min(q.until, newest.Unix()+resolutions()[0].step)
	return nil
}

// keys are the fields of a question's lines as texts, the names of these, and the columns
// that they are made of.
func (c *question) keys() (keys, names, columns []string) {
	for i, col := range c.by {
		keys = append(keys, fmt.Sprintf("coalesce(%s::VARCHAR, '') AS key_%d", quoted(col.name), i))
		names = append(names, fmt.Sprintf("key_%d", i))
		columns = append(columns, quoted(col.name))
	}
	return keys, names, columns
}

// ranked is a part of a statement that gives each line its rank by a sum, and all
// beyond the limit one.
func ranked(from, sum string, names []string, limit int) string {
	order := append([]string{sum + " DESC NULLS LAST"}, names...)
	return fmt.Sprintf("ranked AS (SELECT %s least(row_number() OVER (ORDER BY %s), %d)::BIGINT AS line_rank FROM %s%s)",
		list(names), strings.Join(order, ", "), limit+1, from, groupBy(names))
}

// joined is a part of a statement that puts the ranks beside the lines.
func joined(names []string) string {
	if len(names) == 0 {
		return "CROSS JOIN ranked"
	}
	return "JOIN ranked USING (" + strings.Join(names, ", ") + ")"
}

func (v *view) seriesText(q *question, step int64) (text string, args []any) {
	keys, names, columns := q.keys()
	columns = append(columns, quoted(q.measure.name))
	slices.Sort(columns)
	from, args := v.from(q, step, slices.Compact(columns)...)
	var b strings.Builder
	fmt.Fprintf(&b, "WITH steps AS MATERIALIZED (SELECT %s AS step_begins, %s sum(%s) AS total FROM %s GROUP BY ALL), %s",
		bucketOf("time", step), list(keys), quoted(q.measure.name), from, ranked("steps", "sum(total)", names, q.limit))
	b.WriteString(" SELECT line_rank, step_begins, coalesce(sum(total), 0)::DOUBLE")
	for _, name := range names {
		fmt.Fprintf(&b, ", any_value(%s)", name)
	}
	fmt.Fprintf(&b, " FROM steps %s GROUP BY line_rank, step_begins ORDER BY line_rank, step_begins", joined(names))
	return b.String(), args
}
