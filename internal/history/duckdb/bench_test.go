//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/historytest"
)

// BenchmarkAppend stores the rows of a host in bulk, durable and rolled up; the CPU time of a
// row tells more than the clock where others work too.
func BenchmarkAppend(b *testing.B) {
	const flows = 2000
	s := open(b, Config{Path: filepath.Join(b.TempDir(), "history.duckdb"), MaxQueue: 1 << 30})
	defer s.Close()
	minutes := s.cfg.MaxPending / flows
	minute := 0
	var spent time.Duration
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		var batches []*record.Batch
		for range minutes {
			batches = append(batches, historytest.Traffic(minute, flows))
			minute++
		}
		before := cpuTime(b)
		b.StartTimer()
		for _, batch := range batches {
			if err := s.Put(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Taken(b.Context()); err != nil {
			b.Fatal(err)
		}
		spent += cpuTime(b) - before
	}
	before := cpuTime(b)
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	spent += cpuTime(b) - before
	rows := float64(minutes * flows * b.N)
	b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(spent.Nanoseconds())/rows, "cpu-ns/row")
}

// cpuTime is what this process has spent so far.
func cpuTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// benchFlows and benchMinutes are what the questions are asked of: 10 million rows of
// minutes, and their roll-ups.
const benchFlows, benchMinutes = 2000, 5000

// filled makes a history of them.
func filled(b *testing.B) *store {
	s := open(b, Config{Path: filepath.Join(b.TempDir(), "history.duckdb"), Memory: 1 << 30, MaxBytes: 1 << 40})
	f := s.file.(*file)
	ctx := context.Background()
	began := time.Now()
	for at := 0; at < benchMinutes; at += 250 {
		statement := fmt.Sprintf(`INSERT INTO flows_1m BY NAME SELECT TIMESTAMP '2026-03-14 03:00:00' + to_minutes(m) AS time,
			'web1' AS host, 4026531840 AS netns, 'host' AS netns_name, 'eth0' AS ifname, 'tcp' AS proto, 'out' AS direction, 'PA' AS tcp_flags,
			'10.0.' || f %% 7 || '.' || f %% 250 AS src_addr, 32768 + hash(f, m) %% 28000 AS src_port, '192.0.' || f %% 40 || '.' || f %% 251 AS dst_addr,
			CASE WHEN f %% 3 = 0 THEN 443 ELSE 5432 END AS dst_port, 'process-' || f %% 60 AS comm, 1000 + f %% 60 AS pid, '/system.slice/unit-' || f %% 60 AS cgroup,
			hash(f, m, 1) %% 5000 AS packets_in, hash(f, m, 2) %% 5000000 AS bytes_in, hash(f, m, 3) %% 5000 AS packets_out, hash(f, m, 4) %% 5000000 AS bytes_out,
			hash(f, m, 5) %% 9000 AS host_packets, hash(f, m, 6) %% 9000000 AS host_bytes, 1000 + (f %% 8) * 125 AS rtt_us, false AS other, 0 AS drops, 0 AS retransmits
			FROM range(%d, %d) a(m), range(%d) b(f)`, at, at+250, benchFlows)
		if _, err := f.writer.ExecContext(ctx, statement); err != nil {
			b.Fatal(err)
		}
	}
	first := historytest.Begin().Unix()
	for i, k := range f.kinds {
		if k.name == history.Flows {
			f.spans[i][0] = span{first, first + (benchMinutes-1)*60}
		}
	}
	have := slices.Clone(f.spans)
	marks := f.marks
	if err := f.transact(ctx, func(ctx context.Context) error { return f.rollUp(ctx, &marks, have, first+benchMinutes*60) }); err != nil {
		b.Fatal(err)
	}
	f.marks, f.spans = marks, have
	if err := f.checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(s.cfg.Path)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("# %d rows and their roll-ups: %d MB, made in %v\n", benchFlows*benchMinutes, info.Size()>>20, time.Since(began))
	for _, r := range resolutions() {
		n, err := f.count(ctx, r)
		if err != nil {
			b.Fatal(err)
		}
		fmt.Printf("# %s: %d rows\n", r.name, n)
	}
	return s
}

// BenchmarkQuestions asks what a dashboard asks.
func BenchmarkQuestions(b *testing.B) {
	s := filled(b)
	defer s.Close()
	until := historytest.Begin().Add(benchMinutes * time.Minute)
	flows := history.Question{Kind: history.Flows, Measure: "bytes_out", Until: until, Limit: 20}
	ask := func(name string, ask func(ctx context.Context) error) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := ask(b.Context()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
	for name, since := range map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "all": benchMinutes * time.Minute} {
		q := flows
		q.Since = until.Add(-since)
		ask("talkers/"+name, func(ctx context.Context) error {
			by := q
			by.By = []string{"comm"}
			_, err := s.Groups(ctx, by)
			return err
		})
		ask("series/"+name, func(ctx context.Context) error {
			by := q
			by.By = []string{"comm"}
			_, err := s.Series(ctx, by)
			return err
		})
		ask("series of one process/"+name, func(ctx context.Context) error {
			one := q
			one.Where = []history.Condition{{Field: "comm", Values: []string{"process-7"}}}
			_, err := s.Series(ctx, one)
			return err
		})
	}
	ask("the newest rows", func(ctx context.Context) error {
		_, err := s.Rows(ctx, history.Question{Kind: history.Flows, Limit: 100})
		return err
	})
}
