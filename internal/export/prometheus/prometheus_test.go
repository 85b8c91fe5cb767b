package prometheus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"

	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/exporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape asks for all metrics in one format.
func scrape(t *testing.T, h http.Handler, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("got %d, %s", w.Code, w.Body)
	}
	return w
}

const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

// gather reads all metrics as Prometheus does that wants native histograms.
func gather(t *testing.T, e *Exporter) map[string]*dto.MetricFamily {
	t.Helper()
	w := scrape(t, e.Handler(), protobuf)
	all := map[string]*dto.MetricFamily{}
	for decoder := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header())); ; {
		f := &dto.MetricFamily{}
		if err := decoder.Decode(f); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[f.GetName()] = f
	}
}

// sum adds up what a metric counts, of series that have some label's value; "" is any.
func sum(f *dto.MetricFamily, labels ...string) (n float64) {
	for _, m := range f.GetMetric() {
		if len(labels) > 0 && value(m, labels[0]) != labels[1] {
			continue
		}
		n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return n
}

func value(m *dto.Metric, label string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == label {
			return l.GetValue()
		}
	}
	return ""
}

func TestExport(t *testing.T) {
	for _, series := range []int{1, 50, DefaultSeries} {
		t.Run(fmt.Sprint(series), func(t *testing.T) {
			exporttest.Run(t, func(t *testing.T) exporttest.Rig {
				e := New(Config{Series: series})
				return exporttest.Rig{Exporter: e, Received: func(t *testing.T) map[string]uint64 { return received(gather(t, e)) }}
			})
		})
	}
}

func received(all map[string]*dto.MetricFamily) map[string]uint64 {
	return map[string]uint64{
		exporttest.DropPackets:    uint64(sum(all["netfate_drops_packets_total"])),
		exporttest.DropBytes:      uint64(sum(all["netfate_drops_bytes_total"])),
		exporttest.FlowPacketsIn:  uint64(sum(all["netfate_interface_packets_total"], "direction", "in")),
		exporttest.FlowPacketsOut: uint64(sum(all["netfate_interface_packets_total"], "direction", "out")),
		exporttest.FlowBytesIn:    uint64(sum(all["netfate_interface_bytes_total"], "direction", "in")),
		exporttest.FlowBytesOut:   uint64(sum(all["netfate_interface_bytes_total"], "direction", "out")),
		exporttest.HostPackets:    uint64(sum(all["netfate_host_packets_total"])),
		exporttest.HostBytes:      uint64(sum(all["netfate_host_bytes_total"])),
		exporttest.Conns:          uint64(sum(all["netfate_connections_total"])),
		exporttest.Requests:       uint64(sum(all["netfate_requests_total"])),
		exporttest.Queries:        uint64(sum(all["netfate_queries_total"])),
	}
}

// TestSeriesAreBounded has more series come than there may be: of each family there are
// so many and those of ~other, by the labels that have few values.
func TestSeriesAreBounded(t *testing.T) {
	e := New(Config{Series: 20})
	for range 3 {
		if err := e.Batch(exporttest.Storm()); err != nil {
			t.Fatal(err)
		}
	}
	all := gather(t, e)
	for name, most := range map[string]int{
		"netfate_drops_packets_total": 20 + len(record.Verdicts()), "netfate_host_bytes_total": 21, "netfate_interface_bytes_total": 21,
		"netfate_queries_total": 21, "netfate_queries_latency_seconds": 3,
	} {
		if n := len(all[name].GetMetric()); n != most {
			t.Errorf("%s: got %d series, want %d", name, n, most)
		}
	}
	s := e.Status()
	if len(s.Lost) != 1 || s.Lost[0].Count == 0 || s.Sent+s.Lost[0].Count != 3*export.Rows(exporttest.Storm()) {
		t.Errorf("got %+v", s)
	}
	if got := sum(all["netfate_export_lost_rows_total"]); got != float64(s.Lost[0].Count) {
		t.Errorf("got %v rows as lost among the metrics, want %d", got, s.Lost[0].Count)
	}
}

