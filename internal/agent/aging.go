package agent

import "time"

// maxAging bounds each of the two generations.
const maxAging = 1 << 16

// aging is a map that forgets what was not put for a while, between one and two
// times its patience. A generation that is full makes room as if its time were over.
type aging[K comparable, V any] struct {
	patience   time.Duration
	young, old map[K]V
	began      time.Time
}

func (a *aging[K, V]) get(k K) (V, bool) {
	if v, ok := a.young[k]; ok {
		return v, true
	}
	v, ok := a.old[k]
	return v, ok
}

func (a *aging[K, V]) put(k K, v V) {
	if len(a.young) >= maxAging {
		a.young, a.old = nil, a.young
	}
	if a.young == nil {
		a.young = map[K]V{}
	}
	a.young[k] = v
}

// turn lets time pass.
func (a *aging[K, V]) turn(now time.Time) {
	if now.Sub(a.began) < a.patience {
		return
	}
	a.young, a.old, a.began = nil, a.young, now
}
