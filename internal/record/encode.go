package record

import (
	"encoding/hex"
	"net/netip"
	"reflect"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

const timeLayout = "2006-01-02T15:04:05.000000000Z"

// AppendJSON appends rec, a pointer to a record, to dst as one JSON object on
// one line, fields in their declared order, without a newline. Every field is
// always there; null says that its value is not known. Hidden fields are left
// out unless hidden is set.
//
// Strings may hold whatever a process called itself. Everything that is not
// printable is escaped, so that the text is safe on a terminal and still
// exact; bytes that are not UTF-8 become U+FFFD.
func AppendJSON(dst []byte, fields []Field, rec any, hidden bool) []byte {
	v := reflect.ValueOf(rec).Elem()
	dst = append(dst, '{')
	first := true
	for i := range fields {
		f := &fields[i]
		if f.Hidden && !hidden {
			continue
		}
		dst = f.appendName(dst, first)
		first = false
		dst = f.appendJSON(dst, f.of(v))
	}
	return append(dst, '}')
}

// AppendSparseJSON is [AppendJSON] with hidden fields and without the fields
// that are zero: what recordings hold. [ParseJSON] reads it back to the same
// record.
func AppendSparseJSON(dst []byte, fields []Field, rec any) []byte {
	v := reflect.ValueOf(rec).Elem()
	dst = append(dst, '{')
	first := true
	for i := range fields {
		f := &fields[i]
		fv := f.of(v)
		if f.empty(fv) {
			continue
		}
		dst = f.appendName(dst, first)
		first = false
		if f.kind == kindUint {
			// A dimension of zero is empty and was skipped above.
			dst = strconv.AppendUint(dst, fv.Uint(), 10)
			continue
		}
		dst = f.appendJSON(dst, fv)
	}
	return append(dst, '}')
}

// of is [Field.value] for a record that was reflected on already.
func (f *Field) of(v reflect.Value) reflect.Value {
	for _, i := range f.index {
		v = v.Field(i)
	}
	return v
}

func (f *Field) empty(v reflect.Value) bool {
	switch f.kind {
	case kindString, kindStrings, kindBytes:
		return v.Len() == 0
	case kindUint:
		return v.Uint() == 0
	case kindUintPtr:
		return v.IsNil()
	case kindInt:
		return v.Int() == 0
	case kindBool:
		return !v.Bool()
	case kindTime:
		return v.Addr().Interface().(*time.Time).IsZero()
	case kindAddr:
		return !v.Addr().Interface().(*netip.Addr).IsValid()
	}
	return v.IsZero()
}

func (f *Field) appendName(dst []byte, first bool) []byte {
	if !first {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, f.Name...)
	return append(dst, '"', ':')
}

func (f *Field) appendJSON(dst []byte, v reflect.Value) []byte {
	switch f.kind {
	case kindBool:
		return strconv.AppendBool(dst, v.Bool())
	case kindUint:
		if f.Role == Measure {
			return strconv.AppendUint(dst, v.Uint(), 10)
		}
	case kindInt: // a measure: it has a sign, and its zero is a value
		return strconv.AppendInt(dst, v.Int(), 10)
	}
	if f.empty(v) {
		return append(dst, "null"...)
	}
	switch f.kind {
	case kindString:
		return appendString(dst, v.String())
	case kindUint:
		return strconv.AppendUint(dst, v.Uint(), 10)
	case kindUintPtr:
		return strconv.AppendUint(dst, v.Elem().Uint(), 10)
	case kindTime:
		dst = append(dst, '"')
		dst = v.Addr().Interface().(*time.Time).UTC().AppendFormat(dst, timeLayout)
		return append(dst, '"')
	case kindAddr:
		return appendAddr(dst, *v.Addr().Interface().(*netip.Addr))
	case kindStrings:
		sep := byte('[')
		for _, s := range *v.Addr().Interface().(*[]string) {
			dst = append(dst, sep)
			dst = appendString(dst, s)
			sep = ','
		}
		return append(dst, ']')
	case kindBytes:
		dst = append(dst, '"')
		dst = hex.AppendEncode(dst, v.Bytes())
		return append(dst, '"')
	}
	panic("record: unknown field type " + f.Type)
}

// appendAddr writes an address. Only a zone, which is an interface name, can
// hold a character that needs escaping.
func appendAddr(dst []byte, a netip.Addr) []byte {
	if a.Zone() != "" {
		return appendString(dst, a.String())
	}
	dst = append(dst, '"')
	dst = a.AppendTo(dst)
	return append(dst, '"')
}

// appendString writes s as a JSON string. Unlike encoding/json it leaves <, >
// and & alone (this is no HTML) and escapes all that a terminal might obey:
// DEL, the C1 controls, bidirectional overrides.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if (r != utf8.RuneError || size > 1) && unicode.IsPrint(r) {
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		if r == utf8.RuneError {
			dst = utf8.AppendRune(dst, r)
		} else {
			dst = appendEscape(dst, r)
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AppendHarmlessJSON appends text, which is JSON, with all escaped in its strings that
// [AppendJSON] escapes, and encoding/json does not.
func AppendHarmlessJSON(dst, text []byte) []byte {
	start := 0
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf && c != 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if unicode.IsPrint(r) {
			i += size
			continue
		}
		dst = append(dst, text[start:i]...)
		dst = appendEscape(dst, r)
		i += size
		start = i
	}
	return append(dst, text[start:]...)
}

// appendEscape writes r as one \u escape or a surrogate
// pair of them.
func appendEscape(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	unit := func(dst []byte, u rune) []byte {
		return append(dst, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	if r > 0xffff {
		r -= 0x10000
		return unit(unit(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return unit(dst, r)
}
