package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/exporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, r *receiver, change func(*Config)) *Exporter {
	t.Helper()
	cfg := Config{Endpoint: r.url, Signals: []string{Metrics, Spans, Logs}, Queue: 16 << 20, Flush: 2 * time.Second, Host: "web1", Version: "1.2.3"}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func listeners() map[string]func(*testing.T, *tls.Config) *receiver {
	return map[string]func(*testing.T, *tls.Config) *receiver{"http": listenHTTP, "grpc": listenGRPC}
}

func TestExport(t *testing.T) {
	for name, listen := range listeners() {
		t.Run(name, func(t *testing.T) {
			exporttest.Run(t, func(t *testing.T) exporttest.Rig {
				r := listen(t, nil)
				e := open(t, r, nil)
				return exporttest.Rig{
					Exporter: e, Rows: e.Rows, Leave: r.close, Refuse: func() { r.refuse(status.Error(codes.InvalidArgument, "no")) },
					Received: func(*testing.T) map[string]uint64 {
						r.close()
						r.mu.Lock()
						defer r.mu.Unlock()
						requests := uint64(0)
						for _, s := range r.gotSpans {
							requests += max(uint64(get(s.Attributes, "netfate.one_in").GetIntValue()), 1)
						}
						return map[string]uint64{exporttest.Requests: requests}
					},
				}
			})
		})
	}
}

func get(attributes []*commonpb.KeyValue, name string) *commonpb.AnyValue {
	i := slices.IndexFunc(attributes, func(a *commonpb.KeyValue) bool { return a.Key == name })
	if i < 0 {
		return nil
	}
	return attributes[i].Value
}

// pass sends a batch and returns what arrived.
func pass(t *testing.T, r *receiver, b *record.Batch, change func(*Config)) *Exporter {
	t.Helper()
	e := open(t, r, change)
	if err := e.Batch(b); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRows(t *testing.T) {
	r := listenHTTP(t, nil)
	b := exporttest.Minute()
	b.Requests, b.Drops, b.Conns = slices.Clone(b.Requests[:3]), b.Drops[:3], b.Conns[:4]
	b.Requests[0].TraceID, b.Requests[0].ParentID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	pass(t, r, b, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.gotSpans) != 3 || len(r.gotLogs) != 3 {
		t.Fatalf("got %d spans and %d logs, want 3 of each: benign drops are none", len(r.gotSpans), len(r.gotLogs))
	}
	for i, want := range []struct {
		name, kind, status, attributes string
		took                           time.Duration
	}{
		{"GET", "SPAN_KIND_SERVER", "STATUS_CODE_UNSET", "http.request.method=GET http.response.status_code=200 url.path=/a server.address=example.com " +
			"source.address=192.0.2.1 destination.port=443 process.pid=7 process.executable.name=nginx k8s.pod.name=shop-1 " +
			"network.protocol.name=http network.protocol.version=1.1 http.response.body.size=5000 linux.netns.inode=4026531840", 2500 * time.Microsecond},
		{"POST", "SPAN_KIND_CLIENT", "STATUS_CODE_ERROR", "error.type=503 netfate.one_in=4 network.protocol.version=2 host.name=", 90 * time.Millisecond},
		{"TLS", "SPAN_KIND_CLIENT", "STATUS_CODE_ERROR", "error.type=unknown_ca+by+client netfate.tls=true http.request.method=", 0},
	} {
		s := r.gotSpans[i]
		if s.Name != want.name || s.Kind.String() != want.kind || s.Status.Code.String() != want.status || len(s.TraceId) != 16 || len(s.SpanId) != 8 ||
			s.StartTimeUnixNano != uint64(b.Start.UnixNano()) || s.EndTimeUnixNano-s.StartTimeUnixNano != uint64(want.took) {
			t.Errorf("span %d: got %v", i, s)
		}
		checkAttributes(t, fmt.Sprintf("span %d", i), s.Attributes, want.attributes)
	}
	if s := r.gotSpans[0]; hex.EncodeToString(s.TraceId) != b.Requests[0].TraceID || hex.EncodeToString(s.ParentSpanId) != b.Requests[0].ParentID {
		t.Errorf("got a span of trace %x below %x, want what the request says: %s, %s", s.TraceId, s.ParentSpanId, b.Requests[0].TraceID, b.Requests[0].ParentID)
	}
	if s := r.gotSpans[1]; len(s.ParentSpanId) != 0 {
		t.Errorf("got a span below %x, want none of a request that names no trace", s.ParentSpanId)
	}
	for i, want := range []struct{ event, severity, body, attributes string }{
		{"netfate.drop", "INFO", "1 packets dropped: NETFILTER_DROP (policy) at nft_do_chain+0x1a4", "network.drop.reason=NETFILTER_DROP netfate.packets=1 netfate.verdict=policy destination.address=198.51.100.7"},
		{"netfate.drop", "WARN", "2 packets dropped: SOCKET_RCVBUFF (resource) at __udp_enqueue_schedule_skb+0x20", "process.executable.name=nginx"},
		{"netfate.connection.failed", "WARN", "connection to 198.51.100.7:443 failed: refused", "error.type=refused netfate.role=client"},
	} {
		l := r.gotLogs[i]
		if l.EventName != want.event || l.SeverityText != want.severity || l.Body.GetStringValue() != want.body || l.TimeUnixNano != uint64(b.End.UnixNano()) {
			t.Errorf("log %d: got %v", i, l)
		}
		checkAttributes(t, fmt.Sprintf("log %d", i), l.Attributes, want.attributes)
	}
}

// checkAttributes looks for name=value of each word, + for a blank; nothing after = is
// for no such attribute.
func checkAttributes(t *testing.T, what string, got []*commonpb.KeyValue, words string) {
	t.Helper()
	seen := map[string]bool{}
	for _, a := range got {
		if seen[a.Key] {
			t.Errorf("%s has %s twice", what, a.Key)
		}
		seen[a.Key] = true
	}
	for _, word := range strings.Fields(words) {
		name, value, _ := strings.Cut(strings.ReplaceAll(word, "+", " "), "=")
		v := get(got, name)
		have := ""
		switch x := v.GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			have = x.StringValue
		case *commonpb.AnyValue_IntValue:
			have = fmt.Sprint(x.IntValue)
		case *commonpb.AnyValue_BoolValue:
			have = fmt.Sprint(x.BoolValue)
		}
		if have != value || value == "" && v != nil {
			t.Errorf("%s, %s: got %q, want %q", what, name, have, value)
		}
	}
}

// TestBackPressure has a receiver that is busy at first, and one that rejects a part.
func TestBackPressure(t *testing.T) {
	for name, listen := range listeners() {
		t.Run(name, func(t *testing.T) {
			r := listen(t, nil)
			r.refuse(status.Error(codes.Unavailable, "busy"))
			r.partial = 2
			e := open(t, r, func(c *Config) { c.Signals = []string{Spans} })
			if err := e.Batch(exporttest.Minute()); err != nil {
				t.Fatal(err)
			}
			for e.Status().Fault == "" {
				time.Sleep(time.Millisecond)
			}
			if s := e.Status(); s.Waiting != 9 || s.Sent != 0 || len(s.Lost) != 0 {
				t.Errorf("while it is busy: got %+v", s)
			}
			r.refuse(nil)
			for e.Status().Waiting > 0 {
				time.Sleep(time.Millisecond)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if s := e.Status(); s.Sent != 7 || len(s.Lost) != 1 || s.Lost[0].Count != 2 || s.Lost[0].Reason != "rejected" {
				t.Errorf("got %+v", s)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.calls < 2 || len(r.gotSpans) != 9 {
				t.Errorf("got %d spans in %d calls", len(r.gotSpans), r.calls)
			}
		})
	}
}

// TestTLS sends in TLS with a token, and not to a stranger.
func TestTLS(t *testing.T) {
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	certs.Close()
	authority := x509.NewCertPool()
	authority.AddCert(certs.Certificate())
	for name, listen := range listeners() {
		t.Run(name, func(t *testing.T) {
			cert := &tls.Config{Certificates: certs.TLS.Certificates}
			r := listen(t, cert)
			e := pass(t, r, exporttest.Minute(), func(c *Config) { c.TLS, c.Token = &tls.Config{RootCAs: authority}, "secret" })
			r.mu.Lock()
			defer r.mu.Unlock()
			if s := e.Status(); s.Sent != e.Rows(exporttest.Minute()) || r.token != "Bearer secret" {
				t.Errorf("got %+v, token %q", s, r.token)
			}
			e = pass(t, listen(t, cert), exporttest.Minute(), nil)
			if s := e.Status(); s.Sent != 0 || !strings.Contains(s.Fault, "certificate") {
				t.Errorf("of an unknown authority: got %+v", s)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	for _, endpoint := range []string{"ftp://here:1", "here", "http://%zz"} {
		if e, err := New(Config{Endpoint: endpoint}); err == nil {
			t.Errorf("%s: got no error", endpoint)
			e.Close()
		}
	}
}

// TestExponential makes a point of a native histogram: each value is in the bucket
// that OpenTelemetry's rule puts it in.
func TestExponential(t *testing.T) {
	const schema = 2 // four buckets for each doubling
	base := math.Pow(2, math.Pow(2, -schema))
	values := []float64{0.3, 1.1, 1.15, 5, 5, 60}
	index := func(v float64) int32 { return int32(math.Ceil(math.Log(v) / math.Log(base))) } // Prometheus: up to base^index
	h := &dto.Histogram{SampleCount: proto.Uint64(7), SampleSum: proto.Float64(9), Schema: proto.Int32(schema), ZeroCount: proto.Uint64(1), ZeroThreshold: proto.Float64(1e-9)}
	var last, before int64
	var at int32
	for i, v := range values {
		if i > 0 && index(v) == at {
			h.PositiveDelta[len(h.PositiveDelta)-1]++
			last++
			continue
		}
		offset := index(v) - at - 1
		if i == 0 {
			offset = index(v)
		}
		before, last = last, 1
		h.PositiveSpan = append(h.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(offset), Length: proto.Uint32(1)})
		h.PositiveDelta = append(h.PositiveDelta, last-before)
		at = index(v)
	}
	m := &dto.Metric{Histogram: h, Label: []*dto.LabelPair{{Name: proto.String("comm"), Value: proto.String("nginx")}, {Name: proto.String("role"), Value: proto.String("")}}}
	name := "netfate_requests_latency_seconds"
	all := points([]*dto.MetricFamily{{Name: &name, Metric: []*dto.Metric{m}}, {Name: proto.String("go_goroutines"), Metric: []*dto.Metric{m}}}, time.Unix(1, 0), time.Unix(2, 0))
	if len(all) != 1 || all[0].Name != "netfate.requests.latency" || all[0].Unit != "s" {
		t.Fatalf("got %v", all)
	}
	p := all[0].GetExponentialHistogram().DataPoints[0]
	var total uint64
	for i, n := range p.Positive.BucketCounts {
		low := math.Pow(base, float64(p.Positive.Offset)+float64(i))
		want := uint64(0)
		for _, v := range values {
			if v > low && v <= low*base {
				want++
			}
		}
		if n != want {
			t.Errorf("bucket above %v: got %d, want %d", low, n, want)
		}
		total += n
	}
	if total != 6 || p.Count != 7 || p.GetSum() != 9 || p.ZeroCount != 1 || p.Scale != schema || p.StartTimeUnixNano != 1e9 {
		t.Errorf("got %v", p)
	}
	checkAttributes(t, "point", p.Attributes, "process.executable.name=nginx netfate.role=")
}

// TestNames of metrics are those of OpenTelemetry.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"drops_packets_total": "drops.packets {packet}", "drops_bytes_total": "drops.size By", "connections_total": "connections 1",
		"queries_latency_seconds": "queries.latency s", "export_waiting_rows": "export.waiting.rows {row}", "build_info": "build.info 1",
	} {
		if rest, unit := unitOf(name); rest+" "+unit != want {
			t.Errorf("%s: got %s %s, want %s", name, rest, unit, want)
		}
	}
}

// TestManyRows are in messages that receivers take.
func TestManyRows(t *testing.T) {
	r := listenGRPC(t, nil)
	e := pass(t, r, exporttest.Storm(), nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := e.Status(); len(s.Lost) != 0 || r.calls < 6 || len(r.gotSpans) != exporttest.StormRows {
		t.Errorf("got %+v in %d calls", s, r.calls)
	}
	ids := map[string]bool{}
	for _, s := range r.gotSpans {
		ids[string(s.SpanId)] = true
	}
	if len(ids) != len(r.gotSpans) || r.gotSpans[0].Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("got %d identifiers of %d spans", len(ids), len(r.gotSpans))
	}
}
