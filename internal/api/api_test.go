package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/memory"
	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the test's records are of.
func noon() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }

const range1200 = "since=2026-11-30T12:00:00Z&until=2026-11-30T12:01:00Z"

// minute is a batch of what the test's host did.
func minute() *record.Batch {
	b := &record.Batch{Start: noon(), End: noon().Add(10 * time.Second)}
	ends := func(src, dst, comm string) record.Endpoints {
		return record.Endpoints{
			Time: b.End, Host: "web1", NetNS: 7, IfName: "eth0", Proto: "tcp", SrcAddr: netip.MustParseAddr(src), DstAddr: netip.MustParseAddr(dst),
			DstPort: 443, Owner: record.Owner{Comm: comm},
		}
	}
	b.Flows = []record.Flow{
		{Endpoints: ends("198.51.100.1", "192.0.2.1", "nginx"), Direction: record.In, BytesIn: 100, HostBytes: 100, PacketsIn: 2, HostPackets: 2},
		{Endpoints: ends("192.0.2.1", "203.0.113.5", "curl"), Direction: record.Out, BytesOut: 900, HostBytes: 900, HostPackets: 3, Name: "example.com"},
		{Endpoints: ends("192.0.2.1", "203.0.113.6", "curl"), Direction: record.Out, BytesOut: 90, HostBytes: 90, HostPackets: 1, Name: "example.com"},
	}
	for i := range 20 {
		c := record.Conn{
			Endpoints: ends("192.0.2.1", "203.0.113.5", "curl"), Side: record.Client, Event: record.ConnClosed,
			RTTMicros: uint32(1000 * (i + 1)), Name: "example.com",
		}
		if i == 0 {
			c.Event, c.Error, c.RTTMicros = record.ConnFailed, "refused", 0
		}
		b.Conns = append(b.Conns, c)
	}
	for i := range 4 {
		b.Requests = append(b.Requests, record.Request{
			Endpoints: ends("198.51.100.1", "192.0.2.1", "nginx"), Method: "GET", Status: 200, LatencyMicros: 150, OneIn: uint32(i / 3 * 8),
		})
	}
	b.Drops = []record.Drop{{Endpoints: ends("198.51.100.1", "192.0.2.1", ""), Reason: "NETFILTER_DROP", Packets: 3, Bytes: 180}}
	for _, e := range []record.Entry{
		{Scope: record.NetNSScope, Station: "ip", Layer: record.RoutingLayer, Line: record.Came, Packets: 100},
		{Scope: record.NetNSScope, Station: "ip", Layer: record.NetfilterLayer, Line: record.LostLine, What: "NETFILTER_DROP", Verdict: record.Policy, Packets: 3},
		{Scope: record.NetNSScope, Station: "ip", Layer: record.RoutingLayer, Line: record.Passed, Packets: 98},
		{Scope: record.NetNSScope, Station: "ip", Layer: record.RoutingLayer, Line: record.Remainder, Packets: -1},
		{Scope: record.NetNSScope, Station: "transport", Layer: record.TransportLayer, Line: record.Came, Packets: 98},
		{Scope: record.NetNSScope, Station: "transport", Layer: record.SocketLayer, Line: record.Delivered, What: "tcp", Packets: 98},
		{Scope: record.NetNSScope, Station: "total", Layer: record.TotalLayer, Line: record.Came, Packets: 100},
		{Scope: record.HostScope, Station: "total", Layer: record.TotalLayer, Line: record.Came, Packets: 100},
		{Scope: record.HostScope, Station: "total", Layer: record.TotalLayer, Line: record.Remainder, Packets: -1},
	} {
		e.Time, e.Start, e.NetNS, e.Direction = b.End, b.Start, 7, record.In
		if e.Scope == record.HostScope {
			e.NetNS = 0
		}
		b.Ledger = append(b.Ledger, e)
	}
	b.Lost = []record.Lost{{Time: b.End, Place: "drop_ring", Reason: "full", Count: 5, Effect: "samples are missing"}}
	return b
}

