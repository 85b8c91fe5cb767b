package remote

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/history"
)

// serve answers at a socket as a daemon would.
func serve(t *testing.T, answer http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // it returns when it is closed
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestAnswer(t *testing.T) {
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var q map[string]any
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(map[string]any{"sql": "SELECT 1", "limit": 5.0}, q); d != "" || r.Method != "POST" || r.URL.Path != "/api/v1/query" || r.Host != "localhost" {
			t.Errorf("asked %s %s of %s (-want +got):\n%s", r.Method, r.URL.Path, r.Host, d)
		}
		if _, err := w.Write([]byte(`{"columns":[{"name":"n","type":"uint","unit":"bytes"},{"name":"i","type":"int"},{"name":"f","type":"float"},{"name":"t","type":"time"},
			{"name":"l","type":"strings"},{"name":"b","type":"bool"},{"name":"s","type":"string"},{"name":"m","type":"MAP"}],
			"rows":[[18446744073709551615,-9223372036854775808,0.5,"2026-03-14T03:00:00Z",["a","b"],true,"x","{}"],[null,1e30,null,null,null,null,null,null]],"cut":true,"took_ms":3}`)); err != nil {
			t.Error(err)
		}
	})
	got, err := SQL(t.Context(), socket, "SELECT 1", history.Limits{Rows: 5, Time: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]any{
		{uint64(1<<64 - 1), int64(-1 << 63), 0.5, time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC), []string{"a", "b"}, true, "x", "{}"},
		{nil, 1e30, nil, nil, nil, nil, nil, nil},
	}
	if d := cmp.Diff(want, got.Rows); d != "" || !got.Cut || got.Columns[0] != (history.Column{Name: "n", Type: "uint", Unit: "bytes"}) {
		t.Errorf("got cut %v, columns %v, rows (-want +got):\n%s", got.Cut, got.Columns, d)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
		is         error
	}{
		{400, `{"title":"Bad","detail":"no such table"}`, "the question is wrong: no such table", history.ErrQuestion},
		{503, `{"title":"Busy"}`, "the question takes more than it may: Busy", history.ErrLimit},
		{500, `<html>`, "netfate refuses: 500 Internal Server Error", nil},
		{200, `{"columns":[{"name":"a"}],"rows":[[1,2]]}`, "a row has 2 values", nil},
		{200, `{`, "unexpected EOF", nil},
	} {
		socket := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			if _, err := w.Write([]byte(c.body)); err != nil {
				t.Error(err)
			}
		})
		_, err := SQL(t.Context(), socket, "SELECT 1", history.Limits{})
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%d: got error %v, want %q", c.status, err, c.want)
		}
	}
	if _, err := SQL(t.Context(), "/nonexistent", "SELECT 1", history.Limits{}); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("got error %v of a socket that is not there", err)
	}
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if _, err := SQL(t.Context(), hangs, "SELECT 1", history.Limits{Time: 20 * time.Millisecond}); !errors.Is(err, history.ErrLimit) {
		t.Errorf("got error %v of one that does not answer, want ErrLimit", err)
	}
}
