package kernels

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/kernel"
)

const page = "../../docs/kernels.md"

// entry is a kernel on record.
type entry struct {
	series, release string
	found           map[string]finding
	budget          map[string]verified
}

// entries reads what is on record, oldest kernel first.
func entries(t *testing.T) []entry {
	t.Helper()
	dirs, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	read := func(dir, name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var all []entry
	for _, d := range dirs {
		e := entry{series: d.Name(), release: strings.TrimSpace(read(d.Name(), releaseFile)), found: map[string]finding{}}
		var list []finding
		fromJSON(t, read(d.Name(), capabilitiesFile), &list)
		for _, f := range list {
			e.found[f.Name] = f
		}
		fromJSON(t, read(d.Name(), budgetFile), &e.budget)
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return slices.Compare(age(a.release), age(b.release)) })
	return all
}

func age(release string) []int {
	n := make([]int, 2)
	if _, err := fmt.Sscanf(minor(release), "%d.%d", &n[0], &n[1]); err != nil {
		panic(err)
	}
	return n
}

// TestPage compares docs/kernels.md with what is on record.
func TestPage(t *testing.T) {
	want := render(entries(t))
	old, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if *update {
		if os.Getenv("NETFATE_VM") != "" {
			return // what a guest writes there goes with it
		}
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(old)); diff != "" {
		t.Errorf("docs/kernels.md is out of date, run go test ./test/kernels -run TestPage -update (-want +got):\n%s", diff)
	}
}

func render(all []entry) string {
	var b strings.Builder
	b.WriteString(`# Kernels

<!-- Generated from test/kernels/testdata by: go test ./test/kernels -run TestPage -update -->

netfate runs on Linux 5.10 and newer with BTF. Every test runs on these kernels; what one of them lacks, netfate does
without, says so in ` + "`netfate doctor`" + `, and never fails for it.

| column | kernel |
| --- | --- |
`)
	for _, e := range all {
		fmt.Fprintf(&b, "| %s | %s |\n", e.series, e.describe())
	}
	b.WriteString("\n## Capabilities\n\n✓ works, – does not. What each costs where it is missing is in [doctor.md](doctor.md).\n\n")
	row(&b, "capability", "what", all, func(e *entry) string { return e.series })
	row(&b, "---", "---", all, func(*entry) string { return "---" })
	for _, c := range kernel.Capabilities() {
		row(&b, "`"+c.Name+"`", c.Title, all, func(e *entry) string {
			if e.found[c.Name].OK {
				return "✓"
			}
			return "–"
		})
	}
	b.WriteString("\n## What is missing, and what that costs\n")
	for _, e := range all {
		fmt.Fprintf(&b, "\n### %s\n\n", e.series)
		none := true
		for _, c := range kernel.Capabilities() {
			if f := e.found[c.Name]; !f.OK {
				fmt.Fprintf(&b, "- `%s`: %s. Why: %s.\n", c.Name, c.Costs, f.Why)
				none = false
			}
		}
		if none {
			b.WriteString("Nothing.\n")
		}
	}
	b.WriteString(`
## What the verifier takes

Instructions that the verifier walks for each program, of at most 1,000,000, and in brackets the states that it keeps. More
than a tenth above this fails the tests.

`)
	row(&b, "program", "", all, func(e *entry) string { return e.series })
	row(&b, "---", "---", all, func(*entry) string { return "---:" })
	names := map[string]bool{}
	for _, e := range all {
		for name := range e.budget {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		object, program, _ := strings.Cut(name, "/")
		row(&b, "`"+program+"`", object, all, func(e *entry) string {
			if v, ok := e.budget[name]; ok {
				return fmt.Sprintf("%s (%s)", thousands(v.Instructions), thousands(v.States))
			}
			return "–"
		})
	}
	return b.String()
}

func row(b *strings.Builder, first, second string, all []entry, cell func(*entry) string) {
	b.WriteString("| " + first + " | " + second)
	for i := range all {
		b.WriteString(" | " + cell(&all[i]))
	}
	b.WriteString(" |\n")
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// describe says whose kernel it is.
func (e *entry) describe() string {
	switch {
	case strings.Contains(e.release, "arm64"):
		return "Debian's " + e.release + " for arm64, in QEMU"
	case strings.HasSuffix(e.release, "-amd64"):
		what := "Debian's " + e.release + ", in QEMU"
		if storage := e.found["sk_storage"]; !storage.OK && strings.Contains(storage.Why, "cx16") {
			what += "; without KVM the processor has no cmpxchg16b, which sk_storage asks for here"
		}
		return what
	}
	return e.release + ", a small kernel of a cloud's: no kprobes, no modules"
}