// newServer returns a server over a store that holds minute twice, changed as change
// says before it is made.
func newServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	var books []*verdict.Book
	for _, l := range language.All() {
		book, err := verdict.In(l)
		if err != nil {
			t.Fatal(err)
		}
		books = append(books, book)
	}
	store := memory.New(memory.Config{})
	later := *minute()
	for _, b := range []*record.Batch{minute(), &later} {
		if err := store.Put(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{API: config.Default().API, Store: store, Books: books, About: About{Host: "web1", Version: "1.2.3", Started: noon()}}
	cfg.API.Rate, cfg.API.Burst = 1e6, 1e6
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request asks as a client of a unix socket does.
func request(s *Server, method, target string, body io.Reader, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	s.guarded(bySocket).ServeHTTP(w, r)
	return w
}

// read asks, wants an answer, and reads it.
func read[T any](t *testing.T, s *Server, target string) (answer T) {
	t.Helper()
	w := request(s, http.MethodGet, target, nil)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: got %d, %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v in %s", target, err, w.Body)
	}
	return answer
}

func TestRows(t *testing.T) {
	s := newServer(t, nil)
	got := read[Table](t, s, prefix+"/rows/flows?"+range1200+"&where=comm%3Dcurl&where=dst_addr!%3D203.0.113.6&limit=1")
	if len(got.Rows) != 1 || got.Next == "" {
		t.Fatalf("got %d rows, next %q; want one of two", len(got.Rows), got.Next)
	}
	row := map[string]any{}
	for i, c := range got.Columns {
		row[c.Name] = got.Rows[0][i]
	}
	if row["comm"] != "curl" || row["bytes_out"] != 900.0 || row["pid"] != nil || row["dst_addr"] != "203.0.113.5" || row["time"] != "2026-11-30T12:00:10Z" {
		t.Errorf("got %v", row)
	}
	if want := []Loss{{"drop_ring", "full", 10, "samples are missing"}}; !cmp.Equal(got.Lost, want) {
		t.Errorf("got lost %v, want %v", got.Lost, want)
	}
}

// TestPages reads all rows page by page: each comes once, in the order of one page.
func TestPages(t *testing.T) {
	s := newServer(t, nil)
	whole := read[Table](t, s, prefix+"/rows/conns?"+range1200+"&limit=5000")
	var paged [][]any
	next := ""
	for pages := 0; pages == 0 || next != ""; pages++ {
		one := read[Table](t, s, prefix+"/rows/conns?"+range1200+"&limit=7&after="+next)
		paged, next = append(paged, one.Rows...), one.Next
		if pages > 10 {
			t.Fatal("pages do not end")
		}
	}
	if len(whole.Rows) != 40 || !cmp.Equal(whole.Rows, paged) {
		t.Errorf("got %d rows in pages, %d in one; want the same 40", len(paged), len(whole.Rows))
	}
}

func TestGroupsAndSeries(t *testing.T) {
	s := newServer(t, nil)
	groups := read[Table](t, s, prefix+"/groups/flows?"+range1200+"&by=comm&measure=host_bytes&limit=1")
	sum := slices.IndexFunc(groups.Columns, func(c Column) bool { return c.Name == "host_bytes" })
	if first, rest := groups.Rows[0], groups.Rows[1]; first[0] != "curl" || first[sum] != 1980.0 || rest[0] != "~other" || rest[sum] != 200.0 {
		t.Errorf("got %v of %v", groups.Rows, groups.Columns)
	}
	series := read[Series](t, s, prefix+"/series/flows?"+range1200+"&by=comm&measure=host_bytes&step=10")
	if series.Unit != "bytes" || series.Step != 10 || len(series.Times) != 6 || series.Times[1] != noon().Unix()+10 {
		t.Fatalf("got %+v", series)
	}
	if v := series.Lines[0].Values; v[0] == nil || *v[0] != 0 || *v[1] != 1980 || v[2] != nil {
		t.Errorf("got %v, want 0, 1980 and nothing known", v)
	}
}

func TestFate(t *testing.T) {
	s := newServer(t, nil)
	for _, scope := range []string{"host", "netns:7"} {
		got := read[Fate](t, s, prefix+"/fate?"+range1200+"&scope="+scope)
		want := []Link{
			{From: "in/ip", To: "in/transport", Packets: 196, Kind: "pass"},
			{From: "in/ip", To: "NETFILTER_DROP", Packets: 6, Kind: "loss", Verdict: record.Policy, Reason: "NETFILTER_DROP"},
			{From: "in/ip", To: "unexplained", Packets: -2, Kind: "remainder"},
			{From: "in/transport", To: "delivered", Packets: 196, Kind: "pass"},
		}
		if diff := cmp.Diff(want, got.Links); diff != "" {
			t.Errorf("%s (-want +got):\n%s", scope, diff)
		}
		if got.Packets != 200 || got.Cut {
			t.Errorf("%s: got %d packets, cut %v", scope, got.Packets, got.Cut)
		}
		var e record.Entry
		if err := record.ParseJSON(got.Entries[0], record.Fields(e), &e); err != nil || e.Station != "ip" || e.Line != record.Came || e.Packets != 200 {
			t.Errorf("%s: got %s first, %v", scope, got.Entries[0], err)
		}
	}
	host := read[Fate](t, s, prefix+"/fate?"+range1200)
	if host.Remainder != -2 {
		t.Errorf("got a remainder of %d, want -2", host.Remainder)
	}
	if none := read[Fate](t, s, prefix+"/fate?"+range1200+"&scope=if:7/eth0"); len(none.Entries) != 0 {
		t.Errorf("an interface without a book: got %s", none.Entries)
	}
}

func TestGraph(t *testing.T) {
	got := read[Graph](t, newServer(t, nil), prefix+"/graph?"+range1200)
	p50, p95 := history.Bucket(11_000), history.Bucket(20_000)
	want := []Edge{
		{From: "process:curl", To: "peer:example.com", Bytes: 1980, Packets: 8, Connections: 40, P50: &p50, P95: &p95, Errors: 2},
		{From: "peer:198.51.100.1", To: "process:nginx", Bytes: 200, Packets: 4},
	}
	if diff := cmp.Diff(want, got.Edges); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if len(got.Nodes) != 4 || got.Nodes[0] != (Node{"process:curl", "curl", "process", 1980}) || got.Conns != 40 || got.Cut {
		t.Errorf("got nodes %v, %d conns", got.Nodes, got.Conns)
	}
	if one := read[Graph](t, newServer(t, nil), prefix+"/graph?limit=1&"+range1200); len(one.Edges) != 1 || !one.Cut {
		t.Errorf("got %v, cut %v; want one edge and to be told", one.Edges, one.Cut)
	}
}

func TestLatency(t *testing.T) {
	got := read[Latency](t, newServer(t, nil), prefix+"/latency?kind=requests&by=method&step=10&"+range1200)
	// 150 µs is above 141 and up to 200; of 8 requests two stand for eight.
	if got.Bounds[1] != 141 || got.Bounds[2] != 200 || got.Counts[1][2] != 6+16 || got.Rows != 22 || got.Sampled != 16 || len(got.Times) != 6 {
		t.Errorf("got %v, %v of %d rows", got.Bounds[:3], got.Counts[1], got.Rows)
	}
	if len(got.Groups) != 1 || got.Groups[0].Key[0] != "GET" || got.Groups[0].Counts[1][2] != 22 {
		t.Errorf("got groups %+v", got.Groups)
	}
}

func TestExplainAndSchema(t *testing.T) {
	s := newServer(t, nil)
	if got := read[Explanation](t, s, prefix+"/explain/netfilter_drop"); got.Reason != "NETFILTER_DROP" || got.Meaning == "" || len(got.Evidence) == 0 {
		t.Errorf("got %+v", got)
	}
	if w := request(s, http.MethodGet, prefix+"/explain/NETFILTER_DRO", nil); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "did you mean NETFILTER_DROP") {
		t.Errorf("got %d, %s", w.Code, w.Body)
	}
	chinese := read[Explanation](t, s, prefix+"/explain/NETFILTER_DROP?language=zh-CN")
	if chinese.Verdict != record.Policy || !strings.Contains(chinese.Meaning, "连接跟踪") || !strings.HasPrefix(chinese.Confirm[0], "$ nft ") {
		t.Errorf("got %+v", chinese)
	}
	if e := read[Explanation](t, s, prefix+"/explain/SOCKET_RCVBUFF?language=zh-CN").Evidence; !slices.ContainsFunc(e, func(f Fact) bool { return strings.Contains(f.Note, "不作要求的套接字得到的大小") }) {
		t.Errorf("got the evidence %+v", e)
	}
	if w := request(s, http.MethodGet, prefix+"/explain/NETFILTER_DROP?language=xx", nil); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("got %d for a language that there is not", w.Code)
	}
	schema := read[Schema](t, s, prefix+"/schema")
	if len(schema.Kinds) != len(history.Kinds()) || schema.Kinds[0].Fields[0].Name != "time" {
		t.Errorf("got %+v", schema)
	}
}