// TestCountersNeverGoBack feeds a ledger whose lines are corrected.
func TestCountersNeverGoBack(t *testing.T) {
	e := New(Config{})
	last := 0.0
	for i, n := range []int64{100, -30, 10, 25, -200, 50, 200} {
		line := record.Entry{Scope: record.HostScope, Station: "total", Direction: record.In, Line: record.Delivered, Packets: n}
		inside := line
		inside.Scope, inside.Packets = record.NetNSScope, 1e6
		if err := e.Batch(&record.Batch{Ledger: []record.Entry{line, inside}}); err != nil {
			t.Fatal(err)
		}
		now := sum(gather(t, e)["netfate_ledger_buffers_total"])
		if now < last {
			t.Errorf("batch %d: the counter fell from %v to %v", i, last, now)
		}
		last = now
	}
	if last != 155 {
		t.Errorf("got %v in the end, want 155", last)
	}
}

func TestRows(t *testing.T) {
	e := New(Config{})
	if err := e.Batch(exporttest.Minute()); err != nil {
		t.Fatal(err)
	}
	strange := record.Drop{
		Endpoints: record.Endpoints{NetNSName: "pid 4711 my app"}, Reason: "R", Location: "ip_rcv+0x5", Packets: 1,
	}
	odd := []record.Request{{Method: "BREW", Protocol: "h2"}, {Method: "QUERY", Protocol: "h2"}}
	if err := e.Batch(&record.Batch{Drops: []record.Drop{strange}, Requests: odd}); err != nil {
		t.Fatal(err)
	}
	all := gather(t, e)
	for _, c := range []struct {
		metric, label, value string
		want                 float64
	}{
		{"netfate_drops_packets_total", "location", "ip_rcv", 1},
		{"netfate_drops_packets_total", "netns_name", "my app", 1},
		{"netfate_drops_packets_total", "reason", "SOCKET_RCVBUFF", 12},
		{"netfate_requests_total", "method", Other, 1},
		{"netfate_requests_total", "method", "QUERY", 1},
		{"netfate_requests_total", "status", "503", 12},
		{"netfate_requests_total", "error", "unknown_ca by client", 3},
		{"netfate_connections_total", "event", "failed", 3},
		{"netfate_connections_received_bytes_total", "closed_by", "peer", 24000},
		{"netfate_connections_sent_bytes_total", "closed_by", "peer", 1800},
		{"netfate_host_lost_packets_total", "comm", "curl", 6},
		{"netfate_host_retransmitted_packets_total", "comm", "sshd", 1},
		{"netfate_queries_retries_total", "server", "2001:db8::2", 3},
		{"netfate_ledger_buffers_total", "line", "in", 100},
		{"netfate_ledger_buffers_total", "line", "lost", 6},
		{"netfate_ledger_balance_buffers", "line", "remainder", -1},
		{"netfate_ledger_lost_buffers_total", "reason", "NETFILTER_DROP", 6},
		{"netfate_lost_total", "place", "drop_ring", 5},
	} {
		if got := sum(all[c.metric], c.label, c.value); got != c.want {
			t.Errorf("%s{%s=%q}: got %v, want %v", c.metric, c.label, c.value, got, c.want)
		}
	}
	h := all["netfate_requests_latency_seconds"].GetMetric()
	i := slices.IndexFunc(h, func(m *dto.Metric) bool { return value(m, "protocol") == "h2" && value(m, "comm") == "curl" })
	if i < 0 {
		t.Fatalf("got %v", h)
	}
	if got := h[i].GetHistogram(); got.GetSampleCount() != 4 || got.GetSampleSum() != 0.36 || len(got.GetPositiveSpan()) == 0 {
		t.Errorf("got %v, want a native histogram of four times 90 ms", got)
	}
}

// TestFormats reads the formats that a client may ask for.
func TestFormats(t *testing.T) {
	e := New(Config{})
	if err := e.Batch(exporttest.Minute()); err != nil {
		t.Fatal(err)
	}
	open := scrape(t, e.Handler(), "application/openmetrics-text;version=1.0.0").Body.String()
	if !strings.HasSuffix(open, "# EOF\n") || !regexp.MustCompile(`netfate_drops_packets_total{.* # {.*src_addr="192.0.2.1".*} 3.0 `).MatchString(open) ||
		!regexp.MustCompile(`netfate_requests_latency_seconds_bucket{.*le="0.0025"} 1 # {.*path="/a".*} 0.0025`).MatchString(open) {
		t.Errorf("got no OpenMetrics with exemplars:\n%s", open)
	}
	plain := scrape(t, e.Handler(), "text/plain").Body.String()
	if strings.Contains(plain, " # {") || !strings.Contains(plain, "# TYPE netfate_drops_packets_total counter\n") {
		t.Errorf("got no plain text:\n%s", plain)
	}
}

