package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// maxTagged bounds an answer that waits for its tag; longer ones have none.
const maxTagged = 16 << 20

// tagged gives answers of the API a tag, so that who has one already is told that
// it is the same. The page has tags of its own, and events have none.
func tagged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := strings.HasPrefix(r.URL.Path, prefix+"/") && r.URL.Path != prefix+"/events" && r.URL.Path != prefix+"/status"
		if r.Method != http.MethodGet || !data && r.URL.Path != "/openapi.json" {
			next.ServeHTTP(w, r)
			return
		}
		t := &tagWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(t, r)
		t.finish(r)
	})
}

// tagWriter holds an answer back until it is whole, or too long.
type tagWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	sent   bool
}

func (t *tagWriter) WriteHeader(status int) { t.status = status }

func (t *tagWriter) Write(p []byte) (int, error) {
	if !t.sent && t.body.Len()+len(p) > maxTagged {
		if err := t.send(); err != nil {
			return 0, err
		}
	}
	if t.sent {
		return t.ResponseWriter.Write(p)
	}
	return t.body.Write(p)
}

// Unwrap is for http.ResponseController.
func (t *tagWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tagWriter) send() error {
	t.sent = true
	t.ResponseWriter.WriteHeader(t.status)
	_, err := t.ResponseWriter.Write(t.body.Bytes())
	return err
}

func (t *tagWriter) finish(r *http.Request) {
	if t.sent {
		return
	}
	if t.status == http.StatusOK {
		sum := sha256.Sum256(t.body.Bytes())
		tag := `"` + hex.EncodeToString(sum[:12]) + `"`
		t.Header().Set("ETag", tag)
		for _, have := range strings.Split(r.Header.Get("If-None-Match"), ",") {
			if have = strings.TrimPrefix(strings.TrimSpace(have), "W/"); have == tag || have == "*" {
				t.Header().Del("Content-Type")
				t.ResponseWriter.WriteHeader(http.StatusNotModified)
				return
			}
		}
	}
	_ = t.send() // a client that is gone needs no answer
}
