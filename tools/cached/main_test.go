package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// install builds the command as gcc, in front of a gcc that counts its calls and
// copies its source.
func install(t *testing.T) (env []string, calls func() int) {
	t.Helper()
	dir := t.TempDir()
	front, behind, log := filepath.Join(dir, "front"), filepath.Join(dir, "behind"), filepath.Join(dir, "log")
	if out, err := exec.Command("go", "build", "-o", filepath.Join(front, "gcc"), ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	script := "#!/bin/sh\necho called >>" + log + "\nfor last; do :; done\n[ \"$1\" = -fail ] && exit 3\n" +
		"[ \"$1\" = -o ] && { if [ \"$last\" = - ]; then cat; else cat \"$last\"; fi; } >\"$2\"\nexit 0\n"
	if err := os.MkdirAll(behind, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(behind, "gcc"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	env = append(os.Environ(), "PATH="+front+":"+behind+":"+os.Getenv("PATH"), "NETFATE_COMPILED="+filepath.Join(dir, "memory"))
	return env, func() int {
		text, err := os.ReadFile(log)
		if err != nil {
			return 0
		}
		return strings.Count(string(text), "called")
	}
}

// gcc compiles text as a file of a new directory, with flags, and returns what
// came out.
func gcc(t *testing.T, env []string, text string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	source, output := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.o")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", `exec gcc "$@"`, "sh", "-o", output}, append(flags, source)...)...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	made, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	return string(made)
}

func TestMemory(t *testing.T) {
	env, calls := install(t)
	f := func(text string, want int, flags ...string) {
		t.Helper()
		if got := gcc(t, env, text, flags...); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
		if got := calls(); got != want {
			t.Errorf("%q %q: got %d calls of the compiler, want %d", text, flags, got, want)
		}
	}
	f("one", 1)
	f("one", 1)
	f("two", 2)
	f("one", 3, "-O2")
	f("one", 3, "-O2")
	f("one", 3)
}

// TestHeaders compiles anew when a header beside the source changes, or one of a
// directory above.
func TestHeaders(t *testing.T) {
	env, calls := install(t)
	dir := t.TempDir()
	compile := func() {
		t.Helper()
		cmd := exec.Command("sh", "-c", "exec gcc -o out/a.o -I../include src/a.c")
		cmd.Dir, cmd.Env = filepath.Join(dir, "work"), env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
	}
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("work/src/a.c", "x")
	write("work/out/none", "")
	write("include/c.h", "")
	for i, path := range []string{"work/src/a.h", "include/deep/b.h", "work/src/a.h"} {
		write(path, strings.Repeat("y", i+1))
		compile()
		compile()
		if got := calls(); got != i+1 {
			t.Errorf("after a change of %s: got %d calls, want %d", path, got, i+1)
		}
	}
}

// TestPassesOn leaves alone what it does not remember: questions, failures, and
// everything where there is no memory.
func TestPassesOn(t *testing.T) {
	env, calls := install(t)
	call := func(env []string, args ...string) int {
		t.Helper()
		cmd := exec.Command("sh", append([]string{"-c", `exec gcc "$@"`, "sh"}, args...)...)
		cmd.Env = env
		if err := cmd.Run(); err != nil {
			return cmd.ProcessState.ExitCode()
		}
		return 0
	}
	for i := range 2 {
		if got := call(env, "-dumpmachine"); got != 0 || calls() != i+1 {
			t.Errorf("a question: got status %d and %d calls, want 0 and %d", got, calls(), i+1)
		}
	}
	if got := call(env, "-fail"); got != 3 {
		t.Errorf("a failure: got status %d, want 3", got)
	}
	before := calls()
	for range 2 {
		gcc(t, append(env, "NETFATE_COMPILED="), "three")
	}
	if got := calls() - before; got != 2 {
		t.Errorf("without a memory: got %d calls, want 2", got)
	}
}
