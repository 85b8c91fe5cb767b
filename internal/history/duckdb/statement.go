//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/netfate/netfate/internal/history"
)

// maxStatement is how long a statement may be, in bytes, and maxRows how many rows
// one answers where no limit is given.
const (
	maxStatement = 64 << 10
	maxRows      = 10_000
)

// SQL answers one statement that only reads: SELECT, WITH, FROM, VALUES, DESCRIBE,
// SHOW, SUMMARIZE. It runs in a transaction that cannot write, without files or network.
func (s *store) SQL(ctx context.Context, statement string, l history.Limits) (t history.Table, err error) {
	if len(statement) > maxStatement {
		return t, fmt.Errorf("%w: the statement is longer than %d bytes", history.ErrQuestion, maxStatement)
	}
	if l.Time <= 0 {
		l.Time = questionTime
	}
	if l.Rows <= 0 {
		l.Rows = maxRows
	}
	ctx, cancel := context.WithTimeout(ctx, min(l.Time, questionTime*20))
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return t, fmt.Errorf("%w: %d others are running", history.ErrLimit, maxQuestions)
	}
	s.refresh(ctx)
	err = s.with(func(b base) (err error) {
		t, err = b.sql(ctx, statement, l.Rows)
		return err
	})
	return t, err
}

// sql is [store.SQL], of so many rows at the most.
func (f *file) sql(ctx context.Context, statement string, rows int) (t history.Table, err error) {
	ctx, stop := guard(ctx, f.cfg.Resident)
	defer stop()
	defer func() { err = mistaken(bounded(ctx, err)) }()
	conn, err := f.conn(ctx)
	if err != nil {
		return t, err
	}
	defer conn.Close()
	if err := onlyReads(conn, statement); err != nil {
		return t, err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN TRANSACTION READ ONLY"); err != nil {
		return t, err
	}
	defer func() {
		_, back := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		// An error may have ended the transaction.
		if back != nil && err == nil {
			err = back
		}
	}()
	return f.answer(ctx, conn, statement, rows)
}

// onlyReads has DuckDB say what a statement is, without running it.
func onlyReads(conn *sql.Conn, statement string) error {
	return conn.Raw(func(c any) error {
		p, err := c.(driver.Conn).Prepare(statement)
		if err != nil {
			if strings.Contains(err.Error(), "multi-statement") {
				return fmt.Errorf("%w: it is more than one statement", history.ErrQuestion)
			}
			if err = mistaken(err); !errors.As(err, new(*duck.Error)) && !errors.Is(err, history.ErrQuestion) {
				return fmt.Errorf("%w: %w", history.ErrQuestion, err) // there is no statement
			}
			return err
		}
		defer p.Close()
		typ, err := p.(*duck.Stmt).StatementType()
		if err != nil {
			return err
		}
		if p.NumInput() > 0 {
			return fmt.Errorf("%w: the statement has parameters", history.ErrQuestion)
		}
		if typ != duck.STATEMENT_TYPE_SELECT && typ != duck.STATEMENT_TYPE_EXPLAIN {
			return fmt.Errorf("%w: only statements that read are answered: SELECT, WITH, DESCRIBE, SHOW", history.ErrQuestion)
		}
		return nil
	})
}

// mistaken says ErrQuestion of errors that are the statement's.
func mistaken(err error) error {
	var e *duck.Error
	if !errors.As(err, &e) || errors.Is(err, history.ErrLimit) {
		return err
	}
	if outOfMemory(err) {
		return fmt.Errorf("%w: %s", history.ErrLimit, short(err))
	}
	switch e.Type {
	case duck.ErrorTypeIO, duck.ErrorTypeFatal, duck.ErrorTypeInternal, duck.ErrorTypeInterrupt, duck.ErrorTypeConnection:
		return err
	}
	return fmt.Errorf("%w: %s", history.ErrQuestion, strings.TrimSpace(e.Msg))
}

