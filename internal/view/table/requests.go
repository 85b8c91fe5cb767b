package table

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// NewRequests is [NewDrops] for `netfate http`. With Each there is one row a
// request, in JSON and CSV the record as it is; else the sums by one of
// [RequestGroups], in JSON and CSV one record.RequestSum a group and batch, or
// with Once one of the whole time.
func NewRequests(out, notes io.Writer, o Options) (View, error) {
	if o.By == "" {
		o.By = byPath
	}
	switch {
	case !slices.Contains(RequestGroups(), o.By):
		return nil, fmt.Errorf("--by %s: requests are grouped by %s", o.By, strings.Join(RequestGroups(), ", "))
	case o.Format == JSON, o.Format == CSV:
		return newRequestRows(out, notes, o), nil
	case o.Format != Table && o.Format != "":
		return nil, badFormat(o.Format)
	case o.Each:
		return newEachRequest(out, notes, o), nil
	}
	return newTables(out, o, NewRequestSums(o.By, o.MaxKeys)), nil
}

// requestRows is requests as JSON or CSV.
type requestRows struct {
	rows  *rows
	notes notes
	o     Options
	sums  *RequestSums // with Once, of all batches
}

func newRequestRows(out, errs io.Writer, o Options) *requestRows {
	var rec any = record.RequestSum{}
	if o.Each {
		rec = record.Request{}
	}
	return &requestRows{
		rows: newRows(out, o.Format, rec), notes: notes{w: errs, signs: o.signs()}, o: o, sums: NewRequestSums(o.By, o.MaxKeys),
	}
}

func (v *requestRows) Batch(b *record.Batch) error {
	v.rows.begin()
	v.notes.batch(b.Lost)
	switch {
	case v.o.Each:
		for i := range b.Requests {
			v.rows.add(&b.Requests[i])
		}
	case v.o.Once:
		v.sums.Add(b)
	default:
		m := NewRequestSums(v.o.By, v.o.MaxKeys)
		m.Add(b)
		v.sum(m)
	}
	return v.rows.flush()
}

func (v *requestRows) sum(m *RequestSums) {
	for _, s := range m.records() {
		v.rows.add(&s)
	}
}

func (v *requestRows) Close() error {
	v.rows.begin()
	v.sum(v.sums)
	v.notes.close()
	return v.rows.flush()
}

// eachRequest shows requests one line each.
type eachRequest struct {
	out   io.Writer
	notes notes
	o     Options
	shown int
	left  uint64 // requests that Options.Rows left out
}

func newEachRequest(out, errs io.Writer, o Options) *eachRequest {
	return &eachRequest{out: out, notes: notes{w: errs, signs: o.signs()}, o: o}
}

func (v *eachRequest) Batch(b *record.Batch) error {
	var text strings.Builder
	if v.o.Screen != nil {
		v.o.Width, _ = v.o.Screen.size()
	}
	for i := range b.Requests {
		if v.o.Rows > 0 && v.shown == v.o.Rows {
			v.left++
			continue
		}
		v.shown++
		text.WriteString(requestLine(&b.Requests[i], &v.o))
		text.WriteByte('\n')
	}
	v.notes.batch(b.Lost)
	if text.Len() == 0 {
		return nil
	}
	if _, err := io.WriteString(v.out, text.String()); err != nil {
		return fmt.Errorf("write requests: %w", err)
	}
	return nil
}

func (v *eachRequest) Close() error {
	if v.left > 0 {
		v.notes.say("not shown: " + plural(v.left, "request") + "; a larger -n shows more")
	}
	v.notes.close()
	return nil
}

// requestLine draws one request, the most telling first: what does not fit the
// width is cut at the end.
func requestLine(q *record.Request, o *Options) string {
	g := o.signs()
	status := "-"
	if q.Status != 0 {
		status = strconv.Itoa(int(q.Status))
	}
	what := "(request not seen)"
	if q.Method != "" {
		what = q.Method + " " + q.HostName + q.Path
	}
	if q.QueryString != "" {
		what += "?" + q.QueryString
	}
	parts := []string{pad(status, 3, false) + " " + g.clean(what)}
	add := func(s string) {
		if s != "" && s != "-" {
			parts = append(parts, s)
		}
	}
	add(g.clean(q.Error))
	add(took(q.LatencyMicros))
	if q.RequestBytes > 0 {
		add(size(q.RequestBytes) + " up")
	}
	if q.ResponseBytes > 0 {
		add(size(q.ResponseBytes) + " down")
	}
	if q.OneIn > 1 {
		add(fmt.Sprintf("one of %d", q.OneIn))
	}
	add(g.clean(cmp.Or(q.Protocol, "http")) + " " + g.clean(endpoint(q.SrcAddr, q.SrcPort)) + " " + g.to + " " + g.clean(endpoint(q.DstAddr, q.DstPort)))
	add(ownerName(&q.Owner, &g))
	add(g.clean(containerName(&q.Owner)))
	return g.cut(q.Start.UTC().Format("15:04:05.000000")+" "+strings.Join(parts, g.dot), o.Width)
}
