package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// kinds is the corpus, fired.
func kinds() map[string]kind {
	all := tracingKinds()
	for _, more := range []map[string]kind{networkKinds(), iteratorKinds(), eventKinds(), habits()} {
		for name, k := range more {
			all[name] = k
		}
	}
	return all
}

// see is the usual case: variables.
func see(want map[string]any) []func(*firing) error {
	return []func(*firing) error{globals(want)}
}

func hits() []func(*firing) error { return see(map[string]any{"hits": atLeast(1)}) }

func tracingKinds() map[string]kind {
	const noKprobes = "netfate: note: .*(built without kprobes|operation not permitted|does not support)"
	const noTrampoline = "netfate: run .*: none of its programs could be loaded: .*(not permitted|does not support)"
	return map[string]kind{
		"fentry": {fire: readlink, seen: see(map[string]any{"hits": atLeast(1), "last_dfd": unix.AT_FDCWD}), needs: need.Feature{What: "fentry", Options: []string{"CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"}}, lacks: lacksFentry, says: noTrampoline},
		"fexit":  {fire: readlink, seen: see(map[string]any{"hits": atLeast(1), "last": -int(unix.ENOENT)}), needs: need.Feature{What: "fentry", Options: []string{"CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"}}, lacks: lacksFentry, says: noTrampoline},
		"kprobe": {fire: readlink, seen: see(map[string]any{"hits": atLeast(1), "last_dfd": unix.AT_FDCWD}), needs: need.Feature{What: "kprobes", Options: []string{"CONFIG_KPROBES"}}, lacks: lacksKprobe, says: noKprobes},
		"kprobe_multi": {
			fire: visit, seen: hits(), needs: need.Feature{What: "kprobe.multi", Since: "5.18", Options: []string{"CONFIG_KPROBES", "CONFIG_FPROBE"}}, lacks: lacksKprobeMulti, says: noKprobes,
			shows: []string{`count .* \d+ kernel functions like tcp_v4_syn_\*`},
		},
		"kretprobe": {fire: readlink, seen: see(map[string]any{"hits": atLeast(1), "last": -int(unix.ENOENT)}), needs: need.Feature{What: "kprobes", Options: []string{"CONFIG_KPROBES"}}, lacks: lacksKprobe, says: noKprobes},
		"ksyscall":  {fire: getpid, seen: hits(), needs: need.Feature{What: "kprobes", Options: []string{"CONFIG_KPROBES"}}, lacks: lacksKprobe, says: noKprobes},
		"lsm":       {args: []string{"--allow-active"}, fire: open, seen: hits(), needs: need.Feature{What: "programs at security hooks", Since: "5.11", Options: []string{"CONFIG_BPF_LSM"}}, lacks: lacksLSM, says: "netfate: .*(bpf is none of the active security modules|not permitted)"},
		"perf_event": {
			seen: hits(), shows: []string{`count .* timer of \d+ CPUs, 99 Hz`},
		},
		"raw_tp": {fire: getpid, seen: append(hits(), printed(`"map":".bss","key":"hits","value":[1-9]`))},
		"struct_ops": {
			args: []string{"--allow-active"}, fire: congest, shows: []string{"kernel operations netfate_reno"},
			needs: need.Feature{What: "links of struct_ops", Since: "6.4"}, lacks: lacksStructOps, says: "netfate: run struct_ops: none of its programs could be loaded",
		},
		"tp_btf":     {fire: shell, seen: see(map[string]any{"hits": atLeast(1), "last_tgid": atLeast(1)})},
		"tracepoint": {fire: getpid, seen: hits()},
		"uprobe":     {fire: shell, seen: hits()},
		"uretprobe":  {fire: shell, seen: see(map[string]any{"hits": atLeast(1), "last": atLeast(1)})},
		"usdt":       {args: []string{"--target", "jump=$PROBED:netfate:probe"}, fire: probe, seen: see(map[string]any{"hits": atLeast(1), "last": 41})},
		"usdt_bare":  {args: []string{"--target", "count=$PROBED:netfate:probe"}, fire: probe, seen: hits()},
	}
}

