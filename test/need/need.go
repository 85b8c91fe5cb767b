// Package need is how a test says what it cannot do without: root, time, or
// something of the kernel's. It is the only place that skips a test, and it
// does not where the kernel should have what the test asks for: a feature that
// does not work on a kernel that is new enough for it, and built with it, fails.
//
// Tests import it, of all packages but internal/kernel, which it stands on.
package need

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
)

// Root skips a test that makes namespaces or loads programs where it is not
// run by root, and lifts the limit on locked memory, which older kernels charge
// maps to.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err := kernel.LiftMemlock(); err != nil {
		t.Fatal(err)
	}
}

// Machine skips a test that is of another architecture than this one.
func Machine(t testing.TB, arch string) {
	t.Helper()
	if runtime.GOARCH != arch {
		t.Skip("needs a machine that is " + arch)
	}
}

// Time skips a test that takes long, if the short form is asked for.
func Time(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long: not in the short form")
	}
}

// Guest skips a test that changes the whole machine, its clock for one, outside of
// the guests of test/vm, which nobody else uses.
func Guest(t testing.TB) {
	t.Helper()
	if !InGuest() {
		t.Skip("changes the whole machine: needs a guest of test/vm")
	}
}

// InGuest reports whether this is a guest of test/vm.
func InGuest() bool { return os.Getenv("NETFATE_VM") != "" }

// Asked skips a test that takes longer than any other, unless its flag asks for it.
func Asked(t testing.TB, asked bool, flag string) {
	t.Helper()
	if !asked {
		t.Skip("takes minutes to hours: runs with " + flag)
	}
}

// Built skips a test of a part that the netfate which is tested was built without. The one of
// `make build`, which NETFATE_BIN names, has all of them.
func Built(t testing.TB, has bool, part string) {
	t.Helper()
	switch {
	case has:
	case os.Getenv("NETFATE_BIN") != "":
		t.Fatalf("%s was built without %s: make build", os.Getenv("NETFATE_BIN"), part)
	default:
		t.Skip("needs a netfate that was built with " + part)
	}
}

// Captures returns the directory of the public captures that parsers are held
// against, ../shared/captures from the root of the repository, and skips a test
// where it is not.
func Captures(t testing.TB) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("there is no go.mod above the test")
		}
		root = filepath.Dir(root)
	}
	dir := filepath.Join(filepath.Dir(root), "shared", "captures")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		t.Skip("needs the public captures in " + dir)
	} else if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Feature is something that a kernel may not have.
type Feature struct {
	What    string   // tracepoint sock_send_length
	Since   string   // the release that brought it: 6.3; empty if every kernel could have it
	Options []string // what a kernel must be built with to have it: CONFIG_KPROBES
	// Processor is what the processor must have on amd64: cx16. Guests of
	// test/vm/run have none without KVM.
	Processor string
}

// Excuse returns nil if the running kernel may lack f, which does not work
// because of why: it is older, or was built without, or it is no kernel of the
// matrix but some vendor's, which forbids it. The error says that it may not.
func (f Feature) Excuse(why error) error {
	if !InGuest() && errors.Is(why, unix.EPERM) {
		return nil
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	release := unix.ByteSliceToString(uts.Release[:])
	if f.Since != "" && older(release, f.Since) {
		return nil
	}
	if slices.ContainsFunc(f.Options, kernel.BuiltWithout) {
		return nil
	}
	if f.Processor != "" && runtime.GOARCH == "amd64" && !processorHas(f.Processor) {
		return nil
	}
	return fmt.Errorf("this kernel, %s, should have %s%s; it does not work: %w", release, f.What, f.since(), why)
}

// processorHas reports whether /proc/cpuinfo has a flag.
func processorHas(flag string) bool {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		if name, flags, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "flags" {
			return slices.Contains(strings.Fields(flags), flag)
		}
	}
	return true
}

func (f Feature) since() string {
	if f.Since == "" {
		return ""
	}
	return ", which came with " + f.Since
}

// Skip ends a test that found f missing, as why says: it is skipped if the
// kernel may lack it, and fails if not.
func (f Feature) Skip(t testing.TB, why error) {
	t.Helper()
	if err := f.Excuse(why); err != nil {
		t.Fatal(err)
	}
	t.Skipf("this kernel lacks %s: %v", f.What, why)
}

// Reason skips a test of a drop reason that is not among those that the
// kernel's types tell: it is older than the reason.
func Reason(t testing.TB, name string, known map[string]bool) {
	t.Helper()
	if known[name] {
		t.Fatalf("this kernel has the reason %s", name)
	}
	t.Skipf("this kernel has no reason %s", name)
}

// Capability skips a test where a capability of netfate doctor's does not work,
// as Feature.Skip does.
func Capability(t testing.TB, name string) {
	t.Helper()
	Root(t)
	for _, c := range kernel.Probe(t.Context()) {
		if c.Name == name && !c.OK {
			why := errors.New(c.Why)
			if strings.Contains(c.Why, "refuses it even to root") { // as kernel.Diagnose puts it
				why = fmt.Errorf("%s: %w", c.Why, unix.EPERM)
			}
			Of(t, name).Skip(t, why)
		}
	}
}

// Of is a capability of netfate doctor's as a feature.
func Of(t testing.TB, name string) Feature {
	t.Helper()
	for _, c := range kernel.Capabilities() {
		if c.Name == name {
			f := Feature{What: c.Title, Since: c.Since, Options: c.Options}
			if name == "sk_storage" {
				f.Processor = "cx16" // 7.2's kmalloc_nolock asks for it
			}
			return f
		}
	}
	t.Fatalf("%s: no such capability", name)
	return Feature{}
}

// older reports whether a release, 5.10.0-32-amd64, comes before another, 5.17.
func older(release, other string) bool {
	a, b := numbers(release), numbers(other)
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}

// numbers returns the first two numbers of a release.
func numbers(release string) (n [2]int) {
	release, _, _ = strings.Cut(release, "-")
	if _, err := fmt.Sscanf(release, "%d.%d", &n[0], &n[1]); err != nil {
		panic("a release that is none: " + release)
	}
	return n
}

// Command returns a program of the package in dir, ./asker. It is the one of
// that name in $NETFATE_COMMANDS, or built into a directory of the test's.
func Command(t testing.TB, dir string) string {
	t.Helper()
	name := filepath.Base(dir)
	if built := os.Getenv("NETFATE_COMMANDS"); built != "" {
		return filepath.Join(built, name)
	}
	path := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", path, dir)
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // static, so that it runs in an empty container
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", dir, err, out)
	}
	return path
}

// Tool returns the path of a program that only some hosts of the matrix have, as
// systemd's; a test that wants it is skipped elsewhere. The packages that `make test`
// installs need no such question.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
	return path
}
