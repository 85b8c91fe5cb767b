package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// onDisk is a daemon's configuration with a history below a directory, and few programs.
func onDisk(dir string) string {
	return fmt.Sprintf("interval: 500ms\nhistory: {path: %s}\nsensors: {conns: false, queries: false, requests: false, tls: false, names: false, ledger: false}\n",
		filepath.Join(dir, "history.duckdb"))
}

// TestHistoryFaults has what keeps the history fail in every way that it can, while the
// daemon counts: its process is killed, the daemon is, the disk is full, and in the long
// form read-only. What was counted is told each time.
func TestHistoryFaults(t *testing.T) {
	need.Root(t)
	need.Time(t)
	whole, dir, disk := t, t.TempDir(), t.TempDir()
	mount := func(flags uintptr) {
		if err := unix.Mount("tmpfs", disk, "tmpfs", flags, "size=32m"); err != nil {
			t.Fatal(err)
		}
	}
	mount(0)
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })

	d := start(t, dir, onDisk(disk), nil)
	need.Built(t, strings.HasPrefix(d.status().Store.Engine, "duckdb"), "a history on disk")
	client, server := pair(netlab.New(t))
	counts := ofFlood(client, server)
	lose := func(t *testing.T, d *daemon) {
		t.Helper()
		d.agree(t, func(*testing.T, *daemon) []string {
			flood(client, server, 2000, 200)
			return d.differ(counts...)
		})
	}
	t.Run("its process is killed", func(t *testing.T) {
		before := netlab.Children(d.pid())
		if len(before) != 1 {
			t.Fatalf("got processes %v of the daemon, want that of the history", before)
		}
		if err := unix.Kill(before[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		netlab.WaitFor(t, "another process for the history", func() bool { now := netlab.Children(d.pid()); return len(now) == 1 && now[0] != before[0] })
		lose(t, d)
	})
	t.Run("the daemon is killed", func(t *testing.T) {
		had, beside := held(t, d.pid()), netlab.Children(d.pid())
		d.kill()
		had.gone(t)
		for _, pid := range beside {
			if !netlab.Poll(time.Minute, func() bool { return netlab.StatusOf(pid, "Pid: %d") == 0 }) {
				t.Errorf("process %d of the daemon goes on", pid)
			}
		}
		d = start(whole, dir, onDisk(disk), nil)
		lose(t, d) // what it had told is there still
	})
	t.Run("the disk is full", func(t *testing.T) {
		ballast := filepath.Join(disk, "ballast")
		d.t = t
		fill(t, ballast)
		told := func(degraded bool) bool { return (d.status().Store.Degraded != "") == degraded }
		flood(client, server, 60_000, 30_000)
		netlab.WaitFor(t, "the daemon to tell that the disk is full", func() bool { flood(client, server, 30_000, 30_000); return told(true) })
		if text := d.said.String(); !strings.Contains(text, "cannot be written") {
			t.Errorf("it says %q, want it to say that nothing can be written", text)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if !*long {
			return // it tries again after a minute
		}
		if !netlab.Poll(3*time.Minute, func() bool { return told(false) }) {
			t.Fatalf("it does not write again: %+v; netfate says:\n%s", d.status(), d.said)
		}
		lose(t, d)
	})
	if aside, _ := filepath.Glob(filepath.Join(disk, "*.aside-*")); len(aside) > 0 {
		t.Errorf("files were set aside: %v", aside)
	}
	d.signal(syscall.SIGTERM)
	if !netlab.Poll(time.Minute, d.over) {
		t.Fatalf("it goes on after SIGTERM; netfate says:\n%s", d.said)
	}
	if !*long {
		return
	}
	t.Run("the disk is read-only", func(t *testing.T) {
		mount(unix.MS_REMOUNT | unix.MS_RDONLY)
		d = start(whole, dir, onDisk(disk), nil)
		counts = ofFlood(client, server)
		lose(t, d)
		if why := d.status().Store.Degraded; !strings.Contains(why, "read-only") {
			t.Errorf("got %q of the store, want it to say that the disk is read-only", why)
		}
	})
}

// fill makes a file that leaves no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := slices.Repeat([]byte{1}, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !strings.Contains(err.Error(), "no space") {
		t.Fatal(err)
	}
}