func networkKinds() map[string]kind {
	device, cgroup := []string{"--dev", "eth0"}, []string{"--cgroup", "$CGROUP"}
	return map[string]kind{
		"cgroup_connect": {args: cgroup, fire: connect, seen: see(map[string]any{"hits": atLeast(1), "last_ip": 10<<24 + 2})},
		"cgroup_skb":     {args: cgroup, fire: connect, seen: see(map[string]any{"in": atLeast(1), "out": atLeast(1)})},
		"cgroup_sock":    {args: cgroup, fire: connect, seen: hits()},
		"netfilter":      {fire: visit, seen: hits(), needs: need.Feature{What: "programs of netfilter", Since: "6.4", Options: []string{"CONFIG_NETFILTER_BPF_LINK"}}, lacks: lacksNetfilter, says: "netfate: run netfilter: none of its programs could be loaded"},
		"sk_lookup":      {fire: visit, seen: hits()},
		"socket":         {args: device, fire: visit, seen: see(map[string]any{"bytes": atLeast(100)})},
		"sockops":        {args: cgroup, fire: connect, seen: see(map[string]any{"established": atLeast(1)})},
		"tc": {
			args: []string{"--dev", "eth0", "count_in", "count_out", "count_other", "--target", "count_other=ingress"}, fire: visit,
			seen: see(map[string]any{"in": atLeast(1), "out": atLeast(1), "other": atLeast(1)}),
		},
		"tc_dialects": {
			args: device, fire: visit,
			shows: []string{
				"plain .* tc ingress", "slash_in .* tc ingress", "slash_out .* tc egress", "short_in .* tc ingress",
				"long_out .* tc egress", "bare_in .* tc ingress", "bare_out .* tc egress", "undecided .* tc ingress",
			},
		},
		"xdp":          {args: device, fire: visit, seen: hits(), shows: []string{"eth0 XDP native"}},
		"xdp_dialects": {fire: visit, seen: hits(), shows: []string{"eth0 XDP native", "passes is optional"}},
		"xdp_drop":     {args: []string{"--dev", "eth0", "--allow-active"}, seen: []func(*firing) error{silent}, after: talks},
	}
}

// marked is how the map of newMarked is seen in bytes.
const marked = "efbe0000"

// newMarked makes a map of a size that no other has: an iterator over maps wants
// one.
func newMarked(t *testing.T) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "marked", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 0xbeef})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
}

func iteratorKinds() map[string]kind {
	return map[string]kind{
		"iter_bpf_map": {
			seen: []func(*firing) error{printed(`"iterator":"dump_map","line":"[0-9a-f]*` + marked)},
		},
		"iter_map_elem": {
			args: []string{"dump_element", "--target", "dump_element=bpf_map_elem:numbers"}, needs: need.Feature{What: "the iterator bpf_map_elem"}, lacks: lacksIterator("bpf_map_elem"),
			says: "dump_element: .*not permitted", seen: []func(*firing) error{printed(`"iterator":"dump_element","line":"3 0"`)},
		},
		"iter_task": {seen: []func(*firing) error{
			printed(`"iterator":"dump_task","line":"PID COMM"`), printed(`"line":"$PID `),
		}},
	}
}

func eventKinds() map[string]kind {
	self := []string{"--set", "my_pid=$PID"}
	event := []func(*firing) error{printed(`"map":"events",.*"event":{"time":\d+,"pid":$PID,"number":42,"comm":".+"}`)}
	return map[string]kind{
		"perf_events": {args: self, fire: getpid, seen: event},
		"ring_fixed":  {args: self, fire: getpid, seen: event},
		"ring_typed":  {args: self, fire: getpid, seen: event},
		"ring_variable": {
			args: append(self, "--event", "events=event"), fire: chdir,
			seen: []func(*firing) error{printed(`"map":"events",.*"pid":$PID,"len":2`)},
		},
	}
}

// habits are objects that are odd in another way than by their kind.
func habits() map[string]kind {
	version, err := features.LinuxVersionCode()
	if err != nil {
		version = 0 // the case says that it is something else
	}
	return map[string]kind{
		"globals": {
			args: []string{"--set", "my_pid=$PID", "--set", "min_duration_ns=5ms", "--set", "hidden_limit=20", "--set", "numbers=[1,2,3,40]"},
			fire: getpid, seen: see(map[string]any{"seen": true, "total": atLeast(5_000_000 + 20 - 5 - 1 + 80 + 40 + 1 + 1<<40)}),
		},
		"kconfig":          {fire: getpid, seen: see(map[string]any{"version": version})},
		"legacy_maps":      {fire: getpid, seen: []func(*firing) error{row("calls", `"value":`)}},
		"no_license":       {exit: 1, says: "netfate: run no_license: .*GPL"},
		"odd_sizes":        {fire: getpid, seen: []func(*firing) error{row("none", `"key":0,"value":[1-9]`)}, shows: []string{"note: .*none", "note: .*ring"}},
		"one_refused":      {fire: getpid, seen: hits(), shows: []string{`note: bad: .*verifier rejects it`, `\*n \+= 1`}},
		"optional":         {fire: getpid, seen: hits(), shows: []string{"nowhere is optional"}},
		"pinned":           {fire: getpid, seen: []func(*firing) error{row("shared", `"key":0,"value":[1-9]`)}},
		"pinned_otherwise": {fire: getpid, seen: []func(*firing) error{row("shared", `"key":0,"value":\[[1-9]\d*,0\]`)}},
		"tail_calls": {
			fire: getpid, seen: see(map[string]any{"entered": atLeast(1), "jumped": atLeast(1), "returned": 0}),
			shows: []string{`target .* tail call jumps\[1\]`},
		},
		"unknown_section": {exit: 1, says: "netfate: program misspelt: .*tracepoint"},
	}
}

