//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/netfate/netfate/internal/history"
)

// questionTime bounds every question that brings no bound of its own.
const questionTime = 30 * time.Second

// defaultLimit and maxLimit are Question.Limit where it is 0, and at the most.
const (
	defaultLimit = 100
	maxLimit     = 100_000
)

// other is the key of what is beyond a limit.
const other = "~other"

// view is the history as one transaction sees it.
type view struct {
	file  *file
	conn  *sql.Conn
	marks marks
}

// read has ask read the history, all of it as it is at one moment.
func (f *file) read(ctx context.Context, ask func(*view) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	// Where somebody else's statement has the memory, beginning may find none, too.
	defer func() { err = bounded(ctx, err) }()
	conn, err := f.conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "BEGIN TRANSACTION READ ONLY"); err != nil {
		return err
	}
	defer func() {
		_, back := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		err = errors.Join(err, back)
	}()
	v := &view{file: f, conn: conn}
	if v.marks, err = readMarks(ctx, conn); err != nil {
		return err
	}
	return ask(v)
}

// bounded says ErrLimit of errors that tell of time or memory.
func bounded(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: time is up", history.ErrLimit)
	case errors.Is(context.Cause(ctx), errResident):
		return fmt.Errorf("%w: %w", history.ErrLimit, errResident)
	case outOfMemory(err):
		return fmt.Errorf("%w: %s", history.ErrLimit, short(err))
	}
	return err
}

func outOfMemory(err error) bool {
	var e *duck.Error
	return errors.As(err, &e) && e.Type == duck.ErrorTypeOutOfMemory || strings.Contains(err.Error(), "Out of Memory Error") || strings.Contains(err.Error(), "bad allocation")
}

