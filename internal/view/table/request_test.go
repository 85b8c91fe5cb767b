package table

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/record"
)

func request(after float64, method, path string, status uint16, latency time.Duration, o record.Owner) record.Request {
	e := ends("tcp 10.0.0.5:40000 10.0.0.80:8080", "host", "eth0", o)
	e.Time = at(after).Add(latency)
	return record.Request{
		Endpoints: e, Protocol: "http/1.1", Start: at(after), Method: method, HostName: "shop.example.com", Path: path, Status: status,
		ResponseBytes: 1500, LatencyMicros: uint64(latency.Microseconds()),
	}
}

// requestBatches is two seconds of a host's clients and servers.
func requestBatches() []*record.Batch {
	curl, nginx := owner("curl", 77), owner("nginx", 78)
	one := &record.Batch{Start: at(0), End: at(1), Requests: []record.Request{
		request(0.1, "GET", "/users/42", 200, 12*time.Millisecond, curl),
		request(0.2, "GET", "/users/43", 404, 3*time.Millisecond, curl),
		request(0.3, "POST", "/orders", 503, 2500*time.Millisecond, nginx),
		request(0.4, "GET", "/slow", 0, 0, curl),
		request(0.5, "", "", 200, 0, record.Owner{}),
	}}
	one.Requests[2].RequestBytes, one.Requests[2].Side, one.Requests[2].SrcAddr = 2_000_000, record.Server, addr("192.0.2.9")
	one.Requests[3].Error, one.Requests[3].ResponseBytes, one.Requests[3].QueryString = record.Unanswered, 0, "q=1"
	one.Requests[4].Error, one.Requests[4].HostName = record.Unasked, ""
	two := &record.Batch{Start: at(1), End: at(2), Requests: []record.Request{
		request(1.1, "GET", "/users/44", 200, 900*time.Microsecond, curl),
		request(1.2, "POST", "/pkg.Greeter/Hello", 200, 85*time.Microsecond, nginx),
	}}
	two.Requests[1].Protocol, two.Requests[1].OneIn = "grpc", 10
	two.Lost = []record.Lost{{Time: at(2), Place: "http", Reason: "connections joined midway", Count: 3, Effect: "what they said before is missing"}}
	return []*record.Batch{one, two}
}

// showRequests is all that a view prints of batches.
func showRequests(t *testing.T, o Options, batches ...*record.Batch) string {
	t.Helper()
	out, notes := show(t, func(out, notes *bytes.Buffer) (View, error) { return NewRequests(out, notes, o) }, batches)
	return out + "-- notes\n" + notes
}

// tlsBatch is a second of connections that cannot be read, and a request to the
// same host.
func tlsBatch() *record.Batch {
	browser := owner("firefox", 90)
	b := &record.Batch{Start: at(0), End: at(1)}
	for i, q := range []record.Request{
		{HostName: "shop.example.com", TLSVersion: "1.3", ALPN: []string{"h2", "http/1.1"}},
		{HostName: "shop.example.com", TLSVersion: "1.2", ALPN: []string{"http/1.1"}},
		{HostName: "old.example.com", TLSVersion: "1.2", Error: "certificate_expired by client"},
		{HostName: "front.example.net", TLSVersion: "1.3", ECH: true, ALPN: []string{"h2"}},
		{Error: record.Unanswered},
		{Protocol: record.QUIC, HostName: "shop.example.com", TLSVersion: "1.3", ALPN: []string{"h3"}},
	} {
		r := request(float64(i)/10, "", "", 0, time.Duration(20+i)*time.Millisecond, browser)
		r.Protocol, r.TLS, r.HostName, r.TLSVersion, r.ALPN, r.ECH, r.Error = cmp.Or(q.Protocol, record.TLS), true, q.HostName, q.TLSVersion, q.ALPN, q.ECH, q.Error
		if r.RequestBytes, r.ResponseBytes = 2100, 48_000; q.Error == record.Unanswered {
			r.ResponseBytes, r.LatencyMicros = 0, 0
		}
		b.Requests = append(b.Requests, r)
	}
	b.Requests = append(b.Requests, request(0.6, "GET", "/users/42", 200, 12*time.Millisecond, browser))
	return b
}

