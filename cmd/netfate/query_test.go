package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/duckdb"
)

// hasHistory reports whether this binary was built with one.
func hasHistory(dir string) (bool, error) {
	s, err := duckdb.Open(duckdb.Config{Path: filepath.Join(dir, "probe.duckdb")})
	if errors.Is(err, duckdb.ErrNoCgo) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, s.Close()
}

// Each of the examples that are printed works.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	if ok, err := hasHistory(dir); err != nil {
		t.Fatal(err)
	} else if !ok {
		return
	}
	path := filepath.Join(dir, "history.duckdb")
	sink, err := newHistorySink(path, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range night() {
		if err := sink.Batch(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(examples()); n != 10 {
		t.Errorf("got %d examples, want 10", n)
	}
	for _, e := range examples() {
		q := query{path: path}
		if _, err := q.ask(t.Context(), e.sql, history.Limits{}); err != nil {
			t.Errorf("%s: %v", e.what, err)
		}
	}
}

// A history that another process has open is asked for at its socket.
func TestAskDaemon(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ SQL string }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.SQL != "SELECT 1" {
			t.Errorf("asked for %q, error %v", q.SQL, err)
		}
		if _, err := w.Write([]byte(`{"columns":[{"name":"n","type":"int"}],"rows":[[7]],"cut":false,"took_ms":1}`)); err != nil {
			t.Error(err)
		}
	})}
	go func() { _ = server.Serve(l) }() // it returns when it is closed
	defer server.Close()
	q := query{path: filepath.Join(dir, "h.duckdb"), socket: socket}
	if _, err := q.ask(t.Context(), "SELECT 1", history.Limits{}); err == nil {
		t.Error("a history that does not exist was answered by the socket")
	}
	if ok, err := hasHistory(dir); err != nil || !ok {
		return
	}
	hold(t, q.path)
	got, err := q.ask(t.Context(), "SELECT 1", history.Limits{})
	if err != nil || len(got.Rows) != 1 || got.Rows[0][0] != int64(7) {
		t.Errorf("got %v, error %v; want 7 from the socket", got.Rows, err)
	}
	q.socket = filepath.Join(dir, "nobody")
	if _, err := q.ask(t.Context(), "SELECT 1", history.Limits{}); !errors.Is(err, duckdb.ErrHeld) {
		t.Errorf("got error %v without a socket, want ErrHeld", err)
	}
}

// hold has another process open a history, until the test ends.
func hold(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "record", "--history", path, "-r", "-")
	cmd.Args[0] = "netfate"
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it complains that there was no recording
	})
	for t.Context().Err() == nil {
		s, err := openHistory(path)
		if errors.Is(err, duckdb.ErrHeld) {
			return
		}
		if err == nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}
