//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"bufio"
	"context"
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

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/historytest"
	"github.com/netfate/netfate/test/need"
)

// Environment of a test binary that is to write until it is killed.
const victim = "NETFATE_HISTORY_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(apartEnv) != "" {
		fmt.Fprintln(os.Stderr, Serve(os.NewFile(3, "daemon")))
		os.Exit(1)
	}
	if path := os.Getenv(victim); path != "" {
		fmt.Println("error:", write(path, os.Getenv(victim+"_FROM")))
		os.Exit(1)
	}
	if dir := os.Getenv(small); dir != "" {
		if err := mountSmall(dir); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// memoryDir is a directory of the test in memory, where there is one: what a killed
// process wrote is there all the same, and nobody waits for a disk.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "netfate-history-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// write writes to the history at path, batches numbered from a number on, and prints the
// number of each that is durable.
func write(path, from string) error {
	s, err := Open(Config{Path: path, Say: func(text string) { fmt.Println("said:", text) }})
	if err != nil {
		return err
	}
	var n int
	if _, err := fmt.Sscan(from, &n); err != nil {
		return err
	}
	ctx := context.Background()
	for ; ; n++ {
		b := numbered(n)
		if err := errors.Join(s.Put(ctx, b), s.Flush(ctx)); err != nil {
			return err
		}
		fmt.Println("durable:", n)
	}
}

// numbered is a batch that can be told from all others: half a minute each, so that
// roll-ups go on, with 50 flows.
func numbered(n int) *record.Batch {
	b := historytest.Batch(historytest.Begin().Add(time.Duration(n) * 30 * time.Second))
	for i := range 50 {
		b.Flows = append(b.Flows, historytest.Flow(b.End, fmt.Sprint("batch ", n), uint16(i+1), 1))
	}
	return b
}

// Killed at any moment, all that was said to be durable is there, once.
func TestKilled(t *testing.T) {
	times := 50
	if testing.Short() {
		times = 5
	}
	path := filepath.Join(memoryDir(t), "history.duckdb")
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	acknowledged := map[int]bool{}
	next := 0
	for range times {
		last := killed(t, path, next, time.Duration(rng.IntN(60))*time.Millisecond, acknowledged)
		next = last + 1 // none that may have been written is written again
	}
	if len(acknowledged) < times {
		t.Errorf("only %d batches were acknowledged", len(acknowledged))
	}
	s := open(t, Config{Path: path, Say: func(text string) { t.Errorf("said: %s", text) }})
	defer s.Close()
	for _, table := range []string{"flows", "flows_1m"} {
		got, err := s.SQL(t.Context(), "SELECT comm, sum(packets_out) FROM "+table+" GROUP BY comm", history.Limits{Rows: 1e6})
		if err != nil {
			t.Fatal(err)
		}
		found := map[int]bool{}
		for _, r := range got.Rows {
			var n int
			if _, err := fmt.Sscanf(r[0].(string), "batch %d", &n); err != nil {
				t.Fatal(err)
			}
			if found[n] = true; r[1] != int64(50) {
				t.Errorf("%s: batch %d has %v packets, want 50", table, n, r[1])
			}
		}
		if table == "flows" {
			for n := range acknowledged {
				if !found[n] {
					t.Errorf("batch %d was acknowledged and is missing", n)
				}
			}
		}
	}
}

// killed has a process write and kills it some time after its first batch. It
// returns the last number that may have been written.
func killed(t *testing.T, path string, from int, after time.Duration, acknowledged map[int]bool) (last int) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), victim+"="+path, fmt.Sprintf("%s_FROM=%d", victim, from))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last = from
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		if _, err := fmt.Sscanf(lines.Text(), "durable: %d", &n); err != nil {
			t.Errorf("the writer says %q", lines.Text())
			continue
		}
		if n == from {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // it runs until then
		}
		acknowledged[n], last = true, n
	}
	_ = cmd.Wait() // it was killed
	return last + 1
}

// said collects what a store says.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, text)
}

func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func put(t *testing.T, s history.Store, b *record.Batch) error {
	t.Helper()
	if err := s.Put(t.Context(), b); err != nil {
		t.Fatalf("put: %v", err)
	}
	return s.Flush(t.Context())
}

