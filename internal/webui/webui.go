// Package webui holds the page that `netfate serve` shows in a browser, as built
// from ui/ and committed here, and serves it. It knows no API, no records and no
// state: all numbers come from internal/api, which the page asks.
package webui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// policy lets the page load and ask what its own origin has as a file, and nothing
// else: no inline script or style, no other host, no frame around it.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

// file is one file as it is sent.
type file struct {
	kind   string
	etag   string
	plain  []byte
	packed []byte // gzip; nil where that saves nothing
	fixed  bool   // its name is a hash of what is in it
}

// Handler returns what serves the page: / and the files that it loads, to GET and
// HEAD. All of it is held in memory, some 200 kB. An unknown path is 404. It is
// safe for concurrent use.
func Handler() http.Handler {
	files, err := load(dist)
	if err != nil {
		panic(err) // the embedded files are of the build
	}
	return serve(files)
}

func load(from fs.FS) (map[string]file, error) {
	root, err := fs.Sub(from, "dist")
	if err != nil {
		return nil, fmt.Errorf("open page: %w", err)
	}
	files := map[string]file{}
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		plain, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f := file{kind: mime.TypeByExtension(path.Ext(name)), plain: plain, fixed: strings.HasPrefix(name, "assets/")}
		// The system's table of types may say anything; browsers refuse scripts
		// that are not called so.
		if path.Ext(name) == ".js" {
			f.kind = "text/javascript; charset=utf-8"
		}
		sum := sha256.Sum256(plain)
		f.etag = hex.EncodeToString(sum[:12])
		if f.packed, err = pack(plain); err != nil {
			return err
		}
		files["/"+name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	index, ok := files["/index.html"]
	if !ok {
		return nil, fmt.Errorf("read page: %w", fs.ErrNotExist)
	}
	files["/"] = index
	return files, nil
}

// pack compresses, and returns nil if that saves less than a tenth.
func pack(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() > len(plain)*9/10 {
		return nil, nil
	}
	return b.Bytes(), nil
}

func serve(files map[string]file) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "the page is only read", http.StatusMethodNotAllowed)
			return
		}
		f, ok := files[r.URL.Path]
		if !ok {
			http.Error(w, "no such page; netfate's is at /", http.StatusNotFound)
			return
		}
		h.Set("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "no-cache")
		if f.fixed {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		body, etag := f.plain, f.etag
		if f.packed != nil && accepts(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body, etag = f.packed, etag+"-gzip"
		}
		etag = `"` + etag + `"`
		h.Set("Etag", etag)
		if matches(r.Header.Get("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", f.kind)
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if r.Method == http.MethodGet {
			// The reader went away: there is nobody to tell.
			_, _ = w.Write(body)
		}
	})
}

// accepts reports whether gzip is among the encodings that are asked for, and not
// refused with a weight of 0 (RFC 9110, 12.5.3).
func accepts(header string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		weight, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		if !found {
			return true
		}
		q, err := strconv.ParseFloat(weight, 64)
		return err == nil && q > 0
	}
	return false
}

func matches(header, etag string) bool {
	for item := range strings.SplitSeq(header, ",") {
		item = strings.TrimPrefix(strings.TrimSpace(item), "W/")
		if item == "*" || item == etag {
			return true
		}
	}
	return false
}
