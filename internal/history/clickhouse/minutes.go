package clickhouse

import (
	"encoding/binary"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/record"
)

// minutes adds up records to rows of a minute. What tells rows apart is kept as it is sent,
// in RowBinary, since that is a key too. It has no clock and is for one goroutine.
type minutes struct {
	kinds  []*kind
	host   string    // of records that do not say
	tables []pending // by kind
	len    int       // rows of all kinds
	buf    []byte
}

// pending is the rows of a kind that are not sent yet.
type pending struct {
	rows  map[string]int // by the time and the keys, in RowBinary
	keys  []string
	cells []cell // of each row, those of kind.rest
}

// cell is a value that becomes another one as records are added.
type cell struct {
	text   string
	number uint64 // of signed ones in two's complement
	known  bool   // whether the number is
}

func newMinutes(kinds []*kind, host string) *minutes {
	m := &minutes{kinds: kinds, host: host}
	m.clear()
	return m
}

// clear forgets all rows.
func (m *minutes) clear() {
	m.tables = make([]pending, len(m.kinds))
	for i := range m.tables {
		m.tables[i].rows = map[string]int{}
	}
	m.len = 0
}

// add adds a batch up.
func (m *minutes) add(b *record.Batch) {
	for i, k := range m.kinds {
		history.Each(b, k.name, func(rec any, when time.Time, stands uint64) { m.addRecord(i, rec, when, stands) })
	}
}

// addRecord adds rec, a pointer to a record of the kind that stands for n, to its row.
func (m *minutes) addRecord(at int, rec any, when time.Time, n uint64) {
	k, p := m.kinds[at], &m.tables[at]
	v := reflect.ValueOf(rec).Elem()
	// A time is 32 bits there; a clock that is beyond is at the end of them.
	minute := min(max(when.Unix(), 0), math.MaxUint32) / 60 * 60
	m.buf = binary.LittleEndian.AppendUint32(m.buf[:0], uint32(minute))
	for _, i := range k.keys {
		m.buf = m.appendKey(m.buf, &k.columns[i], v)
	}
	row, ok := p.rows[string(m.buf)]
	if !ok {
		row = len(p.keys)
		key := string(m.buf)
		p.rows[key] = row
		p.keys = append(p.keys, key)
		p.cells = append(p.cells, make([]cell, len(k.rest))...)
		m.len++
	}
	cells := p.cells[row*len(k.rest):][:len(k.rest)]
	for j, i := range k.rest {
		cells[j].merge(&k.columns[i], rec, v, n)
	}
}

// appendKey appends the value of a column that tells rows apart.
func (m *minutes) appendKey(dst []byte, c *column, rec reflect.Value) []byte {
	if c.field == nil {
		return appendText(dst, m.host)
	}
	v := c.field.Of(rec)
	if !c.isText() {
		n, known := c.number(v)
		return c.appendNumber(dst, n, known)
	}
	text := c.text(v)
	if text == "" && c.name == hostColumn {
		text = m.host
	}
	return appendText(dst, text)
}

// text is a value of a column as it is stored: valid UTF-8, and paths by their template.
func (c *column) text(v reflect.Value) string {
	if c.typ == "addr" {
		if a := v.Interface().(netip.Addr); a.IsValid() {
			return a.String()
		}
		return ""
	}
	s := v.String()
	if c.name == "path" {
		s = http.Template(s)
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// number is a value that is a number or a truth; known is false where it is null.
func (c *column) number(v reflect.Value) (n uint64, known bool) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return 0, false
		}
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.Bool:
		if v.Bool() {
			n = 1
		}
	case v.CanInt():
		n = uint64(v.Int())
	default:
		n = v.Uint()
	}
	if c.timed() {
		n = history.Bucket(n)
	}
	return n, true
}

// merge adds the column of rec, which stands for n records.
func (l *cell) merge(c *column, rec any, v reflect.Value, n uint64) {
	if c.count != nil {
		if l.known = true; c.count(rec) {
			l.number += n
		}
		return
	}
	v = c.field.Of(v)
	switch {
	case c.class == history.LettersClass:
		l.text = lettersOf(l.text, c.text(v))
	case c.isText():
		if s := c.text(v); s != "" {
			l.text = s
		}
	default:
		l.mergeNumber(c, v, n)
	}
}

func (l *cell) mergeNumber(c *column, v reflect.Value, n uint64) {
	number, known := c.number(v)
	switch {
	case !known:
	case c.class == history.SumClass:
		l.number, l.known = l.number+number*n, true
	case c.class == history.MostClass:
		l.number, l.known = max(l.number, number), true
	case number != 0:
		l.number, l.known = number, true
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

// append appends what a row has beside its key.
func (l *cell) append(dst []byte, c *column) []byte {
	if c.isText() {
		return appendText(dst, l.text)
	}
	return c.appendNumber(dst, l.number, l.known)
}

// appendText appends a String in RowBinary: its length and itself.
func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendNumber appends a number of the column's width, behind a byte that says whether
// it is null where it may be.
func (c *column) appendNumber(dst []byte, n uint64, known bool) []byte {
	if c.nullable {
		if !known {
			return append(dst, 1)
		}
		dst = append(dst, 0)
	}
	switch {
	case c.typ == "bool":
		return append(dst, byte(n))
	case c.bits == 16:
		return binary.LittleEndian.AppendUint16(dst, uint16(n))
	case c.bits == 32:
		return binary.LittleEndian.AppendUint32(dst, uint32(n))
	}
	return binary.LittleEndian.AppendUint64(dst, n)
}
