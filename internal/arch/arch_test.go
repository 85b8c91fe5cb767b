package arch

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// repository returns the root of the module.
func repository() fs.FS { return os.DirFS("../..") }

func TestRules(t *testing.T) {
	tree, err := parseTree(repository())
	if err != nil {
		t.Fatalf("parse the module: %v", err)
	}
	if !slices.ContainsFunc(tree.packages, func(p *pkgSource) bool { return p.dir == "internal/record" }) {
		t.Fatal("parse the module: internal/record is not there, so this is not the module")
	}
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, f := range r.check(tree) {
				t.Error(f)
			}
		})
	}
}

// TestRulesCanFail feeds each rule small trees of which it knows the answer.
func TestRulesCanFail(t *testing.T) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			fails := 0
			for _, c := range cases() {
				if c.rule != r.name {
					continue
				}
				fsys := fstest.MapFS{}
				for name, text := range c.files {
					fsys[name] = &fstest.MapFile{Data: []byte(text)}
				}
				tree, err := parseTree(fsys)
				if err != nil {
					t.Fatalf("%s: parse: %v", c.name, err)
				}
				got := strings.Join(r.check(tree), "\n")
				if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
					t.Errorf("%s: got %q, want %q", c.name, got, c.want)
				}
				if c.want != "" {
					fails++
				}
			}
			if fails == 0 {
				t.Error("no case that this rule must find")
			}
		})
	}
}
