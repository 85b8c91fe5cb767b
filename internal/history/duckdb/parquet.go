//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/netfate/netfate/internal/history"
)

// WriteParquet writes an answer to a file, which is replaced if it is there.
func WriteParquet(ctx context.Context, path string, t history.Table) (err error) {
	c, err := duck.NewConnector(":memory:?threads=1", nil)
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var columns []string
	for _, c := range t.Columns {
		columns = append(columns, quoted(c.Name)+" "+parquetType(c.Type))
	}
	if _, err := conn.ExecContext(ctx, "CREATE TABLE answer ("+strings.Join(columns, ", ")+")"); err != nil {
		return err
	}
	if err := fill(conn, t); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf("COPY answer TO '%s' (FORMAT parquet, COMPRESSION zstd)", strings.ReplaceAll(path, "'", "''")))
	return err
}

// parquetType is the type of a column in DuckDB; what has none of its own is text.
func parquetType(typ string) string {
	switch typ {
	case "uint":
		return "UBIGINT"
	case "int":
		return "BIGINT"
	case "float":
		return "DOUBLE"
	case "bool":
		return "BOOLEAN"
	case "time":
		return "TIMESTAMP"
	}
	return "VARCHAR"
}

func fill(conn *sql.Conn, t history.Table) error {
	return conn.Raw(func(c any) (err error) {
		a, err := duck.NewAppenderFromConn(c.(driver.Conn), "", "answer")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.Close()) }()
		args := make([]driver.Value, len(t.Columns))
		for _, values := range t.Rows {
			for i, v := range values {
				args[i] = v
				if typ := parquetType(t.Columns[i].Type); typ == "VARCHAR" && v != nil {
					args[i] = parquetText(v)
				}
			}
			if err := a.AppendRow(args...); err != nil {
				return err
			}
		}
		return nil
	})
}

func parquetText(v any) string {
	if list, ok := v.([]string); ok {
		return strings.Join(list, ";")
	}
	return fmt.Sprint(v)
}
