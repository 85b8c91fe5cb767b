package usdt

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/need"
)

// TestLive attaches to the probes of a program that runs, whose arguments are in registers where it was optimised and in
// memory where it was not, and compares what a BPF program reads with what the C gives.
func TestLive(t *testing.T) {
	need.Root(t)
	for _, test := range []struct {
		name   string
		flags  []string
		cookie bool
	}{
		{"registers", []string{"-O2"}, true},
		{"memory", []string{"-O0"}, true},
		{"without cookies", []string{"-O2", "-no-pie"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := compileTarget(t, test.flags...)
			spec := patched(t, configured)
			if err := Fit(spec, test.cookie); err != nil {
				t.Fatal(err)
			}
			delete(spec.Programs, "on_enter") // its turn is in TestLiveExterns
			objects, err := ebpf.NewCollection(spec)
			if unknown := features.HaveProgramHelper(ebpf.Kprobe, asm.FnGetAttachCookie); test.cookie && unknown != nil {
				need.Feature{What: "cookies of attachments", Since: "5.15"}.Skip(t, unknown)
			}
			if err != nil {
				t.Fatalf("load: %+v", err)
			}
			defer objects.Close()
			attachTo(t, objects, path, "on_hit", "hit", 3, test.cookie)
			attachTo(t, objects, path, "on_counted", "counted", 7, test.cookie)

			if got := runTarget(t, path); got != "1" {
				t.Errorf("the program says its counter is %s, want 1", got)
			}
			got := make([]int64, 8)
			for i := range got {
				if err := objects.Maps["out"].Lookup(uint32(i), &got[i]); err != nil {
					t.Fatal(err)
				}
			}
			const noEntry = -2
			if diff := cmp.Diff([]int64{-42, 7000000000, -3, 77, 4, noEntry, 200, 4000000000}, got); diff != "" {
				t.Errorf("what the programs read: got (+), want (-):\n%s", diff)
			}
		})
	}
}

// attachTo attaches the program to the probe, which there is once, with the entry of the specs map that it fills.
func attachTo(t *testing.T, objects *ebpf.Collection, path, program, name string, entry uint32, cookie bool) {
	t.Helper()
	probes, err := Find(path, "netfate", name)
	if err != nil {
		t.Fatal(err)
	}
	if len(probes) != 1 {
		t.Fatalf("got %d places of %s, want 1", len(probes), name)
	}
	t.Logf("%s: %s", name, probes[0].Arguments)
	if err := objects.Maps[SpecsMap].Put(entry, probes[0].Spec); err != nil {
		t.Fatalf("put spec: %v", err)
	}
	options := link.UprobeOptions{Address: probes[0].Address, RefCtrOffset: probes[0].Semaphore}
	if cookie {
		options.Cookie = uint64(entry)
	} else if err := objects.Maps[IPMap].Put(probes[0].IP, entry); err != nil {
		t.Fatalf("put address: %v", err)
	}
	executable, err := link.OpenExecutable(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := executable.Uprobe("", objects.Programs[program], &options)
	if err != nil {
		t.Fatalf("attach %s: %v", program, err)
	}
	t.Cleanup(func() { l.Close() })
}

// runTarget runs the program to its end and returns what it prints of its counter.
func runTarget(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("got %q and error %v, want ready", line, err)
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	counter, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(counter)
}

// TestLiveExterns loads a program that uses other externs than usdt.bpf.h's, which the library fills.
func TestLiveExterns(t *testing.T) {
	need.Root(t)
	spec := patched(t, configured)
	if err := Fit(spec, false); err != nil { // what every kernel loads
		t.Fatal(err)
	}
	objects, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	objects.Close()
}
