package loader

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// examples is where the objects for users are.
const examples = "../../bpf/examples"

// compile builds a C file as bpf/examples/README.md says, into a directory that
// goes with the test, and returns the object's path: NAME.bpf.o.
func compile(t testing.TB, source string) string {
	t.Helper()
	object := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(source), ".c")+".o")
	args := append([]string{"-O2", "-g", "-Wall", "-Werror", "-target", "bpf"}, machine(t)...)
	out, err := exec.Command("clang-19", append(args, "-c", source, "-o", object)...).CombinedOutput()
	if err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, out)
	}
	return object
}

// machine returns clang's arguments for the machine that the object is for: which
// registers hold arguments, and where Debian keeps its kernel headers.
func machine(t testing.TB) []string {
	t.Helper()
	switch runtime.GOARCH {
	case "amd64":
		return []string{"-D__TARGET_ARCH_x86", "-I/usr/include/x86_64-linux-gnu"}
	case "arm64":
		return []string{"-D__TARGET_ARCH_arm64", "-I/usr/include/aarch64-linux-gnu"}
	}
	t.Fatalf("no arguments of clang are known for %s", runtime.GOARCH)
	return nil
}

// sources lists the C files of a directory.
func sources(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.bpf.c"))
	if err != nil || len(files) == 0 {
		t.Fatalf("list %s: got %d sources, error %v", dir, len(files), err)
	}
	return files
}