// congest makes a connection with the object's congestion control.
func congest(f *firing) {
	f.t.Helper()
	const name = "netfate_reno"
	listener := f.server.ListenTCP("0.0.0.0:0")
	defer listener.Close()
	address := strings.Replace(listener.Addr().String(), "0.0.0.0", "10.0.0.2", 1)
	address = strings.Replace(address, "[::]", "10.0.0.2", 1)
	conn, err := f.client.TryDialTCP(address, patience)
	f.check(err)
	defer conn.Close()
	raw, err := conn.SyscallConn()
	f.check(err)
	var set error
	got := ""
	f.check(raw.Control(func(fd uintptr) {
		if set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); set == nil {
			got, set = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		}
	}))
	if set != nil || strings.TrimRight(got, "\x00") != name {
		f.t.Fatalf("choose the congestion control: got %q, error %v", got, set)
	}
	data := make([]byte, 1<<18) // more than the first window
	go func() { _, _ = conn.Write(data) }()
	in, err := listener.AcceptTCP()
	f.check(err)
	defer in.Close()
	for left := len(data); left > 0; {
		n, err := in.Read(data)
		f.check(err)
		left -= n
	}
}

// ask asks the server by ARP who it is, and reports whether it says so.
func ask(f *firing) bool {
	f.t.Helper()
	client, server := f.client.MAC("eth0"), f.server.MAC("eth0")
	frame := slices.Concat(
		[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, client, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, client, []byte{10, 0, 0, 1},
		make([]byte, 6), []byte{10, 0, 0, 2})
	f.client.Neigh("eth0", "10.0.0.2", server)
	f.server.Neigh("eth0", "10.0.0.1", client)
	s := f.client.Packets("eth0", unix.ETH_P_ARP)
	defer s.Close()
	s.Send(frame)
	visit(f) // its answers come behind that to the frame
	_, _, err := unix.Recvfrom(s.FD, make([]byte, 2*len(frame)), unix.MSG_DONTWAIT)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		f.t.Fatal(err)
	}
	return err == nil
}

func silent(f *firing) error {
	f.t.Helper()
	if ask(f) {
		return errors.New("the server answers ARP, want that dropped")
	}
	return nil
}

func talks(f *firing) error {
	f.t.Helper()
	if !netlab.Poll(patience, func() bool { return ask(f) }) {
		return errors.New("the server answers no ARP")
	}
	return nil
}

// attaches loads a program that does nothing, and attaches it.
func attaches(spec ebpf.ProgramSpec, attach func(*ebpf.Program) (link.Link, error)) error {
	spec.License, spec.Instructions = "GPL", asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	p, err := ebpf.NewProgram(&spec)
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := attach(p)
	if err != nil {
		return err
	}
	return l.Close()
}

func lacksFentry(*firing) error {
	return attaches(ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "do_readlinkat"},
		func(p *ebpf.Program) (link.Link, error) { return link.AttachTracing(link.TracingOptions{Program: p}) })
}

func lacksIterator(over string) func(*firing) error {
	return func(*firing) error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: over, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err == nil {
			err = p.Close()
		}
		return err
	}
}

func lacksKprobe(*firing) error {
	return attaches(ebpf.ProgramSpec{Type: ebpf.Kprobe},
		func(p *ebpf.Program) (link.Link, error) { return link.Kprobe("do_readlinkat", p, nil) })
}

func lacksKprobeMulti(*firing) error {
	return attaches(ebpf.ProgramSpec{Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceKprobeMulti},
		func(p *ebpf.Program) (link.Link, error) {
			return link.KprobeMulti(p, link.KprobeMultiOptions{Symbols: []string{"do_readlinkat"}})
		})
}

// lacksLSM looks whether what attaches is called as well.
func lacksLSM(f *firing) error {
	modules, err := os.ReadFile(f.root + "/sys/kernel/security/lsm")
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Split(string(modules), ","), "bpf") {
		return fmt.Errorf("bpf is not active among %s", modules)
	}
	return attaches(ebpf.ProgramSpec{Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open"},
		func(p *ebpf.Program) (link.Link, error) { return link.AttachLSM(link.LSMOptions{Program: p}) })
}

func lacksNetfilter(*firing) error { return features.HaveProgramType(ebpf.Netfilter) }

// lacksStructOps is of operations that are registered by a link (6.4).
func lacksStructOps(*firing) error {
	version, err := features.LinuxVersionCode()
	if err == nil && version < 6<<16|4<<8 {
		return errors.New("operations have no links before 6.4")
	}
	return err
}
