package clickhouse

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	server "github.com/netfate/netfate/test/clickhouse"
	"github.com/netfate/netfate/test/historytest"
)

var long = flag.Bool("long", false, "run the long form: the server is killed twenty times, the suite runs on two servers")

// patience is how long something that is tried again may take to come about.
const patience = time.Minute

// minute is a batch of one flow row of the n-th minute, with n+1 packets.
func minute(n int) *record.Batch {
	at := historytest.Begin().Add(time.Duration(n) * time.Minute)
	return historytest.Batch(at, historytest.Flow(at, "curl", 443, uint64(n+1)))
}

func put(t *testing.T, s *store, batches ...*record.Batch) {
	t.Helper()
	for _, b := range batches {
		if err := s.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// sum is the packets that the history has, 0 while it does not answer.
func sum(t *testing.T, s *store) uint64 {
	t.Helper()
	got, err := s.Groups(t.Context(), history.Question{Kind: history.Flows, Measure: "packets_out"})
	if err != nil || len(got.Rows) == 0 {
		return 0
	}
	for i, c := range got.Columns {
		if c.Name == "packets_out" {
			return got.Rows[0][i].(uint64)
		}
	}
	t.Fatal("there is no column packets_out")
	return 0
}

// waitFor waits until the spool is empty and all is well.
func waitFor(t *testing.T, s *store) {
	t.Helper()
	for begin := time.Now(); s.waits.Load() > 0 || s.Degraded() != ""; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("%d rows still wait: %s", s.waits.Load(), s.Degraded())
		}
	}
}

func closed(t *testing.T, s *store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestAway has a server go away and come back, and the store end and begin meanwhile.
func TestAway(t *testing.T) {
	srv := server.Start(t)
	cfg := Config{URL: srv.URL("away"), Spool: filepath.Join(t.TempDir(), "spool"), Retry: 50 * time.Millisecond}
	s := open(t, cfg)
	put(t, s, minute(0), minute(1))
	if got := sum(t, s); got != 3 {
		t.Fatalf("got %d packets, want 3", got)
	}
	srv.Kill()
	for n := 2; n < 12; n++ {
		put(t, s, minute(n))
	}
	st, err := s.Status(t.Context())
	if err != nil || !strings.Contains(st.Degraded, "10 rows wait in "+cfg.Spool) {
		t.Errorf("got degraded %q, error %v", st.Degraded, err)
	}
	if _, err := s.Rows(t.Context(), history.Question{Kind: history.Flows}); err == nil || !strings.Contains(err.Error(), srv.Addr) {
		t.Errorf("a question to nobody: got error %v", err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrHeld) {
		t.Errorf("a second store: got error %v, want ErrHeld", err)
	}
	closed(t, s)
	s = open(t, cfg)
	put(t, s, minute(12))
	srv.Run(t)
	waitFor(t, s)
	if got := sum(t, s); got != 13*14/2 {
		t.Errorf("got %d packets, want %d", got, 13*14/2)
	}
	if left, err := filepath.Glob(filepath.Join(cfg.Spool, "*.batch")); err != nil || len(left) > 0 {
		t.Errorf("these files are left: %v, %v", left, err)
	}
	closed(t, s)
}

// TestKilled kills the server while it takes rows: what was inserted is looked for. In
// the long form again and again.
func TestKilled(t *testing.T) {
	srv := server.Start(t)
	s := open(t, Config{URL: srv.URL("killed"), Spool: t.TempDir(), Retry: 50 * time.Millisecond})
	stop, done := make(chan struct{}), make(chan uint64)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				done <- uint64(n)
				return
			default:
			}
			if err := s.Put(context.Background(), minute(n)); err != nil {
				t.Errorf("put: %v", err)
			}
			if err := s.Flush(context.Background()); err != nil {
				t.Errorf("flush: %v", err)
			}
			if s.waits.Load() > 0 {
				time.Sleep(100 * time.Millisecond) // the longer it takes, the more would wait
			}
		}
	}()
	kills := 1
	if *long {
		kills = 20
	}
	for range kills {
		time.Sleep(300 * time.Millisecond)
		srv.Kill()
		srv.Run(t)
	}
	close(stop)
	n := <-done
	waitFor(t, s)
	if got := sum(t, s); got != n*(n+1)/2 {
		t.Errorf("got %d packets, want %d", got, n*(n+1)/2)
	}
	closed(t, s)
}

