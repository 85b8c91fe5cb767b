package loader

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// kind is an object of the corpus and what becomes of it.
type kind struct {
	args  []string              // of netfate run, behind the object; $PID, $CGROUP and $PROBED stand for the test's
	fire  func(f *firing)       // causes what the programs wait for
	seen  []func(*firing) error // what must be seen of that, each nil when it is
	after func(*firing) error   // what must be when it is off again
	shows []string              // patterns of what netfate says on stderr

	lacks func(*firing) error // asks the kernel, past netfate, why it cannot run this; nil if it always can
	says  string              // the pattern of netfate's diagnosis then, with which it exits with 3
	needs need.Feature        // what it is that may be lacking

	exit int // where no kernel can run this: the exit code; says is the pattern then too
}

// firing is a kind that runs.
type firing struct {
	*world
	name   string
	stdout string // the file that it prints to
	cgroup string
	probed string // a program with a USDT probe
}

// TestKinds runs every object of the corpus, causes what it waits for, and finds
// that it saw that; or, where this kernel cannot run it, that netfate says so and
// leaves nothing.
func TestKinds(t *testing.T) {
	w := newWorld(t)
	if err := kernel.LiftMemlock(); err != nil {
		t.Fatal(err)
	}
	w.server.ListenTCP("0.0.0.0:80")
	cgroup := newCgroup(t)
	probed := newProbed(t)
	newMarked(t)
	where := strings.NewReplacer("$PID", fmt.Sprint(os.Getpid()), "$CGROUP", cgroup, "$PROBED", probed)
	all := kinds()
	for name := range corpus() {
		if _, ok := all[name]; !ok {
			t.Errorf("got no case for the object %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		k := all[name]
		t.Run(name, func(t *testing.T) {
			// One world is enough: each leaves it as it was, or fails.
			world := *w
			world.t = t
			f := &firing{world: &world, name: name, stdout: filepath.Join(t.TempDir(), "stdout"), cgroup: cgroup, probed: probed}
			args := []string{"run", compile(t, filepath.Join("testdata", name+".bpf.c")), "-o", "json", "--pin"}
			for _, a := range k.args {
				args = append(args, where.Replace(a))
			}
			k.run(f, args)
			f.wantNothingLeft()
		})
	}
}

func (k *kind) run(f *firing, args []string) {
	f.t.Helper()
	if k.exit != 0 {
		f.wantRefusal(args, k.exit, k.says)
		return
	}
	if k.lacks != nil {
		if why := k.lacks(f); why != nil {
			const notAllowed = 3
			f.wantRefusal(args, notAllowed, k.says)
			k.needs.Skip(f.t, why)
		}
	}
	stdout, err := os.Create(f.stdout)
	f.check(err)
	defer stdout.Close()
	r := f.startTo(stdout, args...)
	var unseen error
	if !netlab.Poll(patience, func() bool {
		if k.fire != nil {
			k.fire(f)
		}
		unseen = nil
		for _, seen := range k.seen {
			unseen = errors.Join(unseen, seen(f))
		}
		return unseen == nil
	}) {
		f.t.Error(unseen)
	}
	f.netfate("stop", f.name)
	f.check(r.wait())
	if k.after != nil {
		f.check(k.after(f))
	}
	for _, want := range k.shows {
		if !regexp.MustCompile(want).MatchString(r.said.String()) {
			f.t.Errorf("got on stderr:\n%s\nwant something like %q", &r.said, want)
		}
	}
	if f.t.Failed() {
		f.t.Logf("stderr:\n%s", &r.said)
	}
}

// wantRefusal runs what cannot run: it ends by itself, says once why, and exits
// with the code. The time is for a netfate that runs all the same.
func (f *firing) wantRefusal(args []string, code int, says string) {
	f.t.Helper()
	stdout, stderr, err := f.try(append(args, "--for", "10s")...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		f.t.Errorf("got error %v, want exit code %d", err, code)
	}
	if got := regexp.MustCompile(says).FindAllString(stderr, -1); len(got) != 1 {
		f.t.Errorf("got %q %d times, want once", says, len(got))
	}
	if stdout != "" {
		f.t.Errorf("got on stdout %q, want nothing", stdout)
	}
	if f.t.Failed() {
		f.t.Logf("stderr:\n%s", stderr)
	}
}

// newCgroup makes a cgroup that goes with the test.
func newCgroup(t *testing.T) string {
	t.Helper()
	root := kernel.ReadMounts().Cgroup2
	if root == "" {
		t.Fatal("no cgroup2 hierarchy is mounted")
	}
	dir, err := os.MkdirTemp(root, "netfate-kinds-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newProbed makes a program whose probe has one argument, 41. It is bound to its
// addresses, by which probes are told apart before Linux 5.15.
func newProbed(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "probed")
	cmd := exec.Command("gcc", "-no-pie", "-O2", "-x", "c", "-", "-o", program)
	cmd.Stdin = strings.NewReader(`
#include <sys/sdt.h>
int main(int argc, char **argv) { long n = 40 + argc; STAP_PROBE1(netfate, probe, n); return 0; }
`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return program
}

// probe runs the program with the probe.
func probe(f *firing) {
	f.t.Helper()
	f.check(exec.Command(f.probed).Run())
}

// connect makes a process of the cgroup connect to the server, from itself.
func connect(f *firing) {
	f.t.Helper()
	dir, err := os.Open(f.cgroup)
	f.check(err)
	defer dir.Close()
	cmd := exec.Command("bash", "-c", "exec 3<>/dev/tcp/10.0.0.2/80")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	f.server.Start(cmd)
	f.check(cmd.Wait())
}

// visit connects over the cable.
func visit(f *firing) {
	f.t.Helper()
	conn, err := f.dial("10.0.0.2:80")
	f.check(err)
	f.check(conn.Close())
}

// getpid makes the system call by which most of the corpus is fired: it does
// nothing else. The C library of a shell makes it too.
func getpid(*firing) { _, _, _ = syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0) }

// shell starts and ends a shell, which asks the C library for its pid.
func shell(f *firing) {
	f.t.Helper()
	f.check(exec.Command("bash", "-c", ":").Run())
}

// chdir goes nowhere.
func chdir(f *firing) {
	f.t.Helper()
	f.check(syscall.Chdir("."))
}

// readlink asks for a file that is not there, by the name as it is: 5.10 and 7.2
// have the same function for that.
func readlink(f *firing) {
	f.t.Helper()
	if _, err := syscall.Readlink(f.stdout+".none", make([]byte, 1)); !errors.Is(err, syscall.ENOENT) {
		f.t.Fatalf("readlink: got %v, want %v", err, syscall.ENOENT)
	}
}

// open opens a file.
func open(f *firing) {
	f.t.Helper()
	file, err := os.Open(f.stdout)
	f.check(err)
	f.check(file.Close())
}

// atLeast is a number that may be larger.
type atLeast int64

// globals are variables of the object as `netfate map dump` shows them.
func globals(want map[string]any) func(*firing) error {
	return func(f *firing) error {
		f.t.Helper()
		type variable struct {
			Key   string
			Value json.RawMessage
		}
		got := map[string]string{}
		for _, section := range []string{"_bss", "_data"} {
			path := f.pin(section)
			if _, err := os.Stat(f.root + path); err != nil {
				continue
			}
			for _, v := range rows[variable](f.t, f.world.netfate("map", "dump", path, "-o", "json")) {
				got[v.Key] = string(v.Value)
			}
		}
		for name, value := range want {
			text, ok := got[name]
			if least, isLeast := value.(atLeast); isLeast {
				var n int64
				_, err := fmt.Sscan(text, &n)
				ok = ok && err == nil && n >= int64(least)
			} else {
				ok = ok && text == fmt.Sprint(value)
			}
			if !ok {
				return fmt.Errorf("%s: got %s, want %v (%T); all: %v", name, text, value, value, got)
			}
		}
		return nil
	}
}

// pin is where a map of the object is pinned.
func (f *firing) pin(name string) string { return "/sys/fs/bpf/netfate/" + f.name + "/maps/" + name }

// row is a pattern of what `netfate map dump` prints of a map.
func row(name, pattern string) func(*firing) error {
	return func(f *firing) error {
		f.t.Helper()
		return find(f.world.netfate("map", "dump", f.pin(name), "-o", "json"), pattern)
	}
}

// printed is a pattern of what netfate run prints.
func printed(pattern string) func(*firing) error {
	return func(f *firing) error {
		text, err := os.ReadFile(f.stdout)
		if err != nil {
			return err
		}
		return find(string(text), pattern)
	}
}

func find(text, pattern string) error {
	pattern = strings.ReplaceAll(pattern, "$PID", fmt.Sprint(os.Getpid()))
	if regexp.MustCompile(pattern).MatchString(text) {
		return nil
	}
	const most = 2000
	return fmt.Errorf("got %s, want something like %q", text[:min(len(text), most)], pattern)
}
