package diff

import (
	"cmp"
	"slices"
)

// tally is what a key adds up to.
type tally struct {
	packets, bytes uint64
	squares        float64 // of the packets of each interval
	now            uint64  // packets of the interval that is not over
}

func (t *tally) join(o *tally) {
	t.packets += o.packets
	t.bytes += o.bytes
	t.squares += o.squares
	t.now += o.now
}

// sums adds up packets and bytes by key, of at most limit keys. When there are
// more, the smallest quarter becomes the remainder.
type sums[K comparable] struct {
	limit    int
	rows     map[K]*tally
	rest     tally
	active   map[K]struct{} // counted in the interval that is not over
	folded   uint64
	bytewise bool // what is small is small in bytes
}

func newSums[K comparable](limit int, bytewise bool) *sums[K] {
	return &sums[K]{limit: limit, rows: map[K]*tally{}, active: map[K]struct{}{}, bytewise: bytewise}
}

func (s *sums[K]) add(key K, packets, bytes uint64) {
	row := s.rows[key]
	if row == nil {
		if len(s.rows) >= s.limit {
			s.fold()
		}
		row = &tally{}
		s.rows[key] = row
	}
	row.packets += packets
	row.bytes += bytes
	row.now += packets
	s.active[key] = struct{}{}
}

// roll ends an interval.
func (s *sums[K]) roll() {
	for key := range s.active {
		s.rows[key].roll()
	}
	clear(s.active)
	s.rest.roll()
}

func (t *tally) roll() {
	t.squares += float64(t.now) * float64(t.now)
	t.now = 0
}

// fold makes room.
func (s *sums[K]) fold() {
	sizes := make([]uint64, 0, len(s.rows))
	for _, row := range s.rows {
		sizes = append(sizes, s.size(row))
	}
	slices.SortFunc(sizes, cmp.Compare[uint64])
	most := max(len(sizes)/4, 1)
	limit := sizes[most-1]
	for key, row := range s.rows {
		if most > 0 && s.size(row) <= limit {
			most--
			s.rest.join(row)
			s.folded++
			delete(s.rows, key)
			delete(s.active, key)
		}
	}
}

func (s *sums[K]) size(row *tally) uint64 {
	if s.bytewise {
		return row.bytes
	}
	return row.packets
}
