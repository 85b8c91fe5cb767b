//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"encoding/binary"
	"reflect"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// minutes adds up records to rows of a minute, a column beside the other, as DuckDB
// takes them. It has no clock and is for one goroutine.
type minutes struct {
	kinds  []*kind
	tables []pending // by kind
	len    int       // rows of all kinds
	buf    []byte
	old    int64 // the oldest minute there is
	new    int64 // the newest
}

// pending is the rows of a kind that are not written yet.
type pending struct {
	rows   map[string]int // by what tells rows apart
	minute []int64        // of each row, its beginning in seconds
	cells  []cells        // by column
}

func newMinutes(kinds []*kind) *minutes {
	m := &minutes{kinds: kinds, tables: make([]pending, len(kinds))}
	for i, k := range kinds {
		m.tables[i] = pending{rows: map[string]int{}, cells: make([]cells, len(k.columns))}
	}
	m.clear()
	return m
}

// spareRows is how many rows of a kind may have their memory kept for the next ones,
// however few those are.
const spareRows = 1 << 12

// clear forgets all rows. Their memory is kept for the next ones, but not where a
// flood has left much more than is used.
func (m *minutes) clear() {
	for i := range m.tables {
		p := &m.tables[i]
		if n := cap(p.minute); n > spareRows && n > 8*len(p.minute) {
			*p = pending{rows: map[string]int{}, cells: make([]cells, len(p.cells))}
			continue
		}
		clear(p.rows)
		p.minute = p.minute[:0]
		for j := range p.cells {
			p.cells[j].clear()
		}
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
			addAll(m, i, b.Requests, func(r *record.Request) time.Time { return r.Time }, stands)
			for j := range b.RequestCounts {
				c := &b.RequestCounts[j]
				m.addRecord(i, asRequest(c), began(b, c.Time), c.Requests)
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

func stands(r *record.Request) uint64 { return history.Stands(r) }

func addAll[R any](m *minutes, kind int, list []R, when func(*R) time.Time, stands func(*R) uint64) {
	for i := range list {
		m.addRecord(kind, &list[i], when(&list[i]), stands(&list[i]))
	}
}

// began is when the interval of a record began.
func began(b *record.Batch, end time.Time) time.Time {
	if b.Start.IsZero() {
		return end
	}
	return b.Start
}

// ended are those connections that are no states.
func ended(all []record.Conn) (events []record.Conn) {
	for i := range all {
		if history.Happened(&all[i]) {
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

// addRecord adds record, a pointer to one of the kind that stands for n, to its row.
func (m *minutes) addRecord(kind int, record any, when time.Time, n uint64) {
	k, p := m.kinds[kind], &m.tables[kind]
	rec := reflect.ValueOf(record).UnsafePointer()
	minute := max(when.Unix(), 0) / 60 * 60
	m.buf = binary.LittleEndian.AppendUint64(m.buf[:0], uint64(minute))
	for i := range k.columns {
		if c := &k.columns[i]; c.distinguishes() {
			m.buf = c.appendKey(m.buf, rec)
		}
	}
	row, ok := p.rows[string(m.buf)]
	if !ok {
		row = len(p.minute)
		p.rows[string(m.buf)] = row
		p.minute = append(p.minute, minute)
		for i := range k.columns {
			p.cells[i].grow(&k.columns[i], rec)
		}
		m.len++
		m.old, m.new = min(m.old, minute), max(m.new, minute)
	}
	for i := range k.columns {
		switch c := &k.columns[i]; {
		case c.count != nil:
			if c.count(record) {
				p.cells[i].numbers[row] += n
			}
		case !c.distinguishes():
			p.cells[i].merge(row, c, rec, n)
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
