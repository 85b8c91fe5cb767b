package table

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

func query(after float64, name, qtype, rcode string, latency time.Duration, o record.Owner, answers ...string) record.Query {
	e := ends("udp 10.0.0.5:40000 10.0.0.53:53", "host", "eth0", o)
	e.Time = at(after).Add(latency)
	return record.Query{
		Endpoints: e, Protocol: "dns", Start: at(after), QName: name, QType: qtype, RCode: rcode, Answers: answers,
		LatencyMicros: uint64(latency.Microseconds()), Server: "10.0.0.53",
	}
}

// queryBatches is two seconds of a host's resolvers.
func queryBatches() []*record.Batch {
	curl, dig := owner("curl", 77), owner("dig", 78)
	one := &record.Batch{Start: at(0), End: at(1), Queries: []record.Query{
		query(0.1, "web.example.com", "A", "NOERROR", 12*time.Millisecond, curl, "192.0.2.7", "192.0.2.8"),
		query(0.1, "web.example.com", "AAAA", "NOERROR", 13*time.Millisecond, curl),
		query(0.2, "no.example.com", "A", "NXDOMAIN", 1400*time.Microsecond, dig),
		query(0.3, "no.example.com", "A", "SERVFAIL", 2500*time.Millisecond, dig),
		query(0.4, "", "", "FORMERR", 85*time.Microsecond, record.Owner{}),
	}}
	one.Queries[0].TTL, one.Queries[3].Retries, one.Queries[1].Truncated, one.Queries[4].Error = 60, 2, true, record.Malformed
	two := &record.Batch{Start: at(1), End: at(2), Queries: []record.Query{
		query(1.1, "_ipp._tcp.local", "PTR", "", 0, record.Owner{}),
		query(1.2, "web.example.com", "A", "NOERROR", 900*time.Microsecond, curl, "192.0.2.7"),
	}}
	p := &two.Queries[0]
	p.Protocol, p.Error, p.Server, p.DstAddr, p.DstPort = "mdns", record.Unanswered, "224.0.0.251", addr("224.0.0.251"), 5353
	two.Queries[1].Proto = "tcp"
	two.Lost = []record.Lost{{Time: at(2), Place: "dns_questions", Reason: "full", Count: 3, Effect: "answers are shown as unasked"}}
	return []*record.Batch{one, two}
}