// badNetwork is a way to a server that loses requests and answers.
type badNetwork struct {
	to   *httputil.ReverseProxy
	rng  *rand.Rand
	good atomic.Bool
	mu   sync.Mutex
	lost [3]int // what became of inserts: they came, the request was lost, the answer was
}

// ServeHTTP implements http.Handler. Questions get through.
func (n *badNetwork) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n.good.Load() || r.Header.Get("Content-Encoding") == "" {
		n.to.ServeHTTP(w, r)
		return
	}
	n.mu.Lock()
	fate := n.rng.IntN(3)
	n.lost[fate]++
	n.mu.Unlock()
	switch fate {
	case 0:
		n.to.ServeHTTP(w, r)
	case 1:
		panic(http.ErrAbortHandler)
	case 2:
		n.to.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
}

// TestBadNetwork loses two of three inserts, or of three answers.
func TestBadNetwork(t *testing.T) {
	const inserts = 20
	srv := server.Start(t)
	to := &url.URL{Scheme: "http", Host: srv.Addr}
	seed := rand.Uint64()
	network := &badNetwork{to: httputil.NewSingleHostReverseProxy(to), rng: rand.New(rand.NewPCG(seed, 0))}
	proxy := httptest.NewServer(network)
	defer proxy.Close()
	for _, dir := range []string{"", t.TempDir()} {
		network.good.Store(false)
		name := "network_" + map[bool]string{true: "memory", false: "disk"}[dir == ""]
		s := open(t, Config{URL: "clickhouse://" + server.User + "@" + proxy.Listener.Addr().String() + "/" + name, Spool: dir, Retry: time.Nanosecond})
		for n := range inserts {
			if err := s.Put(t.Context(), minute(n)); err != nil {
				t.Fatal(err)
			}
			if err := s.Flush(t.Context()); err != nil && dir != "" {
				t.Fatalf("flush: %v", err)
			}
		}
		network.good.Store(true)
		waitFor(t, s)
		if got := sum(t, s); got != inserts*(inserts+1)/2 {
			t.Errorf("seed %d: got %d packets, want %d", seed, got, inserts*(inserts+1)/2)
		}
		closed(t, s)
	}
	if network.lost[1] == 0 || network.lost[2] == 0 {
		t.Errorf("seed %d: the network was not bad: %v", seed, network.lost)
	}
}

// TestRoom has more wait than there is room for, and looks for it in the books.
func TestRoom(t *testing.T) {
	const maxSpool = 8_000
	srv := server.Start(t)
	s := open(t, Config{URL: srv.URL("room"), Spool: t.TempDir(), MaxSpool: maxSpool, Retry: 50 * time.Millisecond})
	srv.Kill()
	const given = 20
	for n := range given {
		put(t, s, minute(n))
	}
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dropped := st.Dropped[forSpool]
	if dropped == 0 || dropped >= given {
		t.Fatalf("got %d rows dropped of %d", dropped, given)
	}
	var files int64
	paths, err := filepath.Glob(filepath.Join(s.cfg.Spool, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		files += info.Size()
	}
	if files > maxSpool {
		t.Errorf("%d bytes wait, want %d at the most", files, maxSpool)
	}
	srv.Run(t)
	waitFor(t, s)
	put(t, s)
	for _, c := range []struct {
		statement string
		want      uint64
	}{
		{"SELECT count() + (SELECT sum(count) FROM lost) FROM flows", given},
		{"SELECT sum(count) FROM lost WHERE place = 'history' AND reason = " + literal(forSpool), dropped},
		{"SELECT sum(packets_out) FROM flows", given*(given+1)/2 - dropped*(dropped+1)/2}, // the oldest went
	} {
		got, err := s.SQL(t.Context(), c.statement, history.Limits{})
		if err != nil || len(got.Rows) != 1 || got.Rows[0][0] != c.want {
			t.Errorf("%s: got %v, error %v; want %d", c.statement, got.Rows, err, c.want)
		}
	}
	closed(t, s)
}

// TestMinutes has a minute come in intervals: it is sent when it is over, and once.
func TestMinutes(t *testing.T) {
	srv := server.Start(t)
	s := open(t, Config{URL: srv.URL("minutes"), Spread: time.Nanosecond})
	for second := 0; second <= 65; second += 5 {
		at := historytest.Begin().Add(time.Duration(second) * time.Second)
		if err := s.Put(t.Context(), historytest.Batch(at, historytest.Flow(at, "curl", 443, 1))); err != nil {
			t.Fatal(err)
		}
	}
	reader := open(t, Config{URL: srv.URL("minutes"), ReadOnly: true}) // who asks s has it send
	for begin := time.Now(); sum(t, reader) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatal("the minute that is over does not come")
		}
	}
	got, err := reader.Rows(t.Context(), history.Question{Kind: history.Flows})
	if err != nil || len(got.Rows) != 1 || sum(t, reader) != 12 {
		t.Errorf("got %v, error %v; want one row of 12 packets", got.Rows, err)
	}
	closed(t, s)
	if got := sum(t, reader); got != 14 {
		t.Errorf("closed: got %d packets, want 14", got)
	}
	closed(t, reader)
}

