package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/netfate/netfate/test/need"
)

func refresh(t *testing.T, n *Names) {
	t.Helper()
	if err := n.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantName(t *testing.T, n *Names, inode uint32, want string) {
	t.Helper()
	if got := n.Name(inode); got != want {
		t.Errorf("Name(%d): got %q, want %q", inode, got, want)
	}
}

// inode of a namespace's file.
func inode(t *testing.T, file string) uint32 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

// child starts a process in a new network namespace.
func child(t *testing.T) (pid int, inod uint32, end func()) {
	t.Helper()
	need.Root(t)
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() { stdin.Close(); _ = cmd.Wait() })
	t.Cleanup(end)
	return cmd.Process.Pid, inode(t, fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)), end
}

// mount gives a namespace a name, as ip netns and docker do.
func mount(t *testing.T, file, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(file, name, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(name, syscall.MNT_DETACH) })
}

// config looks in directories of the test's own.
func config(t *testing.T) Config {
	return Config{Dirs: []string{t.TempDir()}, SandboxDirs: []string{t.TempDir()}}
}

func TestHost(t *testing.T) {
	n := New(config(t))
	host := inode(t, "/proc/self/ns/net") // the tests run in the initial one
	wantName(t, n, host, "")
	refresh(t, n)
	wantName(t, n, host, "host")
	if path, ok := n.Path(host); !ok || inode(t, path) != host {
		t.Errorf("got path %q, %v", path, ok)
	}
	wantName(t, n, 0, "")
}

func TestNameOfProcess(t *testing.T) {
	n := New(config(t))
	refresh(t, n)
	pid, ns, end := child(t) // after the first scan: it has to be asked for
	refresh(t, n)
	wantName(t, n, ns, "")
	refresh(t, n)
	want := fmt.Sprintf("pid %d cat", pid)
	wantName(t, n, ns, want)
	if path, ok := n.Path(ns); !ok || inode(t, path) != ns {
		t.Errorf("got path %q, %v", path, ok)
	}
	end()
	refresh(t, n)
	wantName(t, n, ns, want) // for the records still to come
	if path, ok := n.Path(ns); ok {
		t.Errorf("of a namespace that is gone: got path %q, want none", path)
	}
}

func TestFirstRefreshFindsAll(t *testing.T) {
	pid, ns, _ := child(t)
	n := New(config(t))
	refresh(t, n)
	wantName(t, n, ns, fmt.Sprintf("pid %d cat", pid))
}

