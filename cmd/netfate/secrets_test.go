package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netfate/netfate/internal/capture"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/recording"
	"github.com/netfate/netfate/internal/view/table"
)

// secret is in all that nobody may find again.
const secret = "hunter2"

// confessions are requests with a secret wherever one may be.
func confessions() []speech {
	head := "Host: shop.example.com\r\n" +
		"Authorization: Bearer hunter2-bearer\r\nProxy-Authorization: Basic hunter2-proxy\r\nCookie: session=hunter2-cookie\r\nX-Api-Key: hunter2-key\r\n" +
		"Referer: http://shop.example.com/?token=hunter2-referer\r\nUser-Agent: hunter2-agent\r\nX-Amz-Security-Token: hunter2-amz\r\n"
	answer := "HTTP/1.1 302 Found\r\nSet-Cookie: session=hunter2-set\r\nLocation: /?token=hunter2-location\r\nWWW-Authenticate: hunter2-nonce\r\nContent-Length: 16\r\n\r\nhunter2-response"
	var said []speech
	for i, line := range []string{
		"GET /items/17?token=hunter2-query&x=1", "GET http://anna:hunter2-user@shop.example.com/absolute?hunter2-bare", "POST /login", "GET /fragment#hunter2-fragment",
		"GET /twice?a=hunter2-first?b=hunter2-second", "OPTIONS http://hunter2-only@shop.example.com/",
	} {
		body, rest := "password=hunter2-body", head
		if i%2 == 1 {
			rest = strings.Replace(head, "Host: shop", "Host: anna:hunter2-host@shop", 1)
		}
		said = append(said,
			speech{40010, false, fmt.Sprintf("%s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", line, rest, len(body), body)},
			speech{40010, true, answer})
	}
	return said
}

// TestSecrets has requests with secrets pass all that they pass, and looks for these
// wherever something stays.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secrets.pcap")
	if err := writeSpeech(path, confessions()...); err != nil {
		t.Fatal(err)
	}
	batches := decoded(t, path)
	stderr := os.Stderr
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = log
	t.Cleanup(func() { os.Stderr = stderr })

	found := map[string]string{"batches": fmt.Sprintf("%+v", batches)}
	for _, format := range []table.Format{table.Table, table.JSON, table.CSV} {
		for _, each := range []bool{true, false} {
			var out, notes bytes.Buffer
			view, err := table.NewRequests(&out, &notes, table.Options{Format: format, Each: each, By: map[bool]string{false: "path"}[each]})
			if err != nil {
				t.Fatal(err)
			}
			for i := range batches {
				if err := view.Batch(&batches[i]); err != nil {
					t.Fatal(err)
				}
			}
			if err := view.Close(); err != nil {
				t.Fatal(err)
			}
			found[fmt.Sprintf("the view, %s, each %v", format, each)] = out.String() + notes.String()
		}
	}
	found["a recording"] = inRecording(t, filepath.Join(dir, "secrets.nfr"), batches)
	if ok, err := hasHistory(t.TempDir()); err != nil {
		t.Fatal(err)
	} else if ok {
		found["the history"] = inHistory(t, filepath.Join(dir, "history.duckdb"), batches)
	}
	a := attack(t, nil, batches...)
	for _, target := range []string{
		"/api/v1/status", "/metrics", "/api/v1/rows/requests?since=2026-11-21T00:00:00Z&until=2026-11-23T00:00:00Z",
		"/api/v1/groups/requests?by=path,host_name&since=2026-11-21T00:00:00Z&until=2026-11-23T00:00:00Z",
	} {
		// With the token shown in all ways, the wrong ones included.
		got := a.loopback("GET "+target, "Authorization: Bearer "+attackToken, "Cookie: token="+attackToken)
		found[target] = got.body
	}
	a.loopback("GET /api/v1/status?token="+attackToken, "Authorization: Bearer x"+attackToken)
	found["/api/v1/status, later"] = a.loopback("GET /api/v1/status").body
	text, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if shown := string(text); strings.Contains(shown, secret) || strings.Contains(shown, attackToken) {
		t.Errorf("the log has a secret: %s", shown)
	}
	for where, text := range found {
		for _, word := range []string{secret, attackToken, "anna"} {
			if i := strings.Index(text, word); i >= 0 {
				t.Errorf("%s: %q", where, text[max(i-60, 0):min(i+60, len(text))])
			}
		}
		if !strings.Contains(where, "status") && !strings.Contains(where, "metrics") && !strings.Contains(text, "shop.example.com") && !strings.Contains(text, "/items") {
			t.Errorf("%s: %.300q has none of the requests, so that nothing was tried", where, text)
		}
	}
}

// decoded is what a capture says.
func decoded(t *testing.T, path string) (batches []record.Batch) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	source, err := capture.Open(in, http.New(http.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		b, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, *b)
		n += len(b.Requests)
	}
	if want := len(confessions()) / 2; n != want {
		t.Fatalf("got %d requests of the capture, want %d", n, want)
	}
	return batches
}

// inRecording is what a recording of batches has, the fields that views hide included.
func inRecording(t *testing.T, path string, batches []record.Batch) string {
	t.Helper()
	if err := writeRecording(path, batches); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := recording.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var text strings.Builder
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%+v\n", b)
	}
}

// inHistory is what a history of batches has: its rows, and the bytes of its file.
func inHistory(t *testing.T, path string, batches []record.Batch) string {
	t.Helper()
	store, err := duckdb.Open(duckdb.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for i := range batches {
		if err := store.Put(t.Context(), &batches[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := store.SQL(t.Context(), "SELECT * FROM requests", history.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(rows) + string(file)
}
