package api

import (
	"cmp"
	"slices"
	"sync"
)

// maxPlaces bounds the sums of what was lost.
const maxPlaces = 256

// losses adds up what was lost since the start, by place and reason.
type losses struct {
	mu   sync.Mutex
	sums map[[2]string]*Loss
}

func newLosses() *losses { return &losses{sums: map[[2]string]*Loss{}} }

func (l *losses) add(place, reason string, n uint64, effect string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{place, reason}
	sum := l.sums[key]
	if sum == nil {
		if len(l.sums) >= maxPlaces {
			key, place, reason, effect = [2]string{}, "other", "more places than are told", ""
			sum = l.sums[key]
		}
		if sum == nil {
			sum = &Loss{Place: place, Reason: reason, Effect: effect}
			l.sums[key] = sum
		}
	}
	sum.Count += n
}

// list returns the sums, the largest first.
func (l *losses) list() []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []Loss{}
	for _, sum := range l.sums {
		list = append(list, *sum)
	}
	slices.SortFunc(list, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}