// showQueries is all that a view prints of batches.
func showQueries(t *testing.T, o Options, batches ...*record.Batch) string {
	t.Helper()
	var out, notes bytes.Buffer
	v, err := NewQueries(&out, &notes, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := v.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String() + "-- notes\n" + notes.String()
}

func TestQueryTables(t *testing.T) {
	for name, o := range map[string]Options{
		"queries-name-80":     {Width: 80, Unicode: true},
		"queries-name-200":    {Width: 200, Unicode: true},
		"queries-server-once": {By: byServer, Once: true, Width: 120, Unicode: true},
		"queries-process":     {By: byProcess, Once: true, Width: 160, Unicode: true, Rows: 2},
		"queries-each":        {Each: true, Unicode: true, Rows: 6},
		"queries-each-80":     {Each: true, Width: 80},
		"queries-fold":        {Once: true, MaxKeys: 2},
		"queries-json":        {Format: JSON},
		"queries-json-once":   {Format: JSON, By: byServer, Once: true},
		"queries-json-each":   {Format: JSON, Each: true},
		"queries-csv":         {Format: CSV, Once: true, By: byProcess},
	} {
		golden(t, name, showQueries(t, o, queryBatches()...))
	}
	golden(t, "queries-nothing", showQueries(t, Options{Once: true}))
	hostile := query(0, evil, evil, evil, time.Second, record.Owner{Comm: evil, PID: 1}, evil)
	hostile.Protocol, hostile.Server, hostile.Error = evil, evil, evil
	b := &record.Batch{Start: at(0), End: at(1), Queries: []record.Query{hostile}}
	for _, o := range []Options{{}, {By: byServer}, {By: byProcess}, {Each: true}, {Format: JSON}, {Format: CSV}} {
		if got := showQueries(t, o, b); strings.ContainsAny(got, "\x1b\x07\r\u202e") {
			t.Errorf("%+v: got what a terminal obeys: %q", o, got)
		}
	}
}

// TestQuerySumsAddUp holds that nothing is lost by folding: neither counts nor
// latencies.
func TestQuerySumsAddUp(t *testing.T) {
	m := NewQuerySums(byName, 10)
	var want queryTally
	for n := range 20 {
		b := &record.Batch{Start: at(float64(n)), End: at(float64(n + 1))}
		for i := range 50 {
			q := query(0, fmt.Sprintf("%d.example.com", n*7+i), "A", fmt.Sprintf("RCODE%d", i%20), time.Duration(1+i)*time.Millisecond, record.Owner{})
			q.Retries = uint32(i % 3)
			b.Queries = append(b.Queries, q)
			want.count(&q)
		}
		m.Add(b)
	}
	var got queryTally
	for _, r := range m.all(true) {
		got.add(&r.sum)
	}
	if len(m.rows) > 10 || !m.hasOther {
		t.Errorf("got %d rows, want at most 10 and the other", len(m.rows))
	}
	sums := func(t *queryTally) string {
		return fmt.Sprint(t.queries, t.failed, t.unanswered, t.malformed, t.retries, t.latencies.at(0.5), t.latencies.at(0.95), t.latencies.at(0.99))
	}
	if sums(&got) != sums(&want) || sums(&m.total) != sums(&want) {
		t.Errorf("got %s, in all %s, want %s", sums(&got), sums(&m.total), sums(&want))
	}
	var codes uint64
	for _, c := range got.codes {
		codes += c.count
	}
	if codes != want.failed || len(got.codes) > maxCodes {
		t.Errorf("got %d failures of %d codes, want %d of at most %d", codes, len(got.codes), want.failed, maxCodes)
	}
}

// TestPercentiles compares with what is known, within the error that is stated.
func TestPercentiles(t *testing.T) {
	var l, one, two latencies
	for i := uint64(1); i <= 10_000; i++ {
		l.add(i * 100)
		if i%2 == 0 {
			one.add(i * 100)
		} else {
			two.add(i * 100)
		}
	}
	one.merge(&two)
	one.merge(&latencies{})
	for q, want := range map[float64]float64{0.5: 500_000, 0.95: 950_000, 0.99: 990_000} {
		for _, got := range []uint64{l.at(q), one.at(q)} {
			if d := float64(got)/want - 1; d > latencyError+0.001 || d < -latencyError-0.001 {
				t.Errorf("p%v: got %d, want %v within %v", q*100, got, want, latencyError)
			}
		}
	}
	var few latencies
	for i, want := range []uint64{1000, 1000, 2000, 2000} { // p50 of so many
		few.add(uint64(i+1) * 1000)
		if got := few.at(0.5); got < want*99/100 || got > want*101/100 {
			t.Errorf("p50 of %d: got %d, want %d", i+1, got, want)
		}
		if got := few.at(0.99); got < uint64(i+1)*990 || got > uint64(i+1)*1010 {
			t.Errorf("p99 of %d: got %d, want %d", i+1, got, (i+1)*1000)
		}
	}
	if got := (&latencies{}).at(0.5); got != 0 {
		t.Errorf("without latencies: got %d, want 0", got)
	}
}

func TestTook(t *testing.T) {
	got := []string{took(0), took(85), took(999), took(1000), took(12_345), took(99_949), took(340_000), took(999_499), took(999_500), took(2_500_000)}
	want := []string{"-", "85 us", "999 us", "1.0 ms", "12.3 ms", "99.9 ms", "340 ms", "999 ms", "1.0 s", "2.5 s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("latencies (-want +got):\n%s", diff)
	}
}

func TestNewQueriesRefuses(t *testing.T) {
	for _, o := range []Options{{By: "planet"}, {Format: "xml"}} {
		if _, err := NewQueries(nil, nil, o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
}