// units are the units of fields that have the same one in all kinds.
func (f *file) units() map[string]string {
	units := map[string]string{}
	for _, k := range f.kinds {
		for i := range k.columns {
			c := &k.columns[i]
			if u, ok := units[c.name]; ok && u != c.unit {
				units[c.name] = ""
			} else {
				units[c.name] = c.unit
			}
		}
	}
	return units
}

func (f *file) answer(ctx context.Context, conn *sql.Conn, statement string, limit int) (t history.Table, err error) {
	rows, err := conn.QueryContext(ctx, limited(conn, statement, limit+1))
	if err != nil {
		return t, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return t, err
	}
	units, bytes := f.units(), int64(0)
	for _, c := range types {
		t.Columns = append(t.Columns, history.Column{Name: c.Name(), Type: typeName(c.DatabaseTypeName()), Unit: units[c.Name()]})
	}
	for rows.Next() {
		if len(t.Rows) == limit {
			t.Cut = true
			break
		}
		values, err := scan(rows, len(types))
		if err != nil {
			return t, err
		}
		if bytes += sizeOf(values); f.cfg.MaxAnswer > 0 && bytes > f.cfg.MaxAnswer {
			t.Cut = true
			break
		}
		t.Rows = append(t.Rows, values)
	}
	return t, rows.Err()
}

// sizeOf is how many bytes a row takes, about.
func sizeOf(values []any) (n int64) {
	const value = 24 // an interface and what it points to
	for _, v := range values {
		n += value
		switch v := v.(type) {
		case string:
			n += int64(len(v))
		case []string:
			for _, s := range v {
				n += value + int64(len(s))
			}
		}
	}
	return n
}

// limited is the statement as a part of one that takes no more rows than anybody
// wants, so that DuckDB does not make them; as it is if it cannot be one.
func limited(conn *sql.Conn, statement string, rows int) string {
	part := fmt.Sprintf("SELECT * FROM (%s\n) LIMIT %d", strings.TrimRight(statement, "; \t\r\n"), rows)
	if onlyReads(conn, part) != nil {
		return statement
	}
	return part
}

// typeName is a type of DuckDB as history.Column has it.
func typeName(name string) string {
	switch name {
	case "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT":
		return "uint"
	case "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT":
		return "int"
	case "DOUBLE", "FLOAT":
		return "float"
	case "BOOLEAN":
		return "bool"
	case "VARCHAR":
		return "string"
	case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS":
		return "time"
	case "VARCHAR[]":
		return "strings"
	}
	if strings.HasPrefix(name, "DECIMAL") {
		return "float"
	}
	return name
}

// plain is a value of DuckDB as history.Table has it.
func plain(v any) any {
	switch v := v.(type) {
	case nil, bool, string, uint64, int64:
		return v
	case time.Time:
		return v.UTC()
	case float64:
		return number(v)
	case float32:
		return number(float64(v))
	case int32:
		return int64(v)
	case int16:
		return int64(v)
	case int8:
		return int64(v)
	case uint32:
		return uint64(v)
	case uint16:
		return uint64(v)
	case uint8:
		return uint64(v)
	case *big.Int:
		return whole(v)
	case duck.Decimal:
		return number(v.Float64())
	case []byte:
		return fmt.Sprintf("%x", v)
	case duck.Interval:
		return interval(v)
	case []any:
		return words(v)
	}
	return fmt.Sprint(v)
}

// number is null where JSON has no number.
func number(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

// whole is a sum: exact as far as 64 bits hold it.
func whole(n *big.Int) any {
	switch {
	case n.IsInt64():
		return n.Int64()
	case n.IsUint64():
		return n.Uint64()
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	return f
}

func interval(v duck.Interval) string {
	d := time.Duration(v.Micros) * time.Microsecond
	if v.Months == 0 && v.Days == 0 {
		return d.String()
	}
	return fmt.Sprintf("%d months %d days %v", v.Months, v.Days, d)
}

// words is a list as strings.
func words(list []any) []string {
	all := make([]string, 0, len(list))
	for _, v := range list {
		all = append(all, fmt.Sprint(plain(v)))
	}
	return all
}
