// Package alert finds what changes among losses: a place that had none, a rate
// far from what is usual there, and the end of either.
//
// [Detector] knows series of counts and nothing of what they count, so that
// whatever can be counted by interval can be watched; [Losses] makes series of
// the drops in batches, and of the ledger's remainders that grow, and alerts of what the detector finds. Time is that of the
// intervals: there is no clock. docs/watch.md explains the mathematics. Views and
// commands import it.
package alert

import (
	"slices"
	"time"
)

const (
	// enough is the evidence for an alert, ln 10⁸: by chance alone a series has it
	// once in 10⁸ intervals at the most (Lorden 1971).
	enough = 18.42
	// enoughCalm is the evidence for an end, ln 10⁴.
	enoughCalm = 9.21
	// hold is how long, in seconds, a series is quiet before what it had is over.
	// Each time that it comes back within calm, it takes twice as long.
	hold       = 30.0
	maxDouble  = 7
	calm       = 60 * 60.0
	minBetween = 5 * 60.0 // alerts of one series
	// settle is how long, in seconds, a rate has been high before a further rise
	// is looked for.
	settle = 60.0
	// forget is the time, in seconds, after which a quiet series is new again.
	forget = 24 * 60 * 60.0
)

// DefaultMaxSeries is how many series are told apart unless told otherwise.
const DefaultMaxSeries = 4096

// Kind says what an event tells.
type Kind int

// The kinds.
const (
	New  Kind = iota // the series was not there before
	High             // its rate is far above what is usual
	Over             // what was told is over
)

// Event is something that somebody should know of a series.
type Event[K comparable, V any] struct {
	Key   K
	About V // what came with the series last
	Kind  Kind
	// Start is when it began, and Count what was counted in Span, the time that
	// was watched since.
	Start time.Time
	Count uint64
	Span  time.Duration
	// Usual counts in UsualSpan were usual until then.
	Usual     float64
	UsualSpan time.Duration
	// Held is how many events of the series were held back since its last one.
	Held uint64
}

// Detector watches series of counts. It is for one goroutine; see NewDetector.
type Detector[K comparable, V any] struct {
	learn  float64 // seconds
	limit  int
	rest   K // the series of all that has no room
	series map[K]*series[K, V]
	order  []*series[K, V] // oldest first, so that events have an order

	watched  float64  // seconds
	silence  baseline // of a series that never counted
	excluded uint64
	held     uint64
}

// NewDetector returns a detector that learns for so long before it alerts, of at
// most limit series, 0 for DefaultMaxSeries. What has no room is counted in a
// series rest.
func NewDetector[K comparable, V any](learn time.Duration, limit int, rest K) *Detector[K, V] {
	if limit <= 0 {
		limit = DefaultMaxSeries
	}
	return &Detector[K, V]{learn: learn.Seconds(), limit: limit, rest: rest, series: map[K]*series[K, V]{}}
}

// Add counts in the interval that is not over yet. about comes back with events,
// that of the largest count of the last interval that had one.
func (d *Detector[K, V]) Add(key K, count uint64, about V) {
	if count == 0 {
		return
	}
	s := d.series[key]
	if s == nil && key != d.rest && len(d.series) >= d.limit {
		d.excluded += count
		key = d.rest
		s = d.series[key]
	}
	if s == nil {
		s = &series[K, V]{key: key, usual: d.silence, fresh: true}
		d.series[key] = s
		d.order = append(d.order, s)
	}
	if count > s.largest {
		s.about, s.largest = about, count
	}
	s.count += count
}

// Roll ends the interval and returns what it showed. An interval that has no
// length ends with the next one.
func (d *Detector[K, V]) Roll(start, end time.Time) []Event[K, V] {
	dt := end.Sub(start).Seconds()
	if dt <= 0 {
		return nil
	}
	now := interval{start: start, dt: dt, at: d.watched + dt, learning: d.watched < d.learn}
	var events []Event[K, V]
	quiet := 0
	for _, s := range d.order {
		e, ok := s.roll(&now, &d.held)
		if ok {
			events = append(events, e)
		}
		if s.quiet(now.at) {
			quiet++
			delete(d.series, s.key)
		}
	}
	if quiet > 0 {
		d.order = slices.DeleteFunc(d.order, func(s *series[K, V]) bool { return s.quiet(now.at) })
	}
	d.silence.learn(0, dt, false)
	d.watched = now.at
	return events
}

// Learning reports whether it has not watched for long enough to alert.
func (d *Detector[K, V]) Learning() bool { return d.watched < d.learn }

// Excluded returns what was counted of series that had no room.
func (d *Detector[K, V]) Excluded() uint64 { return d.excluded }

// Held returns how many beginnings and rises were held back and not told later
// either.
func (d *Detector[K, V]) Held() uint64 { return d.held }

// Len returns the number of series, at most one more than the limit.
func (d *Detector[K, V]) Len() int { return len(d.series) }

// interval is one that is over.
type interval struct {
	start    time.Time
	dt       float64 // seconds
	at       float64 // its end, in seconds that were watched
	learning bool
}
