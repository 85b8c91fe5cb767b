package table

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"

	"github.com/netfate/netfate/internal/record"
)

// notes tells the user on the error writer what the rows do not show: only
// records go to the output, so that jq and csv readers meet nothing else.
type notes struct {
	w      io.Writer
	signs  signs
	lost   lostSums
	hidden tally // benign
	kinds  map[dropKey]struct{}
}

// batch counts the losses and tells each kind at its first appearance.
func (n *notes) batch(lost []record.Lost) {
	for _, k := range n.lost.add(lost) {
		n.say("lost " + k.text(&n.signs))
	}
}

func (n *notes) hide(d *record.Drop) {
	n.hidden.packets += d.Packets
	if n.kinds == nil {
		n.kinds = map[dropKey]struct{}{}
	}
	if len(n.kinds) < DefaultMaxKeys {
		n.kinds[dropKey{reason: d.Reason, location: d.Location}] = struct{}{}
	}
}

// close tells the sums.
func (n *notes) close() {
	if n.hidden.packets > 0 {
		n.say(hiddenNote(n.hidden.packets, uint64(len(n.kinds))))
	}
	for _, k := range n.lost.kinds {
		n.say("in all lost " + k.text(&n.signs))
	}
}

// say writes one line. An error of the error writer has nowhere to go.
func (n *notes) say(s string) { _, _ = io.WriteString(n.w, "netfate: "+s+"\n") }

// flushAt is how much text waits for the rest of its batch: a batch of a storm is
// 60 MB of JSON.
const flushAt = 1 << 20

// rows writes records as JSON lines or CSV, whole lines in each write, and those
// of a batch of usual size in one.
type rows struct {
	out    io.Writer
	format Format
	fields []record.Field
	buf    bytes.Buffer
	line   []byte
	csv    *csv.Writer
	cells  []string
	begun  bool
	err    error // of the first write of this batch that failed
}

func newRows(out io.Writer, format Format, rec any) *rows {
	r := &rows{out: out, format: format, fields: record.Fields(rec)}
	r.csv = csv.NewWriter(&r.buf)
	return r
}

func (r *rows) add(rec any) {
	if r.format == JSON {
		r.line = record.AppendJSON(r.line[:0], r.fields, rec, false)
		r.buf.Write(r.line)
		r.buf.WriteByte('\n')
		r.drain(flushAt)
		return
	}
	r.cells = r.cells[:0]
	for i := range r.fields {
		if f := &r.fields[i]; !f.Hidden {
			// One record stays one line, whatever is in a name.
			r.cells = append(r.cells, (&signs{}).escape(f.Text(rec)))
		}
	}
	r.write()
	r.drain(flushAt)
}

// drain writes out what waits, if it is at least so many bytes.
func (r *rows) drain(atLeast int) {
	if r.buf.Len() < atLeast {
		return
	}
	r.csv.Flush()
	if r.err == nil {
		_, r.err = r.out.Write(r.buf.Bytes())
	}
	r.buf.Reset()
}

// write adds the cells; writing to a buffer cannot fail.
func (r *rows) write() { _ = r.csv.Write(r.cells) }

func (r *rows) flush() error {
	r.csv.Flush()
	r.drain(1)
	err := r.err
	r.err = nil
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

// begin writes the CSV header, once; even with no record it is there.
func (r *rows) begin() {
	if r.begun {
		return
	}
	r.begun = true
	if r.format != CSV {
		return
	}
	for i := range r.fields {
		if f := &r.fields[i]; !f.Hidden {
			r.cells = append(r.cells, f.Name)
		}
	}
	r.write()
}

// dropRows is drops as JSON or CSV: aggregates, or events with Each.
type dropRows struct {
	rows  *rows
	notes notes
	o     Options
}

func newDropRows(out, errs io.Writer, o Options) *dropRows {
	return &dropRows{rows: newRows(out, o.Format, record.Drop{}), notes: notes{w: errs, signs: o.signs()}, o: o}
}

func (v *dropRows) Batch(b *record.Batch) error {
	v.rows.begin()
	list := b.Drops
	if v.o.Each {
		list = b.Samples
	}
	for i := range list {
		if d := &list[i]; d.Verdict == record.Benign && !v.o.All {
			v.notes.hide(d)
		} else {
			v.rows.add(d)
		}
	}
	v.notes.batch(b.Lost)
	return v.rows.flush()
}

func (v *dropRows) Close() error {
	v.rows.begin()
	v.notes.close()
	return v.rows.flush()
}

// flowRows is flows as JSON or CSV: the records as they are, or, grouped by
// anything else than the flow, one record a group and batch.
type flowRows struct {
	rows  *rows
	notes notes
	o     Options
}

func newFlowRows(out, errs io.Writer, o Options) *flowRows {
	return &flowRows{rows: newRows(out, o.Format, record.Flow{}), notes: notes{w: errs, signs: o.signs()}, o: o}
}

func (v *flowRows) Batch(b *record.Batch) error {
	v.rows.begin()
	if v.o.By == byFlow {
		for i := range b.Flows {
			v.rows.add(&b.Flows[i])
		}
	} else {
		m := NewFlowSums(v.o.By, v.o.MaxKeys)
		m.selected = v.o.Selected
		m.Add(b)
		for _, f := range m.records() {
			v.rows.add(&f)
		}
	}
	v.notes.batch(b.Lost)
	return v.rows.flush()
}

func (v *flowRows) Close() error {
	v.rows.begin()
	v.notes.close()
	return v.rows.flush()
}
