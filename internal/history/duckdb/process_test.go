//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/test/historytest"
)

// apartEnv is the environment of a test binary that has the files of another process.
const apartEnv = "NETFATE_HISTORY_APART"

// inProcess is a store whose files another process has.
func inProcess(cfg Config) Config {
	cfg.Process = func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), apartEnv+"=1")
		return cmd
	}
	return cfg
}

func TestProcessConformance(t *testing.T) {
	historytest.Run(t, historytest.Promise{SQL: true, Minutes: true}, func(t *testing.T) history.Store { return open(t, inProcess(Config{})) })
}

// end kills the process that has the store's files.
func end(t *testing.T, s *store) {
	t.Helper()
	if err := syscall.Kill(s.Process(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// However often the process ends, what was written is there once, and what waits is
// written by the next one.
func TestProcessKilled(t *testing.T) {
	const times, each = 4, 20
	s := open(t, inProcess(Config{}))
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	n := 0
	var killing sync.WaitGroup
	for range times {
		at, after := rng.IntN(each), time.Duration(rng.IntN(20))*time.Millisecond
		for i := range each {
			if err := s.Put(t.Context(), numbered(n)); err != nil {
				t.Fatal(err)
			}
			if n++; i == at {
				killing.Go(func() {
					time.Sleep(after)
					_ = syscall.Kill(s.Process(), syscall.SIGKILL) // it may have ended
				})
			}
			if i%5 != 0 {
				continue
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Errorf("flush: %v", err)
			}
		}
	}
	killing.Wait()
	if err := s.Flush(t.Context()); err != nil {
		t.Errorf("flush: %v", err)
	}
	var got history.Table
	wait(t, "it answers", func() (ok bool) {
		var err error
		got, err = s.SQL(t.Context(), "SELECT comm, sum(packets_out) FROM flows GROUP BY comm HAVING sum(packets_out) <> 50", history.Limits{})
		return err == nil
	})
	if len(got.Rows) > 0 {
		t.Errorf("got batches %v, want 50 packets of each", got.Rows)
	}
	if got := packets(t, s); got != uint64(50*n) {
		t.Errorf("got %d packets, want %d", got, 50*n)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if aside, _ := filepath.Glob(s.cfg.Path + ".aside-*"); len(aside) > 0 {
		t.Errorf("files were set aside: %v", aside)
	}
}

// The process that ends is told, started again without anybody asking, and gone with the store.
func TestProcessRestarts(t *testing.T) {
	var said said
	s := open(t, inProcess(Config{Say: said.say}))
	if err := put(t, s, numbered(1)); err != nil {
		t.Fatal(err)
	}
	first := s.Process()
	end(t, s)
	wait(t, "another process has the files", func() bool { return s.Process() != first })
	wait(t, "it answers", func() bool {
		got, err := s.SQL(t.Context(), "SELECT sum(packets_out) FROM flows", history.Limits{})
		return err == nil && got.Rows[0][0] == int64(50)
	})
	if text := said.text(); !strings.Contains(text, "signal: killed") || !strings.Contains(text, "started again") {
		t.Errorf("it said %q", text)
	}
	last := s.Process()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := syscall.Kill(last, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process is there after Close: error %v", err)
	}
}

// worst are statements that want more memory than there is, in many ways.
func worst() []string {
	return []string{
		"SELECT list(r.range) FROM range(1000000000) r",
		"SELECT r.range % 500000 AS k, approx_quantile(r.range, 0.5), list(r.range::VARCHAR) FROM range(20000000) r GROUP BY k ORDER BY 2 DESC",
		"SELECT length(repeat('x', 2000000000))",
		"SELECT repeat('x', 1000000) FROM range(5000)",
		"SELECT string_agg(repeat('y', 1000), ',') FROM range(10000000)",
		"SELECT r.range % 1000000 AS k, mode(r.range), histogram(r.range % 50), count(DISTINCT r.range) FROM range(30000000) r GROUP BY k",
		"SELECT *, sum(range) OVER (ORDER BY hash(range)) FROM range(100000000) ORDER BY hash(range, 1)",
		"SELECT list_sort(list(hash(a.range))) FROM range(50000000) a",
		"SELECT count(*) FROM range(20000000) a JOIN range(20000000) b ON hash(a.range) = hash(b.range)",
		"SELECT map(list(a.range), list(a.range::VARCHAR)) FROM range(50000000) a",
		"WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r) SELECT max(length(s)) FROM r",
		"SELECT quantile_cont(hash(range)::DOUBLE, [0.1, 0.5, 0.9]), arg_max(range, hash(range), 999999) FROM range(200000000)",
	}
}

// Whatever a statement wants, the process that answers has no more memory than it may, this
// one none of it, and the next question is answered.
func TestProcessBound(t *testing.T) {
	const data = 208 << 20
	s := open(t, inProcess(Config{Data: data, Memory: 144 << 20, Resident: 192 << 20, MaxAnswer: 4 << 20}))
	if err := put(t, s, numbered(1)); err != nil {
		t.Fatal(err)
	}
	for _, statement := range worst() {
		before := resident()
		_, err := s.SQL(t.Context(), statement, history.Limits{Time: 10 * time.Second})
		if err != nil && !errors.Is(err, history.ErrLimit) {
			t.Errorf("%s: got error %v", statement, err)
		}
		t.Logf("%s: %v; %d MB", statement, err, peak(t, s.Process())>>20)
		if grown := resident() - before; grown > 64<<20 {
			t.Errorf("%s: this process has %d MB more", statement, grown>>20)
		}
		// What the kernel does not count are the pages of the program.
		if got := peak(t, s.Process()); got > data+64<<20 {
			t.Errorf("%s: the process had %d MB resident", statement, got>>20)
		}
		wait(t, "the next question is answered", func() bool {
			got, err := s.SQL(t.Context(), "SELECT sum(packets_out) FROM flows", history.Limits{})
			return err == nil && got.Rows[0][0] == int64(50)
		})
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// peak is the most that a process had resident so far, in bytes (VmHWM of
// proc_pid_status(5)), 0 if it has ended.
func peak(t *testing.T, pid int) (bytes int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}
