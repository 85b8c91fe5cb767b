//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// schemaVersion is that of the tables' meaning. A new column does not change it; a
// file of another version is set aside.
const schemaVersion = 1

// resolution is one length of time that rows are of.
type resolution struct {
	name      string // as tables end
	step      int64  // seconds
	partition int64  // seconds of what is deleted at once: whole steps of the next resolution
}

// resolutions lists them, the finest first.
func resolutions() [Resolutions]resolution {
	const hour, day = 3600, 24 * 3600
	return [Resolutions]resolution{
		{"1m", 60, hour}, {"5m", 300, day}, {"1h", hour, 7 * day}, {"1d", day, 28 * day},
	}
}

// class says what becomes of a column when records are added up.
type class = history.Class

const (
	keyColumn     = history.KeyClass
	fineColumn    = history.FineClass
	bucketColumn  = history.BucketClass
	latestColumn  = history.LatestClass
	lettersColumn = history.LettersClass
	textColumn    = history.TextClass
	sumColumn     = history.SumClass
	mostColumn    = history.MostClass
)

// column is one column of a kind's tables, beside the time.
type column struct {
	name, typ, unit string // as history.Column
	class           class
	form            form
	offset          uintptr               // of the field in its record
	count           func(record any) bool // of counts, which no record has: whether it is one
}

// sql is the column's type in DuckDB. Addresses are text: it compresses better than
// UUID or HUGEINT, and can be read.
func (c *column) sql() string {
	switch c.typ {
	case "uint":
		return "UBIGINT"
	case "int":
		return "BIGINT"
	case "bool":
		return "BOOLEAN"
	}
	return "VARCHAR"
}

// adds reports whether the column is a measure.
func (c *column) adds() bool { return c.class == sumColumn }

// distinguishes reports whether rows of a minute are told apart by it.
func (c *column) distinguishes() bool {
	return c.class == keyColumn || c.class == fineColumn || c.class == bucketColumn
}

// onlyMinutes reports whether the column is null in what is longer than a minute.
func (c *column) onlyMinutes() bool { return c.class == fineColumn || c.class == lettersColumn }

// kind is one kind of record.
type kind struct {
	name    string
	columns []column
	keys    []int // the columns that tell rows of a minute apart
	sums    []int // the others
}

func (k *kind) table(r resolution) string { return k.name + "_" + r.name }

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
	for i := range k.columns {
		if c := &k.columns[i]; c.adds() && (name == "" || c.name == name) {
			return c, nil
		}
	}
	var all []string
	for i := range k.columns {
		if k.columns[i].adds() {
			all = append(all, k.columns[i].name)
		}
	}
	return nil, fmt.Errorf("%w: %s has no measure %q: it has %s", history.ErrQuestion, k.name, name, strings.Join(all, ", "))
}

// weight is the column that the rows of a kind are counted by, for percentiles.
func (k *kind) weight() string {
	switch k.name {
	case history.Conns, history.Requests, history.Queries:
		return k.name
	case history.Flows:
		return "packets_in + packets_out"
	}
	return "1"
}

// newKind makes a kind of the fields of its record.
func newKind(name string, rec any) *kind {
	k := &kind{name: name}
	for _, c := range history.Counts(name) {
		k.columns = append(k.columns, column{name: c.Name, typ: "uint", class: sumColumn, count: c.Is})
	}
	empty := reflect.New(reflect.TypeOf(rec)).Elem()
	fields := record.Fields(rec)
	for i := range fields {
		f := &fields[i]
		c := column{name: f.Name, typ: f.Type, unit: f.Unit, class: history.ClassOf(name, f)}
		if c.class == history.LeftOut {
			continue
		}
		c.form, c.offset = place(f, empty)
		k.columns = append(k.columns, c)
	}
	for i := range k.columns {
		if k.columns[i].distinguishes() {
			k.keys = append(k.keys, i)
		} else {
			k.sums = append(k.sums, i)
		}
	}
	return k
}

