package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/historytest"
)

func noon() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }

// second is a batch of flows, one for each name, that end i seconds past noon.
func second(i int, bytes uint64, names ...string) *record.Batch {
	b := &record.Batch{Start: noon().Add(time.Duration(i-1) * time.Second), End: noon().Add(time.Duration(i) * time.Second)}
	for k, name := range names {
		b.Flows = append(b.Flows, record.Flow{
			Endpoints: record.Endpoints{
				Time: b.End, Host: "web1", Proto: "tcp", DstPort: 443,
				DstAddr: netip.AddrFrom4([4]byte{192, 0, 2, byte(k)}), Owner: record.Owner{Comm: name},
			},
			BytesOut: bytes, PacketsOut: 1,
		})
	}
	return b
}

func filled(t *testing.T, cfg Config, batches ...*record.Batch) *Store {
	t.Helper()
	s := New(cfg)
	for _, b := range batches {
		if err := s.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// get returns the values of one column.
func get(t *testing.T, table history.Table, column string) (values []any) {
	t.Helper()
	i := slices.IndexFunc(table.Columns, func(c history.Column) bool { return c.Name == column })
	if i < 0 {
		t.Fatalf("got columns %v, want %s among them", table.Columns, column)
	}
	for _, row := range table.Rows {
		values = append(values, row[i])
	}
	return values
}

func TestConformance(t *testing.T) {
	historytest.Run(t, historytest.Promise{}, func(*testing.T) history.Store { return New(Config{}) })
}

func TestRowsComeOnce(t *testing.T) {
	s := filled(t, Config{}, second(1, 1, "a", "b", "c"), second(2, 1, "d", "e"))
	var got []any
	q := history.Question{Kind: history.Flows, Limit: 2}
	for page := 0; ; page++ {
		table, err := s.Rows(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, get(t, table, "comm")...)
		if table.Next == "" {
			break
		}
		q.After = table.Next
		// What comes meanwhile is newer than all pages that are left.
		if err := s.Put(t.Context(), second(3+page, 1, "new")); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]any{"e", "d", "c", "b", "a"}, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

func TestConditions(t *testing.T) {
	s := filled(t, Config{}, second(1, 5, "nginx", "sshd", "", "nginx-debug"))
	for _, c := range []struct {
		where history.Condition
		want  []any
	}{
		{history.Condition{Field: "comm", Values: []string{"nginx"}}, []any{"nginx"}},
		{history.Condition{Field: "comm", Values: []string{"nginx*"}}, []any{"nginx-debug", "nginx"}},
		{history.Condition{Field: "comm", Values: []string{"*g*n*"}}, []any{"nginx-debug", "nginx"}},
		{history.Condition{Field: "comm", Values: []string{"*sshd*sshd*"}}, nil},
		{history.Condition{Field: "comm", Values: []string{"nginx*", "sshd"}, Not: true}, []any{nil}},
		{history.Condition{Field: "comm", Values: []string{""}}, []any{nil}},
		{history.Condition{Field: "dst_addr", Values: []string{"192.0.2.1"}}, []any{"sshd"}},
		{history.Condition{Field: "dst_addr", Values: []string{"192.*1"}}, []any{"sshd"}},
		{history.Condition{Field: "bytes_out", Values: []string{"5"}}, []any{"nginx-debug", nil, "sshd", "nginx"}},
		{history.Condition{Field: "other", Values: []string{"true"}}, nil},
	} {
		table, err := s.Rows(t.Context(), history.Question{Kind: history.Flows, Where: []history.Condition{c.where}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, get(t, table, "comm")); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.where, diff)
		}
	}
}

func TestGroups(t *testing.T) {
	s := filled(t, Config{}, second(1, 10, "a", "b"), second(2, 1, "b", "c", "d"))
	table, err := s.Groups(t.Context(), history.Question{Kind: history.Flows, By: []string{"comm"}, Measure: "bytes_out", Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"b", "a", "~other"}, get(t, table, "comm")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{uint64(11), uint64(10), uint64(2)}, get(t, table, "bytes_out")); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	for by, want := range map[string]int{"": 1, "dst_addr": 3} {
		q := history.Question{Kind: history.Flows, Since: noon().Add(2 * time.Second), Until: noon().Add(3 * time.Second)}
		if by != "" {
			q.By = []string{by}
		}
		if table, err = s.Groups(t.Context(), q); err != nil || len(table.Rows) != want {
			t.Errorf("by %q: got %v, %v; want %d rows", by, table.Rows, err, want)
		}
	}
}

func TestSeries(t *testing.T) {
	s := filled(t, Config{}, second(1, 10, "a", "b"), second(2, 1, "b", "c", "d"), second(4, 3, "a"))
	q := history.Question{
		Kind: history.Flows, By: []string{"comm"}, Measure: "bytes_out", Limit: 2,
		Since: noon().Add(-2 * time.Second), Until: noon().Add(6 * time.Second), Step: time.Second,
	}
	got, err := s.Series(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	no := math.NaN()
	want := history.Series{Unit: "bytes", Step: time.Second, Lines: []history.Line{
		{Key: []string{"a"}, Values: []float64{no, no, 0, 10, 0, 0, 3, no}},
		{Key: []string{"b"}, Values: []float64{no, no, 0, 10, 1, 0, 0, no}},
		{Key: []string{"~other"}, Values: []float64{no, no, 0, 0, 2, 0, 0, no}},
	}}
	for i := range 8 {
		want.Times = append(want.Times, q.Since.Add(time.Duration(i)*time.Second))
	}
	nan := cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
	if diff := cmp.Diff(want, got, nan); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	if got, err = s.Series(t.Context(), history.Question{Kind: history.Flows}); err != nil || got.Step != time.Second || len(got.Times) != 5 {
		t.Errorf("open ends: got %+v, %v; want five seconds", got, err)
	}
	if _, err = s.Series(t.Context(), history.Question{Kind: history.Flows, Step: time.Nanosecond}); !errors.Is(err, history.ErrQuestion) {
		t.Errorf("a point each nanosecond: got %v, want ErrQuestion", err)
	}
}

// TestRoom fills a small store and checks what it forgot against what it was given.
func TestRoom(t *testing.T) {
	s := New(Config{MaxRows: 10})
	const given = 50
	for i := range given {
		if err := s.Put(t.Context(), second(i, 1, "a", "b", "c")); err != nil {
			t.Fatal(err)
		}
	}
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table, err := s.Groups(t.Context(), history.Question{Kind: history.Flows})
	if err != nil {
		t.Fatal(err)
	}
	held := get(t, table, "packets_out")[0]
	if held != uint64(9) || st.Dropped["for room"] != 3*given-9 || st.Kinds[0].Rows != 9 {
		t.Errorf("got %v held, status %+v; want 9 rows held and the rest told", held, st)
	}
	if want := noon().Add((given - 4) * time.Second); !st.Oldest.Equal(want) {
		t.Errorf("got rows since %v, want %v", st.Oldest, want)
	}
	huge := second(given, 1, slices.Repeat([]string{"x"}, 100)...)
	if err := s.Put(t.Context(), huge); err != nil {
		t.Fatal(err)
	}
	if table, err = s.Rows(t.Context(), history.Question{Kind: history.Flows, Limit: 1000}); err != nil || len(table.Rows) != 100 {
		t.Errorf("got %d rows, %v; want the last batch whole", len(table.Rows), err)
	}
}

func TestWrongQuestions(t *testing.T) {
	s := filled(t, Config{}, second(1, 1, "a"))
	for name, q := range map[string]history.Question{
		"kind":      {Kind: "nonsense"},
		"field":     {Kind: history.Flows, Where: []history.Condition{{Field: "nonsense"}}},
		"by":        {Kind: history.Flows, By: []string{"nonsense"}},
		"measure":   {Kind: history.Flows, Measure: "nonsense"},
		"dimension": {Kind: history.Flows, Measure: "comm"},
		"limit":     {Kind: history.Flows, Limit: -1},
		"after":     {Kind: history.Flows, After: "!"},
	} {
		if _, err := s.Rows(t.Context(), q); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("%s: got %v, want ErrQuestion", name, err)
		}
	}
	if _, err := s.SQL(t.Context(), "SELECT 1", history.Limits{}); !errors.Is(err, history.ErrQuestion) {
		t.Errorf("SQL: got %v, want ErrQuestion", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	big := filled(t, Config{}, second(1, 1, slices.Repeat([]string{"a"}, 2*lookEvery)...))
	if _, err := big.Groups(over, history.Question{Kind: history.Flows}); !errors.Is(err, history.ErrLimit) {
		t.Errorf("nobody waits: got %v, want ErrLimit", err)
	}
}

// TestEveryKind puts one record of each kind and gets it back.
func TestEveryKind(t *testing.T) {
	at := record.Endpoints{Time: noon()}
	s := filled(t, Config{}, &record.Batch{
		Start: noon().Add(-time.Second), End: noon(),
		Drops: []record.Drop{{Endpoints: at}}, Samples: []record.Drop{{Endpoints: at, Sample: true}}, Flows: []record.Flow{{Endpoints: at}},
		Conns: []record.Conn{{Endpoints: at}}, Requests: []record.Request{{Endpoints: at}}, Queries: []record.Query{{Endpoints: at}},
		Ledger: []record.Entry{{Time: noon()}}, Lost: []record.Lost{{Time: noon()}},
	})
	for _, kind := range history.Kinds() {
		table, err := s.Rows(t.Context(), history.Question{Kind: kind})
		if err != nil || len(table.Rows) != 1 {
			t.Errorf("%s: got %d rows, %v; want one", kind, len(table.Rows), err)
		}
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		text, pattern string
		want          bool
	}{
		{"abc", "*", true}, {"", "*", true}, {"abc", "a*c", true}, {"ac", "a*c", true}, {"a", "a*a", false},
		{"abcabc", "*bc", true}, {"abc", "b*", false}, {"a/b/c", "a*b*c", true}, {"a/c/b", "a*b*c", false},
	} {
		if got := like(c.text, strings.Split(c.pattern, "*")); got != c.want {
			t.Errorf("%q like %q: got %v", c.text, c.pattern, got)
		}
	}
}

func BenchmarkGroups(b *testing.B) {
	s := New(Config{})
	for i := range 64 {
		names := make([]string, 4096)
		for k := range names {
			names[k] = fmt.Sprint("p", k%500)
		}
		if err := s.Put(b.Context(), second(i, 1, names...)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Groups(b.Context(), history.Question{Kind: history.Flows, By: []string{"comm"}}); err != nil {
			b.Fatal(err)
		}
	}
}
