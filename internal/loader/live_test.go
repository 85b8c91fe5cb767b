package loader

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/runstate"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// place is where a test's runs keep their pins and states: a BPF file system and
// a directory of its own.
type place struct{ bpffs, states string }

func newPlace(t *testing.T) place {
	t.Helper()
	need.Root(t)
	p := place{bpffs: t.TempDir(), states: t.TempDir()}
	if err := unix.Mount("bpf", p.bpffs, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(p.bpffs, 0); err != nil {
			t.Errorf("unmount the BPF file system: %v", err)
		}
	})
	return p
}

// config fits cfg to the place.
func (p place) config(cfg Config) Config {
	cfg.BPFFS, cfg.StateDir = p.bpffs, p.states
	return cfg
}

// files lists what is on the BPF file system and in the states.
func (p place) files(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{p.bpffs, p.states} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == dir || strings.HasSuffix(path, ".debug") {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			all = append(all, rel)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// start opens, loads and attaches; it must succeed.
func start(t *testing.T, cfg Config) *Running {
	t.Helper()
	r, err := try(t, cfg)
	if err != nil {
		t.Fatalf("run %s: %v", cfg.Object, err)
	}
	return r
}

// try does the same and says how it went; after an error nothing runs.
func try(t *testing.T, cfg Config) (*Running, error) {
	t.Helper()
	o, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	r, err := o.Load()
	if err != nil {
		return nil, err
	}
	if err := r.Attach(); err != nil {
		if cerr := r.Close(); cerr != nil {
			t.Errorf("close after %v: %v", err, cerr)
		}
		return nil, errors.Join(err, errors.Unwrap(err))
	}
	return r, nil
}

func closeRun(t *testing.T, r *Running) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func status(t *testing.T, r *Running, program string) Status {
	t.Helper()
	for _, s := range r.Status() {
		if s.Name == program {
			return s
		}
	}
	t.Fatalf("no program %s", program)
	return Status{}
}

const counting = `
struct event { int pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 5000); __type(value, struct event); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, int); __type(value, int); } none SEC(".maps");
const volatile int my_pid = 1;
long long hits;
static int step = 1;

SEC("raw_tp/sys_enter") int count(void *ctx)
{
	struct event *e;

	if (bpf_get_current_pid_tgid() >> 32 != my_pid)
		return 0;
	hits += step;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (e) {
		e->pid = my_pid;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		bpf_ringbuf_submit(e, 0);
	}
	return 0;
}
SEC("raw_tp/sys_exit") int bad(unsigned long long *ctx)
{
	return *(int *)ctx[0]; // here
}
SEC("?raw_tp/sys_exit") int optional(void *ctx) { return bpf_map_lookup_elem(&none, &step) != 0; }
`

// TestRun loads what can be loaded, says why the rest cannot, sets globals, and
// hands on events with their type.
func TestRun(t *testing.T) {
	p := newPlace(t)
	r := start(t, p.config(Config{Object: compile(t, counting), Set: []string{"my_pid=self", "step=3"}}))
	var rejected *RejectedError
	if err := status(t, r, "bad").Err; !errors.As(err, &rejected) || !strings.Contains(rejected.Source, "here") || len(rejected.Log) < 3 {
		t.Errorf("the program that is bad: got %v, want the verifier's word and the line", err)
	}
	if notes := strings.Join(r.object.Notes(), "\n"); !strings.Contains(notes, "8192") || !strings.Contains(notes, "optional") || !strings.Contains(notes, "map none") {
		t.Errorf("got notes %q, want the mended ring and map, and the optional program", notes)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got *Event
	if err := r.Events(ctx, func(e *Event) error { got = e; cancel(); return nil }); err != nil {
		t.Fatal(err)
	}
	if got == nil || got.Map != "events" || got.Type.TypeName() != "event" || len(got.Data) != 20 {
		t.Fatalf("got event %+v, want one of events of 20 bytes", got)
	}
	closeRun(t, r)
	if left := p.files(t); len(left) > 0 {
		t.Errorf("got %v after the end, want nothing", left)
	}
}

// TestQuietEvents ends though no event comes that could wake the readers.
func TestQuietEvents(t *testing.T) {
	p := newPlace(t)
	r := start(t, p.config(Config{Object: compile(t, `
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
SEC("raw_tp/sys_enter") int count(void *ctx)
{
	int pid = bpf_get_current_pid_tgid() >> 32;

	if (pid == -1) {
		bpf_ringbuf_output(&ring, &pid, sizeof(pid), 0);
		bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &pid, sizeof(pid));
	}
	return 0;
}
`)}))
	defer closeRun(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Events(ctx, func(*Event) error { return nil }) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Events does not end")
	}
}

// TestUsage refuses what cannot be meant, before the kernel is asked.
func TestUsage(t *testing.T) {
	object := compile(t, counting)
	for want, cfg := range map[string]Config{
		"there is no program nope; the object has bad, count, optional": {Programs: []string{"nope"}},
		"has no such global; it has hits, my_pid, step":                 {Set: []string{"nope=1"}},
		"give it as name=value":                                         {Set: []string{"nope"}},
		"--set hits":                                                    {Set: []string{"hits=x"}},
		"--mode is native":                                              {Mode: "fast"},
		"there is no such program":                                      {Targets: map[string]string{"nope": "x"}},
		"there is no ring buffer":                                       {Events: map[string]string{"none": "event"}},
		"cannot name what runs":                                         {Name: "a b"},
	} {
		cfg.Object = object
		_, err := Open(cfg)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want wrong usage: %s", err, want)
		}
	}
}

// TestOpenHostile has files that are no objects, or broken ones.
func TestOpenHostile(t *testing.T) {
	good, err := os.ReadFile(compile(t, counting))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing.o"): "no such file",
		dir:                             "no regular file",
		write("empty.o", nil):           "not a BPF object",
		write("text.o", []byte("hello, world, this is no ELF file at all")): "not a BPF object",
		write("short.o", good[:len(good)/2]):                                "not a BPF object",
		self:                                                                "",
		compile(t, "int nothing;"):                                          "has no programs",
		compile(t, `SEC("krpobe/f") int p(void *ctx) { return 0; }`): `did you mean "kprobe"?`,
	} {
		if _, err := Open(Config{Object: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	for n := 64; n < len(good); n += 97 { // whatever is cut off, it comes back
		_, _ = Open(Config{Object: write("cut.o", good[:n])})
	}
}

// TestDetach leaves it running, and Stop takes it off, and only it.
func TestDetach(t *testing.T) {
	p := newPlace(t)
	object := compile(t, counting)
	r := start(t, p.config(Config{Object: object, Programs: []string{"count"}, Detach: true}))
	if err := r.Detach(); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t, p.config(Config{Object: object, Programs: []string{"count"}})); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("run it twice: got %v, want that it runs already", err)
	}
	pins := filepath.Join(p.bpffs, "netfate/prog")
	others := filepath.Join(pins, "maps/others")
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Pin(others); err != nil {
		t.Fatal(err)
	}
	if _, err := ebpf.LoadPinnedProgram(filepath.Join(pins, "progs/count"), nil); err != nil {
		t.Errorf("the program is not pinned: %v", err)
	}
	if _, err := Stop(t.Context(), p.states, "prog"); err != nil {
		t.Fatal(err)
	}
	want := []string{"netfate", "netfate/prog", "netfate/prog/maps", "netfate/prog/maps/others"}
	if diff := cmp.Diff(want, p.files(t)); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if _, err := Stop(t.Context(), p.states, "prog"); !errors.Is(err, runstate.ErrNotFound) {
		t.Errorf("stop it twice: got %v, want %v", err, runstate.ErrNotFound)
	}
}

const sharing = `
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, SIZE); __type(key, int); __type(value, long); __uint(pinning, LIBBPF_PIN_BY_NAME); } shared SEC(".maps");
SEC("raw_tp/sys_enter") int count(void *ctx)
{
	int zero = 0;
	long *n = bpf_map_lookup_elem(&shared, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
`

// TestSharedMap has two objects with one map, which stays until the last of
// them ends, in whichever order.
func TestSharedMap(t *testing.T) {
	p := newPlace(t)
	source := strings.Replace(sharing, "SIZE", "1", 1)
	objects := map[string]string{"first": compile(t, source), "second": compile(t, strings.Replace(source, "int count(", "int again(", 1))}
	dir := filepath.Join(p.bpffs, "common")
	for _, order := range [][2]string{{"first", "second"}, {"second", "first"}} {
		runs := map[string]*Running{}
		for _, name := range []string{"first", "second"} {
			runs[name] = start(t, p.config(Config{Object: objects[name], Name: name, PinDir: dir}))
		}
		closeRun(t, runs[order[0]])
		if _, err := ebpf.LoadPinnedMap(filepath.Join(dir, "maps/shared"), nil); err != nil {
			t.Errorf("%v: after the first of them has ended: %v", order, err)
		}
		closeRun(t, runs[order[1]])
		if left := p.files(t); len(left) > 0 {
			t.Errorf("%v: got %v after both have ended, want nothing", order, left)
		}
	}
}

// TestIncompatibleMap names both kinds of map.
func TestIncompatibleMap(t *testing.T) {
	p := newPlace(t)
	r := start(t, p.config(Config{Object: compile(t, strings.Replace(sharing, "SIZE", "1", 1)), Name: "one", PinDir: p.bpffs + "/x"}))
	_, err := try(t, p.config(Config{Object: compile(t, strings.Replace(sharing, "SIZE", "2", 1)), Name: "two", PinDir: p.bpffs + "/x"}))
	if err == nil || !strings.Contains(err.Error(), "1 entries") || !strings.Contains(err.Error(), "2 entries") {
		t.Errorf("got %v, want both sizes", err)
	}
	closeRun(t, r)
	if left := p.files(t); len(left) > 0 {
		t.Errorf("got %v, want nothing left", left)
	}
}

// TestCrash has a process that died, and left pins: the next Stop removes them,
// and so does the next run of the same name.
func TestCrash(t *testing.T) {
	p := newPlace(t)
	object := compile(t, counting)
	for _, again := range []bool{false, true} {
		r := start(t, p.config(Config{Object: object, Programs: []string{"count"}, Pin: true}))
		dead := exec.Command("true")
		if err := dead.Run(); err != nil {
			t.Fatal(err)
		}
		r.state.PID, r.state.PIDStart = dead.Process.Pid, 1
		if err := errors.Join(r.save(), r.free(true)); err != nil {
			t.Fatal(err)
		}
		if again {
			next := start(t, p.config(Config{Object: object, Programs: []string{"count"}}))
			closeRun(t, next)
		} else if stopped, err := Stop(t.Context(), p.states, "prog"); err != nil || !stopped.Crashed {
			t.Errorf("stop: got %+v, %v; want that it had crashed", stopped, err)
		}
		if left := p.files(t); len(left) > 0 {
			t.Errorf("got %v, want nothing left", left)
		}
	}
}

// tailCalls is a program that goes on in another one.
const tailCalls = `
int my_pid, reached;
int second(void *ctx);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4); __array(values, int(void *)); }
	calls SEC(".maps") = { .values = { [1] = (void *)&second } };
SEC("raw_tp/sys_enter") int first(void *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == my_pid)
		bpf_tail_call(ctx, &calls, 1);
	return 0;
}
SEC("raw_tp") int second(void *ctx) { reached++; return 0; }
`

// reached reads how often the second program ran: the variables are as clang
// orders them.
func reached(data []byte, pid int) uint32 {
	a, b := binary.NativeEndian.Uint32(data), binary.NativeEndian.Uint32(data[4:])
	if a == uint32(pid) {
		return b
	}
	return a
}

// TestTailCalls puts programs into the array that calls them, where they stay
// when the loader has gone.
func TestTailCalls(t *testing.T) {
	p := newPlace(t)
	r := start(t, p.config(Config{Set: []string{"my_pid=self"}, Object: compile(t, tailCalls), Detach: true}))
	where := status(t, r, "second").Where
	if diff := cmp.Diff([]string{"tail call calls[1]"}, where); diff != "" {
		t.Errorf("where the second program is (-want +got):\n%s", diff)
	}
	if err := r.Detach(); err != nil {
		t.Fatal(err)
	}
	variables, err := ebpf.LoadPinnedMap(filepath.Join(p.bpffs, "netfate/prog/maps/_bss"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer variables.Close()
	count := func() uint32 {
		data, err := variables.LookupBytes(uint32(0))
		if err != nil || len(data) < 8 {
			t.Fatalf("read the variables: %d bytes, %v", len(data), err)
		}
		return reached(data, os.Getpid())
	}
	before := count()
	netlab.WaitFor(t, "the second program to run on", func() bool { return count() > before })
	if _, err := Stop(t.Context(), p.states, "prog"); err != nil {
		t.Fatal(err)
	}
	if left := p.files(t); len(left) > 0 {
		t.Errorf("got %v, want nothing left", left)
	}
}
