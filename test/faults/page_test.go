package faults

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// table is what a test has measured, for the page.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...any) {
	var row []string
	for _, c := range cells {
		if d, ok := c.(time.Duration); ok {
			c = d.Round(100 * time.Millisecond)
		}
		row = append(row, fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
}

// markdown is the table with what it was measured on.
func (t *table) markdown() string {
	var uts unix.Utsname
	release := "unknown"
	if unix.Uname(&uts) == nil {
		release = unix.ByteSliceToString(uts.Release[:])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: Linux %s on %s, %d CPUs.\n\n", time.Now().UTC().Format(time.DateOnly), release, runtime.GOARCH, runtime.NumCPU())
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	line(strings.Split(strings.Repeat("--- ", len(t.head)-1)+"---", " "))
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// verdict is a result in a word.
func verdict(passed bool) string {
	if passed {
		return "exact"
	}
	return "**failed**"
}

// publish writes a table into its place on the page, if one is asked for.
func publish(t *testing.T, name string, measured *table) {
	t.Helper()
	text := measured.markdown()
	t.Log("\n" + text)
	if *page == "" {
		return
	}
	old, err := os.ReadFile(*page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := fmt.Sprintf("<!-- measured: %s -->\n", name), fmt.Sprintf("<!-- end of measured: %s -->\n", name)
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place between %q and %q", *page, begin, end)
	}
	if err := os.WriteFile(*page, []byte(before+begin+text+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