// TestSpread has a fleet's hosts send one after the other.
func TestSpread(t *testing.T) {
	var seconds [45]int
	for n := range 10_000 {
		seconds[sendingTime(fmt.Sprint("host-", n), 45*time.Second)/time.Second]++
	}
	for at, n := range seconds {
		if n < 100 || n > 400 {
			t.Errorf("after %d s %d hosts of 10,000 send, want some 222", at, n)
		}
	}
}

// TestTables has tables that are older, newer, gone, and days that are too old.
func TestTables(t *testing.T) {
	srv := server.Start(t)
	s := open(t, Config{URL: srv.URL("tables")})
	do := func(statement string) {
		t.Helper()
		if err := s.client.exec(t.Context(), &request{statement: statement}); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	put(t, s, minute(0))
	do("DROP TABLE flows")
	put(t, s, minute(1))
	if got := sum(t, s); got != 2 {
		t.Errorf("made anew: got %d packets, want 2", got)
	}
	do("ALTER TABLE flows DROP COLUMN comm")
	do("ALTER TABLE flows ADD COLUMN newer UInt8")
	put(t, s, minute(2))
	if got := sum(t, s); got != 5 {
		t.Errorf("a column that is missing, and one that is newer: got %d packets, want 5", got)
	}
	put(t, s, minute(3*24*60))
	day := historytest.Begin().AddDate(0, 0, 3).Format("20060102")
	if err := s.dropDays(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	if got := sum(t, s); got != 3*24*60+1 || s.dropped[forAge] != 2 {
		t.Errorf("got %d packets, dropped %v; want the last day, and two rows dropped", got, s.dropped)
	}
	reader := open(t, Config{URL: srv.URL("tables"), ReadOnly: true})
	if got := sum(t, reader); got != 3*24*60+1 {
		t.Errorf("a reader: got %d packets", got)
	}
	if err := reader.Put(t.Context(), minute(0)); !errors.Is(err, errReadOnly) {
		t.Errorf("a reader puts: got error %v", err)
	}
	closed(t, s)
}

// TestRefused has a server that will never take what it is given, and says the password
// of those who ask.
func TestRefused(t *testing.T) {
	var inserts atomic.Int32
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch text := string(body); {
		case r.Header.Get("Content-Encoding") == "gzip":
			inserts.Add(1)
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "Code: 33, e.displayText() = DB::Exception: Cannot read all data, e.what() = DB::Exception\nstack")
		case strings.HasPrefix(text, "SELECT version()"):
			fmt.Fprint(w, "18.16.1\tUTC\n")
		default:
			fmt.Fprint(w, `{"meta":[],"data":[]}`)
		}
	}))
	defer fake.Close()
	var said []string
	s := open(t, Config{URL: "clickhouse://" + fake.Listener.Addr().String(), Say: func(text string) { said = append(said, text) }})
	if err := s.Put(t.Context(), minute(0)); err != nil {
		t.Fatal(err)
	}
	err := s.Flush(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Cannot read all data") || strings.Contains(err.Error(), "stack") {
		t.Errorf("got error %v", err)
	}
	if s.dropped[forRefusal] != 1 || inserts.Load() != 1 {
		t.Errorf("got %v dropped after %d inserts, want one row after one", s.dropped, inserts.Load())
	}
	fake.Close()
	if err := s.Close(); err == nil {
		t.Error("the record of what was lost is in memory only: got no error")
	}
	for _, text := range append(said, err.Error()) {
		if strings.Contains(text, server.Password) {
			t.Errorf("the password is in %q", text)
		}
	}
}