func TestNameOfIPNetns(t *testing.T) {
	need.Root(t)
	name := fmt.Sprintf("nf-%d-name", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	del := sync.OnceFunc(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	t.Cleanup(del)
	ns := inode(t, "/run/netns/"+name)
	n := New(Config{})
	refresh(t, n)
	wantName(t, n, ns, name)
	if path, ok := n.Path(ns); !ok || path != "/run/netns/"+name {
		t.Errorf("got path %q, %v", path, ok)
	}
	if got, err := n.Resolve(t.Context(), name); err != nil || got != ns {
		t.Errorf("Resolve: got %d, %v, want %d", got, err, ns)
	}
	del()
	refresh(t, n)
	wantName(t, n, ns, name)
	if path, ok := n.Path(ns); ok {
		t.Errorf("of a namespace that is gone: got path %q, want none", path)
	}
}

func TestOrderOfNames(t *testing.T) {
	pid, ns, _ := child(t)
	file := fmt.Sprintf("/proc/%d/ns/net", pid)
	cfg := config(t)
	var id, name string
	cfg.Container = func(string) (string, string) { return id, name }

	mount(t, file, filepath.Join(cfg.SandboxDirs[0], "0a1b2c3d4e5f"))
	n := New(cfg)
	refresh(t, n)
	wantName(t, n, ns, "0a1b2c3d4e5f")

	id = "aabbccddeeff" // the container begins after its sandbox
	n.Name(ns)
	refresh(t, n)
	for range 2 {
		refresh(t, n)
	}
	wantName(t, n, ns, "aabbccddeeff")
	name = "web"
	refresh(t, n)
	wantName(t, n, ns, "web")

	mount(t, file, filepath.Join(cfg.Dirs[0], "cni-1f3d7a2b-0c4e-4b6f-9a8d-7e6f5a4b3c2d"))
	refresh(t, n)
	wantName(t, n, ns, "web")
	mount(t, file, filepath.Join(cfg.Dirs[0], "cni-shop"))
	refresh(t, n)
	wantName(t, n, ns, "cni-shop")
}

func TestStaleFileIsNoName(t *testing.T) {
	cfg := config(t)
	if err := os.WriteFile(filepath.Join(cfg.Dirs[0], "left-over"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := New(cfg)
	refresh(t, n)
	if _, err := n.Resolve(t.Context(), "left-over"); err == nil {
		t.Error("a file that is no namespace was taken for one")
	}
}

// A namespace that only a descriptor holds cannot be found: it is looked for
// less and less often.
func TestSearchInVainBacksOff(t *testing.T) {
	n := New(config(t))
	refresh(t, n)
	n.Name(1)
	scans := 0
	for range 40 {
		n.Name(1)
		if due := n.takeDue(nil); len(due) > 0 {
			scans++
			n.install(nil, &scan{due: due, whole: true})
		}
	}
	if scans != 6 {
		t.Errorf("got %d scans in 40 refreshes, want 6", scans)
	}
}

func TestResolve(t *testing.T) {
	pid, ns, _ := child(t)
	cfg := config(t)
	self := fmt.Sprint(pid)
	host := inode(t, "/proc/self/ns/net")
	n := New(cfg)
	for spec, want := range map[string]uint32{
		"host":                      host,
		"pid:" + self:               ns,
		"/proc/" + self + "/ns/net": ns,
		strconv.Itoa(int(ns)):       ns,
		"4294967295":                1<<32 - 1,
	} {
		if got, err := n.Resolve(t.Context(), spec); err != nil || got != want {
			t.Errorf("Resolve(%q): got %d, %v, want %d", spec, got, err, want)
		}
	}
	for spec, want := range map[string]string{
		"":              "no network namespace given",
		"nowhere":       "ip netns lists names",
		"1234":          "pid:1234",
		"pid:x":         "want pid:1234",
		"pid:999999999": "no such file",
		"/etc/passwd":   "/etc/passwd is no network namespace",
		"/nowhere/x":    "no such file",
	} {
		if got, err := n.Resolve(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve(%q): got %d, %v, want an error with %q", spec, got, err, want)
		}
	}
}

// fakeProc is a directory that looks like /proc, with processes in containers.
func fakeProc(t testing.TB, processes int, netns func(pid int) int) string {
	proc := t.TempDir()
	mkdir := func(name, link string) {
		dir := filepath.Join(proc, name, "ns")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(link, filepath.Join(dir, "net")); err != nil {
			t.Fatal(err)
		}
	}
	mkdir("self", "/proc/self/ns/net")
	for pid := 1; pid <= processes; pid++ {
		mkdir(strconv.Itoa(pid), fmt.Sprintf("net:[%d]", netns(pid)))
		// The lower the pid, the younger: pids have wrapped.
		stat := fmt.Sprintf("%d (p %d) S%s %d 0\n", pid, pid, strings.Repeat(" 1", 18), 1000-pid)
		if err := os.WriteFile(filepath.Join(proc, strconv.Itoa(pid), "stat"), []byte(stat), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, strconv.Itoa(pid), "cgroup"), fmt.Appendf(nil, "1:cpu:/\n0::/c%d\n", pid), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func TestOldestProcessNames(t *testing.T) {
	cfg := config(t)
	cfg.Proc = fakeProc(t, 6, func(pid int) int { return 100 + pid%2 })
	n := New(cfg)
	refresh(t, n)
	wantName(t, n, 100, "pid 6 p 6")
	wantName(t, n, 101, "pid 5 p 5")
}

func TestResolveContainer(t *testing.T) {
	cfg := config(t)
	cfg.Proc = fakeProc(t, 4, func(pid int) int { return 100 + pid })
	ids := map[string][2]string{"/c2": {"aabbccddeeff", "web"}, "/c3": {"aabb00112233", ""}, "/c4": {"web-box", "web-box"}}
	cfg.Container = func(path string) (string, string) { return ids[path][0], ids[path][1] }
	n := New(cfg)
	for spec, want := range map[string]uint32{
		"web": 102, "aabbccddeeff": 102, "aabbc": 102, "aabbccddeeff00112233": 102, "aabb0": 103, "web-box": 104,
	} {
		if got, err := n.Resolve(t.Context(), spec); err != nil || got != want {
			t.Errorf("Resolve(%q): got %d, %v, want %d", spec, got, err, want)
		}
	}
	for spec, want := range map[string]string{
		"aabb": "(aabb00112233, aabbccddeeff): give more digits",
		"aab":  "no network namespace",
	} {
		if got, err := n.Resolve(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve(%q): got %d, %v, want an error with %q", spec, got, err, want)
		}
	}
}

// A scan that may not look at all processes goes on where it stopped, and says
// how many it left out.
func TestScanIsBounded(t *testing.T) {
	cfg := config(t)
	cfg.Proc = fakeProc(t, 100, func(pid int) int { return 1000 + pid })
	cfg.Procs = 40
	n := New(cfg)
	for pid := range 100 {
		n.Name(uint32(1001 + pid))
	}
	named := func() (count int) {
		for pid := range 100 {
			if n.Name(uint32(1001+pid)) != "" {
				count++
			}
		}
		return count
	}
	for i, want := range []int{40, 80, 100} {
		refresh(t, n)
		if got := named(); got != want {
			t.Errorf("after %d: got %d names, want %d", i+1, got, want)
		}
	}
	if got := n.Skipped(); got != 60+20 {
		t.Errorf("got %d skipped, want 80", got)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	n = New(cfg)
	if err := n.Refresh(stopped); err != nil {
		t.Fatal(err)
	}
	if n.Name(1001) != "" || n.Skipped() != 100 {
		t.Errorf("out of time: got %q and %d skipped, want nothing and 100", n.Name(1001), n.Skipped())
	}
}

func TestEvictionIsCounted(t *testing.T) {
	cfg := config(t)
	cfg.Proc = fakeProc(t, 10, func(pid int) int { return 1000 + pid })
	cfg.Keep = 4
	n := New(cfg)
	refresh(t, n)
	if n.Evicted() != 6 || n.known.Len() != 4 {
		t.Errorf("got %d evicted and %d kept, want 6 and 4", n.Evicted(), n.known.Len())
	}
}

func TestConcurrentUse(t *testing.T) {
	n := New(config(t))
	_, ns, _ := child(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range uint32(1000) {
				n.Name(ns)
				n.Path(i)
			}
		})
	}
	for range 10 {
		refresh(t, n)
	}
	wg.Wait()
}

func FuzzParseLink(f *testing.F) {
	f.Add("net:[4026531840]")
	f.Add("net:[]")
	f.Fuzz(func(t *testing.T, link string) {
		if inode, ok := parseLink([]byte(link)); ok && strings.TrimLeft(link, "net:[0") != strings.TrimLeft(fmt.Sprintf("net:[%d]", inode), "net:[0") {
			t.Errorf("parseLink(%q) = %d", link, inode)
		}
	})
}

func BenchmarkName(b *testing.B) {
	n := New(Config{})
	n.replace(42, entry{name: "web", rank: byName})
	b.ReportAllocs()
	for b.Loop() {
		n.Name(42)
	}
}

// BenchmarkScan looks in vain through 10,000 processes, the worst case of one
// Refresh; reading a link of a real /proc is in BenchmarkScanHost.
func BenchmarkScan(b *testing.B) {
	proc := fakeProc(b, 10000, func(pid int) int { return 4026532000 + pid%1000 })
	benchmarkScan(b, proc)
}

func BenchmarkScanHost(b *testing.B) { benchmarkScan(b, "/proc") }

func benchmarkScan(b *testing.B, proc string) {
	n := New(Config{Proc: proc})
	visited := 0
	for b.Loop() {
		s := scan{names: n, found: map[uint32]entry{}, due: map[uint32]struct{}{1: {}}, holders: map[uint32][]uint32{}}
		if err := s.run(b.Context()); err != nil {
			b.Fatal(err)
		}
		visited += s.visited
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(visited), "ns/process")
}