func TestStatus(t *testing.T) {
	s := newServer(t, func(c *Config) {
		c.Exports = func() []export.Status {
			return []export.Status{{Name: "ipfix", Target: "192.0.2.1:4739", Waiting: 1, Sent: 2, Lost: []record.Lost{{Place: "ipfix", Reason: "full", Count: 3, Effect: "gone"}}, Fault: "refused"}}
		}
		c.Costs = func() Costs { return Costs{Sensors: []Sensor{{Name: "drop", Programs: 1}}, Process: Process{RSS: 1}} }
	})
	if err := s.events.Batch(minute()); err != nil {
		t.Fatal(err)
	}
	got := read[Status](t, s, prefix+"/status")
	if got.Host != "web1" || got.Version != "1.2.3" || got.Store.Engine != "memory" || got.Sensors[0].Name != "drop" || got.Process.RSS != 1 {
		t.Errorf("got %+v", got)
	}
	if len(got.Lost) != 1 || got.Lost[0].Count != 5 {
		t.Errorf("got lost %v", got.Lost)
	}
	want := []Export{{Name: "ipfix", Target: "192.0.2.1:4739", Waiting: 1, Sent: 2, Lost: []Loss{{"ipfix", "full", 3, "gone"}}, Fault: "refused"}}
	if diff := cmp.Diff(want, got.Exports); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
}

