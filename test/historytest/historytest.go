// Package historytest is what every history.Store has to pass: the same records
// in, the same answers out, whatever is below. Tests of stores import it, and nothing
// else does.
package historytest

import (
	"errors"
	"fmt"
	"net/netip"
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
	// SQL says that it answers statements, and Dialect in which SQL; nil is DuckDB's.
	SQL     bool
	Dialect *Dialect
	// Minutes says that rows are what a minute brought of equal fields, paths by their
	// templates, and requests that were counted only are among them. Else they are
	// records as they came.
	Minutes bool
}

// Run runs the suite; open returns a new, empty store, which the suite closes.
func Run(t *testing.T, promise Promise, open func(t *testing.T) history.Store) {
	dialect := promise.Dialect
	if dialect == nil {
		dialect = duckDB()
	}
	for _, c := range []struct {
		name  string
		test  func(t *testing.T, s history.Store)
		needs bool
	}{
		{"empty", testEmpty, true},
		{"kinds", testKinds, true},
		{"what was counted only", testCounted, promise.Minutes},
		{"rows", testRows, promise.Minutes},
		{"within a minute", testWithinMinute, true},
		{"pages", testPages, true},
		{"conditions", testConditions, true},
		{"groups", testGroups, true},
		{"series", testSeries, true},
		{"percentiles", testPercentiles, true},
		{"durations", testDurations, true},
		{"sums at every resolution", testResolutions, true},
		{"late records", testLate, true},
		{"wrong questions", testWrong, true},
		{"statements", dialect.testStatements, promise.SQL},
		{"views", testViews, promise.SQL},
		{"statements that do more than read", dialect.testUnsafe, promise.SQL},
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

// Everything is a batch of a second with a record of each kind.
func Everything(start time.Time) *record.Batch {
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
	put(t, s, Everything(Begin()), Everything(Begin()))
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
	b := Everything(Begin())
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

// A range within a minute has what was then, and one of no time nothing.
func testWithinMinute(t *testing.T, s history.Store) {
	put(t, s, Batch(Begin().Add(20*time.Second), Flow(Begin(), "curl", 443, 3)))
	for _, c := range []struct {
		since, until time.Duration // seconds
		want         int
	}{{10, 40, 1}, {10, 70, 1}, {-50, 40, 1}, {-50, 0, 0}, {60, 90, 0}, {21, 21, 0}, {40, 10, 0}} {
		q := history.Question{Kind: history.Flows, Since: Begin().Add(c.since * time.Second), Until: Begin().Add(c.until * time.Second)}
		if got := len(rows(t, s, q).Rows); got != c.want {
			t.Errorf("seconds %d to %d: got %d rows, want %d", c.since, c.until, got, c.want)
		}
		q.By = []string{"comm"}
		if got := len(groups(t, s, q).Rows); got != c.want {
			t.Errorf("seconds %d to %d: got %d groups, want %d", c.since, c.until, got, c.want)
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
