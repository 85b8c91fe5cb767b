package export

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/netfate/netfate/internal/export/otlp"
	"github.com/netfate/netfate/internal/export/prometheus"
	"github.com/netfate/netfate/test/exporttest"
)

// TestMetricsOverOTLP sends the sums that Prometheus would read, and adds up what
// arrived last.
func TestMetricsOverOTLP(t *testing.T) {
	var mu sync.Mutex
	var got []*metricspb.Metric
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		z, err := gzip.NewReader(r.Body)
		if err == nil {
			body, err = io.ReadAll(z)
		}
		m := &metricspb.MetricsData{}
		if err != nil || r.URL.Path != "/v1/metrics" || proto.Unmarshal(body, m) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range m.ResourceMetrics {
			for _, scope := range resource.ScopeMetrics {
				got = append(got, scope.Metrics...)
			}
		}
	}))
	defer server.Close()
	sums := prometheus.New(prometheus.Config{Series: 300})
	e, err := otlp.New(otlp.Config{Endpoint: server.URL, Signals: []string{otlp.Metrics}, Every: time.Hour, Queue: 16 << 20, Gather: sums.Gather})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b := exporttest.Storm()
		if err := sums.Batch(b); err != nil {
			t.Fatal(err)
		}
		if err := e.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if s := e.Status(); len(s.Lost) != 0 || s.Fault != "" {
		t.Fatalf("got %+v", s)
	}
	// The first batch has sums sent, and Close: those after it are the last.
	last := uint64(0)
	for _, m := range got {
		if p := m.GetSum().GetDataPoints(); len(p) > 0 {
			last = max(last, p[0].TimeUnixNano)
		}
	}
	var packets, latencies float64
	for _, m := range got {
		switch m.Name {
		case "netfate.drops.packets":
			p := m.GetSum().DataPoints[0]
			if p.TimeUnixNano == last {
				packets += p.GetAsDouble()
			}
			if !m.GetSum().IsMonotonic || p.StartTimeUnixNano == 0 || p.TimeUnixNano < p.StartTimeUnixNano {
				t.Fatalf("got %v", m)
			}
		case "netfate.requests.latency":
			if p := m.GetExponentialHistogram().DataPoints[0]; p.TimeUnixNano == last {
				latencies += float64(p.Count)
			}
		}
	}
	if packets != 2*exporttest.StormRows || latencies != 2*(exporttest.StormRows-1) { // one of each has no latency
		t.Errorf("got %v packets, %v latencies", packets, latencies)
	}
}
