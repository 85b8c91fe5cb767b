package table

import (
	"fmt"
	"io"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// singles shows the records R of batches, one line each.
type singles[R any] struct {
	out   io.Writer
	notes notes
	o     Options
	list  func(*record.Batch) []R
	line  func(*R, *Options) string
	count func(uint64) string // "3 queries"
	shown int
	left  uint64 // records that Options.Rows left out
}

func (v *singles[R]) Batch(b *record.Batch) error {
	var text strings.Builder
	if v.o.Screen != nil {
		v.o.Width, _ = v.o.Screen.size()
	}
	list := v.list(b)
	for i := range list {
		if v.o.Rows > 0 && v.shown == v.o.Rows {
			v.left++
			continue
		}
		v.shown++
		text.WriteString(v.line(&list[i], &v.o))
		text.WriteByte('\n')
	}
	v.notes.batch(b.Lost)
	if text.Len() == 0 {
		return nil
	}
	if _, err := io.WriteString(v.out, text.String()); err != nil {
		return fmt.Errorf("write lines: %w", err)
	}
	return nil
}

func (v *singles[R]) Close() error {
	if v.left > 0 {
		v.notes.say("not shown: " + v.count(v.left) + "; a larger -n shows more")
	}
	v.notes.close()
	return nil
}

// groups adds records up to sums S, one a group.
type groups[S any] interface {
	Add(b *record.Batch)
	records() []S
}

// groupRows is the records R of batches as JSON or CSV with Options.Each, else
// their sums S: of each batch, or with Options.Once of all.
type groupRows[R, S any] struct {
	rows  *rows
	notes notes
	o     Options
	list  func(*record.Batch) []R
	fresh func() groups[S]
	sums  groups[S] // with Once, of all batches
}

func newGroupRows[R, S any](out, errs io.Writer, o Options, list func(*record.Batch) []R, fresh func() groups[S]) *groupRows[R, S] {
	var rec any = *new(S)
	if o.Each {
		rec = *new(R)
	}
	return &groupRows[R, S]{rows: newRows(out, o.Format, rec), notes: newNotes(errs, &o), o: o, list: list, fresh: fresh, sums: fresh()}
}

func (v *groupRows[R, S]) Batch(b *record.Batch) error {
	v.rows.begin()
	v.notes.batch(b.Lost)
	switch {
	case v.o.Each:
		list := v.list(b)
		for i := range list {
			v.rows.add(&list[i])
		}
	case v.o.Once:
		v.sums.Add(b)
	default:
		m := v.fresh()
		m.Add(b)
		v.write(m)
	}
	return v.rows.flush()
}

func (v *groupRows[R, S]) write(m groups[S]) {
	for _, s := range m.records() {
		v.rows.add(&s)
	}
}

func (v *groupRows[R, S]) Close() error {
	v.rows.begin()
	v.write(v.sums)
	v.notes.close()
	return v.rows.flush()
}
