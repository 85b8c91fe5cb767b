package table

import "github.com/netfate/netfate/internal/decode"

// fact is what is remembered of a pair between intervals.
type fact struct {
	owner      decode.OwnerRef
	localBegan bool
	decided    bool
}

// memory keeps facts of up to limit pairs. It has two halves: what is used
// moves to the young one, and when that is full, or old enough, the old one is
// forgotten whole. It costs two lookups and no list, and a forgotten fact is
// only guessed again.
type memory struct {
	young, old map[Pair]fact
	limit      int
	age        int
}

// generations is how many intervals the young half is used before it is old.
const generations = 60

func newMemory(limit int) memory {
	return memory{young: map[Pair]fact{}, old: map[Pair]fact{}, limit: max(limit/2, 1)}
}

func (m *memory) get(p Pair) (fact, bool) {
	if f, ok := m.young[p]; ok {
		return f, true
	}
	f, ok := m.old[p]
	return f, ok
}

func (m *memory) put(p Pair, f fact) {
	if len(m.young) >= m.limit {
		m.turn()
	}
	m.young[p] = f
}

func (m *memory) tick() {
	if m.age++; m.age >= generations {
		m.turn()
	}
}

func (m *memory) turn() {
	m.old, m.young, m.age = m.young, map[Pair]fact{}, 0
}
