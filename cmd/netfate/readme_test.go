package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readme is what has to be the same in every language.
type readme struct {
	Headings []string // their marks: #, ##
	Typed    []string // lines of code blocks without their comments; drawings are left out
	Commands []string // of the table
	Links    []string // without repeats, in order of their names
	Code     []string // as Links
}

func readReadme(t *testing.T, name string) (r readme) {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	link, code := regexp.MustCompile(`\]\(([^)]+)\)`), regexp.MustCompile("`[^`]+`")
	block := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "```":
			if block == "" {
				block = "```\n"
				continue
			}
			if !strings.Contains(block, "▼") {
				for l := range strings.Lines(block) {
					typed, _, _ := strings.Cut(l, " # ")
					r.Typed = append(r.Typed, strings.TrimRight(typed, " \n"))
				}
			}
			block = ""
		case block != "":
			block += line + "\n"
		case strings.HasPrefix(line, "#"):
			mark, _, _ := strings.Cut(line, " ")
			r.Headings = append(r.Headings, mark)
		default:
			if strings.HasPrefix(line, "| `") {
				r.Commands = append(r.Commands, strings.Split(line, " | ")[0])
			}
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if !strings.HasPrefix(m[1], "README.") {
					r.Links = append(r.Links, m[1])
				}
			}
			r.Code = append(r.Code, code.FindAllString(line, -1)...)
		}
	}
	slices.Sort(r.Links)
	slices.Sort(r.Code)
	r.Links, r.Code = slices.Compact(r.Links), slices.Compact(r.Code)
	return r
}

// TestReadmes holds the Chinese README to what the English one says: what is typed and shown,
// the commands, the pages and words of code that it names.
func TestReadmes(t *testing.T) {
	english, chinese := readReadme(t, "README.md"), readReadme(t, "README.zh-CN.md")
	if diff := cmp.Diff(english, chinese); diff != "" {
		t.Errorf("README.zh-CN.md differs (-English +Chinese):\n%s", diff)
	}
	if len(english.Commands) < 10 || len(english.Typed) < 50 {
		t.Errorf("got %d commands and %d lines, want the whole README", len(english.Commands), len(english.Typed))
	}
	root := newRoot()
	for _, c := range english.Commands {
		words := strings.Fields(strings.Trim(c, "|` "))
		if len(words) < 2 {
			continue
		}
		if found, _, err := root.Find(words[1:2]); err != nil || found == root {
			t.Errorf("the README has %s, which is no command: %v", c, err)
		}
	}
}
