package table

import (
	"math"
	"strconv"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// latencyError is how far a percentile may be from the truth, as a share of it.
const latencyError = 0.01

// latencies is the distribution of latencies, in microseconds. The zero value has
// none and takes no memory.
type latencies struct{ sketch *ddsketch.DDSketch }

// add counts one latency; 0 is none.
func (l *latencies) add(micros uint64) {
	if micros == 0 {
		return
	}
	l.make()
	// It refuses what is beyond a float's range only.
	_ = l.sketch.Add(float64(micros))
}

func (l *latencies) make() {
	if l.sketch != nil {
		return
	}
	m, err := mapping.NewLogarithmicMapping(latencyError)
	if err != nil {
		panic(err) // the accuracy is a constant
	}
	l.sketch = ddsketch.NewDDSketchFromStoreProvider(m, store.BufferedPaginatedStoreConstructor)
}

// merge adds those of o.
func (l *latencies) merge(o *latencies) {
	if o.sketch == nil {
		return
	}
	l.make()
	// It refuses another accuracy only.
	_ = l.sketch.MergeWith(o.sketch)
}

// at returns the smallest latency that at least the share q of all do not exceed
// (the nearest rank, so that the slower of two is the 95th percentile), in
// microseconds; 0 without any.
func (l *latencies) at(q float64) uint64 {
	if l.sketch == nil {
		return 0
	}
	// The sketch takes the value at q of the way from the first to the last; half
	// a place more keeps rounding from the one before.
	n := l.sketch.GetCount()
	v, err := l.sketch.GetValueAtQuantile(min((math.Ceil(q*n)-0.5)/max(n-1, 1), 1))
	if err != nil {
		return 0 // it is empty
	}
	return uint64(math.Round(v))
}

// took shows a latency: 85 us, 1.2 ms, 340 ms, 2.5 s. 0 is not known.
func took(micros uint64) string {
	x, unit := float64(micros), " us"
	switch {
	case micros == 0:
		return "-"
	case micros >= 999_500:
		x, unit = x/1e6, " s"
	case micros >= 1000:
		x, unit = x/1000, " ms"
	}
	decimals := 0
	if unit != " us" && x < 99.95 {
		decimals = 1
	}
	return strconv.FormatFloat(x, 'f', decimals, 64) + unit
}
