package main

import (
	"bytes"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/net/html"
)

func sources() fs.FS { return os.DirFS(filepath.Join("..", "..")) }

// Every link of every page, and every picture, leads to something in the site, down
// to the heading; nothing is fetched from elsewhere, and there are no scripts.
func TestSite(t *testing.T) {
	files, err := build(sources())
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]map[string]bool{}
	links := map[string][]string{}
	for name, content := range files {
		if path.Ext(name) == ".html" {
			anchors[name], links[name] = inspect(t, name, content)
		}
	}
	if len(anchors) < 30 {
		t.Errorf("got %d pages, want at least 30", len(anchors))
	}
	inside := 0
	for from, list := range links {
		for _, link := range list {
			if strings.Contains(link, "://") {
				continue
			}
			inside++
			u, err := url.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			to, anchor := path.Join(path.Dir(from), u.Path), u.Fragment
			if u.Path == "" {
				to = from
			}
			if files[to] == nil {
				t.Errorf("%s: the link %s leads nowhere", from, link)
			}
			if anchor != "" && !anchors[to][anchor] {
				t.Errorf("%s: the link %s leads to nothing in %s", from, link, to)
			}
		}
	}
	if inside < 1000 {
		t.Errorf("got %d links within the site, want the navigation of each page at least", inside)
	}
}

// inspect returns the anchors of a page, and where its links and pictures lead.
func inspect(t *testing.T, name string, content []byte) (anchors map[string]bool, links []string) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	anchors = map[string]bool{}
	for n := range root.Descendants() {
		if n.Data == "script" {
			t.Errorf("%s: it has a script", name)
		}
		for _, a := range n.Attr {
			switch a.Key {
			case "id":
				if anchors[a.Val] {
					t.Errorf("%s: the anchor %s is there twice", name, a.Val)
				}
				anchors[a.Val] = true
			case "href", "src":
				links = append(links, a.Val)
				if n.Data != "a" && strings.Contains(a.Val, "//") {
					t.Errorf("%s: %s is fetched from elsewhere", name, a.Val)
				}
			}
		}
	}
	return anchors, links
}

// What is written and cannot be found is not read.
func TestEveryPageIsInTheNavigation(t *testing.T) {
	listed := map[string]bool{}
	for _, part := range navigation() {
		for _, i := range part.Pages {
			if listed[i.Source] {
				t.Errorf("%s is there twice", i.Source)
			}
			listed[i.Source] = true
		}
	}
	err := fs.WalkDir(sources(), "docs", func(name string, d fs.DirEntry, err error) error {
		if err == nil && path.Ext(name) == ".md" && !listed[name] {
			t.Errorf("%s is not in navigation(), nav.go", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A link that leads nowhere is an error that names both ends.
func TestBrokenLinks(t *testing.T) {
	whole := fstest.MapFS{}
	for _, part := range navigation() {
		for _, i := range part.Pages {
			whole[i.Source] = &fstest.MapFile{Data: []byte("# Title\n\n## Part one\n")}
		}
	}
	for text, want := range map[string]string{
		"[x](docs/gone.md)":             "docs/gone.md leads nowhere",
		"[x](docs/install.md#part-two)": "leads to no heading of docs/install.md",
		"[x](#part-two)":                "leads to no heading of README.md",
		"![x](gone.png)":                "gone.png leads nowhere",
		"[x](docs/install.md#part-one)": "",
	} {
		whole["README.md"] = &fstest.MapFile{Data: []byte("# netfate\n\n" + text + "\n")}
		_, err := build(whole)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "README.md")) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestIDs(t *testing.T) {
	s := ids{}
	for _, c := range [][2]string{
		{"How a verdict is found", "how-a-verdict-is-found"}, {"Rules and dashboards", "rules-and-dashboards"}, {"`netfate run`", "netfate-run"},
		{"What cannot be told?", "what-cannot-be-told"}, {"5.10, and older", "510-and-older"}, {"两条命令", "两条命令"}, {"两条命令", "两条命令-1"},
	} {
		if got := string(s.Generate([]byte(c[0]), 0)); got != c[1] {
			t.Errorf("%s: got %s, want %s", c[0], got, c[1])
		}
	}
}
