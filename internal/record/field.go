package record

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Role is the part that a field plays in a query.
type Role string

// The roles.
const (
	TimeRole  Role = "time"
	Dimension Role = "dimension"
	Measure   Role = "measure"
)

// Field describes one field of a record. All of it is declared on the Go
// struct field; nothing is written down twice.
type Field struct {
	Name   string // snake_case, as in JSON, CSV and SQL
	Type   string // time, string, uint, int, bool, addr, strings, bytes
	Unit   string // packets, bytes, buffers, us; empty if it has none
	Role   Role
	Doc    string // one sentence
	OTel   string // OpenTelemetry attribute, if one fits
	IPFIX  string // IPFIX information element, if one fits
	Hidden bool   // kept out of rows; only recordings and captures have it
	kind   kind
	index  []int
}

// kind is Type for the encoders, which switch on it once per field and record.
type kind uint8

const (
	kindString kind = iota
	kindUint
	kindUintPtr
	kindInt
	kindBool
	kindTime
	kindAddr
	kindStrings
	kindBytes
)

// Fields returns the fields of a record in their declared order. The argument
// is a record or a pointer to one; anything else is a bug and panics.
func Fields(rec any) []Field {
	t := reflect.TypeOf(rec)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var fields []Field
	for _, sf := range reflect.VisibleFields(t) {
		name := sf.Tag.Get("rec")
		if name == "" {
			continue
		}
		f := Field{
			Name: name, Unit: sf.Tag.Get("unit"), Role: Role(sf.Tag.Get("role")), Doc: sf.Tag.Get("doc"),
			OTel: sf.Tag.Get("otel"), IPFIX: sf.Tag.Get("ipfix"), Hidden: sf.Tag.Get("hidden") != "", index: sf.Index,
		}
		if f.Role == "" {
			f.Role = Dimension
		}
		f.Type = typeName(sf.Type)
		f.kind = kindOf(sf.Type, f.Type)
		fields = append(fields, f)
	}
	return fields
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[netip.Addr]():
		return "addr"
	case reflect.TypeFor[[]string]():
		return "strings"
	case reflect.TypeFor[[]byte]():
		return "bytes"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "uint"
	case reflect.Int64:
		return "int"
	case reflect.Pointer:
		return typeName(t.Elem())
	}
	panic(fmt.Sprintf("record: no type name for %v", t))
}

func kindOf(t reflect.Type, name string) kind {
	switch name {
	case "uint":
		if t.Kind() == reflect.Pointer {
			return kindUintPtr
		}
		return kindUint
	case "int":
		return kindInt
	case "bool":
		return kindBool
	case "time":
		return kindTime
	case "addr":
		return kindAddr
	case "strings":
		return kindStrings
	case "bytes":
		return kindBytes
	}
	return kindString
}

// value returns the field's value in rec, a pointer to a record.
func (f *Field) value(rec any) reflect.Value {
	return reflect.ValueOf(rec).Elem().FieldByIndex(f.index)
}

// Of returns the field's own value in rec, the struct of a record of the kind that
// the field was declared on: what [Field.Get] makes its value of, for those who
// read many records and cannot have an allocation for each.
func (f *Field) Of(rec reflect.Value) reflect.Value { return f.of(rec) }

// Get returns the field's value in rec, a pointer to a record of the kind that
// the field was declared on: nil if it is not known (zero, except for measures
// and booleans, where zero is a value), else a time.Time, string, uint64, int64,
// bool, netip.Addr, []string or []byte.
func (f *Field) Get(rec any) any {
	v := f.value(rec)
	switch f.Type {
	case "bool":
		return v.Bool()
	case "uint":
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return nil
			}
			return v.Elem().Uint()
		}
		if v.Uint() == 0 && f.Role != Measure {
			return nil
		}
		return v.Uint()
	case "int":
		return v.Int()
	case "string":
		if v.String() == "" {
			return nil
		}
		return v.String()
	}
	if v.IsZero() || (v.Kind() == reflect.Slice && v.Len() == 0) {
		return nil
	}
	return v.Interface()
}

// Text returns the field's value as text, as CSV and plain tables show it; a
// value that is not known is the empty string. Control characters are kept:
// whoever prints to a terminal makes them harmless.
func (f *Field) Text(rec any) string {
	switch v := f.Get(rec).(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case uint64:
		return strconv.FormatUint(v, 10)
	case int64:
		return strconv.FormatInt(v, 10)
	case netip.Addr:
		return v.String()
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case []string:
		return strings.Join(v, ";")
	case []byte:
		return fmt.Sprintf("%x", v)
	}
	panic("record: unknown field type " + f.Type)
}
