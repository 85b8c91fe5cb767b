package otlp

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/netfate/netfate/internal/record"
)

// fields are those of each kind that become attributes.
type fields struct{ requests, drops, conns []record.Field }

// newFields leaves out what a message says elsewhere.
func newFields() fields {
	without := func(rec any, names ...string) (all []record.Field) {
		for _, f := range record.Fields(rec) {
			if f.Hidden || f.Role == record.TimeRole || f.Type == "time" || strings.Contains(" host "+strings.Join(names, " ")+" ", " "+f.Name+" ") {
				continue
			}
			all = append(all, f)
		}
		return all
	}
	return fields{
		requests: without(record.Request{}, "protocol", "role", "method", "latency_us", "error", "trace_id", "parent_id"),
		drops:    without(record.Drop{}, "sample", "stack", "length"),
		conns:    without(record.Conn{}, "event", "state"),
	}
}

// attributes are the fields of a record that are known, as the semantic conventions
// call them, or netfate. and our own name.
func attributes(fields []record.Field, rec any) (all []*commonpb.KeyValue) {
	for i := range fields {
		f := &fields[i]
		name := f.OTel
		if name == "" {
			name = "netfate." + f.Name
		}
		switch v := f.Get(rec).(type) {
		case string:
			all = append(all, text(name, v))
		case bool:
			if v {
				all = append(all, attribute(name, &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}))
			}
		case uint64:
			if v > 0 || f.Role != record.Measure {
				all = append(all, number(name, v))
			}
		case netip.Addr:
			all = append(all, text(name, v.String()))
		case []string:
			list := &commonpb.ArrayValue{}
			for _, s := range v {
				list.Values = append(list.Values, textValue(s))
			}
			all = append(all, attribute(name, &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}))
		}
	}
	return all
}

func attribute(name string, v *commonpb.AnyValue) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: v}
}

// maxText is how long text may be in an attribute, in bytes.
const maxText = 1024

func textValue(value string) *commonpb.AnyValue {
	if len(value) > maxText {
		value = value[:maxText]
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: strings.ToValidUTF8(value, "�")}}
}

func text(name, value string) *commonpb.KeyValue { return attribute(name, textValue(value)) }

func number(name string, value uint64) *commonpb.KeyValue {
	return attribute(name, &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(value)}})
}

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixNano(), 0))
}

// span makes a span of a request (semantic conventions, HTTP spans): in the trace that
// the request says it is of, below the span that made it, or else in one of its own.
func (f *fields) span(r *record.Request) *tracepb.Span {
	start := r.Start
	if start.IsZero() {
		start = r.Time
	}
	s := &tracepb.Span{
		TraceId: random(16), SpanId: random(8), StartTimeUnixNano: nanos(start),
		Attributes: attributes(f.requests, r), Status: &tracepb.Status{},
	}
	if id, err := hex.DecodeString(r.TraceID); err == nil && len(id) == len(s.TraceId) {
		s.TraceId = id
		s.ParentSpanId, _ = hex.DecodeString(r.ParentID) // of the same field: read with it
	}
	s.EndTimeUnixNano = s.StartTimeUnixNano + r.LatencyMicros*1000
	switch r.Side {
	case record.Client:
		s.Kind = tracepb.Span_SPAN_KIND_CLIENT
	case record.Server:
		s.Kind = tracepb.Span_SPAN_KIND_SERVER
	default:
		s.Kind = tracepb.Span_SPAN_KIND_INTERNAL
	}
	s.Name = method(r, s)
	if name, version, ok := strings.Cut(r.Protocol, "/"); ok {
		s.Attributes = append(s.Attributes, text("network.protocol.name", name), text("network.protocol.version", version))
	} else if r.Protocol == "h2" {
		s.Attributes = append(s.Attributes, text("network.protocol.name", "http"), text("network.protocol.version", "2"))
	} else if r.Protocol != "" {
		s.Attributes = append(s.Attributes, text("network.protocol.name", r.Protocol))
	}
	// Of 4xx the client is at fault: it is no error of the server's span.
	failed := r.Error
	if failed == "" && (r.Status >= 500 || r.Status >= 400 && r.Side == record.Client) {
		failed = strconv.Itoa(int(r.Status))
	}
	if failed != "" {
		s.Status.Code = tracepb.Status_STATUS_CODE_ERROR
		s.Attributes = append(s.Attributes, text("error.type", failed))
	}
	return s
}

// method adds the attributes of a method that is one, and returns the span's name.
func method(r *record.Request, s *tracepb.Span) string {
	switch r.Method {
	case "":
		return strings.ToUpper(strings.ToValidUTF8(r.Protocol, "�"))
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		s.Attributes = append(s.Attributes, text("http.request.method", r.Method))
		return r.Method
	}
	s.Attributes = append(s.Attributes, text("http.request.method", "_OTHER"), text("http.request.method_original", r.Method))
	return "HTTP"
}

// random returns an identifier. It is no secret, and never zero, which means none.
func random(n int) []byte {
	id := make([]byte, n)
	for i := range id {
		id[i] = byte(rand.IntN(255) + 1)
	}
	return id
}

// tells reports whether a drop becomes a log: one that cost somebody something.
func tells(d *record.Drop) bool { return d.Verdict != record.Benign }

func (f *fields) drop(d *record.Drop) *logspb.LogRecord {
	l := &logspb.LogRecord{
		TimeUnixNano: nanos(d.Time), ObservedTimeUnixNano: nanos(d.Time), EventName: "netfate.drop",
		Attributes: attributes(f.drops, d), SeverityNumber: logspb.SeverityNumber_SEVERITY_NUMBER_INFO, SeverityText: "INFO",
	}
	if d.Verdict == record.Loss || d.Verdict == record.Resource {
		l.SeverityNumber, l.SeverityText = logspb.SeverityNumber_SEVERITY_NUMBER_WARN, "WARN"
	}
	l.Body = textValue(fmt.Sprintf("%d packets dropped: %s (%s) at %s", d.Packets, d.Reason, d.Verdict, d.Location))
	return l
}

func (f *fields) failure(c *record.Conn) *logspb.LogRecord {
	to := ""
	if c.DstAddr.IsValid() {
		to = " to " + netip.AddrPortFrom(c.DstAddr, c.DstPort).String()
	}
	return &logspb.LogRecord{
		TimeUnixNano: nanos(c.Time), ObservedTimeUnixNano: nanos(c.Time), EventName: "netfate.connection.failed",
		Attributes: attributes(f.conns, c), SeverityNumber: logspb.SeverityNumber_SEVERITY_NUMBER_WARN, SeverityText: "WARN",
		Body: textValue(fmt.Sprintf("connection%s failed: %s", to, c.Error)),
	}
}
