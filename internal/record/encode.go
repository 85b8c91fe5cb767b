package record

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"time"
)

// AppendJSON appends rec, a pointer to a record, to dst as one JSON object on
// one line, fields in their declared order, without a newline. Every field is
// always there; null says that its value is not known. Hidden fields are left
// out unless hidden is set.
func AppendJSON(dst []byte, fields []Field, rec any, hidden bool) []byte {
	dst = append(dst, '{')
	first := true
	for i := range fields {
		f := &fields[i]
		if f.Hidden && !hidden {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = append(dst, f.Name...)
		dst = append(dst, '"', ':')
		dst = f.appendJSON(dst, rec)
	}
	return append(dst, '}')
}

func (f *Field) appendJSON(dst []byte, rec any) []byte {
	v := f.Get(rec)
	switch x := v.(type) {
	case time.Time:
		v = x.UTC().Format("2006-01-02T15:04:05.000000000Z")
	case []byte:
		v = hex.EncodeToString(x)
	}
	// Marshal of what Get returns cannot fail; invalid UTF-8 becomes U+FFFD.
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("record: marshal %s: %v", f.Name, err))
	}
	return append(dst, text...)
}

// ParseJSON fills rec, a pointer to a record, from one JSON object as
// [AppendJSON] writes it. Unknown members are ignored, so that a newer
// recording can be read; a member of the wrong type is an error.
func ParseJSON(data []byte, fields []Field, rec any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("parse record: %w", err)
	}
	for i := range fields {
		f := &fields[i]
		raw, ok := members[f.Name]
		if !ok || string(raw) == "null" {
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
