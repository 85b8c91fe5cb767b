//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"database/sql/driver"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/record"
)

// minutes adds up records to rows of a minute. It has no clock and is for one
// goroutine.
type minutes struct {
	kinds []*kind
	rows  []map[string]*row // by kind, then by what tells rows apart
	len   int
	buf   []byte
	old   int64 // the oldest minute there is
	new   int64 // the newest
}

// row is one row that is not written yet.
type row struct {
	minute int64 // its beginning, in seconds
	// values are of the kind's columns; those of sums are filled in from sums.
	values []driver.Value
	sums   []sum
}

// sum is one measure; not known where no record knew it.
type sum struct {
	n     uint64 // of signed ones in two's complement
	known bool
}

func newMinutes(kinds []*kind) *minutes {
	m := &minutes{kinds: kinds}
	m.clear()
	return m
}

func (m *minutes) clear() {
	m.rows = make([]map[string]*row, len(m.kinds))
	for i := range m.rows {
		m.rows[i] = map[string]*row{}
	}
	m.len, m.old, m.new = 0, forever, 0
}

// add adds a batch up. What is of an interval is of the minute in which that began,
// single events are of their own.
func (m *minutes) add(b *record.Batch) {
	for i, k := range m.kinds {
		switch k.name {
		case history.Drops:
			addAll(m, i, b.Drops, func(r *record.Drop) time.Time { return began(b, r.Time) }, one)
		case history.Flows:
			addAll(m, i, b.Flows, func(r *record.Flow) time.Time { return began(b, r.Time) }, one)
		case history.Conns:
			addAll(m, i, ended(b.Conns), func(r *record.Conn) time.Time { return r.Time }, one)
		case history.Requests:
			addAll(m, i, b.Requests, func(r *record.Request) time.Time { return r.Time }, func(r *record.Request) uint64 { return uint64(max(r.OneIn, 1)) })
			for j := range b.RequestCounts {
				c := &b.RequestCounts[j]
				m.addRecord(i, reflect.ValueOf(asRequest(c)).Elem(), began(b, c.Time), c.Requests)
			}
		case history.Queries:
			addAll(m, i, b.Queries, func(r *record.Query) time.Time { return r.Time }, one)
		case history.Ledger:
			addAll(m, i, b.Ledger, func(r *record.Entry) time.Time { return began(b, r.Time) }, one)
		case history.Lost:
			addAll(m, i, b.Lost, func(r *record.Lost) time.Time { return began(b, r.Time) }, one)
		}
	}
}

func one[R any](*R) uint64 { return 1 }

func addAll[R any](m *minutes, kind int, list []R, when func(*R) time.Time, stands func(*R) uint64) {
	for i := range list {
		m.addRecord(kind, reflect.ValueOf(&list[i]).Elem(), when(&list[i]), stands(&list[i]))
	}
}

// began is when the interval of a record began.
func began(b *record.Batch, end time.Time) time.Time {
	if b.Start.IsZero() {
		return end
	}
	return b.Start
}

// ended are events of connections. One that goes on, or a listener, is a state: its
// numbers count from its beginning, so they cannot be added up.
func ended(all []record.Conn) (events []record.Conn) {
	for i := range all {
		if e := all[i].Event; e != record.ConnOpen && e != record.ConnListens {
			events = append(events, all[i])
		}
	}
	return events
}

// asRequest is a request that was only counted.
func asRequest(c *record.RequestSum) *record.Request {
	r := &record.Request{Protocol: c.Protocol, Method: c.Method, HostName: c.HostName, Path: c.Path, Status: c.Status, Error: c.Error}
	r.Host = c.Host
	if c.Other {
		r.Path = "~other"
	}
	return r
}

// addRecord adds rec, the struct of a record that stands for n, to its row.
func (m *minutes) addRecord(kind int, rec reflect.Value, when time.Time, n uint64) {
	k := m.kinds[kind]
	minute := max(when.Unix(), 0) / 60 * 60
	m.buf = binary.LittleEndian.AppendUint64(m.buf[:0], uint64(minute))
	for i := range k.columns {
		if c := &k.columns[i]; c.distinguishes() {
			m.buf = c.appendKey(m.buf, c.field.Of(rec))
		}
	}
	r := m.rows[kind][string(m.buf)]
	if r == nil {
		r = &row{minute: minute, values: make([]driver.Value, len(k.columns)), sums: make([]sum, len(k.columns))}
		for i := range k.columns {
			if c := &k.columns[i]; c.distinguishes() {
				r.values[i] = c.value(c.field.Of(rec))
			}
		}
		m.rows[kind][string(m.buf)] = r
		m.len++
		m.old, m.new = min(m.old, minute), max(m.new, minute)
	}
	for i := range k.columns {
		if c := &k.columns[i]; !c.distinguishes() {
			r.merge(i, c, rec, n)
		}
	}
}

