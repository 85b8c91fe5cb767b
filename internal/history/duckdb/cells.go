//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/record"
)

// form is how a field lies in its record. Fields are read at their offsets, since
// reflection takes five times as long and there are forty of them in a record.
type form uint8

const (
	noForm form = iota // a count, which no record has
	textForm
	boolForm
	addrForm
	uint16Form
	uint32Form
	uint64Form
	int64Form
	uint32PtrForm
	uint64PtrForm
)

// place finds out how a field lies in a record, given an empty one.
func place(f *record.Field, empty reflect.Value) (form, uintptr) {
	v := f.Of(empty)
	return formOf(v.Type()), v.Addr().Pointer() - empty.Addr().Pointer()
}

// formOf panics for a type that no field of a record has had so far.
func formOf(t reflect.Type) form {
	if t == reflect.TypeFor[netip.Addr]() {
		return addrForm
	}
	switch t.Kind() {
	case reflect.String:
		return textForm
	case reflect.Bool:
		return boolForm
	case reflect.Uint16:
		return uint16Form
	case reflect.Uint32:
		return uint32Form
	case reflect.Uint64:
		return uint64Form
	case reflect.Int64:
		return int64Form
	case reflect.Pointer:
		switch t.Elem().Kind() {
		case reflect.Uint32:
			return uint32PtrForm
		case reflect.Uint64:
			return uint64PtrForm
		}
	}
	panic("duckdb: no column for fields of " + t.String())
}

// number is the value of a field that is a number or a truth; known is false where it
// is null, and not of a number that is 0.
func (c *column) number(rec unsafe.Pointer) (n uint64, known bool) {
	p := unsafe.Add(rec, c.offset)
	switch c.form {
	case boolForm:
		if *(*bool)(p) {
			return 1, true
		}
		return 0, true
	case uint16Form:
		return uint64(*(*uint16)(p)), true
	case uint32Form:
		return uint64(*(*uint32)(p)), true
	case uint64Form:
		return *(*uint64)(p), true
	case int64Form:
		return uint64(*(*int64)(p)), true
	case uint32PtrForm:
		if v := *(**uint32)(p); v != nil {
			return uint64(*v), true
		}
	case uint64PtrForm:
		if v := *(**uint64)(p); v != nil {
			return *v, true
		}
	}
	return 0, false
}

// text is a string as it is stored: valid UTF-8, and paths by their template.
func (c *column) text(rec unsafe.Pointer) string {
	s := *(*string)(unsafe.Add(rec, c.offset))
	if c.name == "path" {
		s = http.Template(s)
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func (c *column) addr(rec unsafe.Pointer) netip.Addr {
	return *(*netip.Addr)(unsafe.Add(rec, c.offset))
}

// zeroKnown reports whether 0 of the column's numbers is a value: of measures,
// truths, and what has null for unknown. Elsewhere it is not known.
func (c *column) zeroKnown() bool {
	switch c.form {
	case boolForm, uint32PtrForm, uint64PtrForm:
		return true
	}
	return c.adds()
}

// appendKey appends a value so that different ones differ.
func (c *column) appendKey(dst []byte, rec unsafe.Pointer) []byte {
	switch c.form {
	case textForm:
		s := c.text(rec)
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		return append(dst, s...)
	case addrForm:
		a := c.addr(rec)
		dst = append(dst, byte(a.BitLen()))
		b := a.As16()
		dst = append(append(dst, b[:]...), a.Zone()...)
		return append(dst, 0)
	}
	n, known := c.number(rec)
	if !known {
		return append(dst, 0)
	}
	if c.zeroKnown() {
		dst = append(dst, 1)
	}
	return binary.AppendUvarint(dst, c.rounded(n))
}

// cells are the values of one column, each list for the columns whose form it is.
// What is not known is an empty text or an address that is not valid.
type cells struct {
	texts   []string
	addrs   []netip.Addr
	numbers []uint64 // of signed ones in two's complement, of truths 1
	known   []bool   // whether numbers are
}

func (l *cells) clear() {
	clear(l.texts) // what they are parts of may go
	clear(l.addrs)
	l.texts, l.addrs, l.numbers, l.known = l.texts[:0], l.addrs[:0], l.numbers[:0], l.known[:0]
}

// grow adds the cell of a new row, that of rec where the column tells rows apart.
func (l *cells) grow(c *column, rec unsafe.Pointer) {
	here := c.distinguishes()
	switch c.form {
	case textForm:
		s := ""
		if here {
			s = c.text(rec)
		}
		l.texts = append(l.texts, s)
	case addrForm:
		l.addrs = append(l.addrs, c.addr(rec))
	default:
		n, known := uint64(0), c.count != nil
		if here {
			n, known = c.number(rec)
			n, known = c.rounded(n), known && (n != 0 || c.zeroKnown())
		}
		l.numbers, l.known = append(l.numbers, n), append(l.known, known)
	}
}

// merge adds the column of rec, which stands for n records, to a row.
func (l *cells) merge(row int, c *column, rec unsafe.Pointer, n uint64) {
	switch {
	case c.class == sumColumn:
		if v, known := c.number(rec); known {
			l.numbers[row] += v * n
			l.known[row] = true
		}
	case c.class == lettersColumn:
		l.texts[row] = lettersOf(l.texts[row], c.text(rec))
	case c.form == textForm:
		if s := c.text(rec); s != "" {
			l.texts[row] = s
		}
	case c.class == mostColumn:
		v, _ := c.number(rec)
		l.numbers[row], l.known[row] = max(l.numbers[row], v), true
	default:
		if v, known := c.number(rec); known && v != 0 {
			l.numbers[row], l.known[row] = c.rounded(v), true
		}
	}
}

func (c *column) rounded(n uint64) uint64 {
	if c.class != bucketColumn && c.class != latestColumn {
		return n
	}
	return history.Bucket(n)
}

// put adds the cell of a row that was stored before, v being what was read.
func (l *cells) put(c *column, v any) {
	switch c.form {
	case textForm:
		s, _ := v.(string)
		l.texts = append(l.texts, s)
	case addrForm:
		s, _ := v.(string)
		a, _ := netip.ParseAddr(s) // it was written by [cells.grow]; null is none
		l.addrs = append(l.addrs, a)
	default:
		var n uint64
		switch v := v.(type) {
		case uint64:
			n = v
		case int64:
			n = uint64(v)
		case bool:
			if v {
				n = 1
			}
		}
		l.numbers, l.known = append(l.numbers, n), append(l.known, v != nil)
	}
}
