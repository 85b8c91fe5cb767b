package historytest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

func groups(t *testing.T, s history.Store, q history.Question) history.Table {
	t.Helper()
	table, err := s.Groups(t.Context(), q)
	if err != nil {
		t.Fatalf("groups: %v", err)
	}
	return table
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
