package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/loader"
	"github.com/netfate/netfate/internal/view/programs"
)

// compileObject makes an object of C as a user would.
func compileObject(t *testing.T, source string, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prog.bpf.c")
	if err := os.WriteFile(path, []byte("#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"+source), 0o600); err != nil {
		t.Fatal(err)
	}
	triplet, err := exec.Command("gcc", "-dumpmachine").Output()
	if err != nil {
		t.Fatalf("ask gcc for the machine: %v", err)
	}
	object := strings.TrimSuffix(path, ".c") + ".o"
	args := append([]string{"-O2", "-mcpu=v3", "-target", "bpf", "-I/usr/include/" + strings.TrimSpace(string(triplet)), "-c", path, "-o", object}, more...)
	if out, err := exec.Command("clang-19", args...).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return object
}

const checkedTracer = `
char LICENSE[] SEC("license") = "GPL";
const volatile unsigned long long min_duration_ns = 5000;
int my_pid;
static volatile int level = -3;
char name[8] = "here";
struct event { __u64 at; int pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 5000000); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(pinning, LIBBPF_PIN_BY_NAME); __type(key, __u32); __type(value, struct event); } seen SEC(".maps");
SEC("raw_tp/sys_enter") int enter(void *ctx)
{
	struct event e = { .at = min_duration_ns, .pid = my_pid + level + name[0] };

	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	bpf_map_update_elem(&seen, &e.pid, &e, 0);
	return 0;
}
SEC("?kprobe/tcp_v4_rcv") int receive(void *ctx) { bpf_printk("x"); return 0; }
`

const checkedTracerSays = `PROGRAM  SECTION             KIND    ATTACHES TO  DOES     INSNS  HERE
enter    raw_tp/sys_enter    raw_tp  sys_enter    watches  40     -
receive  ?kprobe/tcp_v4_rcv  kprobe  tcp_v4_rcv   watches  6      -

MAP     TYPE     KEY    VALUE         MAX      PINNED
events  RingBuf  -      -             8388608  -
seen    Hash     __u32  struct event  1        by name

GLOBAL           TYPE                DEFAULT  SECTION  SET WITH
level            int                 -3       .data    --set level=VALUE
min_duration_ns  unsigned long long  5000     .rodata  --set min_duration_ns=VALUE
my_pid           int                 0        .bss     --set my_pid=VALUE
name             char[8]             "here"   .data    --set name=VALUE

EVENTS OF  TYPE          BYTES  KNOWN BY
events     struct event  32     DWARF

note: receive: it is optional (its section begins with ?): it runs only if it is named
note: map events: a ring buffer of 5000000 bytes cannot be made, so it gets 8388608: a power of two of at least a page
note: map seen: it has room for nothing (max_entries is 0), so it gets 1 entry
note: events of events: taken for struct event, the only one of 32 bytes that the object declares; --event events=STRUCT says otherwise
`

const checkedFilter = `
SEC("xdp/eth7") int drop(struct xdp_md *ctx) { return XDP_DROP; }
SEC("tc_eg") int pass(struct __sk_buff *skb) { return 0; }
SEC("cgroup/connect4") int refuse(struct bpf_sock_addr *ctx) { return 0; }
SEC("trasepoint/a/b") int lost(void *ctx) { return 0; }
`

const checkedFilterSays = `PROGRAM  SECTION          KIND    ATTACHES TO                   DOES     INSNS  HERE
drop     xdp/eth7         xdp     interface eth7                acts     2      -
lost     trasepoint/a/b   -       -                             -        2      no
pass     tc_eg            tc      --dev IF, egress              watches  2      -
refuse   cgroup/connect4  cgroup  root cgroup, or --cgroup DIR  acts     2      -

note: drop: it can return 1, which drops or redirects packets; it runs only with --allow-active
note: lost: section "trasepoint/a/b" is none that a BPF program can be in; did you mean "tracepoint"?
note: refuse: it can return 0, which denies what a cgroup's processes do; it runs only with --allow-active
note: it has no types (BTF): values and events are shown as hex, and globals cannot be set; compile with -g
`

// inspect leaves out what the kernel says, which differs from host to host.
func inspect(t *testing.T, object string) *programs.Check {
	t.Helper()
	report, err := loader.Inspect(loader.Config{Object: object})
	if err != nil {
		t.Fatal(err)
	}
	for i := range report.Programs {
		p := &report.Programs[i]
		if p.Asked = false; p.Kind != "" {
			p.Lacks = ""
		}
	}
	for i := range report.Maps {
		report.Maps[i].Lacks = ""
	}
	if n := len(report.Notes); n > 0 && strings.Contains(report.Notes[n-1], "can be told to root only") {
		report.Notes = report.Notes[:n-1]
	}
	return checkOf(filepath.Base(object), report)
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ object, want string }{
		{compileObject(t, checkedTracer, "-g"), checkedTracerSays},
		{compileObject(t, checkedFilter), checkedFilterSays},
	} {
		var got bytes.Buffer
		if err := programs.WriteCheck(&got, inspect(t, c.object)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestCheckJSON(t *testing.T) {
	var out bytes.Buffer
	if err := programs.WriteCheckJSON(&out, inspect(t, compileObject(t, checkedFilter))); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.Bytes())
	}
	if list, ok := got["maps"].([]any); !ok || len(list) != 0 {
		t.Errorf("maps: got %v, want an empty list", got["maps"])
	}
	want := map[string]any{
		"name": "drop", "section": "xdp/eth7", "kind": "xdp", "where": "interface eth7",
		"active": "it can return 1, which drops or redirects packets", "optional": false, "sleepable": false, "dialect": true,
		"instructions": 2.0, "asked": false, "lacks": "",
	}
	if diff := cmp.Diff(want, got["programs"].([]any)[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCheckErrors has a sentence and the exit code of failure for each file that
// cannot be checked, and that of wrong usage for what cannot be meant.
func TestCheckErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	object := compileObject(t, checkedTracer, "-g")
	whole, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // of the host's architecture
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
		exit int
	}{
		{[]string{filepath.Join(dir, "none.o")}, "there is no file", exitFailed},
		{[]string{dir}, "is no regular file", exitFailed},
		{[]string{file("empty.o", nil)}, "the file is empty", exitFailed},
		{[]string{file("text.o", []byte("int main;"))}, "this is no ELF file", exitFailed},
		{[]string{file("half.o", whole[:len(whole)/2])}, "the file ends early", exitFailed},
		{[]string{file("head.o", whole[:20])}, "the file ends early", exitFailed},
		{[]string{self}, "is for another machine", exitFailed},
		{nil, "takes one object", exitUsage},
		{[]string{object, object}, "takes one object", exitUsage},
		{[]string{object, "-o", "xml"}, "table or json", exitUsage},
		{[]string{object, "--event", "events"}, "MAP=STRUCT", exitUsage},
		{[]string{object, "--event", "seen=event"}, "no ring buffer", exitUsage},
		{[]string{object, "--event", "events=nope"}, "no struct of that name", exitUsage},
	} {
		cmd := newCheck()
		cmd.SetArgs(append([]string{}, c.args...))
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.Execute()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || exitCode(err) != c.exit {
			t.Errorf("check %q: got %v (exit code %d), want %q and %d", c.args, err, exitCode(err), c.want, c.exit)
		}
	}
}
