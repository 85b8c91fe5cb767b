package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// fake answers as internal/api does, for a host that does not exist. Its clock
// stands still, so that two runs, and two pictures, are the same.
type fake struct {
	now   time.Time
	every time.Duration
}

func newFake(every time.Duration) *fake {
	return &fake{now: time.Date(2026, 3, 14, 3, 10, 0, 0, time.UTC), every: every}
}

func (f *fake) routes(mux *http.ServeMux) {
	for pattern, h := range map[string]func(r *http.Request, span span) (any, error){
		"GET /api/v1/status":           f.status,
		"GET /api/v1/schema":           f.schema,
		"GET /api/v1/rows/{kind}":      f.rows,
		"GET /api/v1/groups/{kind}":    f.groups,
		"GET /api/v1/series/{kind}":    f.series,
		"GET /api/v1/fate":             f.fate,
		"GET /api/v1/graph":            f.graph,
		"GET /api/v1/latency":          f.latency,
		"GET /api/v1/explain/{reason}": f.explain,
		"GET /api/v1/programs":         f.programs,
		"POST /api/v1/query":           f.query,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			// The page goes by the server's clock, wherever it has it from.
			w.Header().Set("Date", f.now.Format(http.TimeFormat))
			span, err := f.span(r)
			var answer any
			if err == nil {
				answer, err = h(r, span)
			}
			if err != nil {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusBadRequest)
				answer = map[string]any{"type": "about:blank", "title": "the question is wrong", "status": 400, "detail": err.Error()}
			} else {
				w.Header().Set("Content-Type", "application/json")
			}
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	mux.HandleFunc("GET /api/v1/events", f.events)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusNotFound) })
}

// events ticks until the reader goes away.
func (f *fake) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	t := time.NewTicker(f.every)
	defer t.Stop()
	for {
		fmt.Fprintf(w, "event: tick\ndata: {\"time\":%q}\n\n", f.now.Format(time.RFC3339))
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
	}
}

// span is the time range of a question, in seconds.
type span struct{ since, until int64 }

func (s span) seconds() float64 { return float64(s.until - s.since) }

func (f *fake) span(r *http.Request) (span, error) {
	at := func(name, otherwise string) (int64, error) {
		text := r.URL.Query().Get(name)
		if text == "" {
			text = otherwise
		}
		if text == "now" {
			return f.now.Unix(), nil
		}
		if days, found := strings.CutSuffix(text, "d"); found {
			n, err := strconv.Atoi(days)
			return f.now.AddDate(0, 0, n).Unix(), err
		}
		if d, err := time.ParseDuration(text); err == nil {
			return f.now.Add(d).Unix(), nil
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return 0, fmt.Errorf("%s is no time: %s", name, text)
		}
		return t.Unix(), nil
	}
	since, err := at("since", "-15m")
	if err != nil {
		return span{}, err
	}
	until, err := at("until", "now")
	if err == nil && until <= since {
		err = fmt.Errorf("the range ends before it begins")
	}
	return span{since, until}, err
}

// noise is a number between 0 and 1 that always is the same for the same names.
func noise(parts ...any) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	// FNV's high bits hardly change with the last byte.
	n := h.Sum64() * 0x9e3779b97f4a7c15
	return float64((n^n>>32)>>11&(1<<40-1)) / (1 << 40)
}

type column struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Unit string `json:"unit,omitempty"`
}

// unitOf finds what a measure is counted in.
func unitOf(kind, name string) column {
	for _, f := range fieldsOf(kind) {
		if f.Name == name {
			return column{f.Name, f.Type, f.Unit}
		}
	}
	if strings.Contains(name, "_us_p") {
		return column{name, "uint", "us"}
	}
	return column{name, "uint", ""}
}

func fieldsOf(kind string) []record.Field {
	switch kind {
	case "drops":
		return record.Fields(record.Drop{})
	case "flows":
		return record.Fields(record.Flow{})
	case "conns":
		return record.Fields(record.Conn{})
	case "requests":
		return record.Fields(record.Request{})
	case "queries":
		return record.Fields(record.Query{})
	case "ledger":
		return record.Fields(record.Entry{})
	}
	return record.Fields(record.Lost{})
}

// quiet says that a question finds nothing: whoever asks for this process wants
// to see what an empty page looks like.
func quiet(r *http.Request) bool {
	for _, where := range r.URL.Query()["where"] {
		if where == "comm=nobody" {
			return true
		}
	}
	return false
}

