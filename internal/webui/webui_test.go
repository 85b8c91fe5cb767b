package webui

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// get asks for a path, with headers as pairs.
func get(t *testing.T, h http.Handler, method, path string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPage holds that the page which is committed is whole, loads nothing that
// Content-Security-Policy forbids, and is small.
func TestPage(t *testing.T) {
	h := Handler()
	page := get(t, h, "GET", "/")
	if page.StatusCode != http.StatusOK || page.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("got %s %s for /", page.Status, page.Header.Get("Content-Type"))
	}
	if got := page.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") || strings.Contains(got, "unsafe") {
		t.Errorf("got the policy %q", got)
	}
	html := string(body(t, page))
	if found := regexp.MustCompile(`<script(?:\s[^>]*)?>[^<]|<style|\sstyle=|\son\w+=|https?://`).FindString(html); found != "" {
		t.Errorf("got %q in the page: the policy forbids that", found)
	}
	refs := regexp.MustCompile(`(?:src|href)="\.?(/[^"]+)"`).FindAllStringSubmatch(html, -1)
	if len(refs) < 2 {
		t.Fatalf("got %d files that the page names, want its script and its style", len(refs))
	}
	for _, ref := range refs {
		r := get(t, h, "GET", ref[1], "Accept-Encoding", "gzip")
		if r.StatusCode != http.StatusOK {
			t.Errorf("got %s for %s", r.Status, ref[1])
		}
		if !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("got Cache-Control %q for %s, whose name is of what is in it", r.Header.Get("Cache-Control"), ref[1])
		}
	}
	for name, f := range mustLoad(t) {
		if strings.HasSuffix(name, ".js") && bytes.Contains(f.plain, []byte("sourceMappingURL")) {
			t.Errorf("%s names a source map, which is not served", name)
		}
	}
}

// firstLoad bounds what a browser fetches, compressed. All views together keep it, so
// that whichever opens first does.
const firstLoad = 120_000

func TestFirstLoad(t *testing.T) {
	var sum int
	h := Handler()
	for name := range mustLoad(t) {
		// Everything but the other language: a bound on any order of views.
		if strings.Contains(name, "/zh-") || name == "/index.html" {
			continue
		}
		sum += len(body(t, get(t, h, "GET", name, "Accept-Encoding", "gzip")))
	}
	if sum > firstLoad {
		t.Errorf("got %d bytes for the whole page compressed, want %d at most", sum, firstLoad)
	}
}

func mustLoad(t *testing.T) map[string]file {
	t.Helper()
	files, err := load(dist)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestServe(t *testing.T) {
	script := strings.Repeat("let a = 1;\n", 100)
	files, err := load(fstest.MapFS{
		"dist/index.html":       {Data: []byte("<!doctype html>")},
		"dist/assets/a-1234.js": {Data: []byte(script)},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := serve(files)

	plain := get(t, h, "GET", "/assets/a-1234.js")
	if got := string(body(t, plain)); got != script || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("got %d bytes in %q, want the script as it is", len(got), plain.Header.Get("Content-Encoding"))
	}
	packed := get(t, h, "GET", "/assets/a-1234.js", "Accept-Encoding", "br, gzip;q=0.5")
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != script {
		t.Errorf("got %d bytes, %v after unpacking, want the script", len(got), err)
	}
	if a, b := plain.Header.Get("Etag"), packed.Header.Get("Etag"); a == "" || a == b {
		t.Errorf("got the tags %s and %s: two representations need two", a, b)
	}
	for _, c := range []struct {
		method, path string
		headers      []string
		want         int
	}{
		{"GET", "/", nil, 200},
		{"HEAD", "/index.html", nil, 200},
		{"POST", "/", nil, 405},
		{"GET", "/assets/", nil, 404},
		{"GET", "/assets/../index.html", nil, 404},
		{"GET", "/assets/a-1234.js", []string{"If-None-Match", `"x", W/` + plain.Header.Get("Etag")}, 304},
		{"GET", "/assets/a-1234.js", []string{"If-None-Match", plain.Header.Get("Etag"), "Accept-Encoding", "gzip"}, 200},
		{"GET", "/", []string{"If-None-Match", "*"}, 304},
	} {
		r := get(t, h, c.method, c.path, c.headers...)
		if r.StatusCode != c.want {
			t.Errorf("got %d for %s %s %v, want %d", r.StatusCode, c.method, c.path, c.headers, c.want)
		}
		if got := len(body(t, r)); (c.method == "HEAD" || c.want == 304) && got != 0 {
			t.Errorf("got %d bytes for %s %s, want none", got, c.method, c.path)
		}
	}
	if _, err := load(fstest.MapFS{"dist/a.js": {}}); err == nil {
		t.Error("got no error for a build without a page")
	}
}

func TestAccepts(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "br": false, "br, gzip": true, "gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=1": true, "xgzip": false, "gzip;q=x": false,
	} {
		if got := accepts(header); got != want {
			t.Errorf("got %v for %q, want %v", got, header, want)
		}
	}
}

// TestNoMarkup holds that the page makes no markup of what it is told: names of processes
// and hosts are text.
func TestNoMarkup(t *testing.T) {
	markup := regexp.MustCompile(`@html|innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\(|new Function`)
	files := 0
	err := filepath.WalkDir("../../ui/src", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if found := markup.Find(text); found != nil {
			t.Errorf("%s: %s", path, found)
		}
		files++
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("got %d files, %v; want those of the page", files, err)
	}
}
