// Package historytest is what every history.Store has to pass: the same records
// in, the same answers out, whatever is below. Tests of stores import it, and nothing
// else does.
package historytest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// Begin is when the records of the suite begin: an hour.
func Begin() time.Time { return time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC) }

// Promise is what a store promises beside what every one does.
type Promise struct {
	// SQL says that it answers statements.
	SQL bool
	// Minutes says that rows are what a minute brought of equal fields, paths by their
	// templates, and requests that were counted only are among them. Else they are
	// records as they came.
	Minutes bool
}

// Run runs the suite; open returns a new, empty store, which the suite closes.
func Run(t *testing.T, promise Promise, open func(t *testing.T) history.Store) {
	for _, c := range []struct {
		name  string
		test  func(t *testing.T, s history.Store)
		needs bool
	}{
		{"empty", testEmpty, true},
		{"kinds", testKinds, true},
		{"what was counted only", testCounted, promise.Minutes},
		{"rows", testRows, promise.Minutes},
		{"pages", testPages, true},
		{"conditions", testConditions, true},
		{"groups", testGroups, true},
		{"series", testSeries, true},
		{"percentiles", testPercentiles, true},
		{"durations", testDurations, true},
		{"sums at every resolution", testResolutions, true},
		{"late records", testLate, true},
		{"wrong questions", testWrong, true},
		{"statements", testStatements, promise.SQL},
		{"views", testViews, promise.SQL},
		{"statements that do more than read", testUnsafe, promise.SQL},
		{"at the same time", testConcurrent, true},
	} {
		if !c.needs {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// Flow is a flow of the suite.
func Flow(end time.Time, comm string, port uint16, packets uint64) record.Flow {
	return record.Flow{
		Endpoints: record.Endpoints{
			Time: end, Host: "web1", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Proto: "tcp",
			SrcAddr: netip.MustParseAddr("10.0.0.1"), SrcPort: 40000 + port, DstAddr: netip.MustParseAddr("2001:db8::9"), DstPort: port,
			Owner: record.Owner{PID: 7, Comm: comm},
		},
		Direction: record.Out, PacketsOut: packets, BytesOut: 100 * packets, PacketsIn: packets, BytesIn: 10 * packets, TCPFlags: "PA", RTTMicros: 1200,
	}
}

// Batch is a batch of a second that begins then.
func Batch(start time.Time, flows ...record.Flow) *record.Batch {
	b := &record.Batch{Start: start, End: start.Add(time.Second), Flows: flows}
	for i := range b.Flows {
		b.Flows[i].Time = b.End
	}
	return b
}

func put(t *testing.T, s history.Store, batches ...*record.Batch) {
	t.Helper()
	for _, b := range batches {
		if err := s.Put(t.Context(), b); err != nil {
			t.Fatalf("put: %v", err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

func rows(t *testing.T, s history.Store, q history.Question) history.Table {
	t.Helper()
	table, err := s.Rows(t.Context(), q)
	if err != nil {
		t.Fatalf("rows: %v", err)
	}
	return table
}

func groups(t *testing.T, s history.Store, q history.Question) history.Table {
	t.Helper()
	table, err := s.Groups(t.Context(), q)
	if err != nil {
		t.Fatalf("groups: %v", err)
	}
	return table
}

func query(t *testing.T, s history.Store, statement string) history.Table {
	t.Helper()
	table, err := s.SQL(t.Context(), statement, history.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return table
}

// column is the values of one column.
func column(t *testing.T, table history.Table, name string) (values []any) {
	t.Helper()
	for i, c := range table.Columns {
		if c.Name != name {
			continue
		}
		for _, r := range table.Rows {
			if len(r) != len(table.Columns) {
				t.Fatalf("a row has %d values and the table %d columns", len(r), len(table.Columns))
			}
			values = append(values, r[i])
		}
		return values
	}
	t.Fatalf("there is no column %s, only %v", name, table.Columns)
	return nil
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func testEmpty(t *testing.T, s history.Store) {
	for _, kind := range history.Kinds() {
		if got := rows(t, s, history.Question{Kind: kind}); len(got.Rows) != 0 || len(got.Columns) < 3 || got.Next != "" {
			t.Errorf("%s: got %d rows of %d columns, next %q", kind, len(got.Rows), len(got.Columns), got.Next)
		}
		if got := groups(t, s, history.Question{Kind: kind, By: []string{}}); len(got.Rows) > 1 {
			t.Errorf("%s: got %v, want no groups of nothing", kind, got.Rows)
		}
		series, err := s.Series(t.Context(), history.Question{Kind: kind})
		if err != nil || len(series.Lines) != 0 {
			t.Errorf("%s: got a series of %v, error %v", kind, series.Lines, err)
		}
	}
	st, err := s.Status(t.Context())
	if err != nil || st.Engine == "" || st.Degraded != "" || !st.Oldest.IsZero() {
		t.Errorf("got status %+v, error %v", st, err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Errorf("flush of nothing: %v", err)
	}
}

// everything is a batch with a record of each kind.
func everything() *record.Batch {
	start := Begin()
	end := start.Add(time.Second)
	b := Batch(start, Flow(end, "curl", 443, 3))
	at := b.Flows[0].Endpoints
	uid, seen := uint32(0), uint64(4)
	at.UID = &uid
	b.Drops = []record.Drop{{Endpoints: at, Reason: "NO_SOCKET", Location: "udp_rcv+0x1", Verdict: record.Refused, Packets: 2, Bytes: 120, Buffers: 2}}
	b.Samples = []record.Drop{{Endpoints: at, Reason: "NO_SOCKET", Packets: 1, Sample: true, Stack: []string{"udp_rcv"}}}
	b.Conns = []record.Conn{
		{Endpoints: at, Event: record.ConnClosed, Side: record.Client, BytesIn: 70, DurationMicros: 5000, RTTMicros: 1000},
		{Endpoints: at, Event: record.ConnFailed, Error: "refused", ConnectMicros: 90},
		{Endpoints: at, Event: record.ConnOpen, BytesIn: 1 << 40},
	}
	b.Requests = []record.Request{
		{Endpoints: at, Method: "GET", HostName: "h", Path: "/users/42", Status: 200, ResponseBytes: 10, LatencyMicros: 1000},
		{Endpoints: at, Method: "GET", HostName: "h", Path: "/users/43", Status: 503, ResponseBytes: 1, LatencyMicros: 3000, OneIn: 4},
	}
	b.Queries = []record.Query{
		{Endpoints: at, QName: "example.org", QType: "A", RCode: "NOERROR", Answers: []string{"192.0.2.1"}, LatencyMicros: 800},
		{Endpoints: at, QName: "example.org", QType: "A", RCode: "NXDOMAIN", Retries: 2},
		{Endpoints: at, QName: "example.org", QType: "A", Error: record.Unanswered},
	}
	b.Ledger = []record.Entry{
		{Time: end, Start: start, Host: "web1", Scope: record.HostScope, Direction: record.In, Layer: record.RoutingLayer, Station: "ip", Line: record.Came, Packets: 9},
		{Time: end, Start: start, Host: "web1", Scope: record.HostScope, Direction: record.In, Layer: record.RoutingLayer, Station: "ip", Line: record.Remainder, Packets: -2},
		{Time: end, Start: start, Host: "web1", Scope: record.HostScope, Direction: record.In, Layer: record.RoutingLayer, Station: "ip", Line: record.LostLine, What: "NO_SOCKET", Packets: 4, Seen: &seen, Why: "nobody listens"},
	}
	b.Lost = []record.Lost{{Time: end, Place: "drop_ring", Reason: "full", Count: 12, Effect: "samples are missing"}}
	return b
}

func testKinds(t *testing.T, s history.Store) {
	put(t, s, everything(), everything())
	for _, c := range []struct {
		kind, measure string
		want          any
	}{
		{history.Drops, "packets", uint64(4)}, // samples are counted in drops already
		{history.Flows, "bytes_out", uint64(600)},
		{history.Conns, "conns", uint64(4)},
		{history.Conns, "failed", uint64(2)},
		{history.Conns, "bytes_in", uint64(140)}, // connections that go on are no events
		{history.Conns, "duration_us", uint64(10000)},
		{history.Requests, "requests", uint64(10)},
		{history.Requests, "sampled", uint64(8)},
		{history.Requests, "errors", uint64(8)},
		{history.Requests, "response_bytes", uint64(28)},
		{history.Queries, "queries", uint64(6)},
		{history.Queries, "unanswered", uint64(2)},
		{history.Queries, "failed", uint64(2)},
		{history.Queries, "retries", uint64(4)},
		{history.Ledger, "packets", int64(22)},
		{history.Ledger, "seen", uint64(8)},
		{history.Ledger, "counted", nil},
		{history.Lost, "count", uint64(24)},
	} {
		got := groups(t, s, history.Question{Kind: c.kind})
		same(t, c.kind+" "+c.measure, column(t, got, c.measure), []any{c.want})
	}
	kept := groups(t, s, history.Question{Kind: history.Requests, By: []string{"one_in"}})
	same(t, "of which one was kept", column(t, kept, "one_in"), []any{uint64(4), nil})
	same(t, "how many these were", column(t, kept, "requests"), []any{uint64(8), uint64(2)})
	same(t, "why", column(t, rows(t, s, history.Question{Kind: history.Ledger, Where: []history.Condition{{Field: "what", Values: []string{"NO_SOCKET"}}}, Limit: 1}), "why"), []any{"nobody listens"})
	st, err := s.Status(t.Context())
	if err != nil || !st.Oldest.Equal(Begin()) {
		t.Errorf("got oldest %v, error %v; want %v", st.Oldest, err, Begin())
	}
}

func testCounted(t *testing.T, s history.Store) {
	b := everything()
	b.RequestCounts = []record.RequestSum{{Time: b.End, Start: b.Start, Host: "web1", Method: "GET", HostName: "h", Path: "/users/{id}", Requests: 5}}
	put(t, s, b)
	got := groups(t, s, history.Question{Kind: history.Requests, By: []string{"path"}})
	same(t, "paths", column(t, got, "path"), []any{"/users/{id}"})
	same(t, "requests", column(t, got, "requests"), []any{uint64(10)})
	same(t, "sampled", column(t, got, "sampled"), []any{uint64(4)})
}

func testRows(t *testing.T, s history.Store) {
	one := Flow(Begin(), "curl", 443, 3)
	uid := uint32(0)
	one.UID, one.TCPFlags = &uid, "S"
	two := one
	two.TCPFlags, two.PacketsOut, two.RTTMicros = "SF", 4, 1000
	put(t, s, Batch(Begin(), one), Batch(Begin().Add(time.Second), two), Batch(Begin().Add(time.Minute), Flow(Begin(), "wget\xff", 80, 1)))
	got := rows(t, s, history.Question{Kind: history.Flows})
	same(t, "times", column(t, got, "time"), []any{Begin().Add(time.Minute), Begin()})
	for _, c := range []struct {
		name string
		want []any
	}{
		{"comm", []any{"wget\ufffd", "curl"}}, {"uid", []any{nil, uint64(0)}}, {"src_addr", []any{"10.0.0.1", "10.0.0.1"}},
		{"dst_addr", []any{"2001:db8::9", "2001:db8::9"}}, {"src_port", []any{uint64(40080), uint64(40443)}},
		{"packets_out", []any{uint64(1), uint64(7)}}, {"tcp_flags", []any{"PA", "SF"}}, {"other", []any{false, false}},
		{"container", []any{nil, nil}}, {"netns", []any{uint64(4026531840), uint64(4026531840)}},
	} {
		same(t, c.name, column(t, got, c.name), c.want)
	}
	// The last one of a minute, rounded.
	if rtt := column(t, got, "rtt_us")[1].(uint64); rtt < 940 || rtt > 1060 {
		t.Errorf("got a round-trip time of %d, want some 1000", rtt)
	}
	if got.Resolution != time.Minute {
		t.Errorf("got a resolution of %v, want a minute", got.Resolution)
	}
	for _, c := range []struct {
		since, until time.Duration
		want         int
	}{{0, 2, 2}, {0, 1, 1}, {1, 2, 1}, {2, 3, 0}} {
		q := history.Question{Kind: history.Flows, Since: Begin().Add(c.since * time.Minute), Until: Begin().Add(c.until * time.Minute)}
		if got := len(rows(t, s, q).Rows); got != c.want {
			t.Errorf("of minutes %d to %d got %d rows, want %d", c.since, c.until, got, c.want)
		}
	}
}

// Pages have each row once, also if more is written meanwhile.
func testPages(t *testing.T, s history.Store) {
	for m := range 4 {
		b := Batch(Begin().Add(time.Duration(m) * time.Minute))
		for p := range 25 {
			b.Flows = append(b.Flows, Flow(b.End, "curl", uint16(100*m+p+1), 1))
		}
		put(t, s, b)
	}
	seen := map[string]int{}
	q := history.Question{Kind: history.Flows, Limit: 7}
	for page := 0; ; page++ {
		got := rows(t, s, q)
		for i, when := range column(t, got, "time") {
			seen[fmt.Sprint(when, column(t, got, "dst_port")[i])]++
		}
		if got.Next == "" {
			if len(got.Rows) != 100%7 {
				t.Errorf("got %d rows on the last page, want %d", len(got.Rows), 100%7)
			}
			break
		}
		if len(got.Rows) != 7 || page > 20 {
			t.Fatalf("got %d rows on page %d, want 7", len(got.Rows), page)
		}
		q.After = got.Next
		if page == 3 {
			put(t, s, Batch(Begin().Add(time.Hour), Flow(Begin(), "late", 1, 1)))
		}
	}
	if len(seen) != 100 {
		t.Errorf("got %d different rows, want 100", len(seen))
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("row %s came %d times", key, n)
		}
	}
}

func testConditions(t *testing.T, s history.Store) {
	b := Batch(Begin())
	for i, comm := range []string{"curl", "wget", "", "cu%rl", "CURL"} {
		b.Flows = append(b.Flows, Flow(b.End, comm, uint16(i+1), 1))
	}
	b.Flows[1].Other = true
	put(t, s, b)
	for _, c := range []struct {
		field  string
		values []string
		not    bool
		want   int
	}{
		{"comm", []string{"curl"}, false, 1}, {"comm", []string{"curl"}, true, 4}, {"comm", []string{"curl", "wget"}, false, 2},
		{"comm", []string{""}, false, 1}, {"comm", []string{""}, true, 4}, {"comm", []string{"", "curl"}, false, 2},
		{"comm", []string{"cu*"}, false, 2}, {"comm", []string{"*rl"}, false, 2}, {"comm", []string{"cu%*"}, false, 1},
		{"comm", []string{"*"}, false, 4}, {"comm", []string{"'; DROP TABLE flows; --"}, false, 0},
		{"dst_port", []string{"3"}, false, 1}, {"dst_port", []string{"3", "4", "9"}, false, 2}, {"dst_port", []string{"3"}, true, 4},
		{"dst_addr", []string{"2001:db8::*"}, false, 5}, {"other", []string{"true"}, false, 1}, {"other", []string{"false"}, false, 4},
		{"packets_out", []string{"1"}, false, 5}, {"src_port", []string{"40001"}, false, 1},
	} {
		got := rows(t, s, history.Question{Kind: history.Flows, Where: []history.Condition{{Field: c.field, Values: c.values, Not: c.not}}})
		if len(got.Rows) != c.want {
			t.Errorf("%s of %q, not %v: got %d rows, want %d", c.field, c.values, c.not, len(got.Rows), c.want)
		}
	}
	both := []history.Condition{{Field: "comm", Values: []string{"cu*"}}, {Field: "dst_port", Values: []string{"1"}}}
	if got := rows(t, s, history.Question{Kind: history.Flows, Where: both}); len(got.Rows) != 1 {
		t.Errorf("two conditions: got %d rows, want 1", len(got.Rows))
	}
}

func testGroups(t *testing.T, s history.Store) {
	b := Batch(Begin())
	for i := range 10 {
		b.Flows = append(b.Flows, Flow(b.End, fmt.Sprintf("p%d", i%5), uint16(i+1), uint64(i%5+1)))
	}
	b.Flows = append(b.Flows, Flow(b.End, "", 99, 100))
	put(t, s, b)
	got := groups(t, s, history.Question{Kind: history.Flows, By: []string{"comm"}, Measure: "packets_out", Limit: 3})
	same(t, "groups", column(t, got, "comm"), []any{nil, "p4", "p3", "~other"})
	same(t, "sums", column(t, got, "packets_out"), []any{uint64(100), uint64(10), uint64(8), uint64(12)})
	same(t, "bytes", column(t, got, "bytes_out"), []any{uint64(10000), uint64(1000), uint64(800), uint64(1200)})
	two := groups(t, s, history.Question{Kind: history.Flows, By: []string{"comm", "dst_port"}, Measure: "bytes_in", Limit: 2})
	same(t, "two fields", column(t, two, "dst_port"), []any{uint64(99), uint64(5), nil})
	same(t, "the others", column(t, two, "comm"), []any{nil, "p4", "~other"})
	if got := groups(t, s, history.Question{Kind: history.Flows, By: []string{"comm"}}); len(got.Rows) != 6 {
		t.Errorf("got %d groups, want 6 and no others", len(got.Rows))
	}
	where := []history.Condition{{Field: "comm", Values: []string{"p*"}}}
	all := groups(t, s, history.Question{Kind: history.Flows, Where: where})
	same(t, "the sum of all", column(t, all, "packets_out"), []any{uint64(30)})
	none := groups(t, s, history.Question{Kind: history.Flows, By: []string{"comm"}, Until: Begin()})
	if len(none.Rows) != 0 {
		t.Errorf("got groups of no time: %v", none.Rows)
	}
}

func testSeries(t *testing.T, s history.Store) {
	var batches []*record.Batch
	for m := range 10 {
		b := Batch(Begin().Add(time.Duration(m) * time.Minute))
		for i := range 4 {
			b.Flows = append(b.Flows, Flow(b.End, fmt.Sprintf("p%d", i), 80, uint64((i+1)*(m+1))))
		}
		batches = append(batches, b)
	}
	put(t, s, batches...)
	got, err := s.Series(t.Context(), history.Question{
		Kind: history.Flows, Measure: "packets_out", By: []string{"comm"}, Limit: 2, Step: 5 * time.Minute,
		Since: Begin(), Until: Begin().Add(15 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range got.Lines { // after the last record nothing may be known
		if math.IsNaN(l.Values[2]) {
			l.Values[2] = 0
		}
	}
	want := history.Series{
		Unit: "packets", Step: 5 * time.Minute, Times: []time.Time{Begin(), Begin().Add(5 * time.Minute), Begin().Add(10 * time.Minute)},
		Lines: []history.Line{
			{Key: []string{"p3"}, Values: []float64{60, 160, 0}}, {Key: []string{"p2"}, Values: []float64{45, 120, 0}},
			{Key: []string{"~other"}, Values: []float64{45, 120, 0}},
		},
	}
	same(t, "series", got, want)
	all, err := s.Series(t.Context(), history.Question{Kind: history.Flows, Measure: "packets_out"})
	if err != nil || len(all.Lines) != 1 {
		t.Fatalf("got %d lines of everything, error %v; want 1", len(all.Lines), err)
	}
	total := 0.0
	for _, v := range all.Lines[0].Values {
		total += v
	}
	if total != 550 || len(all.Times) != len(all.Lines[0].Values) {
		t.Errorf("got %v in %d steps of %v, want 550", total, len(all.Times), all.Step)
	}
}

func testPercentiles(t *testing.T, s history.Store) {
	b := Batch(Begin())
	at := Flow(b.End, "nginx", 80, 1).Endpoints
	for i := range 1000 {
		b.Requests = append(b.Requests, record.Request{Endpoints: at, HostName: fmt.Sprint("h", i%2), Path: "/", Status: 200, LatencyMicros: uint64(i+1) * 100})
	}
	b.Requests = append(b.Requests, record.Request{Endpoints: at, HostName: "h0", Error: record.Unanswered})
	// In several hours, so that roll-ups are asked too.
	for h := range 3 {
		later := *b
		later.Requests = append([]record.Request(nil), b.Requests...)
		for i := range later.Requests {
			later.Requests[i].Time = b.End.Add(time.Duration(h) * time.Hour)
		}
		put(t, s, &later)
	}
	got := groups(t, s, history.Question{Kind: history.Requests, By: []string{"host_name"}})
	for _, c := range []struct {
		name string
		want float64
	}{{"latency_us_p50", 50_000}, {"latency_us_p95", 95_000}, {"latency_us_p99", 99_000}} {
		for i, v := range column(t, got, c.name) {
			if v, ok := v.(uint64); !ok || float64(v) < 0.93*c.want || float64(v) > 1.07*c.want {
				t.Errorf("%s of row %d: got %v, want %v within 7 %%", c.name, i, v, c.want)
			}
		}
	}
}

// Histograms are those of the records, at each step and of all steps together.
func testDurations(t *testing.T, s history.Store) {
	var batches []*record.Batch
	for h := range 4 {
		b := Batch(Begin().Add(time.Duration(h) * time.Hour))
		at := Flow(b.End, "nginx", 80, 1).Endpoints
		for i := range 100 {
			b.Requests = append(b.Requests, record.Request{Endpoints: at, HostName: fmt.Sprint("h", i%4), Status: 200, LatencyMicros: uint64(i/10+1) * 1000, OneIn: uint32(i % 2 * 8)})
		}
		b.Requests = append(b.Requests, record.Request{Endpoints: at, HostName: "h0", Error: record.Unanswered})
		batches = append(batches, b)
	}
	put(t, s, batches...)
	got, err := s.Durations(t.Context(), history.Question{
		Kind: history.Requests, Measure: "latency_us", By: []string{"host_name"}, Limit: 2,
		Since: Begin(), Until: Begin().Add(4 * time.Hour), Step: 2 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "step", got.Step, 2*time.Hour)
	same(t, "times", got.Times, []time.Time{Begin().Add(-time.Hour), Begin().Add(time.Hour), Begin().Add(3 * time.Hour)})
	same(t, "sampled", got.Sampled, uint64(4*50*8))
	want := map[string][]uint64{"h1": {200, 400, 200}, "h3": {200, 400, 200}, "~other": {50, 100, 50}}
	sums := map[uint64]uint64{}
	for _, l := range got.Lines {
		var of []uint64
		for _, counts := range l.Counts {
			var n uint64
			for us, many := range counts {
				n += many
				sums[us] += many
			}
			of = append(of, n)
		}
		same(t, "line "+strings.Join(l.Key, " "), of, want[strings.Join(l.Key, " ")])
	}
	all := map[uint64]uint64{}
	for i := range 100 {
		all[history.Bucket(uint64(i/10+1)*1000)] += 4 * uint64(1+i%2*7)
	}
	same(t, "durations", sums, all)
	for _, q := range []history.Question{
		{Kind: history.Requests}, {Kind: history.Requests, Measure: "path"}, {Kind: history.Requests, Measure: "requests"},
		{Kind: history.Requests, Measure: "latency_us", By: []string{"path"}, Limit: 1000, Since: Begin(), Until: Begin().Add(100 * time.Hour), Step: time.Minute},
	} {
		if _, err := s.Durations(t.Context(), q); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("durations of %+v: got error %v, want ErrQuestion", q, err)
		}
	}
}

// However time is cut up, and whichever rows answer, the sums are the same.
func testResolutions(t *testing.T, s history.Store) {
	want := map[int]uint64{} // by minute
	for m := 0; m < 40*60; m += 7 {
		b := Batch(Begin().Add(time.Duration(m)*time.Minute), Flow(Begin(), "curl", 443, uint64(m+1)), Flow(Begin(), "wget", uint16(m%5+1), 1))
		want[m] = uint64(m + 2)
		if err := s.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if m%(7*50) == 0 {
			put(t, s)
		}
	}
	put(t, s)
	sum := func(since, until int) (n uint64) {
		for m, v := range want {
			if m >= since && m < until {
				n += v
			}
		}
		return n
	}
	for _, c := range []struct{ since, until int }{
		{0, 3000}, {1, 2399}, {7, 14}, {59, 61}, {60, 120}, {61, 1559}, {-180, 1260}, {-180, 1440}, {-180, 1261}, {2390, 2400}, {5, 5},
	} {
		q := history.Question{Kind: history.Flows, Since: Begin().Add(time.Duration(c.since) * time.Minute), Until: Begin().Add(time.Duration(c.until) * time.Minute)}
		var got uint64
		for _, v := range column(t, groups(t, s, q), "packets_out") {
			if v != nil {
				got += v.(uint64)
			}
		}
		if got != sum(c.since, c.until) {
			t.Errorf("minutes %d to %d: got %d packets, want %d", c.since, c.until, got, sum(c.since, c.until))
		}
		q.By, q.Step, q.Measure = []string{"comm"}, 10*time.Minute, "packets_out"
		series, err := s.Series(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for _, l := range series.Lines {
			for _, v := range l.Values {
				if !math.IsNaN(v) { // nothing is known of it
					total += v
				}
			}
		}
		if uint64(total) != sum(c.since, c.until) {
			t.Errorf("series of minutes %d to %d: got %v packets, want %d", c.since, c.until, total, sum(c.since, c.until))
		}
	}
}

// A view has each stretch of time once, whatever was rolled up.
func testViews(t *testing.T, s history.Store) {
	want := 0
	for m := 0; m < 40*60; {
		var batches []*record.Batch
		for range 100 {
			want += m
			batches = append(batches, Batch(Begin().Add(time.Duration(m)*time.Minute), Flow(Begin(), "curl", 443, uint64(m))))
			m += 7
		}
		put(t, s, batches...)
	}
	got := query(t, s, "SELECT sum(packets_out) AS n FROM flows")
	same(t, "the view", fmt.Sprint(column(t, got, "n")[0]), fmt.Sprint(want))
	for _, kind := range history.Kinds() {
		query(t, s, "SELECT * FROM "+kind)
	}
}

// What comes later than what was rolled up is in the sums all the same.
func testLate(t *testing.T, s history.Store) {
	put(t, s, Batch(Begin(), Flow(Begin(), "curl", 443, 1)), Batch(Begin().Add(50*time.Hour), Flow(Begin(), "curl", 443, 10)))
	put(t, s, Batch(Begin().Add(time.Hour), Flow(Begin(), "curl", 443, 100)))
	put(t, s, Batch(Begin().Add(-30*time.Hour), Flow(Begin(), "curl", 443, 1000)))
	put(t, s, Batch(Begin().Add(51*time.Hour), Flow(Begin(), "curl", 443, 10000)))
	for _, c := range []struct {
		since, until time.Duration
		want         uint64
	}{{-1000, 1000, 11111}, {-24, 48, 101}, {-48, 48, 1101}, {1, 2, 100}} {
		q := history.Question{Kind: history.Flows, Since: Begin().Add(c.since * time.Hour), Until: Begin().Add(c.until * time.Hour)}
		same(t, fmt.Sprint("hours ", int(c.since), " to ", int(c.until)), column(t, groups(t, s, q), "packets_out"), []any{c.want})
	}
}

func testWrong(t *testing.T, s history.Store) {
	for _, q := range []history.Question{
		{}, {Kind: "flow"}, {Kind: history.Flows, Measure: "comm"}, {Kind: history.Flows, Measure: "nothing"},
		{Kind: history.Flows, By: []string{"nothing"}}, {Kind: history.Flows, By: []string{"packets_out"}}, {Kind: history.Flows, Limit: -1},
		{Kind: history.Flows, Where: []history.Condition{{Field: "nothing", Values: []string{"1"}}}},
		{Kind: history.Flows, Where: []history.Condition{{Field: "dst_port", Values: []string{"http"}}}},
		{Kind: history.Flows, Where: []history.Condition{{Field: "comm"}}},
		{Kind: history.Flows, Where: []history.Condition{{Field: `comm" OR 1=1`, Values: []string{"1"}}}},
	} {
		if _, err := s.Groups(t.Context(), q); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("groups of %+v: got error %v, want ErrQuestion", q, err)
		}
		if _, err := s.Series(t.Context(), q); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("series of %+v: got error %v, want ErrQuestion", q, err)
		}
	}
	for _, after := range []string{"x", "MTIz", "!!"} {
		if _, err := s.Rows(t.Context(), history.Question{Kind: history.Flows, After: after}); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("page %q: got error %v, want ErrQuestion", after, err)
		}
	}
}

func testStatements(t *testing.T, s history.Store) {
	put(t, s, everything())
	for _, c := range []struct {
		statement string
		want      any
	}{
		{"SELECT sum(packets) FROM drops", int64(2)},
		{"  select sum(packets) from drops; -- all of them\n", int64(2)},
		{"WITH d AS (SELECT packets FROM drops) SELECT sum(packets) FROM d", int64(2)},
		{"SELECT count(*) FROM requests WHERE path = '/users/{id}' AND status = 503", int64(1)},
		{"SELECT 'a;b'", "a;b"}, {"SELECT NULL", nil}, {"SELECT 1.5::DOUBLE", 1.5}, {"SELECT time FROM flows", Begin()},
		{"SELECT comm FROM flows", "curl"},
	} {
		got := query(t, s, c.statement)
		if len(got.Rows) != 1 || !cmp.Equal(got.Rows[0][0], c.want) {
			t.Errorf("%s: got %v, want %v", c.statement, got.Rows, c.want)
		}
	}
	cut, err := s.SQL(t.Context(), "SELECT * FROM range(10) r(n) ORDER BY n DESC", history.Limits{Rows: 3})
	if err != nil || !cut.Cut {
		t.Fatalf("got cut %v, error %v", cut.Cut, err)
	}
	same(t, "a cut answer", column(t, cut, "n"), []any{int64(9), int64(8), int64(7)})
	whole, err := s.SQL(t.Context(), "SELECT * FROM range(3)", history.Limits{Rows: 3})
	if err != nil || whole.Cut || len(whole.Rows) != 3 {
		t.Errorf("got %d rows, cut %v, error %v; want 3 whole", len(whole.Rows), whole.Cut, err)
	}
	units := query(t, s, "SELECT bytes_out FROM flows")
	same(t, "columns", units.Columns, []history.Column{{Name: "bytes_out", Type: "uint", Unit: "bytes"}})
	for _, statement := range []string{"DESCRIBE flows", "SHOW TABLES"} {
		if got := query(t, s, statement); len(got.Rows) < 5 {
			t.Errorf("%s: got %d rows", statement, len(got.Rows))
		}
	}
	const forEver = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 1"
	if _, err := s.SQL(t.Context(), forEver, history.Limits{Time: 50 * time.Millisecond}); !errors.Is(err, history.ErrLimit) {
		t.Errorf("a statement without end: got error %v, want ErrLimit", err)
	}
	if _, err := s.SQL(t.Context(), "SELECT list(r.range) FROM range(1000000000) r", history.Limits{Time: time.Minute}); !errors.Is(err, history.ErrLimit) {
		t.Errorf("a statement that wants too much memory: got error %v, want ErrLimit", err)
	}
	query(t, s, "SELECT count(*) FROM flows")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.SQL(gone, forEver, history.Limits{}); err == nil {
		t.Errorf("nobody waits for the answer: got no error")
	}
}

// unsafe are statements that nobody may have run.
func unsafe(dir string) []string {
	return []string{
		"", ";", "nonsense", "SELECT", "SELECT * FROM nothing", "SELECT ?", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE flows_1m",
		"INSERT INTO lost VALUES (1)", "DELETE FROM flows_1m", "UPDATE netfate SET value = 9", "DROP VIEW flows", "CREATE TABLE x (a INT)",
		"CREATE TEMP TABLE x (a INT)", "ALTER TABLE flows_1m ADD COLUMN x INT", "BEGIN TRANSACTION", "COMMIT", "ROLLBACK", "CHECKPOINT", "VACUUM",
		"SET memory_limit = '9GB'", "SET GLOBAL enable_external_access = true", "PRAGMA memory_limit = '9GB'", "RESET memory_limit",
		"ATTACH '" + dir + "/x.duckdb'", "INSTALL httpfs", "LOAD httpfs", "COPY flows TO '" + dir + "/x.csv'", "EXPORT DATABASE '" + dir + "/x'",
		"SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM glob('/etc/*')",
		"SELECT * FROM read_parquet('http://127.0.0.1/x')", "CALL pragma_version()", "PREPARE x AS SELECT 1", "EXECUTE x",
		"EXPLAIN ANALYZE DELETE FROM flows_1m", "SELECT getenv('HOME')", "WITH x AS (DELETE FROM flows_1m RETURNING *) SELECT * FROM x",
		"SELECT 1) ; DROP TABLE flows_1m; SELECT (1", "SELECT 1) UNION ALL (SELECT 2", "SELECT * FROM (SELECT 1", "SELECT 1 /*",
		"SELECT '" + strings.Repeat("x", 1<<20) + "'",
	}
}

func testUnsafe(t *testing.T, s history.Store) {
	put(t, s, everything())
	before := query(t, s, "SELECT count(*) FROM flows").Rows[0][0]
	for _, statement := range unsafe(t.TempDir()) {
		name := statement[:min(len(statement), 60)]
		if got, err := s.SQL(t.Context(), statement, history.Limits{Time: 5 * time.Second}); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("%s: got %v, error %v, want ErrQuestion", name, got.Rows, err)
		}
	}
	same(t, "rows afterwards", query(t, s, "SELECT count(*) FROM flows").Rows[0][0], before)
	put(t, s, everything())
}

func testConcurrent(t *testing.T, s history.Store) {
	const writers, batches = 4, 20
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range batches {
				b := Batch(Begin().Add(time.Duration(i)*time.Minute), Flow(Begin(), fmt.Sprint("p", w), 80, 1))
				if err := s.Put(t.Context(), b); err != nil {
					t.Errorf("put: %v", err)
				}
				if i%5 == 0 {
					if err := s.Flush(t.Context()); err != nil {
						t.Errorf("flush: %v", err)
					}
				}
			}
		})
	}
	for range 4 {
		all.Go(func() {
			for range 10 {
				q := history.Question{Kind: history.Flows, By: []string{"comm"}}
				if _, err := s.Groups(t.Context(), q); err != nil {
					t.Errorf("groups: %v", err)
				}
				if _, err := s.Series(t.Context(), q); err != nil {
					t.Errorf("series: %v", err)
				}
				if _, err := s.Rows(t.Context(), history.Question{Kind: history.Flows}); err != nil {
					t.Errorf("rows: %v", err)
				}
				if _, err := s.Durations(t.Context(), history.Question{Kind: history.Flows, Measure: "rtt_us"}); err != nil {
					t.Errorf("durations: %v", err)
				}
				// A store without SQL says so.
				if _, err := s.SQL(t.Context(), "SELECT sum(bytes_out) FROM flows GROUP BY comm", history.Limits{}); err != nil && !errors.Is(err, history.ErrQuestion) {
					t.Errorf("statement: %v", err)
				}
				if _, err := s.Status(t.Context()); err != nil {
					t.Errorf("status: %v", err)
				}
			}
		})
	}
	all.Wait()
	put(t, s)
	same(t, "packets", column(t, groups(t, s, history.Question{Kind: history.Flows}), "packets_out"), []any{uint64(writers * batches)})
}