// TestMetrics has the same guard as everything else.
func TestMetrics(t *testing.T) {
	s := newServer(t, func(c *Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "up 1") })
		c.API.TokenFile, c.API.LoopbackToken = write(t, "token", token, 0o600), true
	})
	if w := request(s, http.MethodGet, "/metrics", nil); w.Code != http.StatusOK || w.Body.String() != "up 1\n" {
		t.Errorf("got %d, %s", w.Code, w.Body)
	}
	for host, want := range map[string]int{"127.0.0.1": http.StatusUnauthorized, "evil.example": http.StatusMisdirectedRequest} {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/metrics", nil)
		w := httptest.NewRecorder()
		if s.guarded(byLoopback).ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: got %d, want %d", host, w.Code, want)
		}
	}
	if w := request(newServer(t, nil), http.MethodGet, "/metrics", nil); w.Code != http.StatusNotFound {
		t.Errorf("without metrics: got %d", w.Code)
	}
}

func TestWrongQuestions(t *testing.T) {
	s := newServer(t, nil)
	for target, want := range map[string]string{
		"/rows/nonsense":                     "404 there is no kind nonsense",
		"/rows/flows?since=yesterday":        "400 since: neither RFC 3339",
		"/rows/flows?since=-x":               "400 since: no duration",
		"/rows/flows?since=now&until=-1h":    "400 since is not before until",
		"/rows/flows?where=comm":             "400 where: no condition",
		"/rows/flows?where=com%3Dx":          "400 where: flows have no field \"com\"; did you mean comm?",
		"/rows/flows?limit=0":                "422 ",
		"/rows/flows?limit=99999":            "422 ",
		"/rows/flows?limt=1":                 "422 ",
		"/rows/flows?after=!":                "400 ",
		"/groups/flows?by=comm,comm":         "400 by: comm is there twice",
		"/groups/flows?by=nonsense":          "400 by: flows have no field",
		"/groups/flows?measure=nonsense":     "400 ",
		"/groups/flows?measure=comm":         "400 ",
		"/series/flows?step=0":               "400 step",
		"/series/flows?step=1s&since=-8760h": "400 ",
		"/fate?scope=netns:x":                "400 scope",
		"/latency?kind=flows":                "422 ",
		"/latency":                           "422 ",
		"/events?kinds=nonsense":             "400 kinds",
		"/nonsense":                          "404 there is nothing at",
		"/programs":                          "404 this netfate watches no kernel",
		"/rows/flows?where=comm%3D" + strings.Repeat("x", 1<<10): "200 ",
	} {
		w := request(s, http.MethodGet, prefix+target, nil)
		var p struct{ Detail string }
		_ = json.Unmarshal(w.Body.Bytes(), &p)
		if got := fmt.Sprintf("%d %s", w.Code, p.Detail); !strings.HasPrefix(got, want) {
			t.Errorf("%.60s: got %s, want %s", target, got, want)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.60s: got %s, want a problem", target, w.Header().Get("Content-Type"))
		}
	}
}

