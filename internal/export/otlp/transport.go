package otlp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/netfate/netfate/internal/outbox"
)

// The signals, each with its path over HTTP and its method of gRPC (OTLP 1.x).
type signal struct{ path, method string }

func signals() map[string]signal {
	method := func(name string) string {
		return "/opentelemetry.proto.collector." + name
	}
	return map[string]signal{
		Metrics: {"/v1/metrics", method("metrics.v1.MetricsService/Export")},
		Spans:   {"/v1/traces", method("trace.v1.TraceService/Export")},
		Logs:    {"/v1/logs", method("logs.v1.LogsService/Export")},
	}
}

const (
	// callTime is how long a receiver may take for a message.
	callTime = 10 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 10
)

// transport calls a receiver.
type transport struct {
	client *http.Client
	base   *url.URL // http or https
	grpc   bool
	token  string
	agent  string
}

// newTransport returns one for an endpoint: http, https, grpc (in the clear) or grpcs.
func newTransport(endpoint string, tlsConfig *tls.Config, token, agent string) (*transport, error) {
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	t := &transport{base: base, token: token, agent: agent}
	protocols := &http.Protocols{}
	switch base.Scheme {
	case "http":
		protocols.SetHTTP1(true)
	case "https":
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
	case "grpc":
		t.grpc, base.Scheme = true, "http"
		protocols.SetUnencryptedHTTP2(true)
	case "grpcs":
		t.grpc, base.Scheme = true, "https"
		protocols.SetHTTP2(true)
	default:
		return nil, fmt.Errorf("%q is neither http, https, grpc nor grpcs", base.Scheme)
	}
	t.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: tlsConfig, Protocols: protocols, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		// A message is for whom it was meant for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return t, nil
}

// send sends one message, compressed, of a signal.
func (t *transport) send(ctx context.Context, m *outbox.Message) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	s := signals()[m.Path]
	if t.grpc {
		return t.callGRPC(ctx, s.method, m.Body)
	}
	return t.post(ctx, s.path, m.Body)
}

func (t *transport) request(ctx context.Context, path string, body []byte, contentType string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", t.agent)
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	if t.grpc {
		r.Header.Set("Te", "trailers")
		r.Header.Set("Grpc-Encoding", "gzip")
	} else {
		r.Header.Set("Content-Encoding", "gzip")
	}
	return t.client.Do(r)
}

// post calls over HTTP (OTLP, section OTLP/HTTP).
func (t *transport) post(ctx context.Context, path string, body []byte) error {
	w, err := t.request(ctx, path, body, "application/x-protobuf")
	if err != nil {
		return err
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(w.Body, maxAnswer))
	switch {
	case w.StatusCode/100 == 2 && err != nil:
		return err
	case w.StatusCode/100 == 2:
		return partly(answer)
	case w.StatusCode == http.StatusTooManyRequests, w.StatusCode == http.StatusBadGateway, w.StatusCode == http.StatusServiceUnavailable,
		w.StatusCode == http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(w.Header.Get("Retry-After")) // or a date, which nobody sends
		return &outbox.Later{Err: fmt.Errorf("the receiver answers %s", w.Status), After: time.Duration(max(seconds, 0)) * time.Second}
	}
	return fmt.Errorf("the receiver answers %s: %w", w.Status, outbox.ErrRefused)
}

// Codes of gRPC after which a call may be made again (OTLP, section Failures). Of
// resourceExhausted that is so if the receiver says when; netfate asks again anyhow, later and later.
const (
	canceled          = 1
	deadlineExceeded  = 4
	resourceExhausted = 8
	aborted           = 10
	outOfRange        = 11
	unavailable       = 14
	dataLoss          = 15
)

// frame is what a message of gRPC begins with: whether it is compressed, its length.
const frame = 5

// callGRPC makes one unary call (gRPC over HTTP2, the protocol's own description).
func (t *transport) callGRPC(ctx context.Context, method string, body []byte) error {
	framed := append(make([]byte, 0, frame+len(body)), 1)
	framed = binary.BigEndian.AppendUint32(framed, uint32(len(body)))
	w, err := t.request(ctx, method, append(framed, body...), "application/grpc")
	if err != nil {
		return err
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(w.Body, maxAnswer))
	if err != nil {
		return err
	}
	// Trailers come after the body; of a call that failed at once, in the head.
	status, message := w.Trailer.Get("Grpc-Status"), w.Trailer.Get("Grpc-Message")
	if status == "" {
		status, message = w.Header.Get("Grpc-Status"), w.Header.Get("Grpc-Message")
	}
	code, err := strconv.Atoi(status)
	switch {
	case err != nil && w.StatusCode/100 == 5:
		return fmt.Errorf("the receiver answers %s", w.Status)
	case err != nil:
		return fmt.Errorf("the receiver answers %s, which is not gRPC: %w", w.Status, outbox.ErrRefused)
	case code == 0:
		return partly(unframed(answer))
	}
	err = fmt.Errorf("the receiver answers code %d of gRPC: %s", code, message)
	switch code {
	case canceled, deadlineExceeded, resourceExhausted, aborted, outOfRange, unavailable, dataLoss:
		return err
	}
	return errors.Join(err, outbox.ErrRefused)
}

// unframed returns the message of an answer, which servers compress as the call was;
// nothing if it cannot be read: that it arrived, the code says.
func unframed(answer []byte) []byte {
	if len(answer) < frame {
		return nil
	}
	message := answer[frame:]
	if answer[0] == 0 {
		return message
	}
	z, err := gzip.NewReader(bytes.NewReader(message))
	if err != nil {
		return nil
	}
	message, err = io.ReadAll(io.LimitReader(z, maxAnswer))
	if err != nil {
		return nil
	}
	return message
}

// partly reads an answer, of which the first field is what was rejected: how many, why.
// It is the same for all signals (opentelemetry-proto, Export…PartialSuccess).
func partly(answer []byte) error {
	success, ok := field(answer, 1)
	if !ok {
		return nil
	}
	number, kind, n := protowire.ConsumeTag(success)
	if n < 0 || number != 1 || kind != protowire.VarintType {
		return nil // only a warning
	}
	rejected, m := protowire.ConsumeVarint(success[n:])
	if m < 0 || rejected == 0 {
		return nil
	}
	why, _ := field(success[n+m:], 2)
	return &outbox.Partly{Rows: rejected, Why: string(why)}
}

// field returns the first field of a message if it has this number and is bytes.
func field(message []byte, want protowire.Number) (value []byte, ok bool) {
	number, kind, n := protowire.ConsumeTag(message)
	if n < 0 || number != want || kind != protowire.BytesType {
		return nil, false
	}
	value, m := protowire.ConsumeBytes(message[n:])
	return value, m >= 0
}
