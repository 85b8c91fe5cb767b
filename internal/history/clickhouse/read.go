package clickhouse

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// defaultLimit and maxLimit are Question.Limit where it is 0, and at the most.
const (
	defaultLimit = 100
	maxLimit     = 100_000
)

// other is the key of what is beyond a limit.
const other = "~other"

// forever is later than every time that is stored.
const forever = int64(1) << 32

// moment is a time in seconds as a literal.
func moment(s int64) string {
	return fmt.Sprintf("toDateTime(%d, 'UTC')", min(max(s, 0), forever-1))
}

// answers asks for a question's answer.
func (s *store) answers(ctx context.Context, statement string) (*answer, error) {
	a, err := s.client.query(ctx, statement, s.bounds())
	if err != nil && !errors.Is(err, history.ErrLimit) {
		return nil, fmt.Errorf("ask ClickHouse at %s: %w", s.at.Host, err)
	}
	return a, err
}

func (s *store) kind(name string) (*kind, error) {
	for _, k := range s.kinds {
		if k.name == name {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no kind %q, only %s", history.ErrQuestion, name, strings.Join(history.Kinds(), ", "))
}

// question is a history.Question that was looked at.
type question struct {
	kind         *kind
	since, until int64 // seconds; all of them are 0 and forever
	where        []string
	by           []*column
	measure      *column
	limit        int
}

func (s *store) check(q *history.Question) (c question, err error) {
	c = question{until: forever, limit: q.Limit}
	if c.kind, err = s.kind(q.Kind); err != nil {
		return c, err
	}
	if !q.Until.IsZero() {
		c.until = min(ceil(q.Until), forever)
	}
	if !q.Since.IsZero() {
		// A row is of a whole minute, which counts if some of it is asked for.
		const minute = 60
		c.since = max(q.Since.Unix(), 0)
		c.since -= c.since % minute
	}
	if !q.Until.IsZero() && !q.Until.After(q.Since) {
		c.since = c.until
	}
	if c.limit == 0 {
		c.limit = defaultLimit
	}
	if c.limit < 0 || c.limit > maxLimit {
		return c, fmt.Errorf("%w: a limit of %d is not within 1 and %d", history.ErrQuestion, q.Limit, maxLimit)
	}
	if c.measure, err = c.kind.measure(q.Measure); err != nil {
		return c, err
	}
	for _, name := range q.By {
		col := c.kind.find(name)
		if col == nil || col.adds() {
			return c, fmt.Errorf("%w: the history of %s has no field %q to tell rows apart by", history.ErrQuestion, q.Kind, name)
		}
		c.by = append(c.by, col)
	}
	for _, w := range q.Where {
		text, err := c.condition(w)
		if err != nil {
			return c, err
		}
		c.where = append(c.where, text)
	}
	return c, nil
}

// ceil is the first whole second that is not before t.
func ceil(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return max(s, 0)
}

// condition is a condition as SQL.
func (q *question) condition(w history.Condition) (string, error) {
	col := q.kind.find(w.Field)
	if col == nil {
		return "", fmt.Errorf("%w: the history of %s has no field %q", history.ErrQuestion, q.kind.name, w.Field)
	}
	if len(w.Values) == 0 {
		return "", fmt.Errorf("%w: %s is compared with nothing", history.ErrQuestion, w.Field)
	}
	var either []string
	for _, v := range w.Values {
		text, err := col.compare(v)
		if err != nil {
			return "", err
		}
		either = append(either, text)
	}
	text := "(" + strings.Join(either, " OR ") + ")"
	if w.Not {
		text = "NOT " + text
	}
	return text, nil
}

// compare is the comparison of a column with a value.
func (c *column) compare(value string) (string, error) {
	name := quoted(c.name)
	switch {
	case c.isText() && strings.Contains(value, "*"):
		pattern := strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%").Replace(value)
		return fmt.Sprintf("(%s != '' AND %[1]s LIKE %s)", name, literal(pattern)), nil
	case c.isText():
		return name + " = " + literal(value), nil
	case value == "":
		return c.unknown(), nil
	}
	var n any
	var err error
	switch c.typ {
	case "uint":
		n, err = strconv.ParseUint(value, 10, 64)
	case "int":
		n, err = strconv.ParseInt(value, 10, 64)
	case "bool":
		var is bool
		if is, err = strconv.ParseBool(value); is {
			n = 1
		} else {
			n = 0
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s is %s and cannot be %q", history.ErrQuestion, c.name, c.typ, value)
	}
	text := fmt.Sprintf("%s = %d", name, n)
	if c.nullable {
		text = "ifNull(" + text + ", 0)"
	}
	if !c.zeroKnown() {
		text = fmt.Sprintf("(%s AND %s != 0)", text, name)
	}
	return text, nil
}

// unknown is the condition that a column that is no text is not known.
func (c *column) unknown() string {
	switch {
	case c.nullable:
		return "isNull(" + quoted(c.name) + ")"
	case c.zeroKnown():
		return "0"
	}
	return quoted(c.name) + " = 0"
}

// value is one of the column's as history.Table has it.
func (c *column) value(v any) any {
	got := value(v, map[string]string{"uint": "UInt64", "int": "Int64", "bool": "UInt8"}[c.typ], time.UTC)
	switch {
	case got == "" || !c.zeroKnown() && got == uint64(0):
		return nil
	case c.typ == "bool":
		return got == uint64(1)
	}
	return got
}

// filter is the WHERE of a question, with further conditions.
func (q *question) filter(further ...string) string {
	var all []string
	if q.since > 0 {
		all = append(all, "time >= "+moment(q.since))
	}
	if q.until < forever {
		all = append(all, "time < "+moment(q.until))
	}
	all = append(append(all, q.where...), further...)
	if len(all) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(all, " AND ")
}

// Rows returns rows as they are stored, newest first. The time of one is the beginning of
// its minute.
func (s *store) Rows(ctx context.Context, q history.Question) (t history.Table, err error) {
	c, err := s.check(&q)
	if err != nil {
		return t, err
	}
	after, err := parseCursor(q.After)
	if err != nil {
		return t, err
	}
	if q.After == "" {
		s.refresh(ctx)
	}
	t.Columns, t.Resolution = []history.Column{{Name: timeColumn, Type: "time"}}, resolution
	names := []string{"toUInt32(time)", batchColumn, rowColumn}
	for i := range c.kind.columns {
		col := &c.kind.columns[i]
		t.Columns = append(t.Columns, history.Column{Name: col.name, Type: col.typ, Unit: col.unit})
		names = append(names, quoted(col.name))
	}
	behind := after.condition()
	oldest, err := s.pageSince(ctx, &c, behind)
	if err != nil || oldest < 0 {
		return t, err
	}
	c.since = max(c.since, oldest)
	a, err := s.answers(ctx, fmt.Sprintf("SELECT %s FROM %s%s ORDER BY time DESC, batch DESC, row DESC LIMIT %d",
		strings.Join(names, ", "), c.kind.name, c.filter(behind...), c.limit+1))
	if err != nil {
		return t, err
	}
	var last cursor
	for i, row := range a.Data {
		if i == c.limit {
			t.Next = last.String()
			break
		}
		if last, err = cursorOf(row); err != nil {
			return t, err
		}
		values := []any{time.Unix(last.time, 0).UTC()}
		for j, v := range row[3:] {
			values = append(values, c.kind.columns[j].value(v))
		}
		t.Rows = append(t.Rows, values)
	}
	return t, nil
}

// pageSince is when the oldest row of a page is of, -1 if there is none. To find it takes
// one column, and with it little is read of the others.
func (s *store) pageSince(ctx context.Context, q *question, behind []string) (int64, error) {
	a, err := s.answers(ctx, fmt.Sprintf("SELECT count(), min(t) FROM (SELECT toUInt32(time) AS t FROM %s%s ORDER BY time DESC LIMIT %d)",
		q.kind.name, q.filter(behind...), q.limit+1))
	if err != nil || len(a.Data) != 1 {
		return -1, err
	}
	got, err := uints(a.Data[0])
	if err != nil || got[0] == 0 {
		return -1, err
	}
	return int64(got[1]), nil
}

// cursor is the place of a row: pages go on behind it.
type cursor struct {
	time  int64 // seconds
	batch string
	row   uint16
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%s.%d", c.time, c.batch, c.row))
}

// cursorOf is the place of a row that begins with it.
func cursorOf(row []any) (c cursor, err error) {
	at, ok := row[0].(json.Number)
	if !ok {
		return c, fmt.Errorf("%v is no time", row[0])
	}
	if c.time, err = at.Int64(); err != nil {
		return c, err
	}
	n, err := strconv.ParseUint(word(row[2]), 10, 16)
	c.batch, c.row = word(row[1]), uint16(n)
	return c, err
}

// condition is that of what comes behind.
func (c *cursor) condition() []string {
	if c == nil {
		return nil
	}
	return []string{fmt.Sprintf("time <= %[1]s AND (time < %[1]s OR batch < %[2]s OR batch = %[2]s AND row < %[3]d)", moment(c.time), literal(c.batch), c.row)}
}

func parseCursor(text string) (*cursor, error) {
	if text == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if parts := strings.Split(string(raw), "."); err == nil && len(parts) == 3 {
		c := &cursor{batch: parts[1]}
		var row uint64
		if c.time, err = strconv.ParseInt(parts[0], 10, 64); err == nil {
			if row, err = strconv.ParseUint(parts[2], 10, 16); err == nil {
				c.row = uint16(row)
				return c, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: %q is no page of an answer", history.ErrQuestion, text)
}
