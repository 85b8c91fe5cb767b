package loader

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// prelude is what sources in tests begin with.
const prelude = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "Dual BSD/GPL";
`

// source writes a C file into a directory that goes with the test.
func source(t *testing.T, name, code string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".bpf.c")
	if err := os.WriteFile(path, []byte(prelude+code), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ours are programs that no other test loads, one with a link of its own kind
// each: their names tell what is left in the kernel.
const ours = `
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, long); } faults SEC(".maps");

static int count(void)
{
	int zero = 0;
	long *n = bpf_map_lookup_elem(&faults, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
SEC("xdp") int faults_xdp(void *ctx) { count(); return XDP_PASS; }
SEC("tc/ingress") int faults_tc(void *ctx) { count(); return -1; /* TC_ACT_UNSPEC */ }
SEC("raw_tp/sched_switch") int faults_raw(void *ctx) { return count(); }
`

// inKernel lists the programs of this host whose names begin with prefix.
func inKernel(t *testing.T, prefix string) (found []string) {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := p.Info()
		if err = errors.Join(err, p.Close()); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(info.Name, prefix) {
			found = append(found, fmt.Sprintf("program %d %s", id, info.Name))
		}
	}
}

// wantGone fails if a program of ours, a pin, a state or anything on the interface
// is left.
func (w *world) wantGone(but ...string) {
	w.t.Helper()
	w.wantNothingLeft(but...)
	var left []string
	if !netlab.Poll(patience, func() bool { left = inKernel(w.t, "faults_"); return len(left) == 0 }) {
		w.t.Errorf("got %v in the kernel, want none", left)
	}
}

// fails runs netfate, which must end with this exit code, say every one of the
// words, and leave nothing.
func (w *world) fails(code int, words []string, args ...string) {
	w.t.Helper()
	stdout, stderr, err := w.try(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		w.t.Errorf("netfate %s: got %v, want exit code %d\n%s", strings.Join(args, " "), err, code, stdout+stderr)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			w.t.Errorf("netfate %s: got %q, want %q in it", strings.Join(args, " "), stderr, word)
		}
	}
	for _, bad := range []string{"panic", "goroutine "} {
		if strings.Contains(stderr, bad) {
			w.t.Errorf("netfate %s: got %q, want no %q", strings.Join(args, " "), stderr, bad)
		}
	}
	w.wantGone()
}

// TestManyMaps runs an object with 1,000 maps, pinned and not.
func TestManyMaps(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	var code strings.Builder
	const many = 1000
	for i := range many {
		fmt.Fprintf(&code, `struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, int); } map_%d SEC(".maps");`+"\n", i)
	}
	object := compile(t, source(t, "many", ours+code.String()))
	for name, pin := range map[string][]string{"not pinned": nil, "pinned": {"--pin"}} {
		r := w.start(append([]string{"run", object, "faults_xdp", "--dev", "eth0"}, pin...)...)
		pinned, err := filepath.Glob(w.root + "/sys/fs/bpf/netfate/many/maps/map_*")
		if err != nil || len(pinned) != len(pin)*many {
			t.Errorf("%s: got %d pins, want %d", name, len(pinned), len(pin)*many)
		}
		w.netfate("stop", "many")
		w.check(r.wait())
		w.wantGone()
	}
}

// TestHugeMaps has maps that no kernel makes: the error names them.
func TestHugeMaps(t *testing.T) {
	w := newWorld(t)
	for name, shape := range map[string]string{
		"no memory":       `__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 0x7fffffff); __uint(key_size, 4); __uint(value_size, 0x100000);`,
		"no such hash":    `__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 0xffffffff); __uint(key_size, 4); __uint(value_size, 8);`,
		"values too long": `__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 0x40000000);`,
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			object := compile(t, source(t, "huge", ours+"struct { "+shape+` } far_too_large SEC(".maps");`))
			w.fails(1, []string{"far_too_large"}, "run", object, "--dev", "eth0", "--pin")
		})
	}
}

// TestBrokenObjects has files that are no objects for this machine.
func TestBrokenObjects(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	path := source(t, "whole", ours)
	text, err := os.ReadFile(compile(t, path))
	w.check(err)
	dir := t.TempDir()
	for _, percent := range []int{0, 1, 10, 50, 90, 99} {
		cut := filepath.Join(dir, "cut.bpf.o")
		w.check(os.WriteFile(cut, text[:len(text)*percent/100], 0o600))
		w.fails(1, []string{cut}, "run", cut, "--dev", "eth0", "--pin")
	}
	for target, word := range map[string]string{"x86_64": "EM_X86_64", "bpfeb": "big-endian"} {
		object := filepath.Join(dir, target+".o")
		args := append([]string{"-O2", "-g", "-target", target}, machine(t)...)
		out, err := exec.Command("clang-19", append(args, "-c", path, "-o", object)...).CombinedOutput()
		if err != nil {
			t.Fatalf("compile for %s: %v\n%s", target, err, out)
		}
		w.fails(1, []string{object, word}, "run", object, "--dev", "eth0", "--pin")
	}
	w.fails(1, []string{"no such file"}, "run", filepath.Join(dir, "none.bpf.o"))
	w.fails(1, []string{"regular file"}, "run", dir)
}

// TestSamePins starts a second object whose maps, programs and links have the
// names of the first's, in the same directory, and stops them in either order.
func TestSamePins(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	const dir = "/sys/fs/bpf/same"
	first := compile(t, source(t, "first", ours))
	second := compile(t, source(t, "second", ours))
	for _, order := range [][]string{{"first", "second"}, {"second", "first"}} {
		runs := map[string]*running{"first": w.start("run", first, "faults_raw", "--pin="+dir)}
		alone := w.left()
		runs["second"] = w.start("run", second, "faults_raw", "--pin="+dir)
		if n := len(inKernel(t, "faults_raw")); n != 2 {
			t.Errorf("got %d programs in the kernel, want one of each", n)
		}
		w.netfate("stop", order[0])
		w.check(runs[order[0]].wait())
		if order[0] == "second" {
			if diff := cmp.Diff(alone, w.left()); diff != "" {
				t.Errorf("what the first has (-before +after):\n%s", diff)
			}
		}
		netlab.WaitFor(t, "the program of "+order[1]+" alone in the kernel", func() bool { return len(inKernel(t, "faults_raw")) == 1 })
		w.netfate("stop", order[1])
		w.check(runs[order[1]].wait())
		w.wantGone()
	}
}

// TestNoInterface names an interface that is not there, alone and beside one that is.
func TestNoInterface(t *testing.T) {
	w := newWorld(t)
	object := compile(t, source(t, "nodev", ours))
	w.fails(2, []string{"nowhere0", "eth0"}, "run", object, "faults_xdp", "--dev", "nowhere0", "--pin")
	w.fails(2, []string{"--dev"}, "run", object, "faults_xdp")
	r := w.start("run", object, "faults_xdp", "--dev", "eth0", "--dev", "nowhere0", "--pin")
	w.netfate("stop", "nodev")
	w.check(r.wait())
	if said := r.said.String(); !strings.Contains(said, "no interface nowhere0") {
		t.Errorf("got %q, want a word on nowhere0", said)
	}
	w.wantGone()
}

// TestInterfaceGone deletes the interface that programs are attached to: they go
// on elsewhere, and stop takes off what is left.
func TestInterfaceGone(t *testing.T) {
	w := newWorld(t)
	object := compile(t, source(t, "gone", ours+`SEC("socket") int faults_sock(void *ctx) { count(); return 0; }`))
	const pass = 2 // XDP_PASS
	program := others(t, ebpf.XDP, pass)
	for name, args := range map[string][]string{
		"not pinned": nil, "pinned": {"--pin"}, "detached": {"faults_xdp", "faults_tc", "--detach"}, "generic": {"--mode", "generic"},
		"in another's place": {"--replace"},
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			w.server.Add(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "gone0"}, PeerName: "gone1"})
			w.server.Up("gone0")
			gone := w.server.Link("gone0")
			if name == "in another's place" {
				w.server.Do(func() error { return netlink.LinkSetXdpFd(gone, program.FD()) })
			}
			args := append([]string{"run", object, "--dev", "gone0"}, args...)
			var r *running
			if slices.Contains(args, "--detach") {
				w.netfate(args...)
			} else {
				r = w.start(args...)
			}
			w.check(w.server.Netlink().LinkDel(gone))
			w.netfate("ps")
			w.netfate("stop", "gone")
			if r != nil {
				if err := r.wait(); err != nil {
					t.Errorf("got %v, want a clean end\n%s", err, &r.said)
				}
			}
			w.wantGone()
		})
	}
}

// TestSignals ends runs as init systems, terminals and impatient users do.
func TestSignals(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	object := compile(t, source(t, "signalled", ours))
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, pin := range [][]string{nil, {"--pin"}} {
			r := w.start(append([]string{"run", object, "faults_xdp", "--dev", "eth0"}, pin...)...)
			w.check(r.Process.Signal(signal))
			if err := r.wait(); err != nil {
				t.Errorf("%v: got %v, want a clean end\n%s", signal, err, &r.said)
			}
			w.wantGone()
		}
	}
}

// TestReaderGone closes the pipe that events go to after the first line, as head
// does.
func TestReaderGone(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	for name, code := range map[string]string{
		"events": `
