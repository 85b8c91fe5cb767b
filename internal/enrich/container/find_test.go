package container

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes directories that look like a cgroup2 hierarchy and returns their
// inode numbers.
func tree(t *testing.T, paths ...string) (mount string, ids map[string]uint64) {
	t.Helper()
	mount, ids = t.TempDir(), map[string]uint64{}
	for _, path := range paths {
		dir := filepath.Join(mount, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		ids[path] = st.Ino
	}
	return mount, ids
}

func TestFind(t *testing.T) {
	web, db := "/system.slice/docker-"+id64+".scope", "/system.slice/docker-3f0c"+strings.Repeat("a", 60)+".scope"
	mount, ids := tree(t, web, web+"/init.scope", db, "/lxc.payload.box", "/system.slice/ssh.service")
	c := New(Config{Mount: mount, Namer: func(i Info) (Names, bool) {
		return Names{Container: map[string]string{id64: "web"}[i.FullID]}, true
	}})
	whole := []uint64{ids[web], ids[web+"/init.scope"]}
	for spec, want := range map[string][]uint64{
		"web": whole, id12: whole, id64: whole, id12[:6]: whole, "box": {ids["/lxc.payload.box"]},
	} {
		got, err := c.Find(t.Context(), spec)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Find(%q): %v (-want +got):\n%s", spec, err, diff)
		}
	}
	for spec, want := range map[string]string{"3f0": "no container", "3f0c": "means 2 containers", "ssh": "no container", "": "no container"} {
		if got, err := c.Find(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Find(%q): got %v, %v, want an error with %q", spec, got, err, want)
		}
	}
}
