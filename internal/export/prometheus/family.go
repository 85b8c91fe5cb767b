package prometheus

import (
	"net/netip"
	"time"
	"unicode/utf8"

	client "github.com/prometheus/client_golang/prometheus"
)

// maxLabels is how many labels a family may have.
const maxLabels = 9

// key is the values of a family's labels; those that it does not have are empty.
type key [maxLabels]string

// family is counters with the same labels, each with a bounded number of series. It
// is guarded by the exporter.
type family struct {
	declaration
	descs  []*client.Desc // one for each metric
	max    int
	series map[key]*series
	held   int // series that count towards max
}

// series is one set of labels' values and what was counted under it, by metric.
type series struct {
	values   []uint64
	owed     []uint64 // what the sum was corrected by, and the counter has not fallen by
	exemplar *exemplar
}

// exemplar is one row of those that a counter counts.
type exemplar struct {
	at       time.Time
	packets  uint64
	src, dst netip.Addr
	comm     string
}

func newFamily(d declaration, most int) *family {
	f := &family{declaration: d, max: most, series: map[key]*series{}}
	for _, m := range d.metrics {
		f.descs = append(f.descs, client.NewDesc(m.Name, m.Help, names(d.labels), nil))
	}
	return f
}

// of returns the series of some values, and whether it is theirs: there may be no
// room for it, and then it is that of the others.
func (f *family) of(k key) (s *series, whole bool) {
	for i := range f.labels {
		k[i] = clean(k[i])
	}
	if s = f.series[k]; s != nil {
		return s, true
	}
	if f.held < f.max {
		f.held++
		return f.make(k), true
	}
	for i, l := range f.labels {
		if !l.few {
			k[i] = Other
		}
	}
	if s = f.series[k]; s == nil {
		s = f.make(k)
	}
	return s, false
}

func (f *family) make(k key) *series {
	s := &series{values: make([]uint64, len(f.metrics)), owed: make([]uint64, len(f.metrics))}
	f.series[k] = s
	return s
}

// add counts n of the metric at i.
func (s *series) add(i int, n uint64) {
	paid := min(n, s.owed[i])
	s.owed[i] -= paid
	s.values[i] += n - paid
}

// correct adds n, which may be less than nothing: the counter does not fall then, but
// waits until as much was added.
func (s *series) correct(i int, n int64) {
	if n < 0 {
		s.owed[i] += uint64(-n)
		return
	}
	s.add(i, uint64(n))
}

// collect sends all series of the family.
func (f *family) collect(out chan<- client.Metric) {
	for k, s := range f.series {
		for i, d := range f.descs {
			m := client.MustNewConstMetric(d, client.CounterValue, float64(s.values[i]), k[:len(f.labels)]...)
			if e := s.exemplar; e != nil && i == 0 {
				m = client.MustNewMetricWithExemplars(m, client.Exemplar{Value: float64(e.packets), Timestamp: e.at, Labels: e.labels()})
			}
			out <- m
		}
	}
}

// An exemplar's labels, names and values, have at most 128 characters (OpenMetrics 1.0,
// section Exemplars); addresses of IPv6 have 39.
const maxComm = 16

func (e *exemplar) labels() client.Labels {
	l := client.Labels{"src_addr": e.src.WithZone("").String(), "dst_addr": e.dst.WithZone("").String()}
	if e.comm != "" {
		l["comm"] = cut(e.comm, maxComm)
	}
	return l
}

// cut returns at most so many characters of text, all of them valid.
func cut(text string, most int) string {
	text = clean(text)
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most])
}

// times is one histogram with a bounded number of series. The library guards it.
type times struct {
	declaration
	vec  *client.HistogramVec
	max  int
	keys map[key]struct{}
}

const (
	// growth is how much wider each bucket of a native histogram is than the one before.
	growth = 1.1
	// maxBuckets bounds the buckets of a native histogram: with more its resolution is
	// halved; it never begins anew.
	maxBuckets = 160
)

// bounds are the buckets of those who do not read native histograms, in seconds.
func bounds() []float64 {
	return []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

func newTimes(d declaration, most int) *times {
	return &times{declaration: d, max: most, keys: map[key]struct{}{}, vec: client.NewHistogramVec(client.HistogramOpts{
		Name: d.metrics[0].Name, Help: d.metrics[0].Help, Buckets: bounds(),
		NativeHistogramBucketFactor: growth, NativeHistogramMaxBucketNumber: maxBuckets,
	}, names(d.labels))}
}

// observe adds n times so many microseconds, and reports whether they have their own
// series.
func (t *times) observe(k key, micros, n uint64, e client.Labels) bool {
	whole := true
	for i := range t.labels {
		k[i] = clean(k[i])
	}
	if _, ok := t.keys[k]; !ok {
		if whole = len(t.keys) < t.max; whole {
			t.keys[k] = struct{}{}
		} else {
			for i, l := range t.labels {
				if !l.few {
					k[i] = Other
				}
			}
		}
	}
	one := t.vec.WithLabelValues(k[:len(t.labels)]...)
	seconds := float64(micros) / 1e6
	one.(client.ExemplarObserver).ObserveWithExemplar(seconds, e)
	for range n - 1 {
		one.Observe(seconds)
	}
	return whole
}