func TestQuery(t *testing.T) {
	s := newServer(t, nil)
	post := func(body string, head ...string) *httptest.ResponseRecorder {
		return request(s, http.MethodPost, prefix+"/query", strings.NewReader(body), append([]string{"Content-Type", "application/json"}, head...)...)
	}
	if w := post(`{"sql":"SELECT 1"}`); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "history.path") {
		t.Errorf("without SQL: got %d, %s", w.Code, w.Body)
	}
	if w := post(`{"sql":"` + strings.Repeat("x", maxBody) + `"}`); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("too long: got %d, %s", w.Code, w.Body)
	}
	for _, body := range []string{"", "{", `{"sql":""}`, `{"sql":1}`, `{"sql":"x","limit":0}`, `{"sql":"x","more":1}`} {
		if w := post(body); w.Code != http.StatusBadRequest && w.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d", body, w.Code)
		}
	}
	speaks := newServer(t, func(c *Config) { c.Store = speaker{c.Store} })
	w := request(speaks, http.MethodPost, prefix+"/query", strings.NewReader(`{"sql":"SELECT 1","limit":7}`), "Content-Type", "application/json")
	var got QueryAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Rows) != 1 || got.Rows[0][0] != 7.0 || got.Rows[0][1] != nil || !got.Cut {
		t.Errorf("got %s, %v", w.Body, err)
	}
	for err, want := range map[error]int{history.ErrLimit: 503, history.ErrQuestion: 400, io.ErrUnexpectedEOF: 500, context.DeadlineExceeded: 503} {
		fails := newServer(t, func(c *Config) { c.Store = failing{c.Store, err} })
		if w := request(fails, http.MethodGet, prefix+"/status", nil); w.Code != want {
			t.Errorf("%v: got %d, want %d", err, w.Code, want)
		}
	}
}

// speaker is a store that answers SQL with the limit and what JSON has no word for.
type speaker struct{ history.Store }

func (speaker) SQL(_ context.Context, _ string, l history.Limits) (history.Table, error) {
	return history.Table{Columns: []history.Column{{Name: "n"}, {Name: "x"}}, Rows: [][]any{{uint64(l.Rows), nan()}}, Cut: true}, nil
}

func nan() float64 { zero := 0.0; return zero / zero }

type failing struct {
	history.Store
	err error
}

func (f failing) Status(context.Context) (history.Status, error) { return history.Status{}, f.err }

