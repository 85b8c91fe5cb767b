package container

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// makeCgroup makes a cgroup2 directory of the test's own and returns its id
// and its path below the mount.
func makeCgroup(t *testing.T, name string) (id uint64, path string) {
	t.Helper()
	need.Root(t)
	h, err := ownHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	if h.Unified == "" {
		t.Fatal("no cgroup2 hierarchy is mounted: mount -t cgroup2 cgroup2 DIRECTORY")
	}
	path = fmt.Sprintf("/nf-%d-%s", os.Getpid(), name)
	dir := filepath.Join(h.Unified, path)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino, path
}

func TestPathOfRealCgroup(t *testing.T) {
	id, want := makeCgroup(t, "real")
	c := New(Config{})
	if got, ok := c.Path(id); ok {
		t.Fatalf("before Refresh: got %q, want nothing", got)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Path(id); !ok || got != want {
		t.Fatalf("got %q, %v, want %q", got, ok, want)
	}

	h, err := ownHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(h.Unified, want)); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Path(id); got != want {
		t.Errorf("after its end: got %q, want %q", got, want)
	}
	if c.Missed() != 0 {
		t.Errorf("got %d missed, want 0", c.Missed())
	}

	late := New(Config{})
	late.Path(id)
	for range 2 { // an id that is gone is looked for once
		if err := late.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, ok := late.Path(id); ok {
			t.Errorf("of a cgroup that is gone: got %q, want nothing", got)
		}
	}
	if late.Missed() != 1 {
		t.Errorf("got %d missed, want 1", late.Missed())
	}
}

func TestWalkFindsWhatHandlesFind(t *testing.T) {
	id, want := makeCgroup(t, "walk")
	h, err := ownHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{})
	found, whole := c.walk(t.Context(), h.Unified, []uint64{id, 1 << 60})
	if diff := cmp.Diff(map[uint64]string{id: want, 1 << 60: ""}, found); diff != "" || !whole {
		t.Errorf("whole %v (-want +got):\n%s", whole, diff)
	}
	c = New(Config{Walk: 1})
	if _, whole := c.walk(t.Context(), h.Unified, []uint64{1 << 60}); whole {
		t.Error("a walk of one directory calls itself whole")
	}
}

func TestEvictionIsCounted(t *testing.T) {
	c := New(Config{Keep: 2})
	c.store([]uint64{1, 2, 3}, map[uint64]string{1: "/a", 2: "/b", 3: "/c"}, true)
	if c.Evicted() != 1 {
		t.Errorf("got %d evicted, want 1", c.Evicted())
	}
}

func TestWantedIsBounded(t *testing.T) {
	c := New(Config{})
	for id := range uint64(2 * maxWanted) {
		c.Path(id)
	}
	if got := len(c.takeWanted()); got != maxWanted {
		t.Errorf("got %d wanted, want %d", got, maxWanted)
	}
}

func TestDescribe(t *testing.T) {
	known := false
	c := New(Config{Namer: func(i Info) (Names, bool) {
		if !known || i.FullID != id64 {
			return Names{}, false
		}
		return Names{Container: "web", Pod: "web-0", PodNamespace: "shop"}, true
	}})
	path := "/system.slice/docker-" + id64 + ".scope"
	o := record.Owner{PID: 7, ContainerName: "old"}
	if c.Describe(path, &o) {
		t.Error("final, though the namer knew nothing")
	}
	if diff := cmp.Diff(record.Owner{PID: 7, Cgroup: path, Container: id12}, o); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	known = true
	if !c.Describe(path, &o) {
		t.Error("not final, though the namer knew")
	}
	want := record.Owner{PID: 7, Cgroup: path, Container: id12, ContainerName: "web", Pod: "web-0", PodNamespace: "shop"}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !c.Describe("/system.slice/ssh.service", &o) || o.Container != "" || o.Pod != "" {
		t.Errorf("a service kept a container's fields: %+v", o)
	}
}

func TestFindHierarchies(t *testing.T) {
	tests := []struct {
		name, text string
		want       Hierarchies
	}{
		{"unified", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", Hierarchies{Unified: "/sys/fs/cgroup"}},
		{"hybrid", "33 32 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n34 32 0:29 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n", Hierarchies{Unified: "/sys/fs/cgroup/unified", Legacy: true}},
		{"legacy", "34 32 0:29 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n", Hierarchies{Legacy: true}},
		{"space in the path", "30 23 0:26 / /mnt/my\\040group rw - cgroup2 none rw\n", Hierarchies{Unified: "/mnt/my group"}},
		{"none", "22 1 254:1 / / rw - ext4 /dev/vda1 rw\nbroken\n", Hierarchies{}},
	}
	for _, tt := range tests {
		got, err := FindHierarchies(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestBelow(t *testing.T) {
	tests := []struct {
		mount, path, want string
		ok                bool
	}{
		{"/sys/fs/cgroup", "/sys/fs/cgroup/a/b", "/a/b", true},
		{"/sys/fs/cgroup", "/sys/fs/cgroup", "/", true},
		{"/sys/fs/cgroup/", "/sys/fs/cgroup/a", "/a", true},
		{"/sys/fs/cgroup", "/sys/fs/cgroup2/a", "2/a", false},
		{"/sys/fs/cgroup", "/elsewhere", "", false},
		{"/sys/fs/cgroup", "/sys/fs/cgroup/a (deleted)", "", false},
	}
	for _, tt := range tests {
		if got, ok := below(tt.mount, tt.path); ok != tt.ok || ok && got != tt.want {
			t.Errorf("below(%q, %q): got %q, %v, want %q, %v", tt.mount, tt.path, got, ok, tt.want, tt.ok)
		}
	}
}

func BenchmarkPath(b *testing.B) {
	c := New(Config{})
	c.store([]uint64{42}, map[uint64]string{42: "/system.slice/ssh.service"}, true)
	b.ReportAllocs()
	for b.Loop() {
		c.Path(42)
	}
}
