package otlp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/outbox"
	"github.com/netfate/netfate/internal/record"
)

// The signals.
const (
	Metrics = "metrics"
	Spans   = "spans"
	Logs    = "logs"
)

// Config says who is told what.
type Config struct {
	Endpoint string      // http://, https://, grpc:// or grpcs://, HOST:PORT
	TLS      *tls.Config // nil is for the usual authorities
	Token    string      // sent as Bearer; empty for none
	Signals  []string    // of those above
	// Every is the time between two messages of metrics, 0 for each batch.
	Every time.Duration
	// Queue is how many bytes of messages may wait.
	Queue int
	// Flush is how long Close may take, 0 for the usual time.
	Flush   time.Duration
	Host    string
	Version string
	// Gather returns the sums since the start as Prometheus has them; nil if there are
	// none.
	Gather func() ([]*dto.MetricFamily, error)
}

// A message has so many spans, logs or points at the most: receivers of gRPC take 4 MB
// by default.
const maxItems = 1000

// Exporter sends. It implements export.Exporter.
type Exporter struct {
	cfg       Config
	resource  *resourcepb.Resource
	scope     *commonpb.InstrumentationScope
	transport *transport
	box       *outbox.Box
	began     time.Time
	last      time.Time // when metrics were made
	fields    fields
}

// New returns an exporter that connects when there is something to send. It has to be
// closed.
func New(cfg Config) (*Exporter, error) {
	t, err := newTransport(cfg.Endpoint, cfg.TLS, cfg.Token, "netfate/"+cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("export.otlp.endpoint: %w", err)
	}
	e := &Exporter{cfg: cfg, transport: t, began: time.Now(), fields: newFields()}
	e.resource = &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
		text("service.name", "netfate"), text("service.version", cfg.Version), text("host.name", cfg.Host), text("os.type", "linux"),
	}}
	e.scope = &commonpb.InstrumentationScope{Name: "github.com/netfate/netfate", Version: cfg.Version}
	e.box = outbox.New(outbox.Config{Name: "otlp", Target: cfg.Endpoint, Bytes: cfg.Queue, Flush: cfg.Flush, Send: t.send})
	return e, nil
}

// Rows returns how many rows of a batch become spans or logs. Metrics have no rows: each
// message has all that the one before had.
func (e *Exporter) Rows(b *record.Batch) (n uint64) {
	if e.sends(Spans) {
		n += uint64(len(b.Requests))
	}
	if e.sends(Logs) {
		for i := range b.Drops {
			if tells(&b.Drops[i]) {
				n++
			}
		}
		for i := range b.Conns {
			if b.Conns[i].Event == record.ConnFailed {
				n++
			}
		}
	}
	return n
}

func (e *Exporter) sends(signal string) bool { return slices.Contains(e.cfg.Signals, signal) }

// Batch implements export.Exporter.
func (e *Exporter) Batch(b *record.Batch) error {
	if e.sends(Spans) {
		if err := e.spans(b); err != nil {
			return err
		}
	}
	if e.sends(Logs) {
		if err := e.logs(b); err != nil {
			return err
		}
	}
	if now := time.Now(); now.Sub(e.last) >= e.cfg.Every {
		e.last = now
		return e.metrics(now)
	}
	return nil
}

// Close implements export.Exporter. The last metrics have the last batch.
func (e *Exporter) Close() error {
	err := errors.Join(e.metrics(time.Now()), e.box.Close())
	e.transport.client.CloseIdleConnections()
	return err
}

// Status implements export.Exporter.
func (e *Exporter) Status() export.Status { return e.box.Status() }

// put queues a message of a signal. Those of export requests have the fields of
// TracesData, MetricsData and LogsData (opentelemetry-proto says so).
func (e *Exporter) put(signal string, m proto.Message, rows int) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s: %w", signal, err)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(body); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	e.box.Put(outbox.Message{Path: signal, Body: out.Bytes(), Rows: uint64(rows)})
	return nil
}

func (e *Exporter) spans(b *record.Batch) error {
	for rows := range slices.Chunk(b.Requests, maxItems) {
		var all []*tracepb.Span
		for i := range rows {
			all = append(all, e.fields.span(&rows[i]))
		}
		err := e.put(Spans, &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{
			Resource: e.resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: e.scope, Spans: all}},
		}}}, len(all))
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Exporter) logs(b *record.Batch) error {
	var all []*logspb.LogRecord
	for i := range b.Drops {
		if d := &b.Drops[i]; tells(d) {
			all = append(all, e.fields.drop(d))
		}
	}
	for i := range b.Conns {
		if c := &b.Conns[i]; c.Event == record.ConnFailed {
			all = append(all, e.fields.failure(c))
		}
	}
	for some := range slices.Chunk(all, maxItems) {
		err := e.put(Logs, &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{
			Resource: e.resource, ScopeLogs: []*logspb.ScopeLogs{{Scope: e.scope, LogRecords: some}},
		}}}, len(some))
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Exporter) metrics(now time.Time) error {
	if !e.sends(Metrics) || e.cfg.Gather == nil {
		return nil
	}
	families, err := e.cfg.Gather()
	if err != nil {
		return fmt.Errorf("gather the metrics: %w", err)
	}
	for some := range slices.Chunk(points(families, e.began, now), maxItems) {
		err := e.put(Metrics, &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
			Resource: e.resource, ScopeMetrics: []*metricspb.ScopeMetrics{{Scope: e.scope, Metrics: some}},
		}}}, 0)
		if err != nil {
			return err
		}
	}
	return nil
}