func TestRequestTablesOfTLS(t *testing.T) {
	for name, o := range map[string]Options{
		"requests-tls-path":     {Once: true, Width: 120, Unicode: true},
		"requests-tls-host":     {By: byHost, Once: true, Width: 120, Unicode: true},
		"requests-tls-status":   {By: byStatus, Once: true, Width: 120},
		"requests-tls-each":     {Each: true, Unicode: true},
		"requests-tls-each-80":  {Each: true, Width: 80, Unicode: true},
		"requests-tls-json":     {Format: JSON, Once: true},
		"requests-tls-csv-each": {Format: CSV, Each: true},
	} {
		got := showRequests(t, o, tlsBatch())
		golden(t, name, got)
		checkWidth(t, name, strings.Split(got, "-- notes")[0], o.Width)
	}
}

func TestRequestTables(t *testing.T) {
	for name, o := range map[string]Options{
		"requests-path-80":   {Width: 80, Unicode: true},
		"requests-path-200":  {Width: 200, Unicode: true},
		"requests-host-once": {By: byHost, Once: true, Width: 120, Unicode: true},
		"requests-status":    {By: byStatus, Once: true, Width: 120},
		"requests-process":   {By: byProcess, Once: true, Width: 160, Unicode: true, Rows: 2},
		"requests-peer":      {By: byPeer, Once: true, Width: 120, Unicode: true},
		"requests-each":      {Each: true, Unicode: true, Rows: 6},
		"requests-each-80":   {Each: true, Width: 80},
		"requests-fold":      {Once: true, MaxKeys: 2},
		"requests-json":      {Format: JSON},
		"requests-json-once": {Format: JSON, By: byStatus, Once: true},
		"requests-json-each": {Format: JSON, Each: true},
		"requests-csv":       {Format: CSV, Once: true, By: byProcess},
	} {
		got := showRequests(t, o, requestBatches()...)
		golden(t, name, got)
		checkWidth(t, name, strings.Split(got, "-- notes")[0], o.Width)
	}
	golden(t, "requests-nothing", showRequests(t, Options{Once: true}))
}

func TestHostileRequests(t *testing.T) {
	hostile := request(0, evil, evil, 200, time.Second, record.Owner{Comm: evil, PID: 1})
	hostile.Protocol, hostile.HostName, hostile.QueryString, hostile.Error = evil, evil, evil, evil
	noStatus := hostile
	noStatus.Status = 0
	b := &record.Batch{Start: at(0), End: at(1), Requests: []record.Request{hostile, noStatus}}
	hostileTLS := noStatus
	hostileTLS.Protocol, hostileTLS.TLSVersion, hostileTLS.ALPN = record.TLS, evil, []string{evil}
	b.Requests = append(b.Requests, hostileTLS)
	for _, by := range RequestGroups() {
		for _, o := range []Options{{By: by}, {By: by, Format: JSON}, {By: by, Format: CSV}, {Each: true}, {Each: true, Format: CSV}} {
			if got := showRequests(t, o, b); strings.ContainsAny(got, "\x1b\x07\r\u202e") {
				t.Errorf("%+v: got what a terminal obeys: %q", o, got)
			}
		}
	}
}

