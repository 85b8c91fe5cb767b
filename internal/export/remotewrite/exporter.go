package remotewrite

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
	dto "github.com/prometheus/client_model/go"

	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/outbox"
	"github.com/netfate/netfate/internal/record"
)

// Config says where metrics go.
type Config struct {
	URL   string
	TLS   *tls.Config // nil is for the usual authorities
	Token string      // sent as Bearer; empty for none
	// Instance and Job are labels of each series, as a scrape would add them.
	Instance, Job string
	// Every is the time between two samples of each series, 0 for each batch.
	Every time.Duration
	// Queue is how many bytes of messages may wait.
	Queue int
	// Flush is how long Close may take, 0 for the usual time.
	Flush   time.Duration
	Version string
	// Gather returns the sums.
	Gather func() ([]*dto.MetricFamily, error)
}

// maxSeries is how many series a message has at the most, as Prometheus's own sender.
const maxSeries = 2000

// callTime is how long a server may take for a message.
const callTime = 10 * time.Second

// Exporter sends. It implements export.Exporter; its rows are samples, and the batches
// only tell it the time.
type Exporter struct {
	cfg    Config
	client *http.Client
	box    *outbox.Box
	last   time.Time
}

// New returns an exporter that connects when there is something to send. It has to be
// closed.
func New(cfg Config) (*Exporter, error) {
	to, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("export.remote_write.url: %w", err)
	}
	e := &Exporter{cfg: cfg, client: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: cfg.TLS, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	e.box = outbox.New(outbox.Config{Name: "remote_write", Target: to.Redacted(), Bytes: cfg.Queue, Flush: cfg.Flush, Send: e.send})
	return e, nil
}

// Batch implements export.Exporter.
func (e *Exporter) Batch(*record.Batch) error {
	now := time.Now()
	if now.Sub(e.last) < e.cfg.Every {
		return nil
	}
	return e.sample(now)
}

// sample queues one sample of each series.
func (e *Exporter) sample(now time.Time) error {
	e.last = now
	families, err := e.cfg.Gather()
	if err != nil {
		return fmt.Errorf("gather the metrics: %w", err)
	}
	all := series(families, e.cfg.Instance, e.cfg.Job, now.UnixMilli())
	for some := range slices.Chunk(all, maxSeries) {
		e.box.Put(outbox.Message{Body: s2.EncodeSnappy(nil, bytes.Join(some, nil)), Rows: uint64(len(some))})
	}
	return nil
}

// Close implements export.Exporter. The last samples have the last batch.
func (e *Exporter) Close() error {
	err := e.sample(time.Now())
	_ = e.box.Close()
	e.client.CloseIdleConnections()
	return err
}

// Status implements export.Exporter.
func (e *Exporter) Status() export.Status { return e.box.Status() }

// send makes one call (Prometheus Remote-Write 1.0, section Protocol).
func (e *Exporter) send(ctx context.Context, m *outbox.Message) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.URL, bytes.NewReader(m.Body))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0", "User-Agent": "netfate/" + e.cfg.Version,
	} {
		r.Header.Set(name, value)
	}
	if e.cfg.Token != "" {
		r.Header.Set("Authorization", "Bearer "+e.cfg.Token)
	}
	w, err := e.client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(w.Body, maxSaid))
	err = fmt.Errorf("the server answers %s: %s", w.Status, bytes.TrimSpace(said))
	switch {
	case w.StatusCode/100 == 2:
		return nil
	case w.StatusCode/100 == 5, w.StatusCode == http.StatusTooManyRequests:
		seconds, _ := strconv.Atoi(w.Header.Get("Retry-After")) // or a date, which nobody sends
		return &outbox.Later{Err: err, After: time.Duration(max(seconds, 0)) * time.Second}
	}
	return fmt.Errorf("%w: %w", outbox.ErrRefused, err)
}

// maxSaid bounds what is read of an answer.
const maxSaid = 512