func lost(r *http.Request, effect string) []map[string]any {
	if quiet(r) {
		return nil
	}
	return []map[string]any{{"place": "drop_ring", "reason": "full", "count": 312, "effect": effect}}
}

func (f *fake) series(r *http.Request, s span) (any, error) {
	kind, by, measure := r.PathValue("kind"), r.URL.Query().Get("by"), r.URL.Query().Get("measure")
	step := max(int64(math.Ceil(s.seconds()/180)), 1)
	var times []int64
	for t := s.since - s.since%step; t < s.until; t += step {
		times = append(times, t)
	}
	type line struct {
		Key    []string   `json:"key"`
		Values []*float64 `json:"values"`
	}
	lines := []line{}
	by, _, _ = strings.Cut(strings.TrimPrefix(by, "host_name,"), ",")
	names := f.names(kind, by)
	if by == "" {
		names = []string{"all"}
	}
	if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && limit < len(names) {
		names = names[:limit]
	}
	if quiet(r) {
		names = nil
	}
	for i, name := range names {
		l := line{Key: []string{name}}
		if by == "" {
			l.Key = []string{}
		}
		for _, t := range times {
			wave := 1 + 0.5*math.Sin(float64(t)/(97+float64(i)*13)+float64(i)) + 0.35*noise(name, t)
			v := math.Round(scale(measure) * float64(step) * wave / float64(i*i/2+1))
			// At ten to three something happened.
			if t > f.now.Add(-6*time.Minute).Unix() && t < f.now.Add(-4*time.Minute).Unix() && i == 1 {
				v *= 3
			}
			l.Values = append(l.Values, &v)
		}
		if len(l.Values) > 30 {
			l.Values[20] = nil
		}
		lines = append(lines, l)
	}
	c := unitOf(kind, measure)
	return map[string]any{"unit": c.Unit, "step_s": step, "times": times, "lines": lines, "lost": lost(r, "drops of that time have no flows")}, nil
}

// scale is how much of a measure there is in a second.
func scale(measure string) float64 {
	switch {
	case strings.Contains(measure, "bytes"):
		return 2.4e6
	case strings.Contains(measure, "packets"):
		return 2900
	case measure == "errors", measure == "failed", measure == "unanswered":
		return 0.6
	case measure == "drops", measure == "retransmits":
		return 2
	}
	return 42
}

func (f *fake) names(kind, by string) []string {
	switch by {
	case "comm":
		return []string{"nginx", "postgres", "etcd", "kubelet", "sshd", "chronyd", "~other"}
	case "container_name":
		return []string{"shop-web", "shop-db", "cache", "prometheus", ""}
	case "ifname":
		return []string{"eth0", "veth1a2b", "cni0", "lo"}
	case "dst_port":
		return []string{"443", "5432", "2379", "53", "22"}
	case "dst_addr", "peer", "server":
		return []string{"10.0.4.17", "10.0.4.9", "2001:db8::53", "192.0.2.80"}
	case "name":
		return []string{"api.example.com", "db.internal", "registry.example.net", ""}
	case "host_name":
		return []string{"shop.example.com", "api.example.com"}
	case "path":
		return []string{"/cart/{id}", "/search", "/login", "/static/{id}", "/healthz"}
	case "error":
		if kind == "conns" {
			return []string{"refused", "timed_out", "reset"}
		}
		return []string{"unanswered", "reset"}
	case "qname":
		return []string{"db.internal", "api.example.com", "wpad.lan", "_grpclb._tcp.db.internal"}
	case "rcode":
		return []string{"NOERROR", "NXDOMAIN", "SERVFAIL", ""}
	case "src_addr":
		return []string{"10.0.4.2", "10.0.4.3"}
	case "proto":
		return []string{"udp"}
	case "location":
		return []string{"udp_queue_rcv_one_skb+0x4b1", "__udp_enqueue_schedule_skb+0x1a8"}
	case "many":
		many := make([]string, 100)
		for i := range many {
			many[i] = fmt.Sprintf("worker-%02d", i)
		}
		return many
	}
	return []string{"a", "b", "c"}
}

