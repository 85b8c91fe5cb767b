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
//
// With Count they are those that the kernel has counted, by one of
// [RequestCountGroups].
func NewRequests(out, notes io.Writer, o Options) (View, error) {
	if o.By == "" {
		o.By = byPath
	}
	sums, by, what := NewRequestSums, RequestGroups(), "requests"
	if o.Count {
		sums, by, what = NewRequestCounts, RequestCountGroups(), "requests that are only counted"
	}
	switch {
	case !slices.Contains(by, o.By):
		return nil, fmt.Errorf("--by %s: %s are grouped by %s", o.By, what, strings.Join(by, ", "))
	case o.Format == JSON, o.Format == CSV:
		fresh := func() groups[record.RequestSum] { return sums(o.By, o.MaxKeys) }
		return newGroupRows(out, notes, o, requestsOf, fresh), nil
	case o.Format != Table && o.Format != "":
		return nil, badFormat(o.Format)
	case o.Each:
		count := func(n uint64) string { return plural(n, "request") }
		return &singles[record.Request]{out: out, notes: newNotes(notes, &o), o: o, list: requestsOf, line: requestLine, count: count}, nil
	}
	return newTables(out, o, sums(o.By, o.MaxKeys)), nil
}

func requestsOf(b *record.Batch) []record.Request { return b.Requests }

// requestLine draws one request, the most telling first: what does not fit the
// width is cut at the end.
func requestLine(q *record.Request, o *Options) string {
	g := o.signs()
	status := "-"
	if q.Status != 0 {
		status = strconv.Itoa(int(q.Status))
	}
	parts := []string{pad(status, 3, false) + " " + g.clean(wanted(q))}
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
	add(g.clean(spoken(q)) + " " + g.clean(endpoint(q.SrcAddr, q.SrcPort)) + " " + g.to + " " + g.clean(endpoint(q.DstAddr, q.DstPort)))
	add(ownerName(&q.Owner, &g))
	add(g.clean(containerName(&q.Owner)))
	return g.cut(q.Start.UTC().Format("15:04:05.000000")+" "+strings.Join(parts, g.dot), o.Width)
}

// wanted is what a request asks for, not yet clean.
func wanted(q *record.Request) string {
	what := "(request not seen)"
	switch {
	case q.Sealed():
		what = sealedName(q.Protocol, q.HostName)
	case q.Method != "":
		what = q.Method + " " + q.HostName + q.Path
	}
	if q.QueryString != "" {
		what += "?" + q.QueryString
	}
	return what
}

// sealedName is what a connection that cannot be read is shown as where requests
// have method, host and path: TLS or QUIC, and its name.
func sealedName(protocol, host string) string {
	return strings.ToUpper(protocol) + " " + cmp.Or(host, "(no name)")
}

// spoken is the protocol of a request, of TLS with its version and what is
// inside, as far as that is known: "tls 1.3 (h2 or http/1.1) with ECH"; "h2 in tls"
// is one that was read.
func spoken(q *record.Request) string {
	s := cmp.Or(q.Protocol, "http")
	if q.TLS && !q.Sealed() {
		s += " in tls"
	}
	if q.TLSVersion != "" {
		s += " " + q.TLSVersion
	}
	if len(q.ALPN) > 0 {
		s += " (" + strings.Join(q.ALPN, " or ") + ")"
	}
	if q.ECH {
		s += " with ECH"
	}
	return s
}
