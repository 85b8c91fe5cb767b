package record

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// ParseJSON fills rec, a pointer to a record, from one JSON object as
// [AppendJSON] or [AppendSparseJSON] writes it. Unknown members are ignored,
// so that a newer recording can be read; a member of the wrong type is an
// error. A member that is null sets its field to zero; one that is missing
// leaves it alone.
func ParseJSON(data []byte, fields []Field, rec any) error {
	// What we write ourselves is read in one pass; whatever else JSON allows
	// (white space, other order, odd escapes), and every fault, takes the
	// general way, which is far slower and sets those fields again.
	if parseOwn(data, fields, reflect.ValueOf(rec).Elem()) {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("parse record: %w", err)
	}
	for i := range fields {
		f := &fields[i]
		raw, ok := members[f.Name]
		if !ok {
			continue
		}
		if string(raw) == "null" {
			f.value(rec).SetZero()
			continue
		}
		if err := f.set(raw, rec); err != nil {
			return fmt.Errorf("parse record: field %s: %w", f.Name, err)
		}
	}
	return nil
}

func (f *Field) set(raw json.RawMessage, rec any) error {
	v := f.value(rec)
	switch f.Type {
	case "time":
		var t time.Time
		if err := json.Unmarshal(raw, &t); err != nil {
			return err
		}
		v.Set(reflect.ValueOf(t.UTC()))
		return nil
	case "addr":
		var a netip.Addr
		if err := json.Unmarshal(raw, &a); err != nil {
			return err
		}
		v.Set(reflect.ValueOf(a))
		return nil
	case "bytes":
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		b, err := hex.DecodeString(s)
		if err != nil {
			return err
		}
		v.SetBytes(b)
		return nil
	}
	return json.Unmarshal(raw, v.Addr().Interface())
}

// parseOwn reads an object whose members are all known and in their declared
// order, each at most once. It reports false, rec half filled, for any other
// text, and for all that is not JSON.
func parseOwn(data []byte, fields []Field, rec reflect.Value) bool {
	if len(data) < 2 || data[0] != '{' {
		return false
	}
	data = data[1:]
	if len(data) == 1 && data[0] == '}' {
		return true
	}
	next := 0
	for {
		name, rest, ok := plainString(data)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		for next < len(fields) && fields[next].Name != string(name) {
			next++
		}
		if next == len(fields) {
			return false
		}
		f := &fields[next]
		next++
		if data, ok = f.parseOwn(rest[1:], f.of(rec)); !ok || len(data) == 0 {
			return false
		}
		switch {
		case data[0] == ',':
			data = data[1:]
		case data[0] == '}' && len(data) == 1:
			return true
		default:
			return false
		}
	}
}

// parseOwn sets v from the value that data begins with and returns the rest.
func (f *Field) parseOwn(data []byte, v reflect.Value) (rest []byte, ok bool) {
	if rest, ok := bytes.CutPrefix(data, []byte("null")); ok {
		v.SetZero()
		return rest, true
	}
	switch f.kind {
	case kindBool:
		if rest, ok := bytes.CutPrefix(data, []byte("true")); ok {
			v.SetBool(true)
			return rest, true
		}
		if rest, ok := bytes.CutPrefix(data, []byte("false")); ok {
			v.SetBool(false)
			return rest, true
		}
		return nil, false
	case kindUint, kindUintPtr:
		return f.parseUint(data, v)
	case kindInt:
		return parseInt(data, v)
	case kindStrings:
		return parseStrings(data, v)
	}
	text, rest, ok := plainString(data)
	if !ok {
		if f.kind != kindString {
			return nil, false
		}
		s, rest, ok := escapedString(data)
		if ok {
			v.SetString(s)
		}
		return rest, ok
	}
	switch f.kind {
	case kindString:
		v.SetString(string(text))
	case kindTime:
		// Parse takes a comma before the fraction as well, JSON does not.
		t, err := time.Parse(timeLayout, string(text))
		if err != nil || bytes.IndexByte(text, ',') >= 0 {
			return nil, false
		}
		*v.Addr().Interface().(*time.Time) = t
	case kindAddr:
		a, err := netip.ParseAddr(string(text))
		if err != nil {
			return nil, false
		}
		*v.Addr().Interface().(*netip.Addr) = a
	case kindBytes:
		b, err := hex.AppendDecode(nil, text)
		if err != nil {
			return nil, false
		}
		v.SetBytes(b)
	}
	return rest, true
}

func (f *Field) parseUint(data []byte, v reflect.Value) (rest []byte, ok bool) {
	n := 0
	for n < len(data) && data[n] >= '0' && data[n] <= '9' {
		n++
	}
	// JSON knows no leading zeros; 20 digits are the longest uint64.
	if n == 0 || n > 20 || (n > 1 && data[0] == '0') {
		return nil, false
	}
	x, err := strconv.ParseUint(string(data[:n]), 10, 64)
	if err != nil {
		return nil, false
	}
	if f.kind == kindUintPtr {
		p := reflect.New(v.Type().Elem())
		if p.Elem().OverflowUint(x) {
			return nil, false
		}
		p.Elem().SetUint(x)
		v.Set(p)
		return data[n:], true
	}
	if v.OverflowUint(x) {
		return nil, false
	}
	v.SetUint(x)
	return data[n:], true
}

func parseInt(data []byte, v reflect.Value) (rest []byte, ok bool) {
	n := 0
	if len(data) > 0 && data[0] == '-' {
		n = 1
	}
	first := n
	for n < len(data) && data[n] >= '0' && data[n] <= '9' {
		n++
	}
	if n == first || n > 20 || (n > first+1 && data[first] == '0') {
		return nil, false
	}
	x, err := strconv.ParseInt(string(data[:n]), 10, 64)
	if err != nil {
		return nil, false
	}
	v.SetInt(x)
	return data[n:], true
}

func parseStrings(data []byte, v reflect.Value) (rest []byte, ok bool) {
	if len(data) == 0 || data[0] != '[' {
		return nil, false
	}
	var list []string
	for {
		text, rest, ok := plainString(data[1:])
		if !ok || len(rest) == 0 {
			return nil, false
		}
		list = append(list, string(text))
		data = rest
		if data[0] == ']' {
			v.Set(reflect.ValueOf(list))
			return data[1:], true
		}
		if data[0] != ',' {
			return nil, false
		}
	}
}

// plainString reads a JSON string that has no escape in it.
func plainString(data []byte) (text, rest []byte, ok bool) {
	if len(data) == 0 || data[0] != '"' {
		return nil, nil, false
	}
	ascii := true
	for i := 1; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			text = data[1:i]
			return text, data[i+1:], ascii || utf8.Valid(text)
		case c == '\\' || c < 0x20:
			return nil, nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, nil, false
}

// escapedString reads a JSON string with escapes in it.
func escapedString(data []byte) (s string, rest []byte, ok bool) {
	if len(data) == 0 || data[0] != '"' {
		return "", nil, false
	}
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			if err := json.Unmarshal(data[:i+1], &s); err != nil {
				return "", nil, false
			}
			return s, data[i+1:], true
		}
	}
	return "", nil, false
}
