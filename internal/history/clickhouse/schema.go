package clickhouse

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// resolution is what one row is of.
const resolution = time.Minute

// Columns that each table has beside those of its kind.
const (
	timeColumn  = "time"
	hostColumn  = "host"
	batchColumn = "batch" // the number of the batch that brought the row
	rowColumn   = "row"   // the row's number in it
)

// column is one column of a kind's table, beside the time.
type column struct {
	name, typ, unit string // as history.Column
	class           history.Class
	field           *record.Field         // nil of counts, and of a host that records do not have
	bits            int                   // of numbers
	nullable        bool                  // of numbers that may be unknown though they could be 0
	count           func(record any) bool // of counts, which no record has: whether it is one
}

// adds reports whether the column is a measure.
func (c *column) adds() bool { return c.class == history.SumClass }

// distinguishes reports whether rows of a minute are told apart by it.
func (c *column) distinguishes() bool {
	return c.class == history.KeyClass || c.class == history.FineClass || c.class == history.BucketClass
}

// timed reports whether the column is a duration.
func (c *column) timed() bool {
	return c.class == history.BucketClass || c.class == history.LatestClass
}

// isText reports whether the column is a String, of which the empty one is not known.
func (c *column) isText() bool { return c.typ == "string" || c.typ == "addr" }

// zeroKnown reports whether 0 is a value of the column, as it is of measures, truths
// and what has null for unknown. Elsewhere it is not known.
func (c *column) zeroKnown() bool {
	return c.nullable || c.typ == "bool" || c.adds() || c.class == history.MostClass
}

// sql is the column's type. Addresses are text: it can be read and compared by its
// beginning.
func (c *column) sql(d dialect) string {
	var typ string
	switch c.typ {
	case "uint":
		typ = fmt.Sprintf("UInt%d", c.bits)
	case "int":
		typ = "Int64"
	case "bool":
		return "UInt8"
	default:
		if d.modern && c.name != "path" && c.name != "qname" && c.name != "trace_id" && c.typ != "addr" {
			return "LowCardinality(String)"
		}
		return "String"
	}
	if c.nullable {
		return "Nullable(" + typ + ")"
	}
	return typ
}

// kind is one kind of record.
type kind struct {
	name    string
	columns []column
	keys    []int // the columns that tell rows apart, in the order of inserts
	rest    []int // the others
}

func (k *kind) find(name string) *column {
	for i := range k.columns {
		if k.columns[i].name == name {
			return &k.columns[i]
		}
	}
	return nil
}

// measure is the measure of that name, the first one for "".
func (k *kind) measure(name string) (*column, error) {
	var all []string
	for i := range k.columns {
		if c := &k.columns[i]; c.adds() {
			if name == "" || c.name == name {
				return c, nil
			}
			all = append(all, c.name)
		}
	}
	return nil, fmt.Errorf("%w: %s has no measure %q: it has %s", history.ErrQuestion, k.name, name, strings.Join(all, ", "))
}

// weight is what the rows of a kind are counted by, for percentiles.
func (k *kind) weight() string {
	switch k.name {
	case history.Conns, history.Requests, history.Queries:
		return quoted(k.name)
	case history.Flows:
		return "(packets_in + packets_out)"
	}
	return "toUInt64(1)"
}

// newKind makes a kind of the fields of its record.
func newKind(name string) *kind {
	k := &kind{name: name}
	for _, c := range history.Counts(name) {
		k.columns = append(k.columns, column{name: c.Name, typ: "uint", bits: 64, class: history.SumClass, count: c.Is})
	}
	fields := history.Fields(name)
	for i := range fields {
		f := &fields[i]
		c := column{name: f.Name, typ: f.Type, unit: f.Unit, class: history.ClassOf(name, f), field: f}
		if c.class == history.LeftOut {
			continue
		}
		c.bits, c.nullable = width(name, f, &c)
		k.columns = append(k.columns, c)
	}
	if k.find(hostColumn) == nil {
		k.columns = append([]column{{name: hostColumn, typ: "string", class: history.KeyClass}}, k.columns...)
	}
	for i := range k.columns {
		if k.columns[i].distinguishes() {
			k.keys = append(k.keys, i)
		} else {
			k.rest = append(k.rest, i)
		}
	}
	return k
}

