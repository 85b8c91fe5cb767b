package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

func comm(s string) (c [16]byte) {
	copy(c[:], s)
	return c
}

func ptr(v uint32) *uint32 { return &v }

func refresh(t *testing.T, table *Table) {
	t.Helper()
	if err := table.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantOwner(t *testing.T, table *Table, pid uint32, start uint64, want record.Owner) {
	t.Helper()
	got, ok := table.Owner(pid, start)
	if diff := cmp.Diff(want, got); diff != "" || ok != (want.PID != 0) {
		t.Errorf("Owner(%d, %d): %v (-want +got):\n%s", pid, start, ok, diff)
	}
}

// child starts a process that waits for its end, and returns its pid and when
// it started, in the middle of the clock tick that /proc shows.
func child(t *testing.T) (pid uint32, start uint64, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() { stdin.Close(); _ = cmd.Wait() })
	t.Cleanup(end)
	s, err := readStat(fmt.Sprintf("/proc/%d", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return uint32(cmd.Process.Pid), s.ticks*(1e9/userHZ) + 5e6, end
}

func TestWhatTheKernelToldIsEnough(t *testing.T) {
	table := New(Config{Proc: t.TempDir()})
	table.Learn(Fact{PID: 7, Start: 100, UID: 33, Comm: comm("curl")})
	want := record.Owner{PID: 7, Comm: "curl", UID: ptr(33)}
	wantOwner(t, table, 7, 100, want)
	refresh(t, table) // there is no such process: nothing is taken away
	wantOwner(t, table, 7, 100, want)
	if table.Missed() != 0 {
		t.Errorf("got %d missed, want 0", table.Missed())
	}
}

func TestLearnReplaces(t *testing.T) {
	paths := map[uint64]string{1: "/init.scope", 2: "/system.slice/web.service"}
	table := New(Config{Proc: t.TempDir(), Cgroup: func(id uint64) (string, bool) { p, ok := paths[id]; return p, ok }})
	table.Learn(Fact{PID: 7, Start: 100, Comm: comm("sh"), CgroupID: 1})
	before, _ := table.Owner(7, 100)
	table.Learn(Fact{PID: 7, Start: 100, UID: 33, Comm: comm("a-name-of-16-by."), CgroupID: 2})
	wantOwner(t, table, 7, 100, record.Owner{PID: 7, Comm: "a-name-of-16-by.", UID: ptr(33), Cgroup: "/system.slice/web.service"})
	if diff := cmp.Diff(record.Owner{PID: 7, Comm: "sh", UID: ptr(0), Cgroup: "/init.scope"}, before); diff != "" {
		t.Errorf("a record handed out earlier has changed (-want +got):\n%s", diff)
	}
}

func TestPIDIsReused(t *testing.T) {
	table := New(Config{Proc: t.TempDir()})
	table.Learn(Fact{PID: 7, Start: 100, Comm: comm("old")})
	table.Learn(Fact{PID: 7, Start: 200, Comm: comm("new")})
	table.Learn(Fact{PID: 7, Comm: comm("never")})
	wantOwner(t, table, 7, 100, record.Owner{PID: 7, Comm: "old", UID: ptr(0)})
	wantOwner(t, table, 7, 200, record.Owner{PID: 7, Comm: "new", UID: ptr(0)})
	wantOwner(t, table, 7, 0, record.Owner{})
	wantOwner(t, table, 0, 0, record.Owner{})
}

func TestRealProcess(t *testing.T) {
	pid, start, end := child(t)
	table := New(Config{})
	wantOwner(t, table, pid, start, record.Owner{})
	refresh(t, table)
	got, ok := table.Owner(pid, start)
	if !ok || got.Comm != "cat" || got.UID == nil || *got.UID != uint32(os.Getuid()) || got.Cgroup == "" {
		t.Errorf("got %+v, %v, want cat, our uid and a cgroup", got, ok)
	}
	if exe, ok := table.Exe(pid, start); !ok || !strings.HasSuffix(exe, "cat") && !strings.HasSuffix(exe, "coreutils") {
		t.Errorf("got exe %q, %v", exe, ok)
	}

	// Another process with this pid, started at another time, is not this one.
	wantOwner(t, table, pid, start+1e9, record.Owner{})
	refresh(t, table)
	wantOwner(t, table, pid, start+1e9, record.Owner{})
	if table.Missed() != 1 {
		t.Errorf("got %d missed, want 1", table.Missed())
	}

	end()
	refresh(t, table)
	if after, ok := table.Owner(pid, start); !ok || after.Comm != "cat" {
		t.Errorf("after its end: got %+v, %v, want what was known", after, ok)
	}
}

func TestLateFactsFindEarlyQuestions(t *testing.T) {
	table := New(Config{Proc: t.TempDir()})
	table.Owner(7, 100)
	refresh(t, table)
	wantOwner(t, table, 7, 100, record.Owner{})
	table.Learn(Fact{PID: 7, Start: 100, Comm: comm("late")})
	wantOwner(t, table, 7, 100, record.Owner{PID: 7, Comm: "late", UID: ptr(0)})
}

// fakeProc writes a process into a directory that looks like /proc.
func fakeProc(t *testing.T, pid int, ticks int, cgroups string) string {
	t.Helper()
	proc := t.TempDir()
	dir := filepath.Join(proc, fmt.Sprint(pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"stat":   fmt.Sprintf("%d (a (b) c) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 %d 1 1\n", pid, ticks),
		"status": "Name:\ta (b) c\nUid:\t1000\t0\t0\t0\n",
		"cgroup": cgroups,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

// describe stands in for the container enricher.
func describe(path string, o *record.Owner) bool {
	o.Cgroup, o.Container = path, ""
	if id, ok := strings.CutPrefix(path, "/docker/"); ok {
		o.Container = id
	}
	return true
}

func TestLegacyCgroupsComeFromProc(t *testing.T) {
	tests := []struct{ name, cgroups, want, container string }{
		{"container in one hierarchy", "5:memory:/docker/abc\n1:name=systemd:/\n0::/system.slice/docker.service\n", "/docker/abc", "abc"},
		{"service", "5:memory:/system.slice\n1:name=systemd:/system.slice/web.service\n0::/\n", "/system.slice/web.service", ""},
		{"hybrid service", "1:name=systemd:/a.service\n0::/system.slice/web.service\n", "/system.slice/web.service", ""},
		{"no systemd", "4:memory:/job/1\n3:cpu:/\n0::/\n", "/job/1", ""},
		{"root", "4:memory:/\n0::/\n", "/", ""},
		{"removed meanwhile", "0::/web (deleted)\n", "/web", ""},
	}
	for _, tt := range tests {
		table := New(Config{
			Proc: fakeProc(t, 7, 300, tt.cgroups), Legacy: true, Describe: describe,
			Cgroup: func(uint64) (string, bool) { return "/", true },
		})
		table.Learn(Fact{PID: 7, Start: 3e9, UID: 5, Comm: comm("told"), CgroupID: 1})
		wantOwner(t, table, 7, 3e9, record.Owner{PID: 7, UID: ptr(5), Comm: "told"})
		refresh(t, table)
		want := record.Owner{PID: 7, UID: ptr(5), Comm: "told", Cgroup: tt.want, Container: tt.container}
		t.Log(tt.name)
		wantOwner(t, table, 7, 3e9, want)
	}
}

func TestUnifiedCgroupComesFromItsID(t *testing.T) {
	var known bool
	table := New(Config{
		Proc: fakeProc(t, 7, 300, "0::/elsewhere-now\n"), Describe: describe,
		Cgroup: func(id uint64) (string, bool) { return "/docker/abc", known && id == 9 },
	})
	table.Learn(Fact{PID: 7, Start: 3e9, Comm: comm("x"), CgroupID: 9})
	wantOwner(t, table, 7, 3e9, record.Owner{PID: 7, UID: ptr(0), Comm: "x"})
	known = true
	refresh(t, table)
	wantOwner(t, table, 7, 3e9, record.Owner{PID: 7, UID: ptr(0), Comm: "x", Cgroup: "/docker/abc", Container: "abc"})
}

func TestProcessNobodyToldOf(t *testing.T) {
	table := New(Config{Proc: fakeProc(t, 7, 300, "0::/docker/abc\n"), Describe: describe})
	table.Owner(7, 3e9+9e6) // the same clock tick
	refresh(t, table)
	wantOwner(t, table, 7, 3e9+9e6, record.Owner{PID: 7, UID: ptr(1000), Comm: "a (b) c", Cgroup: "/docker/abc", Container: "abc"})
}

func TestNamesMayComeLater(t *testing.T) {
	name := ""
	table := New(Config{
		Proc: fakeProc(t, 7, 300, "0::/docker/abc\n"),
		Describe: func(path string, o *record.Owner) bool {
			o.Cgroup, o.ContainerName = path, name
			return name != ""
		},
	})
	table.Owner(7, 3e9)
	refresh(t, table)
	wantOwner(t, table, 7, 3e9, record.Owner{PID: 7, UID: ptr(1000), Comm: "a (b) c", Cgroup: "/docker/abc"})
	name = "web"
	wantOwner(t, table, 7, 3e9, record.Owner{PID: 7, UID: ptr(1000), Comm: "a (b) c", Cgroup: "/docker/abc", ContainerName: "web"})
}

func TestEveryProcessIsKeptOrCounted(t *testing.T) {
	const keep, told = 100, 1000
	table := New(Config{Proc: t.TempDir(), Keep: keep})
	for pid := range uint32(told) {
		table.Learn(Fact{PID: pid + 1, Start: 1, Comm: comm("x")})
	}
	kept := 0
	for pid := range uint32(told) {
		if _, ok := table.Owner(pid+1, 1); ok {
			kept++
		}
	}
	if got := uint64(kept) + table.Evicted(); got != told || kept != keep {
		t.Errorf("got %d kept + %d evicted, want %d of %d kept", kept, table.Evicted(), keep, told)
	}
}

func TestRefreshIsBounded(t *testing.T) {
	table := New(Config{Proc: t.TempDir(), Reads: 10})
	for pid := range uint32(2 * maxWanted) {
		table.Owner(pid+1, 1)
	}
	refresh(t, table)
	if table.Missed() != 10 || len(table.wanted) != maxWanted-10 {
		t.Errorf("got %d read and %d waiting, want 10 and %d", table.Missed(), len(table.wanted), maxWanted-10)
	}
}

// Lookups, facts and refreshes come from different goroutines; the race
// detector watches.
func TestConcurrentUse(t *testing.T) {
	table := New(Config{Keep: 64})
	pid, start, _ := child(t)
	var wg sync.WaitGroup
	for n := range uint32(4) {
		wg.Go(func() {
			for i := range uint32(300) {
				table.Learn(Fact{PID: n*1000 + i%100, Start: 1, UID: i, Comm: comm("x")})
				table.Owner(n*1000+i%100, 1)
				table.Owner(pid, start)
			}
		})
	}
	for range 20 {
		refresh(t, table)
	}
	wg.Wait()
}

func TestParseStat(t *testing.T) {
	tail := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n"
	tests := []struct {
		text, comm string
		ticks      uint64
		ok         bool
	}{
		{"1 (init)" + tail, "init", 4242, true},
		{"1 (a) b (c)" + tail, "a) b (c", 4242, true},
		{"1 (kworker/u8:2-events_unbound)" + tail, "kworker/u8:2-eve", 4242, true},
		{"1 ()" + tail, "", 4242, true},
		{"1 (short) S 1 2", "", 0, false},
		{"1 short S", "", 0, false},
		{"1 )(", "", 0, false},
		{"", "", 0, false},
	}
	for _, tt := range tests {
		s, ok := parseStat([]byte(tt.text))
		if ok != tt.ok || ok && (commText(s.comm[:]) != tt.comm || s.ticks != tt.ticks) {
			t.Errorf("parseStat(%q): got %q %d %v, want %q %d %v", tt.text, commText(s.comm[:]), s.ticks, ok, tt.comm, tt.ticks, tt.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n")
	f.Add("5:memory:/docker/abc\n1:name=systemd:/\n0::/a:b (deleted)\n")
	f.Fuzz(func(t *testing.T, text string) {
		parseStat([]byte(text))
		for _, c := range parseCgroups(text) {
			if c.path == "" && !strings.Contains(text, " (deleted)") {
				t.Errorf("parseCgroups(%q): empty path", text)
			}
		}
	})
}

func BenchmarkOwner(b *testing.B) {
	table := New(Config{Proc: b.TempDir(), Cgroup: func(uint64) (string, bool) { return "/a", true }})
	table.Learn(Fact{PID: 7, Start: 100, Comm: comm("curl"), CgroupID: 1})
	table.Owner(7, 100)
	b.ReportAllocs()
	for b.Loop() {
		table.Owner(7, 100)
	}
}

func BenchmarkLearnAgain(b *testing.B) {
	table := New(Config{})
	fact := Fact{PID: 7, Start: 100, Comm: comm("curl")}
	b.ReportAllocs()
	for b.Loop() {
		table.Learn(fact)
	}
}

func BenchmarkLearnNew(b *testing.B) {
	table := New(Config{})
	fact := Fact{PID: 7, Comm: comm("curl")}
	b.ReportAllocs()
	for b.Loop() {
		fact.Start++
		table.Learn(fact)
	}
}

func BenchmarkReadStatus(b *testing.B) {
	s, err := readStat("/proc/self")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readStatus("/proc", uint32(os.Getpid()), s.ticks*(1e9/userHZ)); err != nil {
			b.Fatal(err)
		}
	}
}
