package faults

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestOverload floods with and without a daemon, in turns: its counts have to be exact. What
// rate the flood keeps, and what share of all CPUs the daemon takes, is told.
func TestOverload(t *testing.T) {
	need.Root(t)
	need.Asked(t, *long, "-long")
	told := &table{head: []string{"Packets of a round, all dropped, one sender", "Without, 1,000 a second", "With", "Kept", "The daemon's share of all CPUs", "Counts"}}
	for _, flows := range []int{1, 10_000, 500_000} {
		const packets, rounds = 500_000, 3
		var off, on, share []float64
		passed := true
		for range rounds {
			passed = t.Run(fmt.Sprintf("%d flows", flows), func(t *testing.T) {
				dir := t.TempDir()
				client, server := pair(netlab.New(t))
				began := time.Now()
				flood(client, server, packets, flows)
				alone := packets / time.Since(began).Seconds()
				d := start(t, dir, "history: {path: none, memory_rows: 1000000}\nsensors: {conns: false, queries: false, requests: false, tls: false, names: false, ledger: false}\n", nil)
				var spent, took time.Duration
				d.agree(t, func(t *testing.T, d *daemon) []string {
					client, server := pair(d.lab())
					counts := ofFlood(client, server)
					before, began := cpuTime(t, d.pid()), time.Now()
					flood(client, server, packets, flows)
					took = time.Since(began)
					wrong := d.differ(counts...)
					spent = cpuTime(t, d.pid()) - before
					return wrong
				})
				d.kill()
				off, on = append(off, alone), append(on, packets/took.Seconds())
				share = append(share, spent.Seconds()/took.Seconds()/float64(runtime.NumCPU()))
			}) && passed
		}
		if len(on) == 0 {
			continue
		}
		told.add(fmt.Sprintf("%d of %d flows", packets, flows), fmt.Sprintf("%.0f", middle(off)/1000), fmt.Sprintf("%.0f", middle(on)/1000),
			fmt.Sprintf("%.0f %%", 100*middle(on)/middle(off)), fmt.Sprintf("%.1f %%", 100*middle(share)), verdict(passed))
	}
	publish(t, "overload", told)
}

// cpuTime is what a process has taken so far (proc_pid_stat(5), fields 14 and 15).
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var user, system int64
	if _, err := fmt.Sscan(strings.Join(strings.Fields(rest)[11:13], " "), &user, &system); err != nil {
		t.Fatal(err)
	}
	const ticks = 100 // a second: USER_HZ
	return time.Duration(user+system) * time.Second / ticks
}

// middle is the median.
func middle(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