func (f *fake) groups(r *http.Request, s span) (any, error) {
	kind, by := r.PathValue("kind"), strings.Split(r.URL.Query().Get("by"), ",")
	columns := make([]column, 0, len(by)+8)
	for _, name := range by {
		columns = append(columns, column{name, "string", ""})
	}
	for _, name := range measuresOf(kind) {
		columns = append(columns, unitOf(kind, name))
	}
	rows := [][]any{}
	if quiet(r) {
		return map[string]any{"columns": columns, "rows": rows, "next": ""}, nil
	}
	if kind == "ledger" && by[0] == "scope" {
		return map[string]any{"columns": columns, "rows": books(), "next": ""}, nil
	}
	if by[0] == "netns" {
		return map[string]any{"columns": columns, "rows": [][]any{{4026532201, "web", 15000, 9000000}}, "next": ""}, nil
	}
	for i := range min(5, len(f.names(kind, by[len(by)-1]))) {
		row := make([]any, 0, len(columns))
		for _, name := range by {
			values := f.names(kind, name)
			row = append(row, values[i%len(values)])
		}
		for _, name := range measuresOf(kind) {
			share := 1 / float64(i*i/2+1) * s.seconds()
			switch {
			case strings.Contains(name, "_us_p"):
				row = append(row, math.Round(4000*float64(i+1)*map[string]float64{"50": 1, "95": 6, "99": 31}[name[len(name)-2:]]*(1+noise(kind, i))))
			default:
				row = append(row, math.Round(scale(name)*share))
			}
		}
		rows = append(rows, row)
	}
	return map[string]any{"columns": columns, "rows": rows, "next": "", "resolution_s": resolution(s), "lost": lost(r, "drops of that time have no flows")}, nil
}

// resolution is that of rows which were rolled up, as a store does.
func resolution(s span) int {
	if s.seconds() > 86400 {
		return 300
	}
	return 0
}

// measuresOf are those of the store's tables, counts and percentiles included.
func measuresOf(kind string) []string {
	switch kind {
	case "flows":
		return []string{"host_bytes", "host_packets", "bytes_in", "bytes_out", "drops", "retransmits"}
	case "drops":
		return []string{"packets", "bytes"}
	case "conns":
		return []string{"conns", "failed", "bytes_in", "bytes_out", "retransmits", "connect_us_p95", "rtt_us_p50", "rtt_us_p95", "rtt_us_p99"}
	case "requests":
		return []string{"requests", "errors", "request_bytes", "response_bytes", "latency_us_p50", "latency_us_p95", "latency_us_p99"}
	case "queries":
		return []string{"queries", "unanswered", "failed", "retries", "latency_us_p50", "latency_us_p95", "latency_us_p99"}
	}
	return []string{"packets"}
}

func (f *fake) rows(r *http.Request, s span) (any, error) {
	kind := r.PathValue("kind")
	var columns []column
	for _, field := range fieldsOf(kind) {
		if !field.Hidden {
			columns = append(columns, column{field.Name, field.Type, field.Unit})
		}
	}
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		limit = 100
	}
	from, err := strconv.Atoi(r.URL.Query().Get("after"))
	if err != nil {
		from = 0
	}
	rows, next := [][]any{}, ""
	for i := from; f.at(i, s).Unix() >= s.since && !quiet(r); i++ {
		row := make([]any, len(columns))
		for k, c := range columns {
			row[k] = f.cell(kind, c, i, s)
		}
		if !fits(r.URL.Query()["where"], columns, row) {
			continue
		}
		if len(rows) == limit {
			next = strconv.Itoa(i)
			break
		}
		rows = append(rows, row)
	}
	return map[string]any{"columns": columns, "rows": rows, "next": next, "resolution_s": 0}, nil
}

// at is when a record was made, the newest first.
func (f *fake) at(i int, s span) time.Time {
	return time.Unix(s.until, 0).UTC().Add(-time.Duration(i) * 2321 * time.Millisecond)
}

// fits holds a row against conditions, without wildcards.
func fits(where []string, columns []column, row []any) bool {
	for _, condition := range where {
		field, values, _ := strings.Cut(condition, "=")
		field, not := strings.CutSuffix(field, "!")
		i := slices.IndexFunc(columns, func(c column) bool { return c.Name == field })
		if i < 0 {
			continue
		}
		text := ""
		if row[i] != nil {
			text = fmt.Sprint(row[i])
		}
		if slices.Contains(strings.Split(values, "|"), text) == not {
			return false
		}
	}
	return true
}

