//go:build cgo && (amd64 || arm64)

package duckdb

// piece is a stretch of time, in seconds, and the resolution to read it at.
type piece struct {
	at           int
	since, until int64
}

// pieces are where to read [since, until): the coarsest resolution that steps of so many
// seconds are made of, and finer ones at the ends. So sums are those of
// the finest rows there are, and few rows are read.
func (m *marks) pieces(since, until, step int64) (all []piece) {
	for i := Resolutions - 1; i >= 0; i-- {
		from, to := m.own(i)
		from, to = max(from, since), min(to, until)
		if from < to {
			all = append(all, m.within(from, to, i, Resolutions-1, step)...)
		}
	}
	return all
}

// within are the pieces of a stretch whose finest resolution is given, with
// resolutions up to another one.
func (m *marks) within(since, until int64, finest, coarsest int, step int64) []piece {
	if since >= until {
		return nil
	}
	if finest == coarsest {
		return []piece{{finest, since, until}}
	}
	r := resolutions()[coarsest]
	from := (since + r.step - 1) / r.step * r.step
	to := min(until, m.until[coarsest])
	to -= to % r.step
	if r.step > step || step < forever && step%r.step != 0 || from >= to {
		return m.within(since, until, finest, coarsest-1, step)
	}
	all := m.within(since, from, finest, coarsest-1, step)
	all = append(all, piece{coarsest, from, to})
	return append(all, m.within(to, until, finest, coarsest-1, step)...)
}
