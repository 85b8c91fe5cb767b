package clickhouse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// answer is what a question is answered: JSONCompact, whatever the types are.
type answer struct {
	Meta []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"meta"`
	Data [][]any `json:"data"`
}

// errFormat says that an answer is not of the format that was asked for: the statement
// has one of its own.
var errFormat = errors.New("the answer is not JSONCompact: leave FORMAT out")

// readAnswer reads one. Numbers stay as they are written.
func readAnswer(r io.Reader) (*answer, error) {
	limited := &io.LimitedReader{R: r, N: maxAnswer}
	d := json.NewDecoder(limited)
	d.UseNumber()
	var a answer
	if err := d.Decode(&a); err != nil {
		if limited.N <= 0 {
			return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
		}
		if e := (*json.SyntaxError)(nil); errors.As(err, &e) || errors.As(err, new(*json.UnmarshalTypeError)) || errors.Is(err, io.EOF) {
			return nil, errFormat
		}
		return nil, err
	}
	for i, row := range a.Data {
		if len(row) != len(a.Meta) {
			return nil, fmt.Errorf("row %d has %d values and there are %d columns", i, len(row), len(a.Meta))
		}
	}
	return &a, nil
}

// bare is a type without what does not change its values.
func bare(typ string) string {
	for _, around := range []string{"LowCardinality(", "Nullable("} {
		if inner, ok := strings.CutPrefix(typ, around); ok {
			typ = strings.TrimSuffix(inner, ")")
		}
	}
	return typ
}

// typeName is a type of ClickHouse as history.Column has it.
func typeName(typ string) string {
	typ = bare(typ)
	switch {
	case strings.HasPrefix(typ, "UInt"):
		return "uint"
	case strings.HasPrefix(typ, "Int") && !strings.HasPrefix(typ, "Interval"):
		return "int"
	case strings.HasPrefix(typ, "Float"), strings.HasPrefix(typ, "Decimal"):
		return "float"
	case typ == "Bool":
		return "bool"
	case typ == "String", strings.HasPrefix(typ, "FixedString("), strings.HasPrefix(typ, "Enum"):
		return "string"
	case strings.HasPrefix(typ, "Date"):
		return "time"
	case strings.HasPrefix(typ, "Array("):
		return "strings"
	}
	return typ
}

// value is one of an answer as history.Table has it. zone is that of times that do not
// say theirs.
func value(v any, typ string, zone *time.Location) any {
	name := typeName(typ)
	switch v := v.(type) {
	case json.Number:
		return numberOf(v, name)
	case string:
		switch name {
		case "time":
			if at, ok := timeOf(v, bare(typ), zone); ok {
				return at
			}
		case "uint", "int", "float": // of more bits than JSON's numbers are sure to have
			return numberOf(json.Number(v), name)
		}
		return v
	case []any:
		words := make([]string, 0, len(v))
		for _, one := range v {
			words = append(words, word(one))
		}
		return words
	case nil, bool:
		return v
	}
	return word(v)
}

// numberOf is a number by the type of its column: exact as far as 64 bits hold it.
func numberOf(n json.Number, typ string) any {
	if typ == "uint" {
		if v, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
			return v
		}
	}
	if typ == "int" || typ == "uint" {
		if v, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
			return v
		}
	}
	if v, err := n.Float64(); err == nil {
		return v
	}
	return n.String()
}

// timeOf reads a Date, DateTime or DateTime64, which may name its zone.
func timeOf(text, typ string, zone *time.Location) (time.Time, bool) {
	if _, named, ok := strings.Cut(typ, "'"); ok {
		if z, err := time.LoadLocation(strings.TrimRight(named, "')")); err == nil {
			zone = z
		}
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}

// word is any value as a text.
func word(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// uints are the values of a row as numbers; what is null is 0.
func uints(row []any) (all []uint64, err error) {
	for _, v := range row {
		n := uint64(0)
		switch v := v.(type) {
		case nil:
		case json.Number:
			if n, err = strconv.ParseUint(v.String(), 10, 64); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%v is no number", v)
		}
		all = append(all, n)
	}
	return all, nil
}
