package loader

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
)

// programs are an object's programs and their sections.
type programs map[string]string

// corpus is what is in each object of testdata.
func corpus() map[string]programs {
	return map[string]programs{
		"cgroup_connect":   {"on_connect": "cgroup/connect4"},
		"cgroup_skb":       {"count_in": "cgroup_skb/ingress", "count_out": "cgroup_skb/egress"},
		"cgroup_sock":      {"count": "cgroup/sock_create"},
		"fentry":           {"on_readlink": "fentry/do_readlinkat"},
		"fexit":            {"on_read": "fexit/do_readlinkat"},
		"globals":          {"count": "tp/syscalls/sys_enter_getpid"},
		"iter_bpf_map":     {"dump_map": "iter/bpf_map"},
		"iter_map_elem":    {"dump_element": "iter/bpf_map_elem", "fill": "raw_tp/sys_enter"},
		"iter_task":        {"dump_task": "iter/task"},
		"kconfig":          {"note": "raw_tp/sys_enter"},
		"kprobe":           {"on_readlink": "kprobe/do_readlinkat"},
		"kprobe_multi":     {"count": "kprobe.multi/tcp_v4_syn_*"},
		"kretprobe":        {"on_read": "kretprobe/do_readlinkat"},
		"ksyscall":         {"count": "ksyscall/getpid"},
		"legacy_maps":      {"count": "raw_tp/sys_enter"},
		"lsm":              {"on_open": "lsm/file_open"},
		"netfilter":        {"count": "netfilter"},
		"no_license":       {"traced": "raw_tp/sys_enter"},
		"odd_sizes":        {"count": "tp/syscalls/sys_enter_getpid"},
		"one_refused":      {"bad": "raw_tp/sys_exit", "good": "raw_tp/sys_enter"},
		"optional":         {"count": "raw_tp/sys_enter", "nowhere": "?tp/netfate/no_such_tracepoint"},
		"perf_event":       {"count": "perf_event"},
		"perf_events":      {"on_getpid": "tp/syscalls/sys_enter_getpid"},
		"pinned":           {"count": "tp/syscalls/sys_enter_getpid"},
		"pinned_otherwise": {"count": "tp/syscalls/sys_enter_getpid"},
		"raw_tp":           {"count": "raw_tp/sys_enter"},
		"ring_fixed":       {"on_getpid": "tp/syscalls/sys_enter_getpid"},
		"ring_typed":       {"on_getpid": "tp/syscalls/sys_enter_getpid"},
		"ring_variable":    {"on_chdir": "tp/syscalls/sys_enter_chdir"},
		"sk_lookup":        {"count": "sk_lookup"},
		"socket":           {"count": "socket"},
		"sockops":          {"on_event": "sockops"},
		"struct_ops":       {"cong_avoid": "struct_ops/cong_avoid", "ssthresh": "struct_ops/ssthresh", "undo_cwnd": "struct_ops/undo_cwnd"},
		"tail_calls":       {"entry": "raw_tp/sys_enter", "target": "raw_tp"},
		"tc":               {"count_in": "tc/ingress", "count_other": "?tc", "count_out": "tc/egress"},
		"tc_dialects": {
			"plain": "classifier", "slash_in": "classifier/ingress", "slash_out": "classifier/egress", "short_in": "tc_in",
			"long_out": "tc_egress", "bare_in": "ingress", "bare_out": "egress", "undecided": "cls_main",
		},
		"tp_btf":          {"on_exit": "tp_btf/sched_process_exit"},
		"tracepoint":      {"count": "tracepoint/syscalls/sys_enter_getpid"},
		"unknown_section": {"count": "raw_tp/sys_enter", "misspelt": "tracepiont/syscalls/sys_enter_write"},
		"uprobe":          {"count": "uprobe/libc.so.6:getpid"},
		"uretprobe":       {"returned": "uretprobe/libc.so.6:getpid"},
		"usdt_bare":       {"count": "usdt/libc.so.6:libc:setjmp"},
		"xdp":             {"count": "xdp"},
		"xdp_dialects":    {"on_eth0": "xdp/eth0", "passes": "?xdp_pass"},
		"xdp_drop":        {"drop_arp": "xdp"},
	}
}

// refused is what the library does not parse by itself, and why: netfate has
// to mend it, or to say so.
func refused() map[string]string {
	return map[string]string{
		"usdt": `map "__bpf_usdt_ip_to_spec_id": unsupported binding: STB_WEAK`,
	}
}

// TestCorpus compiles every object and parses it, without the kernel.
func TestCorpus(t *testing.T) {
	want, refused := corpus(), refused()
	seen := map[string]bool{}
	for _, source := range sources(t, "testdata") {
		name := strings.TrimSuffix(filepath.Base(source), ".bpf.c")
		seen[name] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, err := ebpf.LoadCollectionSpec(compile(t, source))
			if why, ok := refused[name]; ok {
				if err == nil || !strings.Contains(err.Error(), why) {
					t.Fatalf("got error %v, want one with %q", err, why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := programs{}
			for program, p := range spec.Programs {
				got[program] = p.SectionName
			}
			if diff := cmp.Diff(want[name], got); diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
		})
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("got no object %s", name)
		}
	}
}
