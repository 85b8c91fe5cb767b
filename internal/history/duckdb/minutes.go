//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"encoding/binary"
	"hash/maphash"
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
	seeds  [2]maphash.Seed
	buf    []byte
	old    int64 // the oldest minute there is
	new    int64 // the newest
}

// pending is the rows of a kind that are not written yet.
type pending struct {
	rows   map[key]int
	minute []int64 // of each row, its beginning in seconds
	cells  []cells // by column
}

// key is a hash of what tells rows apart: two of 64 bits, of seeds of their own. That of
// a billion rows two have the same one is less likely than one in 10^20.
type key [2]uint64

func newMinutes(kinds []*kind) *minutes {
	m := &minutes{kinds: kinds, tables: make([]pending, len(kinds)), seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i, k := range kinds {
		m.tables[i] = pending{rows: map[key]int{}, cells: make([]cells, len(k.columns))}
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
			*p = pending{rows: map[key]int{}, cells: make([]cells, len(p.cells))}
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

// rowGroup is how many rows of a table DuckDB compresses together. A write of whole groups
// goes to the file at once; what is left over of one would be compressed again with what
// comes next, and that with the next.
const rowGroup = 122_880

// groups are the oldest rows of kinds that have whole groups of them, as many as these hold;
// of all kinds if none has. They share the memory of m.
func (m *minutes) groups() *minutes {
	part := &minutes{kinds: m.kinds, tables: make([]pending, len(m.tables))}
	for i := range m.tables {
		p := &m.tables[i]
		n := len(p.minute) / rowGroup * rowGroup
		part.tables[i] = p.slice(0, n)
		part.len += n
	}
	if part.len == 0 {
		return m
	}
	// What is older than what stays is complete.
	part.new = m.new
	for i := range m.tables {
		for _, minute := range m.tables[i].minute[len(part.tables[i].minute):] {
			part.new = min(part.new, minute)
		}
	}
	return part
}

// cut forgets the rows of part, which groups has made of m.
func (m *minutes) cut(part *minutes) {
	m.len, m.old, m.new = m.len-part.len, forever, 0
	for i := range m.tables {
		p, n := &m.tables[i], len(part.tables[i].minute)
		if n > 0 {
			p.cut(n)
		}
		for _, minute := range p.minute {
			m.old, m.new = min(m.old, minute), max(m.new, minute)
		}
	}
}

// slice are rows, without what they are found by.
func (p *pending) slice(at, end int) pending {
	part := pending{minute: p.minute[at:end], cells: make([]cells, len(p.cells))}
	for i := range p.cells {
		c := &p.cells[i]
		part.cells[i] = cells{some(c.texts, at, end), some(c.addrs, at, end), some(c.numbers, at, end), some(c.known, at, end)}
	}
	return part
}

// cut forgets the first rows.
func (p *pending) cut(rows int) {
	for k, row := range p.rows {
		if row < rows {
			delete(p.rows, k)
		} else {
			p.rows[k] = row - rows
		}
	}
	p.minute = without(p.minute, rows)
	for i := range p.cells {
		c := &p.cells[i]
		c.texts, c.addrs, c.numbers, c.known = without(c.texts, rows), without(c.addrs, rows), without(c.numbers, rows), without(c.known, rows)
	}
}

// without is a list without its first values, in the same memory.
func without[T any](list []T, values int) []T {
	if len(list) == 0 {
		return list
	}
	n := copy(list, list[values:])
	clear(list[n:]) // what they are parts of may go
	return list[:n]
}

// some are values of a list, none of an empty one.
func some[T any](list []T, at, end int) []T {
	if len(list) == 0 {
		return nil
	}
	return list[at:end]
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
	for _, i := range k.keys {
		m.buf = k.columns[i].appendKey(m.buf, rec)
	}
	key := key{maphash.Bytes(m.seeds[0], m.buf), maphash.Bytes(m.seeds[1], m.buf)}
	row, ok := p.rows[key]
	if !ok {
		row = len(p.minute)
		p.rows[key] = row
		p.minute = append(p.minute, minute)
		for i := range k.columns {
			p.cells[i].grow(&k.columns[i], rec)
		}
		m.len++
		m.old, m.new = min(m.old, minute), max(m.new, minute)
	}
	for _, i := range k.sums {
		c := &k.columns[i]
		if c.count == nil {
			p.cells[i].merge(row, c, rec, n)
		} else if c.count(record) {
			p.cells[i].numbers[row] += n
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
