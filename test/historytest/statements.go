package historytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

func query(t *testing.T, s history.Store, statement string) history.Table {
	t.Helper()
	table, err := s.SQL(t.Context(), statement, history.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return table
}

// A view has each stretch of time once, whatever was rolled up.
func testViews(t *testing.T, s history.Store) {
	want := 0
	for m := 0; m < 40*60; {
		var batches []*record.Batch
		for range 100 {
			want += m
			batches = append(batches, Batch(Begin().Add(time.Duration(m)*time.Minute), Flow(Begin(), "curl", 443, uint64(m))))
			m += 7
		}
		put(t, s, batches...)
	}
	got := query(t, s, "SELECT sum(packets_out) AS n FROM flows")
	same(t, "the view", fmt.Sprint(column(t, got, "n")[0]), fmt.Sprint(want))
	for _, kind := range history.Kinds() {
		query(t, s, "SELECT * FROM "+kind)
	}
}

func testWrong(t *testing.T, s history.Store) {
	for _, q := range []history.Question{
		{}, {Kind: "flow"}, {Kind: history.Flows, Measure: "comm"}, {Kind: history.Flows, Measure: "nothing"},
		{Kind: history.Flows, By: []string{"nothing"}}, {Kind: history.Flows, By: []string{"packets_out"}}, {Kind: history.Flows, Limit: -1},
		{Kind: history.Flows, Where: []history.Condition{{Field: "nothing", Values: []string{"1"}}}},
		{Kind: history.Flows, Where: []history.Condition{{Field: "dst_port", Values: []string{"http"}}}},
		{Kind: history.Flows, Where: []history.Condition{{Field: "comm"}}},
		{Kind: history.Flows, Where: []history.Condition{{Field: `comm" OR 1=1`, Values: []string{"1"}}}},
	} {
		if _, err := s.Groups(t.Context(), q); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("groups of %+v: got error %v, want ErrQuestion", q, err)
		}
		if _, err := s.Series(t.Context(), q); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("series of %+v: got error %v, want ErrQuestion", q, err)
		}
	}
	for _, after := range []string{"x", "MTIz", "!!"} {
		if _, err := s.Rows(t.Context(), history.Question{Kind: history.Flows, After: after}); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("page %q: got error %v, want ErrQuestion", after, err)
		}
	}
}

// Dialect is the statements that a store's SQL is tried with, where those differ.
type Dialect struct {
	// Answers have one value, after the suite has put a batch with a record of each
	// kind.
	Answers []Answer
	// Ten answers 0 to 9 as n, the largest first, and Three three rows.
	Ten, Three string
	// Endless takes longer than anybody waits, Huge more memory than there is for it.
	Endless, Huge string
	// Lists are statements that list columns and tables, five or more.
	Lists []string
	// Unsafe are statements that nobody may have run, with a directory to write to.
	Unsafe func(dir string) []string
}

// Answer is a statement and the value that it answers.
type Answer struct {
	Statement string
	Want      any
}

// duckDB is DuckDB's.
func duckDB() *Dialect {
	return &Dialect{
		Answers: []Answer{
			{"SELECT sum(packets) FROM drops", int64(2)},
			{"  select sum(packets) from drops; -- all of them\n", int64(2)},
			{"WITH d AS (SELECT packets FROM drops) SELECT sum(packets) FROM d", int64(2)},
			{"SELECT count(*) FROM requests WHERE path = '/users/{id}' AND status = 503", int64(1)},
			{"SELECT 'a;b'", "a;b"}, {"SELECT NULL", nil}, {"SELECT 1.5::DOUBLE", 1.5}, {"SELECT time FROM flows", Begin()},
			{"SELECT comm FROM flows", "curl"},
		},
		Ten: "SELECT * FROM range(10) r(n) ORDER BY n DESC", Three: "SELECT * FROM range(3)",
		Endless: "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 1",
		Huge:    "SELECT list(r.range) FROM range(1000000000) r",
		Lists:   []string{"DESCRIBE flows", "SHOW TABLES"},
		Unsafe:  unsafe,
	}
}