func TestTags(t *testing.T) {
	s := newServer(t, nil)
	for _, target := range []string{prefix + "/rows/flows?" + range1200, prefix + "/schema", "/openapi.json"} {
		first := request(s, http.MethodGet, target, nil)
		tag := first.Header().Get("ETag")
		if first.Code != 200 || tag == "" {
			t.Fatalf("%s: got %d and tag %q", target, first.Code, tag)
		}
		if again := request(s, http.MethodGet, target, nil, "If-None-Match", `"x", W/`+tag); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s: got %d and %d bytes, want to be told that it is the same", target, again.Code, again.Body.Len())
		}
	}
	target := prefix + "/rows/flows?" + range1200
	tag := request(s, http.MethodGet, target, nil).Header().Get("ETag")
	if err := s.cfg.Store.Put(t.Context(), minute()); err != nil {
		t.Fatal(err)
	}
	if w := request(s, http.MethodGet, target, nil, "If-None-Match", tag); w.Code != 200 {
		t.Errorf("after more rows: got %d, want the answer", w.Code)
	}
}

func TestDescription(t *testing.T) {
	text, err := Describe()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	if err := json.Unmarshal(text, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("got %q, %v", doc.OpenAPI, err)
	}
	for _, path := range []string{
		"/status", "/schema", "/rows/{kind}", "/groups/{kind}", "/series/{kind}", "/fate", "/graph", "/latency", "/explain/{reason}", "/programs", "/query", "/events",
	} {
		if len(doc.Paths[prefix+path]) != 1 {
			t.Errorf("%s: got %v, want one operation", path, doc.Paths[prefix+path])
		}
	}
	if w := request(newServer(t, nil), http.MethodGet, "/openapi.json", nil); !bytes.Equal(w.Body.Bytes(), text) {
		t.Error("what is served is not what is described")
	}
}

func TestPage(t *testing.T) {
	s := newServer(t, func(c *Config) {
		c.Page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page at ", r.URL.Path) })
	})
	if w := request(s, http.MethodGet, "/flows", nil); w.Body.String() != "page at /flows" || w.Header().Get("Content-Security-Policy") != "" {
		t.Errorf("got %s, %v", w.Body, w.Header())
	}
	if w := request(s, http.MethodGet, "/api/v2/x", nil); w.Code != http.StatusNotFound {
		t.Errorf("got %d from where another API would be", w.Code)
	}
	if w := request(s, http.MethodGet, "/healthz", nil); w.Body.String() != "ok\n" {
		t.Errorf("got %s", w.Body)
	}
}

// TestRoom holds all places for questions: the next one waits, and is told.
func TestRoom(t *testing.T) {
	s := newServer(t, func(c *Config) { c.API.Questions, c.API.QuestionTime = 1, time.Millisecond })
	s.working <- struct{}{}
	if w := request(s, http.MethodGet, prefix+"/status", nil); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d, want to be sent away", w.Code)
	}
	if got := s.lost.list(); len(got) != 1 || got[0].Place != "api" {
		t.Errorf("got %v, want it counted", got)
	}
}

func TestLossesAreBounded(t *testing.T) {
	l := newLosses()
	for i := range 2 * maxPlaces {
		l.add(fmt.Sprint("place ", i), "", 1, "")
	}
	if list := l.list(); len(list) != maxPlaces+1 || list[0].Count != maxPlaces {
		t.Errorf("got %d places, the first %v; want the rest added up", len(list), list[0])
	}
}

// FuzzParameters asks with any parameters: no answer may be a fault of ours.
func FuzzParameters(f *testing.F) {
	for _, seed := range []string{
		"kind=requests&by=method", "scope=if:7/eth0", "by=comm,pid&measure=packets&step=1m&limit=3", range1200, "where=a%3Db&where=c!%3D*%7C",
		"since=-290y", "since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", "kinds=drops,flows", "after=zzzzzzzzzzzzzzz", "%zz", "netns=1&pid=2&ifname=..%2F",
	} {
		f.Add(uint8(0), seed)
	}
	s := newServer(f, nil)
	paths := []string{"/rows/flows", "/rows/ledger", "/groups/drops", "/groups/lost", "/series/conns", "/fate", "/graph", "/latency", "/explain/NO_SOCKET", "/status", "/schema", "/programs"}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		target := prefix + paths[int(which)%len(paths)]
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		s.guarded(bySocket).ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s?%s: got %d, %s", target, query, w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s?%s: got %s", target, query, w.Body)
		}
	})
}
