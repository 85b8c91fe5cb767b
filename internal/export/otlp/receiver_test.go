package otlp

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	logsservice "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricsservice "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traceservice "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// receiver is one of OpenTelemetry, with gRPC's own server and opentelemetry-proto's services.
type receiver struct {
	url   string
	close func()

	mu         sync.Mutex
	refuses    error // what it answers, nil takes all
	token      string
	partial    int64 // spans that it says it rejects, of each message
	calls      int
	gotSpans   []*tracepb.Span
	gotLogs    []*logspb.LogRecord
	gotMetrics []*metricspb.Metric
}

// take notes a call, and returns what it is answered with.
func (r *receiver) take(token string, add func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.token = token
	if r.refuses == nil {
		add()
	}
	return r.refuses
}

func (r *receiver) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuses = err
}

func (r *receiver) addSpans(m *traceservice.ExportTraceServiceRequest) *traceservice.ExportTraceServiceResponse {
	for _, resource := range m.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			r.gotSpans = append(r.gotSpans, scope.Spans...)
		}
	}
	answer := &traceservice.ExportTraceServiceResponse{}
	if r.partial > 0 {
		answer.PartialSuccess = &traceservice.ExportTracePartialSuccess{RejectedSpans: r.partial, ErrorMessage: "too old"}
	}
	return answer
}

func (r *receiver) addLogs(m *logsservice.ExportLogsServiceRequest) *logsservice.ExportLogsServiceResponse {
	for _, resource := range m.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			r.gotLogs = append(r.gotLogs, scope.LogRecords...)
		}
	}
	return &logsservice.ExportLogsServiceResponse{PartialSuccess: &logsservice.ExportLogsPartialSuccess{ErrorMessage: "only a warning"}}
}

func (r *receiver) addMetrics(m *metricsservice.ExportMetricsServiceRequest) *metricsservice.ExportMetricsServiceResponse {
	for _, resource := range m.ResourceMetrics {
		for _, scope := range resource.ScopeMetrics {
			r.gotMetrics = append(r.gotMetrics, scope.Metrics...)
		}
	}
	return &metricsservice.ExportMetricsServiceResponse{}
}

// ServeHTTP is OTLP/HTTP.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body []byte
	z, err := gzip.NewReader(req.Body)
	if err == nil {
		body, err = io.ReadAll(z)
	}
	var answer proto.Message
	read := func(m proto.Message) {
		if err == nil {
			err = proto.Unmarshal(body, m)
		}
	}
	add := func() {}
	switch req.URL.Path {
	case "/v1/traces":
		m := &traceservice.ExportTraceServiceRequest{}
		read(m)
		add = func() { answer = r.addSpans(m) }
	case "/v1/logs":
		m := &logsservice.ExportLogsServiceRequest{}
		read(m)
		add = func() { answer = r.addLogs(m) }
	case "/v1/metrics":
		m := &metricsservice.ExportMetricsServiceRequest{}
		read(m)
		add = func() { answer = r.addMetrics(m) }
	default:
		err = errors.New("no such path")
	}
	if err != nil || req.Header.Get("Content-Type") != "application/x-protobuf" || req.Header.Get("Content-Encoding") != "gzip" {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	switch refusal := r.take(req.Header.Get("Authorization"), add); status.Code(refusal) {
	case codes.OK:
		text, _ := proto.Marshal(answer)
		_, _ = w.Write(text)
	case codes.Unavailable:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func listenHTTP(t *testing.T, cert *tls.Config) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewUnstartedServer(r)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if cert != nil {
		server.TLS = cert
		server.StartTLS()
	} else {
		server.Start()
	}
	r.url, r.close = server.URL, sync.OnceFunc(server.Close)
	t.Cleanup(r.close)
	return r
}

// The services of gRPC.
type (
	traces struct {
		traceservice.UnimplementedTraceServiceServer
		*receiver
	}
	logs struct {
		logsservice.UnimplementedLogsServiceServer
		*receiver
	}
	metrics struct {
		metricsservice.UnimplementedMetricsServiceServer
		*receiver
	}
)

func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get("authorization"), "")
}

// Export implements traceservice.TraceServiceServer.
func (s traces) Export(ctx context.Context, m *traceservice.ExportTraceServiceRequest) (answer *traceservice.ExportTraceServiceResponse, err error) {
	err = s.take(bearer(ctx), func() { answer = s.addSpans(m) })
	return answer, err
}

// Export implements logsservice.LogsServiceServer.
func (s logs) Export(ctx context.Context, m *logsservice.ExportLogsServiceRequest) (answer *logsservice.ExportLogsServiceResponse, err error) {
	err = s.take(bearer(ctx), func() { answer = s.addLogs(m) })
	return answer, err
}

// Export implements metricsservice.MetricsServiceServer.
func (s metrics) Export(ctx context.Context, m *metricsservice.ExportMetricsServiceRequest) (answer *metricsservice.ExportMetricsServiceResponse, err error) {
	err = s.take(bearer(ctx), func() { answer = s.addMetrics(m) })
	return answer, err
}

func listenGRPC(t *testing.T, cert *tls.Config) *receiver {
	t.Helper()
	r := &receiver{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	r.url = "grpc://" + l.Addr().String()
	if cert != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cert)))
		r.url = "grpcs://" + l.Addr().String()
	}
	server := grpc.NewServer(options...)
	traceservice.RegisterTraceServiceServer(server, traces{receiver: r})
	logsservice.RegisterLogsServiceServer(server, logs{receiver: r})
	metricsservice.RegisterMetricsServiceServer(server, metrics{receiver: r})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	r.close = sync.OnceFunc(func() { server.Stop(); <-done })
	t.Cleanup(r.close)
	return r
}
