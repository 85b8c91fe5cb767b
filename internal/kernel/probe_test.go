package kernel

import (
	"context"
	"os"
	"sort"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// openFDs lists what the process's descriptors refer to. The poller's own are
// left out: the runtime makes them when it wants.
func openFDs(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var fds []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.Contains(to, "eventpoll") || strings.Contains(to, "eventfd") {
			continue
		}
		fds = append(fds, to)
	}
	sort.Strings(fds)
	return fds
}

func TestProbe(t *testing.T) {
	root(t)
	before := openFDs(t)
	netns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		t.Fatal(err)
	}

	start := time.Now()
	caps := Probe(t.Context())
	t.Logf("%d capabilities in %v", len(caps), time.Since(start).Round(time.Millisecond))

	// With no descriptor left there is no map, program or link left: they are
	// pinned nowhere.
	if diff := cmp.Diff(before, openFDs(t)); diff != "" {
		t.Errorf("descriptors: got + want -\n%s", diff)
	}
	if after, err := os.Readlink("/proc/self/ns/net"); err != nil || after != netns {
		t.Errorf("network namespace: got %s, %v; want %s", after, err, netns)
	}
	var limitAfter unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limitAfter); err != nil || limitAfter != limit {
		t.Errorf("RLIMIT_MEMLOCK: got %v, %v; want %v", limitAfter, err, limit)
	}

	works := make(map[string]bool)
	for _, c := range caps {
		works[c.Name] = c.OK
		t.Logf("%-14s %-5v %s | %s", c.Name, c.OK, c.Why, c.Remedy)
		if c.Title == "" || c.Costs == "" {
			t.Errorf("%s: lacks title or costs", c.Name)
		}
		if !c.OK && c.Why == "" {
			t.Errorf("%s: does not say why", c.Name)
		}
		if strings.Contains(strings.ToLower(c.Why), "memlock may be too low") {
			t.Errorf("%s: %q blames memlock", c.Name, c.Why)
		}
	}
	// What every kernel of the matrix has: a probe that says otherwise is broken.
	for _, name := range []string{"bpf", "btf", "tp_btf", "raw_tp", "ringbuf", "map_batch", "kallsyms", "iter_task_file", "iter_tcp", "iter_udp",
		"clsact", "xdp", "cgroup_sock"} {
		if !works[name] {
			t.Errorf("%s: got refused, want it to work on 5.10 and later", name)
		}
	}
	// What comes together.
	for _, pair := range [][2]string{{"rx_sk", "drop_reasons"}, {"kprobe_multi", "kprobe"}, {"uprobe_multi", "uprobe"}, {"uprobe_multi", "tcx"}} {
		if works[pair[0]] && !works[pair[1]] {
			t.Errorf("got %s without %s", pair[0], pair[1])
		}
	}
}

func TestOnOwnThread(t *testing.T) {
	for range 100 {
		OnOwnThread(func() {
			if unix.Gettid() == unix.Getpid() {
				t.Error("got the process's first thread")
			}
		})
	}
}

func TestProbeAgain(t *testing.T) {
	root(t)
	first := Probe(t.Context())
	if diff := cmp.Diff(first, Probe(t.Context())); diff != "" {
		t.Errorf("second probe differs: got + want -\n%s", diff)
	}
}

func TestProbeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	caps := Probe(ctx)
	if len(caps) != len(probes()) {
		t.Fatalf("got %d capabilities, want all %d", len(caps), len(probes()))
	}
	for _, c := range caps {
		if c.OK || !strings.HasPrefix(c.Why, "not tried") {
			t.Errorf("%s: got %v %q, want it not tried", c.Name, c.OK, c.Why)
		}
	}
}

func TestProbeNames(t *testing.T) {
	if got := len(Capabilities()); got != len(probes()) {
		t.Errorf("got %d capabilities, want %d", got, len(probes()))
	}
	seen := make(map[string]bool)
	for _, p := range probes() {
		if seen[p.name] || strings.ToLower(p.name) != p.name {
			t.Errorf("%s: got twice or not in lower case", p.name)
		}
		seen[p.name] = true
		for _, r := range p.title + p.costs + p.remedy {
			if r > unicode.MaxASCII {
				t.Errorf("%s: got %q, want ASCII for plain terminals", p.name, r)
			}
		}
	}
}

func BenchmarkProbe(b *testing.B) {
	root(b)
	for b.Loop() {
		Probe(b.Context())
	}
}
