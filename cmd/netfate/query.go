package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/clickhouse"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/history/remote"
	"github.com/netfate/netfate/internal/view/table"
)

// query is the command's flags.
type query struct {
	path, socket string
	format       string
	timeout      time.Duration
	rows         int
}

func newQuery() *cobra.Command {
	q := &query{}
	var list bool
	cmd := &cobra.Command{
		Use:   "query SQL",
		Short: "Ask the history in SQL",
		Long: `Query answers one SQL statement that only reads, from the history that a netfate keeps:
the tables drops, flows, conns, requests, queries, ledger and lost, with the fields of
'netfate drops -o json' and its like. A row is of a minute, of older ones of 5 minutes, an
hour or a day (step_s): time is when that begins. Of each table there are flows_1m,
flows_5m, flows_1h and flows_1d too, which answer faster what is asked of long times.
'netfate query "DESCRIBE flows"' lists the columns; docs/history.md says what is kept.

A running netfate that has the file open is asked for the answer, at its socket. The
statement runs without files and network, for --timeout at the most, in DuckDB's SQL.
A history that many hosts share, --history clickhouse://USER@HOST:PORT/DATABASE, is
asked in ClickHouse's; the password is in $NETFATE_CLICKHOUSE_PASSWORD.`,
		Example: `  netfate query "SELECT reason, sum(packets) AS lost FROM drops GROUP BY reason ORDER BY lost DESC"
  netfate query "SELECT * FROM flows WHERE time > now() - INTERVAL 1 HOUR" -o csv
  netfate query "FROM requests WHERE status >= 500" -n 0 -o parquet=errors.parquet
  netfate query --examples             ten useful ones
  netfate query --history copy.duckdb "SHOW TABLES"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				if len(args) > 0 {
					return usagef("--examples runs nothing: leave %q out", strings.Join(args, " "))
				}
				for _, e := range examples() {
					fmt.Printf("%s\n  netfate query \"%s\"\n\n", e.what, e.sql)
				}
				return nil
			}
			if len(args) != 1 {
				return usagef("query needs one statement in quotes, got %d arguments; 'netfate query --examples' shows some", len(args))
			}
			return q.run(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&q.format, "output", "o", "table", "table, json (one object a line), csv or parquet=FILE")
	f.IntVarP(&q.rows, "rows", "n", 1000, "rows to answer at the most (0: all, as far as memory reaches)")
	f.DurationVar(&q.timeout, "timeout", 30*time.Second, "give up after this long")
	f.StringVar(&q.path, "history", duckdb.DefaultPath, "`file` that has the history, or clickhouse://USER@HOST:PORT/DATABASE")
	f.StringVar(&q.socket, "socket", remote.DefaultSocket, "socket of the netfate to ask if that has the file open")
	f.BoolVar(&list, "examples", false, "print ten useful statements")
	return cmd
}

// allRows is how many rows -n 0 means.
const allRows = 10_000_000

func (q *query) run(ctx context.Context, statement string) error {
	format, file, parquet := strings.Cut(q.format, "=")
	switch {
	case q.timeout <= 0:
		return usagef("--timeout %v is no time", q.timeout)
	case q.rows < 0:
		return usagef("--rows %d is negative", q.rows)
	case format == "parquet" && file == "":
		return usagef("-o parquet=FILE needs the name of a file")
	case parquet != (format == "parquet"), format != "parquet" && format != "table" && format != "json" && format != "csv":
		return usagef("-o %s: there are table, json, csv and parquet=FILE", q.format)
	}
	l := history.Limits{Time: q.timeout, Rows: q.rows}
	if l.Rows == 0 {
		l.Rows = allRows
	}
	t, err := q.ask(ctx, statement, l)
	if errors.Is(err, history.ErrQuestion) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	if parquet {
		err = duckdb.WriteParquet(ctx, file, t)
	} else {
		err = table.WriteAnswer(os.Stdout, t, (&watch{format: format}).options())
	}
	if err == nil && t.Cut {
		fmt.Fprintf(os.Stderr, "netfate: there are more than %d rows: -n says how many to show\n", len(t.Rows))
	}
	return err
}

// ask asks the file, or whoever has it.
func (q *query) ask(ctx context.Context, statement string, l history.Limits) (t history.Table, err error) {
	s, err := openHistory(q.path)
	if err != nil {
		// Whoever runs may have opened it, or may as another user.
		if errors.Is(err, duckdb.ErrHeld) || errors.Is(err, os.ErrPermission) || errors.Is(err, duckdb.ErrNoCgo) {
			if _, gone := os.Stat(q.socket); gone == nil {
				return remote.SQL(ctx, q.socket, statement, l)
			}
		}
		return t, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.SQL(ctx, statement, l)
}

// openHistory opens a history to be read.
func openHistory(path string) (history.Store, error) {
	if clickhouse.IsURL(path) {
		return readFleet(path)
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no history at %s: netfate record --history PATH makes one, --history says where it is", path)
	}
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return duckdb.Open(duckdb.Config{Path: path, ReadOnly: true})
}

// example is a statement and what it tells.
type example struct{ what, sql string }

// examples are statements that are useful as they are.
func examples() []example {
	return []example{
		{"What was lost in the last hour, by reason, and what it means",
			"SELECT reason, verdict, sum(packets) AS lost FROM drops WHERE time > now() - INTERVAL 1 HOUR GROUP BY ALL ORDER BY lost DESC"},
		{"When a process lost most packets today",
			"SELECT time, comm, sum(packets) AS lost FROM drops WHERE verdict IN ('loss', 'resource') AND time > today() GROUP BY ALL ORDER BY lost DESC LIMIT 10"},
		{"Who used the bandwidth of the last day, by process",
			"SELECT comm, container_name, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out FROM flows_1h WHERE time > now() - INTERVAL 1 DAY GROUP BY ALL ORDER BY sum(flows_1h.bytes_in + flows_1h.bytes_out) DESC LIMIT 20"},
		{"The host's traffic of each hour of the last week, each packet once",
			"SELECT time_bucket(INTERVAL 1 HOUR, time) AS hour, sum(host_bytes) AS bytes FROM flows WHERE time > now() - INTERVAL 7 DAY GROUP BY ALL ORDER BY hour"},
		{"Peers that were not seen in the week before",
			"SELECT dst_addr, any_value(name) AS name, min(time) AS first, string_agg(DISTINCT comm) AS by FROM flows WHERE direction = 'out' GROUP BY dst_addr HAVING min(time) > now() - INTERVAL 1 DAY ORDER BY first DESC LIMIT 20"},
		{"Which connects fail, why, and whose",
			"SELECT comm, dst_addr, dst_port, error, sum(failed) AS times FROM conns WHERE event = 'failed' GROUP BY ALL ORDER BY times DESC LIMIT 20"},
		{"Requests, errors and latency that 95 in 100 kept below, by host and path",
			"WITH h AS (SELECT host_name, path, latency_us, sum(requests) AS n, sum(errors) AS e FROM requests GROUP BY ALL), c AS (SELECT *, sum(n) OVER (PARTITION BY host_name, path ORDER BY latency_us NULLS LAST) AS below, sum(n) OVER (PARTITION BY host_name, path) AS total FROM h) SELECT host_name, path, sum(n) AS requests, sum(e) AS errors, min(latency_us) FILTER (below >= 0.95 * total) AS p95_us FROM c GROUP BY ALL ORDER BY requests DESC LIMIT 20"},
		{"A heat map of latencies: requests by minute and power of two",
			"SELECT time, 2 ** floor(log2(latency_us)) AS from_us, sum(requests) AS requests FROM requests WHERE latency_us > 0 AND time > now() - INTERVAL 1 HOUR GROUP BY ALL ORDER BY time, from_us"},
		{"Names that were asked of DNS in vain",
			"SELECT qname, server, rcode, sum(failed) AS failed, sum(unanswered) AS unanswered FROM queries GROUP BY ALL HAVING sum(failed) + sum(unanswered) > 0 ORDER BY sum(queries.failed + queries.unanswered) DESC LIMIT 20"},
		{"What the numbers above lack: losses of netfate itself",
			"SELECT place, reason, effect, sum(count) AS count, max(time) AS last FROM lost GROUP BY ALL ORDER BY count DESC"},
	}
}