// merge adds one column of rec, which stands for n records, to the row.
func (r *row) merge(i int, c *column, rec reflect.Value, n uint64) {
	switch c.class {
	case sumColumn:
		if v, known := c.number(rec); known {
			r.sums[i] = sum{r.sums[i].n + v*n, true}
		}
	case mostColumn:
		if v := c.field.Of(rec).Uint(); r.values[i] == nil || v > r.values[i].(uint64) {
			r.values[i] = v
		}
	case latestColumn, textColumn:
		if v := c.value(c.field.Of(rec)); v != nil {
			r.values[i] = v
		}
	case lettersColumn:
		have, _ := r.values[i].(string)
		if now := lettersOf(have, c.field.Of(rec).String()); now != have {
			r.values[i] = now
		}
	}
}

// lettersOf are the letters of both.
func lettersOf(have, more string) string {
	for _, l := range more {
		if !strings.ContainsRune(have, l) {
			have += string(l)
		}
	}
	return have
}

// number is the measure of one record; known is false where it is null.
func (c *column) number(rec reflect.Value) (n uint64, known bool) {
	if c.field == nil {
		return c.counted(rec.Addr().Interface()), true
	}
	v := c.field.Of(rec)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return 0, false
		}
		v = v.Elem()
	}
	if c.signed {
		return uint64(v.Int()), true
	}
	return v.Uint(), true
}

// counted is what one record adds to a count, as the tables of the commands count.
func (c *column) counted(rec any) uint64 {
	is := true
	switch r := rec.(type) {
	case *record.Conn:
		is = c.name == history.Conns || r.Event == record.ConnFailed
	case *record.Request:
		is = c.name == history.Requests || r.Status >= 500 || r.Error != "" && r.Error != record.Unasked
	case *record.Query:
		switch c.name {
		case "unanswered":
			is = r.Error == record.Unanswered
		case "failed":
			is = r.RCode != "" && r.RCode != "NOERROR"
		}
	}
	if is {
		return 1
	}
	return 0
}

// appendKey appends a value so that different ones differ.
func (c *column) appendKey(dst []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.String:
		s := c.text(v)
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		return append(dst, s...)
	case reflect.Bool:
		if v.Bool() {
			return append(dst, 1)
		}
		return append(dst, 0)
	case reflect.Pointer:
		if v.IsNil() {
			return append(dst, 0)
		}
		return binary.AppendUvarint(append(dst, 1), v.Elem().Uint())
	case reflect.Struct:
		a := v.Addr().Interface().(*netip.Addr)
		dst = append(dst, byte(a.BitLen()))
		b := a.As16()
		dst = append(append(dst, b[:]...), a.Zone()...)
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, c.rounded(v.Uint()))
}

// value is a value as DuckDB takes it, nil if it is not known.
func (c *column) value(v reflect.Value) driver.Value {
	switch v.Kind() {
	case reflect.String:
		if s := c.text(v); s != "" {
			return s
		}
		return nil
	case reflect.Bool:
		return v.Bool()
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return v.Elem().Uint()
	case reflect.Struct:
		if a := v.Addr().Interface().(*netip.Addr); a.IsValid() {
			return a.String()
		}
		return nil
	}
	if n := c.rounded(v.Uint()); n != 0 {
		return n
	}
	return nil
}

// text is a string as it is stored: valid UTF-8, and paths by their template.
func (c *column) text(v reflect.Value) string {
	s := v.String()
	if c.name == "path" {
		s = http.Template(s)
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func (c *column) rounded(n uint64) uint64 {
	if c.class != bucketColumn && c.class != latestColumn {
		return n
	}
	return bucket(n)
}

// bucket rounds a duration to the middle of its bucket, of which each power of two
// has eight: within 6 %, so that rows with equal ones can be added up. Up to 16 it
// is exact, and 0, which is not known, stays.
func bucket(n uint64) uint64 {
	shift := bits.Len64(n) - 4
	if shift <= 0 {
		return n
	}
	return n>>shift<<shift + 1<<(shift-1)
}

// args fills in the values of the row as a table of these columns takes them: at the
// beginning of its step. In what is longer than a minute some are null.
func (r *row) args(dst []driver.Value, k *kind, order []int, step int64) []driver.Value {
	dst = append(dst[:0], time.Unix(r.minute-r.minute%step, 0).UTC())
	for _, i := range order {
		if i < 0 { // of a newer netfate
			dst = append(dst, nil)
			continue
		}
		c := &k.columns[i]
		switch {
		case c.class == sumColumn && !r.sums[i].known,
			step > resolutions()[0].step && (c.class == fineColumn || c.class == lettersColumn):
			dst = append(dst, nil)
		case c.class == sumColumn && c.signed:
			dst = append(dst, int64(r.sums[i].n))
		case c.class == sumColumn:
			dst = append(dst, r.sums[i].n)
		default:
			dst = append(dst, r.values[i])
		}
	}
	return dst
}
