package loader

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// lookup reads the variable at an offset of a section of data.
func lookup(t *testing.T, r *Running, section string, at int) uint32 {
	t.Helper()
	data, err := r.Maps()[section].LookupBytes(uint32(0))
	if err != nil || len(data) < at+4 {
		t.Fatalf("read %s: %d bytes, %v", section, len(data), err)
	}
	return binary.NativeEndian.Uint32(data[at:])
}

// TestUSDT attaches to a probe of a program of its own and gets its arguments.
func TestUSDT(t *testing.T) {
	if err := features.HaveProgramHelper(ebpf.Kprobe, asm.FnGetAttachCookie); err != nil {
		need.Feature{What: "cookies of attachments", Since: "5.15"}.Skip(t, err)
	}
	p := newPlace(t)
	dir := t.TempDir()
	source, program := filepath.Join(dir, "probed.c"), filepath.Join(dir, "probed")
	if err := os.WriteFile(source, []byte(`
#include <sys/sdt.h>
#include <stdlib.h>
__attribute__((noipa)) void hit(int a, short b) { STAP_PROBE2(netfate, hit, a, b); }
int main(int argc, char **argv) { hit(atoi(argv[1]), atoi(argv[2])); return 0; }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-O2", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	r := start(t, p.config(Config{
		Targets: map[string]string{"probe": program + ":netfate:hit"},
		Object: compileWith(t, `
#include <stdbool.h>
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>
int first, second;
SEC("usdt") int BPF_USDT(probe, int a, short b) { first = a; second = b; return 0; }
`, "-D__TARGET_ARCH_"+map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH])}))
	defer closeRun(t, r)
	if out, err := exec.Command(program, "41", "-7").CombinedOutput(); err != nil {
		t.Fatalf("run: %v\n%s", err, out)
	}
	got := []int32{int32(lookup(t, r, ".bss", 0)), int32(lookup(t, r, ".bss", 4))}
	if diff := cmp.Diff([]int32{41, -7}, got); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

// TestStructOps registers a congestion control whose functions are loaded
// together, and takes it off.
func TestStructOps(t *testing.T) {
	if version, err := features.LinuxVersionCode(); err != nil || version < 6<<16|4<<8 {
		need.Feature{What: "links of struct_ops", Since: "6.4"}.Skip(t, errors.Join(err, errors.New("it is older")))
	}
	p := newPlace(t)
	const source = `
#include <bpf/bpf_tracing.h>
struct sock { int any; };
struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
};
SEC("struct_ops/ssthresh") __u32 BPF_PROG(ssthresh, struct sock *sk) { return 2; }
SEC("struct_ops/cong_avoid") void BPF_PROG(cong_avoid, struct sock *sk, __u32 ack, __u32 acked) {}
SEC("struct_ops/undo_cwnd") __u32 BPF_PROG(undo_cwnd, struct sock *sk) { return 2; }
SEC(".struct_ops.link") struct tcp_congestion_ops nf_test = {
	.ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .undo_cwnd = (void *)undo_cwnd, .name = "nf_test",
};
`
	cfg := p.config(Config{Object: compile(t, source)})
	if _, err := try(t, cfg); err == nil {
		t.Error("it replaces a part of the kernel without --allow-active")
	}
	cfg.AllowActive = true
	r := start(t, cfg)
	for _, s := range r.Status() {
		if s.Err != nil || !slices.Equal(s.Where, []string{"kernel operations nf_test"}) {
			t.Errorf("%s: got %v, %v", s.Name, s.Where, s.Err)
		}
	}
	if !registered(t) {
		t.Error("the congestion control is not registered")
	}
	closeRun(t, r)
	netlab.WaitFor(t, "the kernel to forget the congestion control", func() bool { return !registered(t) })
}

func registered(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(strings.Fields(string(text)), "nf_test")
}

// TestPerfEvent runs a program on every CPU's timer.
func TestPerfEvent(t *testing.T) {
	p := newPlace(t)
	r := start(t, p.config(Config{Object: compile(t, `
int ticks;
SEC("perf_event") int tick(void *ctx) { __sync_fetch_and_add(&ticks, 1); return 0; }
`)}))
	defer closeRun(t, r)
	netlab.WaitFor(t, "ticks", func() bool { return lookup(t, r, ".bss", 0) > 0 })
}

// TestUprobe attaches to a function of a library by its name.
func TestUprobe(t *testing.T) {
	p := newPlace(t)
	r := start(t, p.config(Config{Object: compile(t, `
int calls, returns;
SEC("uprobe/libc.so.6:getenv") int call(void *ctx) { __sync_fetch_and_add(&calls, 1); return 0; }
SEC("uretprobe/libc.so.6:getenv") int back(void *ctx) { __sync_fetch_and_add(&returns, 1); return 0; }
`)}))
	defer closeRun(t, r)
	if err := exec.Command("env").Run(); err != nil {
		t.Fatal(err)
	}
	calls, returns := lookup(t, r, ".bss", 0), lookup(t, r, ".bss", 4)
	if calls == 0 || returns == 0 {
		t.Errorf("got %d calls and %d returns, want some of both", calls, returns)
	}
}
