package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
		"SELECT length(repeat('x', 2000000000))",
		"SELECT string_agg(repeat('y', 1000), ',') FROM range(10000000)",
		"SELECT *, sum(range) OVER (ORDER BY hash(range)) FROM range(100000000) ORDER BY hash(range, 1)",
		"SELECT a.*, repeat(b.comm, 100) FROM flows a, flows b",
	}
}

// mostMemory is what a daemon with a history may have resident, in bytes, with the
// process that it has for that.
const mostMemory = 400 << 20

// TestHeaviestQueries has a daemon count a storm while it is asked the worst: its counts
// are exact, and it does not become larger than it may.
func TestHeaviestQueries(t *testing.T) {
	need.Root(t)
	need.Time(t)
	witness.Agree(t, func() ([]string, bool) { return askWhileItStorms(t) })
}

func askWhileItStorms(t *testing.T) (wrong []string, skipped bool) {
	client, server := pair(netlab.New(t))
	dir := t.TempDir()
	// The history's process has no capability that would lead it through what is root's.
	if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, "history: {path: "+filepath.Join(dir, "history.duckdb")+"}\napi: {listen: [%q], question_time: 5s, rate: 100000, burst: 100000}\n"+
		"sensors: {conns: false, queries: false, requests: false, tls: false, names: false}\n")
	before := server.Counter("Udp", "NoPorts")
	packets, flows := stormSize()
	packets, flows = packets/calmShare, flows/calmShare
	if text := d.stderr.String(); strings.Contains(text, "cannot be written") {
		t.Fatalf("the history has no file: %s", text)
	}
	storm(client, server, packets, flows)
	atRest := peakMemory(d.cmd.Process.Pid)

	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	var beside uint64 // the largest of the processes that the history had
	asking.Go(func() {
		for ctx.Err() == nil {
			for _, pid := range netlab.Children(d.cmd.Process.Pid) {
				beside = max(beside, peakMemory(pid))
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
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
		var status struct{ Store, Lost json.RawMessage }
		d.ask("/status", &status)
		wrong = append(wrong, fmt.Sprintf("got %d packets without a socket, want %d; the history: %s; lost: %s; netfate says:\n%s", got, want, status.Store, status.Lost, d.stderr))
	}
	most := peakMemory(d.cmd.Process.Pid)
	t.Logf("%d packets while it was asked; %d MB resident at the most, %d before; the history's process %d", want, most>>20, atRest>>20, beside>>20)
	if most == 0 || beside == 0 || most+beside > mostMemory {
		wrong = append(wrong, fmt.Sprintf("%d MB resident and %d of the history's process, want %d together", most>>20, beside>>20, mostMemory>>20))
	}
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

// lostIn is how many packets the history says found no socket in a namespace, 0 while it
// refuses the question.
func (d *daemon) lostIn(netns uint32) (packets uint64) {
	d.t.Helper()
	var answer struct {
		Columns []struct{ Name string }
		Rows    [][]any
	}
	target := fmt.Sprintf("http://netfate/api/v1/groups/drops?since=-1h&measure=packets&where=proto%%3Dudp&where=netns%%3D%d", netns)
	w, err := d.client.Get(target)
	if err != nil {
		d.t.Fatalf("%s: %v; netfate says:\n%s", target, err, d.stderr)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err == nil && w.StatusCode == http.StatusServiceUnavailable {
		d.t.Logf("refused: %s", text) // it gives back what the worst took
		return 0
	}
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil || w.StatusCode != http.StatusOK {
		d.t.Fatalf("%s: got %d, %v: %s", target, w.StatusCode, err, text)
	}
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
// proc_pid_status(5)), 0 if it has ended.
func peakMemory(pid int) uint64 { return netlab.StatusOf(pid, "VmHWM: %d kB") << 10 }