// TestRequestSumsAddUp holds that nothing is lost by folding: neither counts
// nor latencies.
func TestRequestSumsAddUp(t *testing.T) {
	m := NewRequestSums(byPath, 10)
	var want requestTally
	for n := range 20 {
		b := &record.Batch{Start: at(float64(n)), End: at(float64(n + 1))}
		for i := range 50 {
			q := request(0, "GET", fmt.Sprintf("/p%c%c", 'a'+n, 'a'+i%26), uint16(200+i*10), time.Duration(1+i)*time.Millisecond, record.Owner{})
			q.RequestBytes, q.OneIn = uint64(i), uint32(i%3)
			if i%7 == 0 {
				q.Protocol = record.TLS
			}
			b.Requests = append(b.Requests, q)
			want.count(&q)
		}
		m.Add(b)
	}
	var got requestTally
	for _, r := range m.all(true) {
		got.add(&r.sum)
	}
	if len(m.rows) > 10 || !m.hasOther {
		t.Errorf("got %d rows, want at most 10 and the other", len(m.rows))
	}
	sums := func(t *requestTally) string {
		return fmt.Sprint(t.requests, t.errors, t.sealed, t.up, t.down, t.latencies.at(0.5), t.latencies.at(0.95), t.latencies.at(0.99))
	}
	if sums(&got) != sums(&want) || sums(&m.total) != sums(&want) {
		t.Errorf("got %s, in all %s, want %s", sums(&got), sums(&m.total), sums(&want))
	}
}

func TestNewRequestsRefuses(t *testing.T) {
	for _, o := range []Options{{By: "planet"}, {By: byName}, {By: byMethod}, {Count: true, By: byStatus}, {Format: "xml"}} {
		if _, err := NewRequests(nil, nil, o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
}

// countBatches is two seconds of what the kernel has counted.
func countBatches() []*record.Batch {
	row := func(method, host, path string, n uint64) record.RequestSum {
		return record.RequestSum{Host: "web1", Method: method, HostName: host, Path: path, Requests: n, Other: path == "" && host == ""}
	}
	return []*record.Batch{
		{Start: at(0), End: at(1), RequestCounts: []record.RequestSum{
			row("GET", "shop.example.com", "/users/{id}", 1200), row("POST", "shop.example.com", "/orders", 30),
			row("CONNECT", "db.example.com:443", "", 2), row("GET", "", "", 17), row("", "", "", 1),
		}},
		{Start: at(1), End: at(2), RequestCounts: []record.RequestSum{
			row("GET", "shop.example.com", "/users/{id}", 800), row("GET", "", "/", 5), row("GET", "", "", 3),
		}, Lost: []record.Lost{{Time: at(2), Place: "http", Reason: "table full", Count: 3, Effect: "these requests are counted, but without host and path, as other"}}},
	}
}

func TestRequestCountTables(t *testing.T) {
	for name, o := range map[string]Options{
		"counts-path-80":   {Width: 80, Unicode: true},
		"counts-host-once": {By: byHost, Once: true, Width: 120},
		"counts-method":    {By: byMethod, Once: true, Width: 120},
		"counts-fold":      {Once: true, MaxKeys: 2},
		"counts-json":      {Format: JSON},
		"counts-csv":       {Format: CSV, By: byMethod, Once: true},
	} {
		o.Count = true
		got := showRequests(t, o, countBatches()...)
		golden(t, name, got)
		checkWidth(t, name, strings.Split(got, "-- notes")[0], o.Width)
	}
}

// TestRequestCountsAddUp holds that nothing is lost by folding.
func TestRequestCountsAddUp(t *testing.T) {
	for _, by := range RequestCountGroups() {
		m := NewRequestCounts(by, 3)
		var want uint64
		for n := range 20 {
			b := &record.Batch{Start: at(float64(n)), End: at(float64(n + 1))}
			for i := range 10 {
				word := string(rune('a' + (n+i)%26))
				b.RequestCounts = append(b.RequestCounts, record.RequestSum{Method: word, HostName: word, Path: "/" + word, Requests: uint64(i), Other: i == 9})
				want += uint64(i)
			}
			m.Add(b)
		}
		var got uint64
		for _, r := range m.records() {
			got += r.Requests
		}
		if got != want || m.total.requests != want || len(m.rows) > 3 {
			t.Errorf("by %s: got %d requests, in all %d, in %d rows; want %d in at most 3", by, got, m.total.requests, len(m.rows), want)
		}
	}
}
