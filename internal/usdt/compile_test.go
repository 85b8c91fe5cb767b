package usdt

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// targetSources make a program with probes, without and with a semaphore. It says that it runs, waits for a line, so
// that something can be attached, hits the probes and prints the counter as it was.
const (
	hitSource = `
#include <sys/sdt.h>
__attribute__((noipa)) void hit(int a, long b, short c) { STAP_PROBE4(netfate, hit, a, b, c, 77); }
`
	targetSource = `
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#include <stdio.h>
unsigned short netfate_counted_semaphore __attribute__((section(".probes")));
void hit(int a, long b, short c);
__attribute__((noipa)) void counted(unsigned char a, unsigned b) { STAP_PROBE2(netfate, counted, a, b); }
int main(void)
{
	puts("ready");
	fflush(stdout);
	getchar();
	hit(-42, 7000000000, -3);
	if (netfate_counted_semaphore)
		counted(200, 4000000000u);
	printf("%d\n", netfate_counted_semaphore);
	return 0;
}
`
)

// prelude is what each test's BPF source begins with.
const prelude = `
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "GPL";
`

// compile runs a compiler on the sources, and returns the file that it made.
func compile(t testing.TB, compiler []string, sources ...string) string {
	t.Helper()
	dir := t.TempDir()
	made := filepath.Join(dir, "made")
	args := append(slices.Clone(compiler[1:]), "-o", made)
	for i, source := range sources {
		path := filepath.Join(dir, strconv.Itoa(i)+".c")
		if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	if text, err := exec.Command(compiler[0], args...).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, text)
	}
	return made
}

// compileTarget makes the program with probes.
func compileTarget(t *testing.T, flags ...string) string {
	t.Helper()
	return compile(t, append([]string{"gcc"}, flags...), hitSource, targetSource)
}

// compileBPF makes an object, as a user would, and returns its bytes.
func compileBPF(t testing.TB, source string) []byte {
	t.Helper()
	triplet, err := exec.Command("gcc", "-dumpmachine").Output()
	if err != nil {
		t.Fatalf("ask gcc for the machine: %v", err)
	}
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	path := compile(t, []string{
		"clang-19", "-O2", "-g", "-target", "bpf", "-D__TARGET_ARCH_" + arch,
		"-I/usr/include/" + strings.TrimSpace(string(triplet)), "-c",
	}, prelude+source)
	object, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return object
}