// TestFile writes metrics to a file while somebody reads it: it is always whole.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "netfate.prom")
	e := New(Config{Series: 100})
	if err := e.Batch(exporttest.Storm()); err != nil {
		t.Fatal(err)
	}
	if err := e.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range 20 {
			if err := e.WriteFile(path); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for over := false; !over; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			over = true
		default:
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(text, []byte("\n")) || !bytes.Contains(text, []byte("\nprocess_start_time_seconds ")) {
			t.Fatalf("got %d bytes, %v", len(text), err)
		}
	}
	info, err := os.Stat(path)
	left, _ := os.ReadDir(dir)
	if err != nil || info.Mode().Perm() != 0o644 || len(left) != 1 {
		t.Errorf("got mode %v and %d files, %v", info.Mode(), len(left), err)
	}
	if err := e.WriteFile(filepath.Join(dir, "no", "netfate.prom")); err == nil {
		t.Error("no directory: got no error")
	}
}

// TestDeclared compares what is declared with what is told.
func TestDeclared(t *testing.T) {
	e := New(Config{
		Sensors: func() []Sensor {
			return []Sensor{{Name: "drops", Programs: 1, Memory: 4096, Runs: 7, Time: time.Second}}
		},
		Exports: func() []export.Status {
			return []export.Status{{Name: "other", Waiting: 1, Sent: 2, Lost: []record.Lost{{Reason: "full", Count: 3}}}}
		},
		Lost: func() []record.Lost { return []record.Lost{{Place: "queue", Reason: "full", Count: 9}} },
	})
	counted := &record.Batch{RequestCounts: []record.RequestSum{{Method: "GET", HostName: "example.com", Requests: 3}}}
	for _, b := range []*record.Batch{exporttest.Minute(), counted} {
		if err := e.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	all := gather(t, e)
	if got := sum(all["netfate_lost_total"], "place", "queue"); got != 9 {
		t.Errorf("got %v lost, want what Config.Lost says", got)
	}
	fields := map[string]bool{}
	for _, rec := range []any{record.Drop{}, record.Flow{}, record.Conn{}, record.Request{}, record.Query{}, record.Entry{}} {
		for _, f := range record.Fields(rec) {
			fields[f.Name] = true
		}
	}
	for _, d := range append(familiesOf(), histogramsOf()...) {
		for i, l := range d.labels {
			if !fields[l.name] {
				t.Errorf("%s: the label %s is no field of a record", d.name, l.name)
			}
			if l.few && i > 0 && !d.labels[i-1].few {
				t.Errorf("%s: the label %s has few values and comes late", d.name, l.name)
			}
		}
	}
	for _, m := range Metrics() {
		f := all[m.Name]
		if f == nil {
			t.Errorf("%s is declared and not told", m.Name)
			continue
		}
		delete(all, m.Name)
		if strings.ToLower(f.GetType().String()) != m.Type || f.GetHelp() != m.Help {
			t.Errorf("%s: got %v, %q; want %s, %q", m.Name, f.GetType(), f.GetHelp(), m.Type, m.Help)
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if want := slices.Sorted(slices.Values(m.Labels)); !slices.Equal(labels, want) {
			t.Errorf("%s: got labels %q, want %q", m.Name, labels, want)
		}
		if m.Type == counter && !strings.HasSuffix(m.Name, "_total") || m.Unit != "" && !strings.Contains(m.Name, "_"+m.Unit) {
			t.Errorf("%s, a %s of %s: not named so", m.Name, m.Type, m.Unit)
		}
	}
	for name := range all {
		if strings.HasPrefix(name, "netfate_") {
			t.Errorf("%s is told and not declared", name)
		}
	}
}
