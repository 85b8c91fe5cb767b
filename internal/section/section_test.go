package section

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const none = ebpf.AttachNone
	for _, want := range []Section{
		{Name: "tp/syscalls/sys_enter_write", Kind: Tracepoint, Target: "syscalls/sys_enter_write", Program: ebpf.TracePoint},
		{Name: "?kprobe/tcp_v4_rcv", Kind: Kprobe, Target: "tcp_v4_rcv", Program: ebpf.Kprobe, Optional: true},
		{Name: "kprobe.multi/tcp_*", Kind: KprobeMulti, Target: "tcp_*", Program: ebpf.Kprobe, Attach: ebpf.AttachTraceKprobeMulti},
		{Name: "uprobe//usr/bin/bash:readline", Kind: Uprobe, Target: "/usr/bin/bash:readline", Program: ebpf.Kprobe},
		{Name: "uprobe", Kind: Uprobe, Program: ebpf.Kprobe},
		{Name: "fentry.s/f", Kind: Fentry, Target: "f", Program: ebpf.Tracing, Attach: ebpf.AttachTraceFEntry, Sleepable: true},
		{Name: "lsm/file_open", Kind: LSM, Target: "file_open", Program: ebpf.LSM, Attach: ebpf.AttachLSMMac, Active: true},
		{Name: "xdp", Kind: XDP, Program: ebpf.XDP, Attach: ebpf.AttachXDP, Active: true},
		{Name: "xdp/eth0", Kind: XDP, Target: "eth0", Program: ebpf.XDP, Attach: ebpf.AttachXDP, Active: true, Dialect: true},
		{Name: "xdp_foo", Kind: XDP, Program: ebpf.XDP, Attach: ebpf.AttachXDP, Active: true, Dialect: true},
		{Name: "xdp/devmap", Kind: XDPDevmap, Program: ebpf.XDP, Attach: ebpf.AttachXDPDevMap, Active: true},
		{Name: "tc", Kind: TC, Program: ebpf.SchedCLS, Attach: none, Active: true},
		{Name: "tc/egress", Kind: TC, Program: ebpf.SchedCLS, Attach: ebpf.AttachTCXEgress, Direction: "egress", Active: true},
		{Name: "tc_in_count", Kind: TC, Program: ebpf.SchedCLS, Direction: "ingress", Active: true, Dialect: true},
		{Name: "tc_eg", Kind: TC, Program: ebpf.SchedCLS, Direction: "egress", Active: true, Dialect: true},
		{Name: "classifier/x", Kind: TC, Program: ebpf.SchedCLS, Active: true, Dialect: true},
		{Name: "classifier/egress", Kind: TC, Program: ebpf.SchedCLS, Direction: "egress", Active: true, Dialect: true},
		{Name: "cls_main", Kind: TC, Program: ebpf.SchedCLS, Active: true, Dialect: true},
		{Name: "ingress", Kind: TC, Program: ebpf.SchedCLS, Direction: "ingress", Active: true, Dialect: true},
		{Name: "socket1", Kind: SocketFilter, Program: ebpf.SocketFilter, Dialect: true},
		{Name: "tp_btf.s/sys_enter", Kind: TracingRawTracepoint, Target: "sys_enter", Program: ebpf.Tracing, Attach: ebpf.AttachTraceRawTp, Sleepable: true, Dialect: true},
		{Name: "cgroup/connect4", Kind: Cgroup, Program: ebpf.CGroupSockAddr, Attach: ebpf.AttachCGroupInet4Connect, Active: true},
		{Name: "netfilter/ip/forward", Kind: Netfilter, Target: "ip/forward", Program: ebpf.Netfilter, Attach: ebpf.AttachNetfilter, Active: true},
	} {
		got, err := Parse(want.Name)
		if err != nil {
			t.Errorf("%s: %v", want.Name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Name, diff)
		}
	}
}

func TestUnknown(t *testing.T) {
	for name, nearest := range map[string]string{
		"tracepiont/a/b": "tracepoint", "kprob/f": "kprobe", "fentri/f": "fentry", "license": "", "zzz": "", "": "",
		strings.Repeat("x", 1000): "xdp",
	} {
		_, err := Parse(name)
		var unknown *UnknownError
		if strings.HasPrefix(name, "xxx") {
			if !errors.As(err, &unknown) {
				t.Errorf("%.10q…: got %v, want that it is unknown", name, err)
			}
			continue
		}
		if !errors.As(err, &unknown) || unknown.Nearest != nearest {
			t.Errorf("%q: got %v, want unknown, nearest %q", name, err, nearest)
		}
	}
}

func TestParseUprobe(t *testing.T) {
	for _, c := range []struct {
		text, path, symbol string
		offset             uint64
	}{
		{"/usr/bin/bash:readline", "/usr/bin/bash", "readline", 0},
		{"libc.so.6:malloc+0x10", "libc.so.6", "malloc", 16},
		{"//opt/x:main.(*T).F", "/opt/x", "main.(*T).F", 0},
		{"/a:b:f", "/a:b", "f", 0},
	} {
		path, symbol, offset, err := ParseUprobe(c.text)
		if err != nil || path != c.path || symbol != c.symbol || offset != c.offset {
			t.Errorf("%s: got %s, %s, %d, %v", c.text, path, symbol, offset, err)
		}
	}
	for _, bad := range []string{"", "f", ":f", "/a:", "/a:f+x"} {
		if _, _, _, err := ParseUprobe(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
	path, provider, name, err := ParseUSDT("/lib/x.so:prov:probe")
	if err != nil || path != "/lib/x.so" || provider != "prov" || name != "probe" {
		t.Errorf("got %s, %s, %s, %v", path, provider, name, err)
	}
	for _, bad := range []string{"", "a:b", ":b:c", "a::c", "a:b:"} {
		if _, _, _, err := ParseUSDT(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

// TestAsTheLibraryKnows compares every row that is no dialect with what
// cilium/ebpf makes of a section of that name.
func TestAsTheLibraryKnows(t *testing.T) {
	var source strings.Builder
	source.WriteString("#define SEC(name) __attribute__((section(name), used))\n")
	rows := map[string]string{}
	for i, r := range table() {
		if r.dialect || r.kind == Fsession {
			continue
		}
		name := r.name
		if r.match == target && r.kind != PerfEvent && r.kind != TCAction && r.kind != SkLookup && r.kind != Netfilter {
			name += "/x"
		}
		rows[name] = fmt.Sprintf("p%d", i)
		fmt.Fprintf(&source, "SEC(%q) int p%d(void *ctx) { return 0; }\n", name, i)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "all.c")
	if err := os.WriteFile(path, []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	object := filepath.Join(dir, "all.o")
	if out, err := exec.Command("clang-19", "-O2", "-target", "bpf", "-c", path, "-o", object).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range rows {
		s, err := Parse(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p := spec.Programs[program]
		if p == nil {
			t.Errorf("%s: the library has no program for it", name)
			continue
		}
		if s.Program != p.Type || s.Attach != p.AttachType {
			t.Errorf("%s: got %v and %v, the library says %v and %v", name, s.Program, s.Attach, p.Type, p.AttachType)
		}
	}
}
