package ledger

// belief is a line that no counter has: it is whatever closes a balance, within
// bounds that other numbers set. It is made of all intervals together, since what the
// sensors and the counters have of one interval is not quite the same: what closes
// the balance of one too many would be missing in the next.
type belief struct {
	missing, room int64 // what would close the balances so far, and the bound
	said          int64
}

// more returns what an interval's line says, which may be negative: what was
// believed too early is taken back.
func (m *belief) more(missing, room int64) int64 {
	m.missing += missing
	m.room += room
	n := min(max(m.missing, 0), max(m.room, 0)) - m.said
	m.said += n
	return n
}

// belief returns what is believed of a line of the namespace, by any name.
func (b *book) belief(name string) *belief {
	m := b.kept[name]
	if m == nil {
		m = &belief{}
		b.kept[name] = m
	}
	return m
}
