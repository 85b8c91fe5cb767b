package clickhouse

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	server "github.com/netfate/netfate/test/clickhouse"
	"github.com/netfate/netfate/test/historytest"
)

// BenchmarkHosts has hosts with 2,000 flows each send minutes, and tells rows a second of
// all of them, what a row takes in the server's files and on the way, and what is asked.
func BenchmarkHosts(b *testing.B) {
	for _, hosts := range []int{1, 4} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) {
			const flows, minutes = 2000, 30
			srv := server.Start(b)
			stores := make([]*store, hosts)
			for i := range stores {
				stores[i] = open(b, Config{URL: srv.URL("bench")})
			}
			batches := make([]*record.Batch, minutes)
			var client time.Duration
			theirs := srv.CPU(b)
			rows := 0
			b.ResetTimer()
			for n := range b.N {
				b.StopTimer()
				for m := range batches {
					batches[m] = historytest.Traffic(n*minutes+m, flows)
				}
				before := own(b)
				b.StartTimer()
				var all sync.WaitGroup
				for _, s := range stores {
					all.Go(func() {
						for _, batch := range batches {
							if err := s.Put(b.Context(), batch); err != nil {
								b.Error(err)
							}
						}
						if err := s.Flush(b.Context()); err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
				client += own(b) - before
				rows += hosts * flows * minutes
			}
			b.StopTimer()
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(client.Microseconds())/float64(rows), "client-µs/row")
			b.ReportMetric(float64((srv.CPU(b)-theirs).Microseconds())/float64(rows), "server-µs/row")
			st, err := stores[0].Status(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			var held int64
			for _, k := range st.Kinds {
				held += k.Rows
			}
			if held != int64(rows) {
				b.Errorf("the server has %d rows of %d", held, rows)
			}
			b.ReportMetric(float64(st.Bytes)/float64(rows), "B/row")
			begin := time.Now()
			if _, err := stores[0].Groups(b.Context(), history.Question{Kind: history.Flows, By: []string{"comm", "dst_addr"}, Measure: "bytes_out"}); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(begin).Seconds()*1e3, "ms/groups")
			begin = time.Now()
			if _, err := stores[0].Series(b.Context(), history.Question{Kind: history.Flows, By: []string{"comm"}, Measure: "bytes_out"}); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(begin).Seconds()*1e3, "ms/series")
			for _, s := range stores {
				if err := s.Close(); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// own is the time of processors that this process has taken.
func own(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkMinutes adds up and seals the flows of a minute, without a server.
func BenchmarkMinutes(b *testing.B) {
	const flows = 2000
	batch := historytest.Traffic(0, flows)
	m := newMinutes(newKinds(), "web1")
	bytes := 0
	b.ReportAllocs()
	for b.Loop() {
		m.add(batch)
		all, err := m.seal()
		if err != nil || len(all) != 1 {
			b.Fatal(len(all), err)
		}
		bytes = len(all[0].body)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flows, "ns/row")
	b.ReportMetric(float64(bytes)/flows, "sentB/row")
}
