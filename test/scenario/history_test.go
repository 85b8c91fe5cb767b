package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/witness"
)

// heaviest are statements that want all time, and all memory, that there is.
func heaviest() []string {
	return []string{
		"SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 1",
		"SELECT list(r.range) FROM range(1000000000) r",
		"SELECT r.range % 500000 AS k, approx_quantile(r.range, 0.5), list(r.range::VARCHAR) FROM range(20000000) r GROUP BY k ORDER BY 2 DESC",
		"SELECT src_addr, src_port, dst_port, r.range % 100 AS k, approx_quantile(packets_in, 0.95), count(DISTINCT bytes_in) FROM flows, range(2000) r GROUP BY ALL",
	}
}

// TestHeaviestQueries has a daemon count a storm while it is asked the worst: its counts
// are exact.
func TestHeaviestQueries(t *testing.T) {
	need.Root(t)
	need.Time(t)
	witness.Agree(t, func() ([]string, bool) { return askWhileItStorms(t) })
}

func askWhileItStorms(t *testing.T) (wrong []string, skipped bool) {
	client, server := pair(netlab.New(t))
	dir := t.TempDir()
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, "history: {path: "+filepath.Join(dir, "history.duckdb")+"}\napi: {listen: [%q], question_time: 5s}\n"+
		"sensors: {conns: false, queries: false, requests: false, tls: false, names: false}\n")
	before := server.Counter("Udp", "NoPorts")
	packets, flows := stormSize()
	packets, flows = packets/calmShare, flows/calmShare
	storm(client, server, packets, flows)
	atRest := peakMemory(t, d.cmd.Process.Pid)

	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	var refused sync.Map
	for _, statement := range heaviest() {
		asking.Go(func() {
			for ctx.Err() == nil {
				if status := d.query(ctx, statement); status != 0 {
					refused.Store(status, true)
				}
			}
		})
	}
	for range 5 { // so that intervals end while the questions are worked on
		storm(client, server, packets/5, flows/5)
		time.Sleep(time.Second)
	}
	stop()
	asking.Wait()
	if _, ok := refused.Load(http.StatusServiceUnavailable); !ok {
		wrong = append(wrong, "no question took more than it may, so that nothing was tried")
	}
	want := server.Counter("Udp", "NoPorts") - before
	var got uint64
	if !netlab.Poll(time.Minute, func() bool {
		got = d.lostIn(server.Inode)
		return got == want
	}) {
		wrong = append(wrong, fmt.Sprintf("got %d packets without a socket, want %d", got, want))
	}
	t.Logf("%d packets while it was asked; %d MB resident at the most, %d before", want, peakMemory(t, d.cmd.Process.Pid)>>20, atRest>>20)
	skipped = strings.Contains(d.stderr.String(), "(recursion)")
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait() // it was killed
	return wrong, skipped
}

// query asks in SQL, and returns the status of the answer, 0 if there was none.
func (d *daemon) query(ctx context.Context, statement string) (status int) {
	body, err := json.Marshal(map[string]string{"sql": statement})
	if err != nil {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://netfate/api/v1/query", strings.NewReader(string(body)))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	w, err := d.client.Do(req)
	if err != nil {
		return 0 // nobody waits any more
	}
	_ = w.Body.Close()
	return w.StatusCode
}

// lostIn is how many packets the history says found no socket in a namespace.
func (d *daemon) lostIn(netns uint32) (packets uint64) {
	d.t.Helper()
	var answer struct {
		Columns []struct{ Name string }
		Rows    [][]any
	}
	d.ask(fmt.Sprintf("/groups/drops?since=-1h&measure=packets&where=proto%%3Dudp&where=netns%%3D%d", netns), &answer)
	for i, c := range answer.Columns {
		for _, row := range answer.Rows {
			if n, ok := row[i].(float64); ok && c.Name == "packets" {
				packets += uint64(n)
			}
		}
	}
	return packets
}

// peakMemory is the most that a process ever had resident, in bytes (VmHWM of
// proc_pid_status(5)).
func peakMemory(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kilobytes uint64
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	t.Fatal("the kernel does not tell the peak of resident memory")
	return 0
}