struct event { int pid; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct event); } events SEC(".maps");
SEC("raw_tp/sched_switch") int faults_ring(void *ctx)
{
	struct event e = { bpf_get_current_pid_tgid() >> 32 };

	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}`,
		"maps": ours,
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			r := w.command("run", compile(t, source(t, "piped", code)), "--pin", "--dev", "eth0", "--every", "100ms")
			stdout, err := r.StdoutPipe()
			w.check(err)
			w.server.Start(r)
			line, err := bufio.NewReader(stdout).ReadString('\n')
			w.check(err)
			if line == "" {
				t.Error("got an empty line, want output")
			}
			w.check(stdout.Close())
			if err := r.Wait(); err != nil {
				t.Errorf("got %v, want a clean end", err)
			}
			w.wantGone()
		})
	}
}

// unmount takes what is mounted at a place of this world away, however often.
func (w *world) unmount(dir string) {
	w.t.Helper()
	script := `while umount -l "$0" 2>/dev/null; do :; done; ! mountpoint -q "$0"`
	out, err := exec.Command("nsenter", "--mount="+w.mounts, "--", "sh", "-c", script, dir).CombinedOutput()
	if err != nil {
		w.t.Fatalf("unmount %s: %v\n%s", dir, err, out)
	}
}

// TestNotMounted lacks the file systems that tracepoints and pins need.
func TestNotMounted(t *testing.T) {
	need.Time(t)
	t.Run("tracefs", func(t *testing.T) {
		w := newWorld(t)
		w.unmount("/sys/kernel/tracing")
		w.unmount("/sys/kernel/debug")
		object := compile(t, source(t, "traced", `SEC("tp/syscalls/sys_enter_getpid") int faults_tp(void *ctx) { return 0; }`))
		w.fails(3, []string{"tracefs is not mounted", "mount -t tracefs"}, "run", object)
		w.fails(3, []string{"tracefs is not mounted", "mount -t tracefs"}, "run", object, "--pin")
	})
	t.Run("bpffs", func(t *testing.T) {
		w := newWorld(t)
		w.unmount("/sys/fs/bpf")
		object := compile(t, source(t, "pins", ours))
		w.fails(3, []string{"no BPF file system", "mount -t bpf"}, "run", object, "--dev", "eth0", "--pin")
		w.fails(3, []string{"no BPF file system", "mount -t bpf"}, "run", object, "--dev", "eth0", "--detach")
		r := w.start("run", object, "--dev", "eth0") // it needs none
		w.netfate("stop", "pins")
		w.check(r.wait())
		w.wantGone()
	})
}
