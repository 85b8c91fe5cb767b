// Command sqlite is the other store that the history is measured beside: it fills a
// SQLite database with the same flows, each minute and each hour in a table, and
// answers statements that it reads, a line each. It is a module of its own, so that
// netfate's own has no second database in it.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/historytest"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "sqlite:", err)
		os.Exit(1)
	}
}

// filled and answered are what is printed, as JSON in a line.
type filled struct {
	Rows, Bytes int64
	Seconds     float64
}

type answered struct {
	Micros int64
	Rows   [][]any
}

func run(ctx context.Context) (err error) {
	minutes := flag.Int("minutes", 60, "minutes of traffic")
	flows := flag.Int("flows", 2000, "flows in each of them")
	dir := flag.String("dir", os.TempDir(), "where the database is made")
	flag.Parse()
	path := filepath.Join(*dir, "beside.sqlite")
	db, err := sql.Open("sqlite3", path+"?_journal_mode=WAL&_synchronous=NORMAL&_cache_size=-262144")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	began := time.Now()
	if err := fill(ctx, db, *minutes, *flows); err != nil {
		return err
	}
	took := time.Since(began)
	if err := rollUp(ctx, db); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(filled{int64(*minutes) * int64(*flows), info.Size(), took.Seconds()}); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		a, err := ask(ctx, db, lines.Text())
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

// columns are those of a flow that the history has too, the time first.
func columns() (fields []record.Field) {
	for _, f := range record.Fields(record.Flow{}) {
		if f.Type != "time" || f.Role == record.TimeRole {
			fields = append(fields, f)
		}
	}
	return fields
}

// perTransaction is how many rows are written at once, as the history does in bulk.
const perTransaction = 1 << 17

func fill(ctx context.Context, db *sql.DB, minutes, flows int) error {
	fields := columns()
	var names, marks []string
	for _, f := range fields {
		names, marks = append(names, f.Name), append(marks, "?")
	}
	for _, table := range []string{"flows_1m", "flows_1h"} {
		for _, s := range []string{"CREATE TABLE " + table + " (" + strings.Join(names, ", ") + ")", "CREATE INDEX " + table + "_time ON " + table + " (time)"} {
			if _, err := db.ExecContext(ctx, s); err != nil {
				return err
			}
		}
	}
	insert := "INSERT INTO flows_1m VALUES (" + strings.Join(marks, ", ") + ")"
	for m := 0; m < minutes; {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		add, err := tx.PrepareContext(ctx, insert)
		if err != nil {
			return err
		}
		for n := 0; n < perTransaction && m < minutes; m++ {
			b := historytest.Traffic(m, flows)
			for i := range b.Flows {
				if _, err := add.ExecContext(ctx, values(fields, b.Start, &b.Flows[i])...); err != nil {
					return err
				}
			}
			n += flows
		}
		if err := errors.Join(add.Close(), tx.Commit()); err != nil {
			return err
		}
	}
	return nil
}

func values(fields []record.Field, start time.Time, f *record.Flow) []any {
	all := make([]any, len(fields))
	all[0] = start.Unix()
	for i := 1; i < len(fields); i++ {
		switch v := fields[i].Get(f).(type) {
		case nil, string, bool, int64:
			all[i] = v
		case uint64:
			all[i] = int64(v)
		default:
			all[i] = fields[i].Text(f)
		}
	}
	return all
}

// rollUp adds minutes up to hours, as the history does: what tells single connections
// apart is left out.
func rollUp(ctx context.Context, db *sql.DB) error {
	var selected, by []string
	for i, f := range columns() {
		switch {
		case i == 0:
			selected, by = append(selected, "time - time % 3600"), append(by, "1")
		case f.Role == record.Measure:
			selected = append(selected, "sum("+f.Name+")")
		case f.Name == "src_port" || f.Name == "pid" || f.Name == "tcp_flags":
			selected = append(selected, "NULL")
		case f.Name == "rtt_us":
			selected, by = append(selected, "rtt_us / 256 * 256"), append(by, "rtt_us / 256 * 256")
		default:
			selected, by = append(selected, f.Name), append(by, f.Name)
		}
	}
	_, err := db.ExecContext(ctx, "INSERT INTO flows_1h SELECT "+strings.Join(selected, ", ")+" FROM flows_1m GROUP BY "+strings.Join(by, ", "))
	return err
}

func ask(ctx context.Context, db *sql.DB, statement string) (a answered, err error) {
	began := time.Now()
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err := rows.Columns()
	if err != nil {
		return a, err
	}
	for rows.Next() {
		values, at := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			at[i] = &values[i]
		}
		if err := rows.Scan(at...); err != nil {
			return a, err
		}
		a.Rows = append(a.Rows, values)
	}
	a.Micros = time.Since(began).Microseconds()
	return a, rows.Err()
}
