package kernels

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write what this kernel says into testdata, or the page from it")

// golden is what is on record of the running kernel.
type golden struct {
	dir    string // to read, empty if nothing is on record
	write  string // with -update
	strict bool   // it is the release on record, or a later patch of it
}

const releaseFile = "release"

// recorded finds what is on record: by the guest's name in the matrix, or, on a
// host, by its exact release.
func recorded(t *testing.T) golden {
	t.Helper()
	series, own := os.Getenv("NETFATE_VM"), release(t)
	if series == "" {
		series, _, _ = strings.Cut(own, "-")
		series = series[:strings.LastIndexByte(series, '.')]
	}
	g := golden{write: filepath.Join("testdata", series)}
	if dir := os.Getenv("NETFATE_GOLDEN"); dir != "" { // the guest's own testdata goes with it
		g.write = filepath.Join(dir, series)
	}
	if *update {
		if err := os.MkdirAll(g.write, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(g.write, releaseFile), []byte(own+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return g
	}
	known, err := os.ReadFile(filepath.Join("testdata", series, releaseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return g
	}
	if err != nil {
		t.Fatal(err)
	}
	then := strings.TrimSpace(string(known))
	if os.Getenv("NETFATE_VM") == "" && then != own {
		return g // of the same series, and built by somebody else
	}
	g.dir, g.strict = filepath.Join("testdata", series), minor(then) == minor(own)
	return g
}

// compare holds got against the file on record, or writes it.
func (g golden) compare(t *testing.T, file, got string, differ func(want, got string)) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join(g.write, file), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if g.dir == "" {
		t.Logf("nothing is on record of this kernel, %s", release(t))
		return
	}
	want, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	differ(string(want), got)
}

func release(t *testing.T) string {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(uts.Release[:])
}

// minor is the series that a release belongs to: 6.12 of 6.12.117+deb13-amd64.
func minor(release string) string {
	first, rest, _ := strings.Cut(release, ".")
	second, _, _ := strings.Cut(rest, ".")
	second, _, _ = strings.Cut(second, "-")
	return first + "." + second
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func fromJSON(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}