// cell makes up the value of a field of one record.
func (f *fake) cell(kind string, c column, i int, s span) any {
	pick := func(of ...any) any { return of[i%len(of)] }
	switch c.Name {
	case "time", "start":
		return f.at(i, s).Format(time.RFC3339Nano)
	case "comm":
		return pick("nginx", "postgres", "etcd")
	case "src_addr":
		return pick("10.0.4.2", "10.0.4.3")
	case "dst_addr", "server":
		return pick("10.0.4.17", "192.0.2.80", "2001:db8::53")
	case "src_port":
		return 40000 + i
	case "dst_port":
		return pick(443, 5432, 2379)
	case "event":
		return pick("closed", "opened", "failed")
	case "error":
		if kind == "conns" {
			return pick(nil, nil, "refused")
		}
		return pick(nil, "unanswered", nil)
	case "method":
		return pick("GET", "POST")
	case "host_name":
		return "shop.example.com"
	case "path":
		return pick("/cart/8812", "/search", "/login")
	case "status":
		return pick(200, nil, 503)
	case "protocol":
		return pick("http/1.1", "h2")
	case "qname":
		return pick("db.internal", "wpad.lan")
	case "qtype":
		return pick("A", "AAAA")
	case "rcode":
		return pick("NXDOMAIN", nil)
	case "latency_us", "rtt_us", "connect_us", "duration_us":
		return math.Round(2.4e6 / float64(i+1))
	}
	switch c.Type {
	case "uint":
		return math.Round(noise(c.Name, i) * 100)
	case "bool":
		return false
	}
	return nil
}

func (f *fake) latency(r *http.Request, s span) (any, error) {
	bounds := []int64{100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000}
	step := max(int64(math.Ceil(s.seconds()/90)), 1)
	times, counts := []int64{}, [][]int{}
	for t := s.since; t < s.until && !quiet(r); t += step {
		times = append(times, t)
		row := make([]int, len(bounds))
		for i := range row {
			middle := 4.5 + math.Sin(float64(t)/300)
			row[i] = int(80 * math.Exp(-math.Pow(float64(i)-middle, 2)/3) * (0.5 + noise(t, i)))
			if i == 11 && t > f.now.Add(-6*time.Minute).Unix() {
				row[i] += 9
			}
		}
		counts = append(counts, row)
	}
	return map[string]any{"bounds_us": bounds, "times": times, "counts": counts}, nil
}

func (f *fake) schema(*http.Request, span) (any, error) {
	kinds := []map[string]any{}
	for _, kind := range []string{"drops", "flows", "conns", "requests", "queries", "ledger", "lost"} {
		fields := []map[string]any{}
		for _, field := range fieldsOf(kind) {
			if !field.Hidden {
				fields = append(fields, map[string]any{"name": field.Name, "type": field.Type, "unit": field.Unit, "role": field.Role, "doc": field.Doc})
			}
		}
		kinds = append(kinds, map[string]any{"kind": kind, "fields": fields})
	}
	return map[string]any{"kinds": kinds}, nil
}

func (f *fake) query(r *http.Request, s span) (any, error) {
	var q struct {
		SQL   string
		Limit int
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.ToUpper(strings.TrimSpace(q.SQL)), "SELECT") {
		return nil, fmt.Errorf("only SELECT is answered; near %q", strings.Fields(q.SQL + " ?")[0])
	}
	// What the page asks for the slowest with.
	if rest, found := strings.CutPrefix(q.SQL, "SELECT * FROM "); found {
		kind, _, _ := strings.Cut(rest, " ")
		r.SetPathValue("kind", kind)
		r.URL.RawQuery = fmt.Sprintf("limit=%d", q.Limit)
		return f.rows(r, s)
	}
	if strings.Contains(q.SQL, "minute") {
		rows := [][]any{}
		for i := range 30 {
			at := f.now.Add(time.Duration(i-30) * time.Minute)
			rows = append(rows, []any{at.Format(time.RFC3339), math.Round(1e8 * (1 + noise("minute", i)))})
		}
		return map[string]any{"columns": []column{{"minute", "time", ""}, {"bytes", "float", "bytes"}}, "rows": rows, "cut": false, "took_ms": 12}, nil
	}
	return map[string]any{
		"columns": []column{{"reason", "string", ""}, {"verdict", "string", ""}, {"packets", "uint", "packets"}},
		"rows":    [][]any{{"SOCKET_RCVBUFF", "resource", 15120}, {"NETFILTER_DROP", "policy", 4210}, {"NO_SOCKET", "refused", 311}},
		"cut":     false, "took_ms": 4,
	}, nil
}