// newKinds returns all kinds, in the order of history.Kinds.
func newKinds() []*kind {
	return []*kind{
		newKind(history.Drops, record.Drop{}), newKind(history.Flows, record.Flow{}), newKind(history.Conns, record.Conn{}),
		newKind(history.Requests, record.Request{}), newKind(history.Queries, record.Query{}),
		newKind(history.Ledger, record.Entry{}), newKind(history.Lost, record.Lost{}),
	}
}

// create is the statement that makes a table.
func (k *kind) create(r resolution) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE %s (time TIMESTAMP", k.table(r))
	for i := range k.columns {
		fmt.Fprintf(&b, ", %s %s", quoted(k.columns[i].name), k.columns[i].sql())
	}
	b.WriteString(")")
	return b.String()
}

// rollUp is the statement that adds up rows of one resolution, of [from, to) in
// seconds, to rows of the next.
func (k *kind) rollUp(from, to resolution, since, until int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s BY NAME SELECT %s AS time", k.table(to), bucketOf("time", to.step))
	for i := range k.columns {
		fmt.Fprintf(&b, ", %s AS %s", k.columns[i].added(), quoted(k.columns[i].name))
	}
	fmt.Fprintf(&b, " FROM %s WHERE time >= %s AND time < %s GROUP BY ALL", k.table(from), timestamp(since), timestamp(until))
	return b.String()
}

// added is what a column becomes in the next resolution.
func (c *column) added() string {
	name := quoted(c.name)
	switch c.class {
	case fineColumn, lettersColumn:
		return "NULL"
	case textColumn, mostColumn:
		return "max(" + name + ")"
	case sumColumn:
		return c.sum()
	}
	return name
}

// sum is the sum of a measure as its own type: DuckDB's is HUGEINT.
func (c *column) sum() string { return fmt.Sprintf("sum(%s)::%s", quoted(c.name), c.sql()) }

// quoted is a name as an identifier.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// timestamp is a time in seconds as a literal.
func timestamp(s int64) string {
	return "TIMESTAMP '" + time.Unix(s, 0).UTC().Format("2006-01-02 15:04:05") + "'"
}

// bucketOf is the beginning of the step that a time is in.
func bucketOf(expr string, step int64) string {
	return fmt.Sprintf("make_timestamp(epoch_us(%[1]s) - epoch_us(%[1]s) %% %[2]d)", expr, step*1e6)
}

// view is the statement that makes the view of a kind: each stretch of time from
// the finest table that still has it.
func (k *kind) view(m *marks) string {
	var parts []string
	list := []string{"time"}
	for i := range k.columns {
		list = append(list, quoted(k.columns[i].name))
	}
	for i, r := range resolutions() {
		since, until := m.own(i)
		if since >= until {
			continue
		}
		s := fmt.Sprintf("SELECT %s, %d::UBIGINT AS step_s FROM %s", strings.Join(list, ", "), r.step, k.table(r))
		var where []string
		if since > 0 {
			where = append(where, "time >= "+timestamp(since))
		}
		if until < forever {
			where = append(where, "time < "+timestamp(until))
		}
		if len(where) > 0 {
			s += " WHERE " + strings.Join(where, " AND ")
		}
		parts = append(parts, s)
	}
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s AS %s", k.name, strings.Join(parts, " UNION ALL "))
}

// forever is later than every time that is stored.
const forever = int64(1) << 40

// marks are how far the tables reach, in seconds.
type marks struct {
	since [Resolutions]int64 // complete from here on: what is older was given up
	until [Resolutions]int64 // rolled up to here; of minutes it is forever
}

func newMarks() marks {
	m := marks{}
	m.until[0] = forever
	return m
}

// own is the stretch of time of which a resolution is the finest.
func (m *marks) own(i int) (since, until int64) {
	until = forever
	if i > 0 {
		until = slices.Min(m.since[:i])
	}
	return m.since[i], until
}
