package table

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// NewQueries is [NewDrops] for `netfate dns`. With Each there is one row a query,
// in JSON and CSV the record as it is; else the sums by one of [QueryGroups], in
// JSON and CSV one record.QuerySum a group and batch, or with Once one of the
// whole time.
func NewQueries(out, notes io.Writer, o Options) (View, error) {
	if o.By == "" {
		o.By = byName
	}
	switch {
	case !slices.Contains(QueryGroups(), o.By):
		return nil, fmt.Errorf("--by %s: queries are grouped by %s", o.By, strings.Join(QueryGroups(), ", "))
	case o.Format == JSON, o.Format == CSV:
		return newQueryRows(out, notes, o), nil
	case o.Format != Table && o.Format != "":
		return nil, badFormat(o.Format)
	case o.Each:
		return newEachQuery(out, notes, o), nil
	}
	return newTables(out, o, NewQuerySums(o.By, o.MaxKeys)), nil
}

// queryRows is queries as JSON or CSV.
type queryRows struct {
	rows  *rows
	notes notes
	o     Options
	sums  *QuerySums // with Once, of all batches
}

func newQueryRows(out, errs io.Writer, o Options) *queryRows {
	var rec any = record.QuerySum{}
	if o.Each {
		rec = record.Query{}
	}
	return &queryRows{
		rows: newRows(out, o.Format, rec), notes: notes{w: errs, signs: o.signs()}, o: o, sums: NewQuerySums(o.By, o.MaxKeys),
	}
}

func (v *queryRows) Batch(b *record.Batch) error {
	v.rows.begin()
	v.notes.batch(b.Lost)
	switch {
	case v.o.Each:
		for i := range b.Queries {
			v.rows.add(&b.Queries[i])
		}
	case v.o.Once:
		v.sums.Add(b)
	default:
		m := NewQuerySums(v.o.By, v.o.MaxKeys)
		m.Add(b)
		v.sum(m)
	}
	return v.rows.flush()
}

func (v *queryRows) sum(m *QuerySums) {
	for _, s := range m.records() {
		v.rows.add(&s)
	}
}

func (v *queryRows) Close() error {
	v.rows.begin()
	v.sum(v.sums)
	v.notes.close()
	return v.rows.flush()
}

// eachQuery shows queries one line each.
type eachQuery struct {
	out   io.Writer
	notes notes
	o     Options
	shown int
	left  uint64 // queries that Options.Rows left out
}

func newEachQuery(out, errs io.Writer, o Options) *eachQuery {
	return &eachQuery{out: out, notes: notes{w: errs, signs: o.signs()}, o: o}
}

func (v *eachQuery) Batch(b *record.Batch) error {
	var text strings.Builder
	if v.o.Screen != nil {
		v.o.Width, _ = v.o.Screen.size()
	}
	for i := range b.Queries {
		if v.o.Rows > 0 && v.shown == v.o.Rows {
			v.left++
			continue
		}
		v.shown++
		text.WriteString(queryLine(&b.Queries[i], &v.o))
		text.WriteByte('\n')
	}
	v.notes.batch(b.Lost)
	if text.Len() == 0 {
		return nil
	}
	if _, err := io.WriteString(v.out, text.String()); err != nil {
		return fmt.Errorf("write queries: %w", err)
	}
	return nil
}

func (v *eachQuery) Close() error {
	if v.left > 0 {
		v.notes.say("not shown: " + queries(v.left) + "; a larger -n shows more")
	}
	v.notes.close()
	return nil
}

// queryLine draws one query, the most telling first: what does not fit the width
// is cut at the end.
func queryLine(q *record.Query, o *Options) string {
	g := o.signs()
	at := q.Start
	if at.IsZero() {
		at = q.Time
	}
	result := q.RCode
	if q.Error != "" {
		result = strings.TrimSpace(result + " " + q.Error)
	}
	what := strings.TrimSpace(g.clean(cmp.Or(q.QName, noName)) + " " + g.clean(q.QType))
	parts := []string{pad(g.clean(result), 10, false) + " " + what}
	add := func(s string) {
		if s != "" && s != "-" {
			parts = append(parts, s)
		}
	}
	add(took(q.LatencyMicros))
	answers := strings.Join(q.Answers, " ")
	if q.TTL > 0 {
		answers += fmt.Sprintf(" (TTL %d s)", q.TTL)
	}
	add(g.clean(answers))
	if q.Retries > 0 {
		add(fmt.Sprintf("asked %d times", q.Retries+1))
	}
	if q.Truncated {
		add("truncated")
	}
	how := g.clean(q.Protocol)
	if q.Proto == "tcp" {
		how += "/tcp"
	}
	add(how + " " + g.clean(endpoint(q.SrcAddr, q.SrcPort)) + " " + g.to + " " + g.clean(endpoint(q.DstAddr, q.DstPort)))
	add(ownerName(&q.Owner, &g))
	add(g.clean(containerName(&q.Owner)))
	return g.cut(at.UTC().Format("15:04:05.000000")+" "+strings.Join(parts, g.dot), o.Width)
}