func (d *Dialect) testStatements(t *testing.T, s history.Store) {
	put(t, s, Everything(Begin()))
	for _, c := range d.Answers {
		got := query(t, s, c.Statement)
		if len(got.Rows) != 1 || !cmp.Equal(got.Rows[0][0], c.Want) {
			t.Errorf("%s: got %v, want %v", c.Statement, got.Rows, c.Want)
		}
	}
	cut, err := s.SQL(t.Context(), d.Ten, history.Limits{Rows: 3})
	if err != nil || !cut.Cut {
		t.Fatalf("got cut %v, error %v", cut.Cut, err)
	}
	var numbers []string
	for _, n := range column(t, cut, "n") {
		numbers = append(numbers, fmt.Sprint(n))
	}
	same(t, "a cut answer", numbers, []string{"9", "8", "7"})
	whole, err := s.SQL(t.Context(), d.Three, history.Limits{Rows: 3})
	if err != nil || whole.Cut || len(whole.Rows) != 3 {
		t.Errorf("got %d rows, cut %v, error %v; want 3 whole", len(whole.Rows), whole.Cut, err)
	}
	units := query(t, s, "SELECT bytes_out FROM flows")
	same(t, "columns", units.Columns, []history.Column{{Name: "bytes_out", Type: "uint", Unit: "bytes"}})
	for _, statement := range d.Lists {
		if got := query(t, s, statement); len(got.Rows) < 5 {
			t.Errorf("%s: got %d rows", statement, len(got.Rows))
		}
	}
	if _, err := s.SQL(t.Context(), d.Endless, history.Limits{Time: 50 * time.Millisecond}); !errors.Is(err, history.ErrLimit) {
		t.Errorf("a statement without end: got error %v, want ErrLimit", err)
	}
	if _, err := s.SQL(t.Context(), d.Huge, history.Limits{Time: time.Minute}); !errors.Is(err, history.ErrLimit) {
		t.Errorf("a statement that wants too much memory: got error %v, want ErrLimit", err)
	}
	query(t, s, "SELECT count(*) FROM flows")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.SQL(gone, d.Endless, history.Limits{}); err == nil {
		t.Errorf("nobody waits for the answer: got no error")
	}
}

// unsafe are statements that nobody may have run.
func unsafe(dir string) []string {
	return []string{
		"", ";", "nonsense", "SELECT", "SELECT * FROM nothing", "SELECT ?", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE flows_1m",
		"INSERT INTO lost VALUES (1)", "DELETE FROM flows_1m", "UPDATE netfate SET value = 9", "DROP VIEW flows", "CREATE TABLE x (a INT)",
		"CREATE TEMP TABLE x (a INT)", "ALTER TABLE flows_1m ADD COLUMN x INT", "BEGIN TRANSACTION", "COMMIT", "ROLLBACK", "CHECKPOINT", "VACUUM",
		"SET memory_limit = '9GB'", "SET GLOBAL enable_external_access = true", "PRAGMA memory_limit = '9GB'", "RESET memory_limit",
		"ATTACH '" + dir + "/x.duckdb'", "INSTALL httpfs", "LOAD httpfs", "COPY flows TO '" + dir + "/x.csv'", "EXPORT DATABASE '" + dir + "/x'",
		"SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM glob('/etc/*')",
		"SELECT * FROM read_parquet('http://127.0.0.1/x')", "CALL pragma_version()", "PREPARE x AS SELECT 1", "EXECUTE x",
		"EXPLAIN ANALYZE DELETE FROM flows_1m", "SELECT getenv('HOME')", "WITH x AS (DELETE FROM flows_1m RETURNING *) SELECT * FROM x",
		"SELECT 1) ; DROP TABLE flows_1m; SELECT (1", "SELECT 1) UNION ALL (SELECT 2", "SELECT * FROM (SELECT 1", "SELECT 1 /*",
		"SELECT '" + strings.Repeat("x", 1<<20) + "'",
	}
}

func (d *Dialect) testUnsafe(t *testing.T, s history.Store) {
	put(t, s, Everything(Begin()))
	before := query(t, s, "SELECT count(*) FROM flows").Rows[0][0]
	for _, statement := range d.Unsafe(t.TempDir()) {
		name := statement[:min(len(statement), 60)]
		if got, err := s.SQL(t.Context(), statement, history.Limits{Time: 5 * time.Second}); !errors.Is(err, history.ErrQuestion) {
			t.Errorf("%s: got %v, error %v, want ErrQuestion", name, got.Rows, err)
		}
	}
	same(t, "rows afterwards", query(t, s, "SELECT count(*) FROM flows").Rows[0][0], before)
	put(t, s, Everything(Begin()))
}