func packets(t *testing.T, s history.Store) uint64 {
	t.Helper()
	got, err := s.Groups(t.Context(), history.Question{Kind: history.Flows, Measure: "packets_out"})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range got.Columns {
		if c.Name == "packets_out" && len(got.Rows) == 1 && got.Rows[0][i] != nil {
			return got.Rows[0][i].(uint64)
		}
	}
	return 0
}

// What cannot be read is set aside and not deleted, and a new file begins.
func TestSetAside(t *testing.T) {
	fill := func(t *testing.T, path string) {
		s := open(t, Config{Path: path})
		for n := range 20 {
			if err := put(t, s, numbered(n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	statement := func(t *testing.T, path, text string) {
		f, err := openFile(&Config{Path: path, Memory: 64 << 20, Threads: 1}, path, newKinds())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.writer.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
	}
	overwrite := func(t *testing.T, path string, at int64, with string) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(with), at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, path string)
	}{
		{"no database", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("something else ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"its head overwritten", func(t *testing.T, path string) { overwrite(t, path, 4096, strings.Repeat("x", 8192)) }},
		{"cut", func(t *testing.T, path string) {
			if err := os.Truncate(path, 13000); err != nil {
				t.Fatal(err)
			}
		}},
		{"a newer version", func(t *testing.T, path string) {
			statement(t, path, "UPDATE netfate SET value = 99 WHERE name = 'version'")
		}},
		{"another type", func(t *testing.T, path string) {
			statement(t, path, "DROP VIEW flows; ALTER TABLE flows_1m ALTER packets_out TYPE VARCHAR")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(memoryDir(t), "history.duckdb")
			fill(t, path)
			c.spoil(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var said said
			s := open(t, Config{Path: path, Say: said.say})
			if err := put(t, s, numbered(1)); err != nil {
				t.Errorf("flush: %v", err)
			}
			if got := packets(t, s); got != 50 {
				t.Errorf("got %d packets in the new file, want 50", got)
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			aside, err := filepath.Glob(path + ".aside-*")
			if err != nil || len(aside) != 1 {
				t.Fatalf("got files %v, error %v; want one set aside", aside, err)
			}
			if after, err := os.ReadFile(aside[0]); err != nil || len(after) < len(before)*9/10 {
				t.Errorf("the file set aside has %d bytes, error %v; want %d", len(after), err, len(before))
			}
			if !strings.Contains(said.text(), aside[0]) {
				t.Errorf("it said %q, want the new name in it", said.text())
			}
		})
	}
}

// Columns that a file lacks are added, and those that it has from a newer netfate are left
// alone.
func TestColumnsChange(t *testing.T) {
	path := filepath.Join(memoryDir(t), "history.duckdb")
	s := open(t, Config{Path: path})
	if err := put(t, s, numbered(0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(&Config{Path: path, Memory: 64 << 20, Threads: 1}, path, newKinds())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resolutions() {
		if _, err := f.writer.ExecContext(t.Context(), "ALTER TABLE flows_"+r.name+" DROP COLUMN bytes_out; ALTER TABLE flows_"+r.name+" ADD COLUMN later VARCHAR"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Path: path, Say: func(text string) { t.Errorf("said: %s", text) }})
	defer s.Close()
	for n := 1; n < 30; n++ {
		if err := put(t, s, numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.SQL(t.Context(), "SELECT sum(packets_out), sum(bytes_out), count(later) FROM flows_1m, (SELECT 1)", history.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Rows[0]; r[0] != int64(30*50) || r[1] != int64(29*50*100) || r[2] != int64(0) {
		t.Errorf("got %v, want 1500 packets, 145000 bytes and nothing later", r)
	}
}

// One process holds the file.
func TestHeld(t *testing.T) {
	path := filepath.Join(memoryDir(t), "history.duckdb")
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), victim+"="+path, victim+"_FROM=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it may be gone
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "durable") {
		t.Fatalf("the writer says %q, error %v", line, err)
	}
	for _, readOnly := range []bool{false, true} {
		if _, err := Open(Config{Path: path, ReadOnly: readOnly}); !errors.Is(err, ErrHeld) {
			t.Errorf("read only %v: got error %v, want ErrHeld", readOnly, err)
		}
	}
	if aside, _ := filepath.Glob(path + ".aside*"); len(aside) > 0 {
		t.Errorf("the file of another process was set aside: %v", aside)
	}
}

// small is the environment of a test binary whose own mount namespace has a small
// file system there.
const small = "NETFATE_HISTORY_TMPFS"

// mountSmall mounts it.
func mountSmall(dir string) error {
	return errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"))
}

// onSmall runs the test again in a process that has a small file system, where it
// returns its directory; here it returns "".
func onSmall(t *testing.T) (dir string) {
	t.Helper()
	if dir := os.Getenv(small); dir != "" {
		return dir
	}
	need.Root(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), small+"="+memoryDir(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	return ""
}

// wait waits until something holds, for as long as a test may take.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		if t.Context().Err() != nil {
			t.Fatalf("still not so: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// unlike is a batch of flows that do not compress.
func unlike(rng *rand.Rand, n int) *record.Batch {
	b := historytest.Batch(historytest.Begin().Add(time.Duration(n) * time.Minute))
	for range 500 {
		b.Flows = append(b.Flows, historytest.Flow(b.End, fmt.Sprintf("%x%x%x", rng.Uint64(), rng.Uint64(), rng.Uint64()), uint16(rng.Uint32()), 1))
	}
	return b
}

// On a full disk what comes is kept in memory, and goes to disk once there is room.
func TestDiskFull(t *testing.T) {
	dir := onSmall(t)
	if dir == "" {
		return
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 14<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var said said
	s := open(t, Config{Path: filepath.Join(dir, "history.duckdb"), Retry: time.Millisecond, Say: said.say})
	rng := rand.New(rand.NewPCG(1, 2))
	var all, n int
	for ; s.Degraded() == ""; n++ {
		if err := put(t, s, unlike(rng, n)); err != nil && s.Degraded() == "" {
			t.Fatalf("flush: %v", err)
		}
		if all += 500; n > 1000 {
			t.Fatal("the disk is never full")
		}
	}
	t.Log("full after", n, "batches:", s.Degraded())
	for range 5 {
		if err := put(t, s, unlike(rng, n)); err == nil && s.Degraded() != "" {
			t.Error("what is in memory only was acknowledged")
		}
		n, all = n+1, all+500
	}
	if got := packets(t, s); got == 0 {
		t.Error("nothing can be asked while the disk is full")
	}
	if _, err := s.SQL(t.Context(), "SELECT count(*) FROM flows", history.Limits{}); err != nil {
		t.Errorf("statement: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	wait(t, "it is written again", func() bool { return s.Degraded() == "" })
	if err := put(t, s, unlike(rng, n)); err != nil {
		t.Errorf("flush with room: %v", err)
	}
	all += 500
	if got := packets(t, s); got != uint64(all) {
		t.Errorf("got %d packets, want %d", got, all)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*.aside-*")); len(aside) > 0 {
		t.Errorf("files were set aside: %v", aside)
	}
	if text := said.text(); !strings.Contains(text, "can be written again") || !strings.Contains(text, "kept in memory") {
		t.Errorf("it said %q", text)
	}
}

// Where nothing can be written, the history is in memory until something can.
func TestReadOnlyDirectory(t *testing.T) {
	dir := onSmall(t)
	if dir == "" {
		return
	}
	remount := func(flags uintptr) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	s := open(t, Config{Path: filepath.Join(dir, "history.duckdb"), Retry: time.Millisecond, MaxMemoryRows: 600})
	if err := put(t, s, numbered(1)); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("got error %v of flush, want it to say that it is read-only", err)
	}
	st, err := s.Status(t.Context())
	if err != nil || !strings.Contains(st.Degraded, "read-only") || st.Bytes != 0 {
		t.Errorf("got status %+v, error %v", st, err)
	}
	if got := packets(t, s); got != 50 {
		t.Errorf("got %d packets, want 50", got)
	}
	for n := 2; n < 100; n++ {
		if err := put(t, s, numbered(n)); err == nil {
			t.Error("what is in memory only was acknowledged")
		}
	}
	st, err = s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept, dropped := packets(t, s), st.Dropped[forMemory]
	if kept+dropped < 99*50 || dropped == 0 || kept > 600 {
		t.Errorf("memory has %d packets and dropped %d rows of 4950", kept, dropped)
	}
	remount(0)
	wait(t, "it is written again", func() bool { return s.Degraded() == "" })
	if got := packets(t, s); got != kept {
		t.Errorf("got %d packets in the file, want %d", got, kept)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
