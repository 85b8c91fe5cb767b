//go:build clients

package clients

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	logsservice "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricsservice "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traceservice "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/netfate/netfate/internal/export/otlp"
	"github.com/netfate/netfate/internal/export/prometheus"
	"github.com/netfate/netfate/test/exporttest"
)

// behind is where the collector sends what it has read. It adds up.
type behind struct {
	mu       sync.Mutex
	requests uint64                        // that spans stand for
	rows     uint64                        // spans and logs
	metrics  map[string]map[string]float64 // by name and attributes, the last value
	faults   []string
}

func newBehind() *behind { return &behind{metrics: map[string]map[string]float64{}} }

func (b *behind) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		in = z
	}
	body, err := io.ReadAll(in)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		err = b.add(r.URL.Path, body)
	}
	if err != nil {
		b.faults = append(b.faults, fmt.Sprintf("%s: %v", r.URL.Path, err))
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (b *behind) add(path string, body []byte) error {
	switch path {
	case "/v1/traces":
		m := &traceservice.ExportTraceServiceRequest{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		for _, resource := range m.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					b.requests += standsFor(s)
				}
				b.rows += uint64(len(scope.Spans))
			}
		}
	case "/v1/logs":
		m := &logsservice.ExportLogsServiceRequest{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		for _, resource := range m.ResourceLogs {
			for _, scope := range resource.ScopeLogs {
				b.rows += uint64(len(scope.LogRecords))
			}
		}
	case "/v1/metrics":
		m := &metricsservice.ExportMetricsServiceRequest{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		for _, resource := range m.ResourceMetrics {
			for _, scope := range resource.ScopeMetrics {
				for _, metric := range scope.Metrics {
					if b.metrics[metric.Name] == nil {
						b.metrics[metric.Name] = map[string]float64{}
					}
					for _, p := range metric.GetSum().GetDataPoints() {
						b.metrics[metric.Name][fmt.Sprint(p.Attributes)] = p.GetAsDouble() + float64(p.GetAsInt())
					}
				}
			}
		}
	}
	return nil
}

// standsFor is how many requests a span is of.
func standsFor(s *tracepb.Span) uint64 {
	for _, a := range s.Attributes {
		if a.Key == "netfate.one_in" {
			return uint64(a.Value.GetIntValue())
		}
	}
	return 1
}

// collectorConfig has what comes in sent on at once, so that nothing is there when it ends.
const collectorConfig = `
receivers:
  otlp:
    protocols:
      http: {endpoint: %s}
      grpc: {endpoint: %s}
exporters:
  otlp_http:
    endpoint: %s
    sending_queue: {enabled: false}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_http]}
    logs: {receivers: [otlp], exporters: [otlp_http]}
    metrics: {receivers: [otlp], exporters: [otlp_http]}
`

// startCollector returns the addresses of HTTP and gRPC, and what stops it.
func startCollector(t *testing.T, to http.Handler) (web, grpc string, stop func()) {
	t.Helper()
	server := httptest.NewServer(to)
	t.Cleanup(server.Close)
	addrs := freeTCP(t, 2)
	stop = start(t, "otelcol", "--config", write(t, "otelcol.yaml", fmt.Sprintf(collectorConfig, addrs[0], addrs[1], server.URL)))
	wait(t, "the collector listens", func() bool { return listens(addrs[0]) && listens(addrs[1]) })
	return "http://" + addrs[0], "grpc://" + addrs[1], stop
}

// TestCollector has OpenTelemetry's Collector read spans, logs and metrics, over HTTP and
// gRPC, and send them on: all of them come out.
func TestCollector(t *testing.T) {
	for _, over := range []string{"http", "grpc"} {
		t.Run(over, func(t *testing.T) {
			exporttest.Run(t, func(t *testing.T) exporttest.Rig {
				b := newBehind()
				web, grpc, stop := startCollector(t, b)
				endpoint := web
				if over == "grpc" {
					endpoint = grpc
				}
				e, err := otlp.New(otlp.Config{Endpoint: endpoint, Signals: []string{otlp.Spans, otlp.Logs}, Queue: 16 << 20, Flush: 10 * time.Second, Host: "web1"})
				if err != nil {
					t.Fatal(err)
				}
				return exporttest.Rig{
					Exporter: e, Rows: e.Rows, Leave: stop,
					Received: func(t *testing.T) map[string]uint64 {
						b.mu.Lock()
						defer b.mu.Unlock()
						if sent := e.Status().Sent; b.rows != sent || len(b.faults) > 0 {
							t.Errorf("got %d spans and logs of %d, faults %q", b.rows, sent, b.faults)
						}
						return map[string]uint64{exporttest.Requests: b.requests}
					},
				}
			})
		})
	}
}

// TestCollectorReadsMetrics sends sums, and wants the last ones out of it.
func TestCollectorReadsMetrics(t *testing.T) {
	b := newBehind()
	web, _, _ := startCollector(t, b)
	sums := prometheus.New(prometheus.Config{Series: 300})
	e, err := otlp.New(otlp.Config{Endpoint: web, Signals: []string{otlp.Metrics}, Every: time.Hour, Queue: 16 << 20, Flush: 10 * time.Second, Gather: sums.Gather})
	if err != nil {
		t.Fatal(err)
	}
	batch := exporttest.Storm()
	if err := sums.Batch(batch); err != nil {
		t.Fatal(err)
	}
	if err := e.Batch(batch); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	want, got := 0.0, 0.0
	for i := range batch.Drops {
		want += float64(batch.Drops[i].Packets)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, value := range b.metrics["netfate.drops.packets"] {
		got += value
	}
	if got != want || len(b.faults) > 0 || len(e.Status().Lost) > 0 {
		t.Errorf("got %v packets of drops, want %v; faults %q, status %+v", got, want, b.faults, e.Status())
	}
}
