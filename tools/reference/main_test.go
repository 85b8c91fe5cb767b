package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

const committed = "../../docs/reference"

func TestPagesAreCurrent(t *testing.T) {
	current := map[string]bool{}
	all, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		current[p.name] = true
		text, err := os.ReadFile(filepath.Join(committed, p.name))
		if err != nil {
			t.Errorf("%v; run make generate", err)
			continue
		}
		if diff := cmp.Diff(string(text), p.text); diff != "" {
			t.Errorf("%s is not current, run make generate (-committed +generated):\n%s", p.name, diff)
		}
	}
	entries, err := os.ReadDir(committed)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !current[e.Name()] {
			t.Errorf("%s: nothing generates it", e.Name())
		}
	}
}

func TestEveryFieldIsThere(t *testing.T) {
	text := fieldsPage()
	for _, n := range nouns() {
		for _, f := range record.Fields(n.rec) {
			if !strings.Contains(text, "| `"+f.Name+"` | ") {
				t.Errorf("%s.%s: not on the page", n.name, f.Name)
			}
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 8 {
			t.Errorf("got %q, want 7 cells", line)
		}
	}
}

func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "fields.md"))
	if err != nil || string(text) != fieldsPage() {
		t.Errorf("got %d bytes, error %v; want the page", len(text), err)
	}
	if err := run(filepath.Join(dir, "fields.md")); err == nil {
		t.Error("a file in the way: got nil, want an error")
	}
}
