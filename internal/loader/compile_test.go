package loader

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// prelude is what every test's source begins with.
const prelude = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
`

// compile makes an object of C, as a user would.
func compile(t *testing.T, source string) string {
	t.Helper()
	return compileWith(t, source)
}

// compileWith does so with more flags.
func compileWith(t testing.TB, source string, more ...string) string {
	t.Helper()
	return compileSource(t, prelude+source, more...)
}

// compileSource does so without the prelude.
func compileSource(t testing.TB, source string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "prog.bpf.c")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	triplet, err := exec.Command("gcc", "-dumpmachine").Output()
	if err != nil {
		t.Fatalf("ask gcc for the machine: %v", err)
	}
	object := strings.TrimSuffix(path, ".c") + ".o"
	args := append([]string{"-O2", "-g", "-target", "bpf", "-I/usr/include/" + strings.TrimSpace(string(triplet)), "-c", path, "-o", object}, more...)
	cc := exec.Command("clang-19", args...)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return object
}
