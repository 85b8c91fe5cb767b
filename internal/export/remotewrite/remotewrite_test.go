package remotewrite

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/netfate/netfate/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server takes what is written.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	token  string
	series []string // as text
}

func listen(t *testing.T) *server {
	t.Helper()
	s := &server{status: http.StatusNoContent}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err == nil {
			body, err = s2.Decode(nil, body)
		}
		if err != nil || r.Header.Get("Content-Encoding") != "snappy" || r.Header.Get("X-Prometheus-Remote-Write-Version") != "0.1.0" {
			w.WriteHeader(http.StatusUnsupportedMediaType)
			return
		}
		s.token = r.Header.Get("Authorization")
		if s.status == http.StatusNoContent {
			for _, one := range read(body)[requestSeries] {
				s.series = append(s.series, describe(one))
			}
		}
		w.WriteHeader(s.status)
	}))
	t.Cleanup(s.Close)
	return s
}

// read returns the fields of a message that are bytes or fixed, by their numbers.
func read(m []byte) map[protowire.Number][][]byte {
	fields := map[protowire.Number][][]byte{}
	for len(m) > 0 {
		number, kind, n := protowire.ConsumeTag(m)
		m = m[n:]
		value, n := m, protowire.ConsumeFieldValue(number, kind, m)
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(m)
		}
		fields[number] = append(fields[number], value)
		m = m[n:]
	}
	return fields
}

func describe(series []byte) string {
	s := read(series)
	var labels []string
	for _, l := range s[seriesLabels] {
		f := read(l)
		labels = append(labels, fmt.Sprintf("%s=%s", f[labelName][0], f[labelValue][0]))
	}
	sample := read(s[seriesSamples][0])
	bits, _ := protowire.ConsumeFixed64(sample[sampleValue][0])
	ms, _ := protowire.ConsumeVarint(sample[sampleTime][0])
	return fmt.Sprintf("%s %v %v", strings.Join(labels, ","), math.Float64frombits(bits), time.Since(time.UnixMilli(int64(ms))) < time.Hour)
}

// metrics are one of each type.
func metrics() ([]*dto.MetricFamily, error) {
	comm := []*dto.LabelPair{{Name: proto.String("comm"), Value: proto.String("nginx")}, {Name: proto.String("pod"), Value: proto.String("")}}
	return []*dto.MetricFamily{
		{Name: proto.String("a_total"), Metric: []*dto.Metric{{Label: comm, Counter: &dto.Counter{Value: proto.Float64(7)}}}},
		{Name: proto.String("b"), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: proto.Float64(-1.5)}}}},
		{Name: proto.String("c"), Metric: []*dto.Metric{{Label: comm, Histogram: &dto.Histogram{
			SampleCount: proto.Uint64(3), SampleSum: proto.Float64(9), Bucket: []*dto.Bucket{{CumulativeCount: proto.Uint64(2), UpperBound: proto.Float64(0.5)}},
		}}}},
	}, nil
}

func TestSamples(t *testing.T) {
	s := listen(t)
	e, err := New(Config{URL: s.URL, Token: "secret", Instance: "web1", Job: "netfate", Every: time.Hour, Queue: 1e6, Gather: metrics})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // of which the first is due
		if err := e.Batch(&record.Batch{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := e.Status(); st.Sent != 12 || st.Waiting != 0 || len(st.Lost) != 0 || s.token != "Bearer secret" {
		t.Errorf("got %+v, token %q", st, s.token)
	}
	want := []string{
		"__name__=a_total,comm=nginx,instance=web1,job=netfate 7 true",
		"__name__=b,instance=web1,job=netfate -1.5 true",
		"__name__=c_bucket,comm=nginx,instance=web1,job=netfate,le=0.5 2 true",
		"__name__=c_bucket,comm=nginx,instance=web1,job=netfate,le=+Inf 3 true",
		"__name__=c_sum,comm=nginx,instance=web1,job=netfate 9 true",
		"__name__=c_count,comm=nginx,instance=web1,job=netfate 3 true",
	}
	if got := strings.Join(s.series, "\n"); got != strings.Join(append(want, want...), "\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestAway has a server that is busy, and comes back; one that refuses; and none.
func TestAway(t *testing.T) {
	s := listen(t)
	open := func() *Exporter {
		e, err := New(Config{URL: s.URL, Queue: 1e6, Flush: time.Second, Gather: metrics})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Batch(&record.Batch{}); err != nil {
			t.Fatal(err)
		}
		return e
	}
	answer := func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.status = status
	}
	until := func(e *Exporter, what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not %s: %+v", what, e.Status())
			}
		}
	}
	answer(http.StatusServiceUnavailable)
	e := open()
	until(e, "told that it is busy", func() bool { return strings.Contains(e.Status().Fault, "503") })
	answer(http.StatusNoContent)
	until(e, "sent", func() bool { return e.Status().Sent == 6 })
	answer(http.StatusBadRequest)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if st := e.Status(); st.Sent != 6 || len(st.Lost) != 1 || st.Lost[0].Count != 6 || st.Lost[0].Reason != "refused" {
		t.Errorf("refused: got %+v", st)
	}
	s.Close()
	e = open()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if st := e.Status(); st.Sent != 0 || st.Waiting != 0 || len(st.Lost) != 1 || st.Lost[0].Count != 12 {
		t.Errorf("nobody there: got %+v", st)
	}
}