func (f *file) kind(name string) (*kind, error) {
	for _, k := range f.kinds {
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
	where        string
	args         []any
	by           []*column
	measure      *column
	limit        int
	fine         bool // it asks for what only minutes have
}

func (f *file) check(q *history.Question) (c question, err error) {
	c = question{until: forever, limit: q.Limit}
	if c.kind, err = f.kind(q.Kind); err != nil {
		return c, err
	}
	if !q.Until.IsZero() {
		c.until = ceil(q.Until)
	}
	if !q.Since.IsZero() {
		// A row is of a whole minute, which counts if some of it is asked for.
		c.since = max(q.Since.Unix(), 0)
		c.since -= c.since % resolutions()[0].step
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
		col, err := c.kind.dimension(name)
		if err != nil {
			return c, err
		}
		c.by = append(c.by, col)
		c.fine = c.fine || col.onlyMinutes()
	}
	var all []string
	for _, w := range q.Where {
		text, err := c.condition(w)
		if err != nil {
			return c, err
		}
		all = append(all, text)
	}
	c.where = strings.Join(all, " AND ")
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

// dimension is a column that rows may be told apart by.
func (k *kind) dimension(name string) (*column, error) {
	c := k.find(name)
	if c == nil || c.adds() {
		return nil, fmt.Errorf("%w: the history of %s has no field %q to tell rows apart by", history.ErrQuestion, k.name, name)
	}
	return c, nil
}

// condition is a condition as SQL; its values become arguments.
func (c *question) condition(w history.Condition) (string, error) {
	col := c.kind.find(w.Field)
	if col == nil {
		return "", fmt.Errorf("%w: the history of %s has no field %q", history.ErrQuestion, c.kind.name, w.Field)
	}
	if len(w.Values) == 0 {
		return "", fmt.Errorf("%w: %s is compared with nothing", history.ErrQuestion, w.Field)
	}
	c.fine = c.fine || col.onlyMinutes()
	var either []string
	for _, v := range w.Values {
		text, arg, err := col.compare(v)
		if err != nil {
			return "", err
		}
		either = append(either, text)
		if arg != nil {
			c.args = append(c.args, arg)
		}
	}
	text := "coalesce(" + strings.Join(either, " OR ") + ", false)"
	if w.Not {
		text = "NOT " + text
	}
	return text, nil
}

// compare is the comparison of a column with a value; arg is nil if it needs none.
func (c *column) compare(value string) (text string, arg any, err error) {
	name := quoted(c.name)
	if value == "" {
		return name + " IS NULL", nil, nil
	}
	switch c.typ {
	case "uint":
		arg, err = strconv.ParseUint(value, 10, 64)
	case "int":
		arg, err = strconv.ParseInt(value, 10, 64)
	case "bool":
		arg, err = strconv.ParseBool(value)
	default:
		if strings.Contains(value, "*") {
			pattern := strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%").Replace(value)
			return name + ` LIKE ? ESCAPE '\'`, pattern, nil
		}
		arg = value
	}
	if err != nil {
		return "", nil, fmt.Errorf("%w: %s is %s and cannot be %q", history.ErrQuestion, c.name, c.typ, value)
	}
	return name + " = ?", arg, nil
}

// from is what a question reads, as a subquery of time and the given columns, and
// its arguments. step bounds the resolution; 0 is for the finest there is.
func (v *view) from(q *question, step int64, columns ...string) (text string, args []any) {
	if q.fine {
		step = 0
	}
	var parts []string
	for _, p := range v.marks.pieces(q.since, q.until, step) {
		r := resolutions()[p.at]
		where := []string{}
		if p.since > 0 {
			where = append(where, "time >= "+timestamp(p.since))
		}
		if p.until < forever {
			where = append(where, "time < "+timestamp(p.until))
		}
		if q.where != "" {
			where = append(where, q.where)
			args = append(args, q.args...)
		}
		part := fmt.Sprintf("SELECT time, %s FROM %s", strings.Join(columns, ", "), q.kind.table(r))
		if len(where) > 0 {
			part += " WHERE " + strings.Join(where, " AND ")
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return fmt.Sprintf("(SELECT time, %s FROM %s WHERE false)", strings.Join(columns, ", "), q.kind.table(resolutions()[0])), nil
	}
	return "(" + strings.Join(parts, " UNION ALL ") + ")", args
}

// resolution is the time that one row of a question is of, where the finest ones
// were given up.
func (v *view) resolution(q *question) time.Duration {
	for i := Resolutions - 1; i >= 0; i-- {
		since, until := v.marks.own(i)
		if max(since, q.since) >= min(until, q.until) {
			continue
		}
		if i == 0 || v.has(q, i) {
			return time.Duration(resolutions()[i].step) * time.Second
		}
	}
	return time.Duration(resolutions()[0].step) * time.Second
}

// has reports whether there is a row of a question at the resolution, of the time
// of which it is the finest.
func (v *view) has(q *question, i int) bool {
	since, until := v.marks.own(i)
	var n int
	err := v.conn.QueryRowContext(context.Background(), fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s WHERE time >= %s AND time < %s LIMIT 1)",
		q.kind.table(resolutions()[i]), timestamp(max(since, q.since)), timestamp(min(until, q.until, 1<<36)))).Scan(&n)
	return err == nil && n > 0
}

// rows returns rows as they are stored, newest first. The time of one is the
// beginning of what it is of.
func (f *file) rows(ctx context.Context, q history.Question) (t history.Table, err error) {
	c, err := f.check(&q)
	if err != nil {
		return t, err
	}
	after, err := parseCursor(q.After)
	if err != nil {
		return t, err
	}
	err = f.read(ctx, func(v *view) (err error) {
		t, err = v.rows(ctx, &c, after)
		return err
	})
	return t, err
}

// cursor is the place of a row: pages go on behind it.
type cursor struct {
	time int64 // microseconds
	row  int64 // its number in its table
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d", c.time, c.row))
}

func parseCursor(text string) (*cursor, error) {
	if text == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		time, row, ok := strings.Cut(string(raw), ".")
		c := &cursor{}
		if c.time, err = strconv.ParseInt(time, 10, 64); err == nil && ok {
			if c.row, err = strconv.ParseInt(row, 10, 64); err == nil {
				return c, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: %q is no page of an answer", history.ErrQuestion, text)
}

func (v *view) rows(ctx context.Context, q *question, after *cursor) (t history.Table, err error) {
	t.Columns = []history.Column{{Name: "time", Type: "time"}}
	var names []string
	for i := range q.kind.columns {
		c := &q.kind.columns[i]
		t.Columns = append(t.Columns, history.Column{Name: c.name, Type: c.typ, Unit: c.unit})
		names = append(names, quoted(c.name))
	}
	t.Resolution = v.resolution(q)
	page := *q
	if page.since, err = v.pageSince(ctx, q, after); err != nil {
		return t, err
	}
	text, args := v.newest(&page, after, "*", append(names, "rowid AS row_number")...)
	all, err := v.query(ctx, text, args)
	if err != nil {
		return t, err
	}
	last := len(t.Columns)
	for i, r := range all {
		if i == q.limit {
			before := all[i-1]
			t.Next = cursor{before[0].(time.Time).UnixMicro(), before[last].(int64)}.String()
			break
		}
		t.Rows = append(t.Rows, r[:last:last])
	}
	return t, nil
}

// newest is the statement for the newest rows of a question, one more than its limit.
func (v *view) newest(q *question, after *cursor, wanted string, columns ...string) (text string, args []any) {
	from, args := v.from(q, 0, columns...)
	text = "SELECT " + wanted + " FROM " + from
	if after != nil {
		text += " WHERE time < make_timestamp(?) OR time = make_timestamp(?) AND row_number < ?"
		args = append(args, after.time, after.time, after.row)
	}
	return text + fmt.Sprintf(" ORDER BY time DESC, row_number DESC LIMIT %d", q.limit+1), args
}

// pageSince is when the oldest row of a page is of. To find it takes one column, and
// with it little is read of the others.
func (v *view) pageSince(ctx context.Context, q *question, after *cursor) (int64, error) {
	text, args := v.newest(q, after, "time", "rowid AS row_number")
	all, err := v.query(ctx, text, args)
	if err != nil || len(all) == 0 {
		return q.since, err
	}
	return max(q.since, all[len(all)-1][0].(time.Time).Unix()), nil
}

// query reads all rows of an answer.
func (v *view) query(ctx context.Context, text string, args []any) (all [][]any, err error) {
	rows, err := v.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values, err := scan(rows, len(names))
		if err != nil {
			return nil, err
		}
		all = append(all, values)
	}
	return all, rows.Err()
}

func scan(rows *sql.Rows, n int) ([]any, error) {
	values, at := make([]any, n), make([]any, n)
	for i := range values {
		at[i] = &values[i]
	}
	if err := rows.Scan(at...); err != nil {
		return nil, err
	}
	for i := range values {
		values[i] = plain(values[i])
	}
	return values, nil
}

// minutes reads all minutes there are, as rows that can be written elsewhere.
func (f *file) minutes(ctx context.Context) (*minutes, error) {
	m := newMinutes(f.kinds)
	conn, err := f.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	v := &view{file: f, conn: conn}
	for i, k := range f.kinds {
		var names []string
		for j := range k.columns {
			names = append(names, quoted(k.columns[j].name))
		}
		all, err := v.query(ctx, fmt.Sprintf("SELECT time, %s FROM %s", strings.Join(names, ", "), k.table(resolutions()[0])), nil)
		if err != nil {
			return nil, err
		}
		p := &m.tables[i]
		for _, values := range all {
			minute := values[0].(time.Time).Unix()
			p.minute = append(p.minute, minute)
			for j := range k.columns {
				p.cells[j].put(&k.columns[j], values[j+1])
			}
			m.len++
			m.old, m.new = min(m.old, minute), max(m.new, minute)
		}
	}
	return m, nil
}

func (f *file) status(ctx context.Context, st *history.Status) error {
	return f.read(ctx, func(v *view) error { return v.status(ctx, st) })
}

func (v *view) status(ctx context.Context, st *history.Status) error {
	var version string
	if err := v.conn.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return err
	}
	st.Engine = "duckdb " + strings.TrimPrefix(version, "v")
	for _, name := range []string{v.file.path, v.file.path + ".wal"} {
		if info, err := os.Stat(name); err == nil {
			st.Bytes += info.Size()
		}
	}
	for _, k := range v.file.kinds {
		for _, r := range resolutions() {
			one := history.KindStatus{Kind: k.name, Resolution: time.Duration(r.step) * time.Second}
			var oldest, newest sql.NullTime
			if err := v.conn.QueryRowContext(ctx, "SELECT count(*), min(time), max(time) FROM "+k.table(r)).Scan(&one.Rows, &oldest, &newest); err != nil {
				return err
			}
			one.Oldest, one.Newest = oldest.Time, newest.Time
			if oldest.Valid && (st.Oldest.IsZero() || oldest.Time.Before(st.Oldest)) {
				st.Oldest = oldest.Time
			}
			st.Kinds = append(st.Kinds, one)
		}
	}
	return nil
}
