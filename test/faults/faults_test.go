package faults

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/witness"
)

var long = flag.Bool("long", false, "run the long form, which make prove does: more of everything, for minutes")

var page = flag.String("page", "", "the page that what was measured is written into")

// size chooses between the long form, the short one, and that of slow guests.
func size[N any](whole, short, slow N) N {
	switch {
	case *long:
		return whole
	case testing.Short():
		return slow
	}
	return short
}

// watched is what the daemon watches: in an emulated guest loading all of it takes minutes.
func watched() string {
	if testing.Short() {
		return "sensors: {conns: false, queries: false, requests: false, tls: false, names: false, ledger: false}\n"
	}
	return "sensors: {tls: false}\n"
}

// inMemory is a daemon's configuration whose answers have each interval as it ends.
const inMemory = "interval: 500ms\nhistory: {path: none, memory_rows: 1000000}\n"

// TestFaults has one daemon go through everything that it has to outlive, one after the
// other, so that what one fault has spoiled the next one shows.
func TestFaults(t *testing.T) {
	need.Root(t)
	dir, pinned := t.TempDir(), pins(t)
	attr, kill, how := bounded(t)
	d := start(t, dir, inMemory+watched(), attr)
	told := &table{head: []string{"What befell it", "What was held against the kernel's and the sender's own counts", "Result", "Took"}}
	for _, fault := range []struct {
		name, what, against string
		play                func(*testing.T, *daemon) []string
	}{
		{"stopped", fmt.Sprintf("SIGSTOP for %v, in a flood of %d packets of %d flows", pause(), floodPackets(), floodFlows()), "packets dropped, packets received", stopped},
		{"clock", "clock stepped by an hour, on and back", "packets dropped, packets received", stepped},
		{"CPU", "a CPU offline and online again", "packets dropped, packets received", offline},
		{"pids", fmt.Sprintf("%d numbers of processes given again to another name", processes*rounds), "packets by name of the process", reused},
		{"sockets", fmt.Sprintf("%d sockets open at once", openSockets()), "packets dropped, received, and by process", manySockets},
		{"hostile", fmt.Sprintf("%d frames that are mutated, cut, nested, fragments", hostileFrames()), "frames received", hostile},
		// At last: numbers of namespaces that are gone are given again.
		{"churn", fmt.Sprintf("%d namespaces, %d interfaces, %d cgroups made and removed", comings(), comings(), cgroupComings()), "packets dropped in each; open files and goroutines as before", churn},
	} {
		began := time.Now()
		ran := false
		passed := t.Run(fault.name, func(t *testing.T) {
			defer func() { ran = !t.Skipped() }()
			d.agree(t, fault.play)
		})
		if ran {
			told.add(fault.what, fault.against, verdict(passed), time.Since(began))
		}
	}
	began, ran := time.Now(), false
	passed := t.Run("killed", func(t *testing.T) { ran = true; killed(t, d, pinned, kill) })
	if ran {
		told.add("killed ("+how+"), and elsewhere than in slow guests started again",
			"programs, links, maps, pins and processes that stay: none; packets dropped and received from then on", verdict(passed), time.Since(began))
	}
	publish(t, "faults", told)
}

// How much of each there is.
func floodPackets() int    { return size(1_000_000, 60_000, 6_000) }
func floodFlows() int      { return size(100_000, 30_000, 3_000) }
func pause() time.Duration { return size(time.Minute, 2*time.Second, time.Second) }
func openSockets() int     { return size(65_536, 8_000, 1_000) }
func hostileFrames() int   { return size(300_000, 20_000, 2_000) }
func comings() int         { return size(1000, 100, 10) }
func cgroupComings() int   { return size(1000, 30, 3) }

// agree plays until the kernel was looking all the time.
func (d *daemon) agree(t *testing.T, play func(*testing.T, *daemon) []string) {
	t.Helper()
	d.t = t
	witness.Agree(t, func() ([]string, bool) {
		before := d.skipped()
		wrong := play(t, d)
		return wrong, d.skipped() > before
	})
}

// stopped has a flood come while the daemon is stopped, as a debugger or a host that is
// suspended stops it: more flows than its tables have room for.
func stopped(t *testing.T, d *daemon) []string {
	client, server := pair(d.lab())
	counts := ofFlood(client, server)
	d.signal(syscall.SIGSTOP)
	flood(client, server, floodPackets(), floodFlows())
	time.Sleep(pause()) // it is the fault
	d.signal(syscall.SIGCONT)
	return d.differ(counts...)
}

// killed has the kernel kill the daemon: nothing of it stays, and another one goes on
// in its place.
func killed(t *testing.T, d *daemon, pinned []string, kill func(*testing.T, *daemon)) {
	had, beside := held(t, d.pid()), netlab.Children(d.pid())
	kill(t, d)
	had.gone(t)
	for _, pid := range beside {
		if !netlab.Poll(time.Minute, func() bool { return netlab.StatusOf(pid, "Pid: %d") == 0 }) {
			t.Errorf("process %d of the daemon goes on", pid)
		}
	}
	if got := pins(t); !slices.Equal(got, pinned) {
		t.Errorf("got pins %q, want %q as before", got, pinned)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "netfate.sock")); err != nil {
		t.Errorf("the socket of one that was killed: %v; nothing tries that the next one takes it over", err)
	}
	if testing.Short() {
		return // starting takes half a minute there
	}
	next := start(t, d.dir, inMemory+"sensors: {conns: false, queries: false, requests: false, tls: false, names: false, ledger: false}\n", nil)
	next.agree(t, func(t *testing.T, d *daemon) []string {
		client, server := pair(d.lab())
		counts := ofFlood(client, server)
		flood(client, server, 1000, 100)
		return d.differ(counts...)
	})
	had = held(t, next.pid())
	next.signal(syscall.SIGTERM)
	if !netlab.Poll(time.Minute, next.over) || !next.cmd.ProcessState.Success() {
		t.Errorf("SIGTERM: over %v, %v; netfate says:\n%s", next.over(), next.cmd.ProcessState, next.said)
	}
	had.gone(t)
}
