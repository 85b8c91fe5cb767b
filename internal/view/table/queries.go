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
		fresh := func() groups[record.QuerySum] { return NewQuerySums(o.By, o.MaxKeys) }
		return newGroupRows(out, notes, o, queriesOf, fresh), nil
	case o.Format != Table && o.Format != "":
		return nil, badFormat(o.Format)
	case o.Each:
		return &singles[record.Query]{out: out, notes: newNotes(notes, &o), o: o, list: queriesOf, line: queryLine, count: queries}, nil
	}
	return newTables(out, o, NewQuerySums(o.By, o.MaxKeys)), nil
}

func queriesOf(b *record.Batch) []record.Query { return b.Queries }

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
