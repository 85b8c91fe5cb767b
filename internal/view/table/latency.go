package table

import (
	"strconv"

	"github.com/DataDog/sketches-go/ddsketch"
)

// latencies sums durations up so that percentiles can be told to one percent,
// in at most some 4 KB however many there are: the shortest go together first.
// The zero value is empty.
type latencies struct{ sketch *ddsketch.DDSketch }

const (
	latencyError = 0.01
	latencyBins  = 512 // from 30 µs to 10 minutes at that error, and more
)

// add counts a duration in microseconds.
func (l *latencies) add(us uint64) {
	if l.sketch == nil {
		// Fails for an error outside of 0 to 1 only.
		l.sketch, _ = ddsketch.LogCollapsingLowestDenseDDSketch(latencyError, latencyBins)
	}
	_ = l.sketch.Add(float64(us)) // fails beyond 1e300 only
}

// at returns the duration in microseconds that a share q of all are not above;
// 0 if there is none.
func (l *latencies) at(q float64) uint64 {
	if l.sketch == nil {
		return 0
	}
	v, err := l.sketch.GetValueAtQuantile(q)
	if err != nil {
		return 0
	}
	return uint64(v + 0.5)
}

// merge adds what other has counted.
func (l *latencies) merge(other *latencies) {
	if other.sketch == nil {
		return
	}
	if l.sketch == nil {
		l.sketch = other.sketch.Copy()
		return
	}
	_ = l.sketch.MergeWith(other.sketch) // fails for another error only
}

// micros shows a duration: 85 µs, 1.2 ms, 340 ms, 2.5 s; "-" for none.
func micros(us uint64, g *signs) string {
	unit, x := "us", float64(us)
	if !g.ascii {
		unit = "µs"
	}
	switch {
	case us == 0:
		return "-"
	case us >= 120_000_000:
		return strconv.Itoa(int(us/60_000_000)) + " min"
	case us >= 999_500:
		unit, x = "s", x/1e6
	case us >= 1000:
		unit, x = "ms", x/1e3
	}
	digits, _ := scale(x)
	return digits + " " + unit
}
