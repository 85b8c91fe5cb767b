package clickhouse

import (
	"fmt"
	"testing"

	"github.com/netfate/netfate/internal/history"
	server "github.com/netfate/netfate/test/clickhouse"
	"github.com/netfate/netfate/test/historytest"
)

// open opens a history that the caller closes.
func open(t testing.TB, cfg Config) *store {
	t.Helper()
	cfg.Password, cfg.Host = server.Password, "this"
	if cfg.Say == nil {
		cfg.Say = func(text string) { t.Log(text) }
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*store)
}

// dialect is the statements that ClickHouse's SQL is tried with.
func sql() *historytest.Dialect {
	return &historytest.Dialect{
		Answers: []historytest.Answer{
			{Statement: "SELECT sum(packets) FROM drops", Want: uint64(2)},
			{Statement: "  select sum(packets) from drops; -- all of them\n", Want: uint64(2)},
			{Statement: "SELECT sum(packets) FROM (SELECT packets FROM drops)", Want: uint64(2)},
			{Statement: "SELECT count(*) FROM requests WHERE path = '/users/{id}' AND status = 503", Want: uint64(1)},
			{Statement: "SELECT 'a;b'", Want: "a;b"}, {Statement: "SELECT NULL", Want: nil}, {Statement: "SELECT 1.5", Want: 1.5},
			{Statement: "SELECT time FROM flows", Want: historytest.Begin()}, {Statement: "SELECT comm FROM flows", Want: "curl"},
			{Statement: "SELECT toDateTime('2026-03-14 11:00:00')", Want: historytest.Begin()}, // in the server's zone
			{Statement: "SELECT uid FROM flows", Want: nil}, {Statement: "SELECT toInt64(-5)", Want: int64(-5)},
			{Statement: "SELECT 18446744073709551615", Want: uint64(1<<64 - 1)}, {Statement: "SELECT toDate('2026-03-14', 'UTC') = toDate(time) FROM flows", Want: uint64(1)},
			{Statement: "SELECT host FROM lost", Want: "this"},
		},
		Ten:     "SELECT number AS n FROM (SELECT number FROM system.numbers LIMIT 10) ORDER BY n DESC",
		Three:   "SELECT number FROM system.numbers LIMIT 3",
		Endless: "SELECT count() FROM system.numbers WHERE number % 7 = 8",
		Huge:    "SELECT groupArray(number) FROM (SELECT number FROM system.numbers LIMIT 1000000000)",
		Lists:   []string{"DESCRIBE flows", "SHOW TABLES"},
		Unsafe:  unsafe,
	}
}

// unsafe are statements that nobody may have run.
func unsafe(dir string) []string {
	return []string{
		"", ";", "nonsense", "SELECT", "SELECT * FROM nothing", "SELECT ?", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE flows",
		"INSERT INTO lost (reason) VALUES ('x')", "INSERT INTO lost SELECT * FROM lost", "DROP TABLE flows", "TRUNCATE TABLE flows",
		"ALTER TABLE flows DELETE WHERE 1", "ALTER TABLE flows DROP PARTITION 20260314", "CREATE TABLE x (a UInt8) ENGINE = Memory",
		"CREATE TEMPORARY TABLE x (a UInt8)", "CREATE DATABASE x", "DROP DATABASE default", "RENAME TABLE flows TO x", "DETACH TABLE flows",
		"OPTIMIZE TABLE flows", "SYSTEM SHUTDOWN", "KILL QUERY WHERE 1", "SET max_memory_usage = 9", "USE system",
		"SELECT 1 SETTINGS max_memory_usage = 99999999999", "SELECT 1 SETTINGS readonly = 0",
		"SELECT * FROM file('/etc/passwd', 'CSV', 'a String')", "SELECT * FROM url('http://127.0.0.1/x', 'CSV', 'a String')",
		"SELECT * FROM remote('127.0.0.2', system.one)", "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
		"SELECT * FROM flows INTO OUTFILE '" + dir + "/x'", "SELECT 1 FORMAT Null", "SELECT 1 FORMAT TabSeparated",
		"SELECT getenv('HOME')", "WITH 1 AS x INSERT INTO lost SELECT x", "SELECT 1) UNION ALL (SELECT 2", "SELECT * FROM (SELECT 1",
		"SELECT '" + fmt.Sprint(make([]byte, 1<<19)) + "'",
	}
}

func TestConformance(t *testing.T) {
	srv := server.Start(t)
	n := 0
	historytest.Run(t, historytest.Promise{SQL: true, Dialect: sql(), Minutes: true}, func(t *testing.T) history.Store {
		n++
		return open(t, Config{URL: srv.URL(fmt.Sprint("suite_", n))})
	})
}