// width is how many bits a field of a kind takes, as a number, and whether it may be null.
func width(kind string, f *record.Field, c *column) (bits int, nullable bool) {
	t := f.Of(empty(kind)).Type()
	if t.Kind() == reflect.Pointer {
		t, nullable = t.Elem(), true
	}
	if c.typ == "uint" && (c.class == history.KeyClass || c.class == history.FineClass) {
		return t.Bits(), nullable
	}
	return 64, nullable // sums grow
}

// empty is an empty record of a kind.
func empty(kind string) reflect.Value {
	of := map[string]reflect.Type{
		history.Drops: reflect.TypeFor[record.Drop](), history.Flows: reflect.TypeFor[record.Flow](), history.Conns: reflect.TypeFor[record.Conn](),
		history.Requests: reflect.TypeFor[record.Request](), history.Queries: reflect.TypeFor[record.Query](),
		history.Ledger: reflect.TypeFor[record.Entry](), history.Lost: reflect.TypeFor[record.Lost](),
	}
	return reflect.New(of[kind]).Elem()
}

// newKinds returns all kinds, in the order of history.Kinds.
func newKinds() (all []*kind) {
	for _, name := range history.Kinds() {
		all = append(all, newKind(name))
	}
	return all
}

// dialect is what a server understands. There is one schema, and two ways to say it.
type dialect struct {
	version string
	// modern says that the server has LowCardinality, codecs, and inserts that it collects
	// before it writes: those since 22.8 do.
	modern bool
}

// newDialect is that of a server, by its version.
func newDialect(version string) dialect {
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 || err != nil {
		return dialect{version: version}
	}
	return dialect{version: version, modern: major > 22 || major == 22 && minor >= 8}
}

// insertSettings are those of inserts. A modern server adds up the inserts of many hosts before it
// writes, and answers when that is done.
func (d dialect) insertSettings() map[string]string {
	if !d.modern {
		return nil
	}
	return map[string]string{"async_insert": "1", "wait_for_async_insert": "1"}
}

// create is the statement that makes a kind's table.
func (d dialect) create(k *kind) string {
	var b strings.Builder
	codec := func(c string) {
		if d.modern {
			b.WriteString(" CODEC(" + c + ")")
		}
	}
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (time DateTime('UTC')", k.name)
	codec("DoubleDelta, ZSTD(1)")
	for i := range k.columns {
		b.WriteString(", " + d.define(&k.columns[i]))
	}
	fmt.Fprintf(&b, ", %s String", batchColumn)
	codec("ZSTD(1)")
	fmt.Fprintf(&b, ", %s UInt16", rowColumn)
	codec("T64, ZSTD(1)")
	b.WriteString(") ENGINE = MergeTree() PARTITION BY toYYYYMMDD(time) ORDER BY (host, time)")
	return b.String()
}

// define is a column as CREATE and ALTER have it.
func (d dialect) define(c *column) string {
	text := quoted(c.name) + " " + c.sql(d)
	if d.modern {
		text += " CODEC(ZSTD(1))"
	}
	return text
}

// insert is the statement that inserts rows of a kind.
func (k *kind) insert() string {
	names := []string{timeColumn}
	for _, part := range [][]int{k.keys, k.rest} {
		for _, i := range part {
			names = append(names, quoted(k.columns[i].name))
		}
	}
	return fmt.Sprintf("INSERT INTO %s (%s, %s, %s) FORMAT RowBinary", k.name, strings.Join(names, ", "), batchColumn, rowColumn)
}

// quoted is a name as an identifier: names of fields are letters and _.
func quoted(name string) string { return "`" + name + "`" }

// literal is a text as ClickHouse reads it, whatever is in it.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(text) + "'"
}
