package section

import "github.com/cilium/ebpf"

// table returns what every name means. Of several rows that fit a section the
// one with the longest name counts.
func table() []row {
	rows := append(tracing(), networking()...)
	return append(append(rows, cgroups()...), dialects()...)
}

func tracing() []row {
	const (
		kprobe = ebpf.Kprobe
		trace  = ebpf.Tracing
		// BPF_TRACE_UPROBE_SESSION and BPF_TRACE_FSESSION (linux/bpf.h), which the
		// library does not export.
		uprobeSession = ebpf.AttachType(57)
		fsession      = ebpf.AttachType(58)
	)
	return []row{
		{name: "tracepoint", match: target, kind: Tracepoint, program: ebpf.TracePoint},
		{name: "tp", match: target, kind: Tracepoint, program: ebpf.TracePoint},
		{name: "raw_tracepoint", match: target, kind: RawTracepoint, program: ebpf.RawTracepoint},
		{name: "raw_tp", match: target, kind: RawTracepoint, program: ebpf.RawTracepoint},
		{name: "raw_tracepoint.w", match: target, kind: RawTracepointWritable, program: ebpf.RawTracepointWritable},
		{name: "raw_tp.w", match: target, kind: RawTracepointWritable, program: ebpf.RawTracepointWritable},
		{name: "tp_btf", match: target, kind: TracingRawTracepoint, program: trace, attach: ebpf.AttachTraceRawTp},
		{name: "kprobe", match: target, kind: Kprobe, program: kprobe},
		{name: "kretprobe", match: target, kind: Kretprobe, program: kprobe},
		{name: "ksyscall", match: target, kind: Ksyscall, program: kprobe},
		{name: "kretsyscall", match: target, kind: Kretsyscall, program: kprobe},
		{name: "kprobe.multi", match: target, kind: KprobeMulti, program: kprobe, attach: ebpf.AttachTraceKprobeMulti},
		{name: "kretprobe.multi", match: target, kind: KretprobeMulti, program: kprobe, attach: ebpf.AttachTraceKprobeMulti},
		{name: "kprobe.session", match: target, kind: KprobeSession, program: kprobe, attach: ebpf.AttachTraceKprobeSession},
		{name: "uprobe", match: target, kind: Uprobe, program: kprobe},
		{name: "uprobe.s", match: target, kind: Uprobe, program: kprobe, sleepable: true},
		{name: "uretprobe", match: target, kind: Uretprobe, program: kprobe},
		{name: "uretprobe.s", match: target, kind: Uretprobe, program: kprobe, sleepable: true},
		{name: "uprobe.multi", match: target, kind: UprobeMulti, program: kprobe, attach: ebpf.AttachTraceUprobeMulti},
		{name: "uprobe.multi.s", match: target, kind: UprobeMulti, program: kprobe, attach: ebpf.AttachTraceUprobeMulti, sleepable: true},
		{name: "uretprobe.multi", match: target, kind: UretprobeMulti, program: kprobe, attach: ebpf.AttachTraceUprobeMulti},
		{name: "uretprobe.multi.s", match: target, kind: UretprobeMulti, program: kprobe, attach: ebpf.AttachTraceUprobeMulti, sleepable: true},
		{name: "uprobe.session", match: target, kind: UprobeSession, program: kprobe, attach: uprobeSession},
		{name: "uprobe.session.s", match: target, kind: UprobeSession, program: kprobe, attach: uprobeSession, sleepable: true},
		{name: "usdt", match: target, kind: USDT, program: kprobe},
		{name: "usdt.s", match: target, kind: USDT, program: kprobe, sleepable: true},
		{name: "fentry", match: target, kind: Fentry, program: trace, attach: ebpf.AttachTraceFEntry},
		{name: "fentry.s", match: target, kind: Fentry, program: trace, attach: ebpf.AttachTraceFEntry, sleepable: true},
		{name: "fexit", match: target, kind: Fexit, program: trace, attach: ebpf.AttachTraceFExit},
		{name: "fexit.s", match: target, kind: Fexit, program: trace, attach: ebpf.AttachTraceFExit, sleepable: true},
		{name: "fsession", match: target, kind: Fsession, program: trace, attach: fsession},
		{name: "fsession.s", match: target, kind: Fsession, program: trace, attach: fsession, sleepable: true},
		{name: "fmod_ret", match: target, kind: FmodRet, program: trace, attach: ebpf.AttachModifyReturn},
		{name: "fmod_ret.s", match: target, kind: FmodRet, program: trace, attach: ebpf.AttachModifyReturn, sleepable: true},
		{name: "freplace", match: target, kind: Freplace, program: ebpf.Extension},
		{name: "lsm", match: target, kind: LSM, program: ebpf.LSM, attach: ebpf.AttachLSMMac},
		{name: "lsm.s", match: target, kind: LSM, program: ebpf.LSM, attach: ebpf.AttachLSMMac, sleepable: true},
		{name: "lsm_cgroup", match: target, kind: LSMCgroup, program: ebpf.LSM, attach: ebpf.AttachLSMCgroup},
		{name: "iter", match: target, kind: Iter, program: trace, attach: ebpf.AttachTraceIter},
		{name: "iter.s", match: target, kind: Iter, program: trace, attach: ebpf.AttachTraceIter, sleepable: true},
		{name: "perf_event", match: target, kind: PerfEvent, program: ebpf.PerfEvent},
		{name: "struct_ops", match: target, kind: StructOps, program: ebpf.StructOps},
		{name: "struct_ops.s", match: target, kind: StructOps, program: ebpf.StructOps, sleepable: true},
		{name: "syscall", match: exact, kind: Syscall, program: ebpf.Syscall, sleepable: true},
	}
}

func networking() []row {
	const cls = ebpf.SchedCLS
	return []row{
		{name: "tc", match: exact, kind: TC, program: cls},
		{name: "tc/ingress", match: exact, kind: TC, program: cls, attach: ebpf.AttachTCXIngress, direction: "ingress"},
		{name: "tc/egress", match: exact, kind: TC, program: cls, attach: ebpf.AttachTCXEgress, direction: "egress"},
		{name: "tcx/ingress", match: exact, kind: TC, program: cls, attach: ebpf.AttachTCXIngress, direction: "ingress"},
		{name: "tcx/egress", match: exact, kind: TC, program: cls, attach: ebpf.AttachTCXEgress, direction: "egress"},
		{name: "classifier", match: exact, kind: TC, program: cls},
		{name: "action", match: target, kind: TCAction, program: ebpf.SchedACT},
		{name: "netkit/primary", match: exact, kind: Netkit, program: cls, attach: ebpf.AttachNetkitPrimary, direction: "primary"},
		{name: "netkit/peer", match: exact, kind: Netkit, program: cls, attach: ebpf.AttachNetkitPeer, direction: "peer"},
		{name: "xdp", match: exact, kind: XDP, program: ebpf.XDP, attach: ebpf.AttachXDP},
		{name: "xdp.frags", match: exact, kind: XDP, program: ebpf.XDP, attach: ebpf.AttachXDP},
		{name: "xdp/devmap", match: exact, kind: XDPDevmap, program: ebpf.XDP, attach: ebpf.AttachXDPDevMap},
		{name: "xdp.frags/devmap", match: exact, kind: XDPDevmap, program: ebpf.XDP, attach: ebpf.AttachXDPDevMap},
		{name: "xdp/cpumap", match: exact, kind: XDPCpumap, program: ebpf.XDP, attach: ebpf.AttachXDPCPUMap},
		{name: "xdp.frags/cpumap", match: exact, kind: XDPCpumap, program: ebpf.XDP, attach: ebpf.AttachXDPCPUMap},
		{name: "socket", match: exact, kind: SocketFilter, program: ebpf.SocketFilter},
		{name: "sk_reuseport", match: exact, kind: SkReuseport, program: ebpf.SkReuseport, attach: ebpf.AttachSkReuseportSelect},
		{name: "sk_reuseport/migrate", match: exact, kind: SkReuseport, program: ebpf.SkReuseport, attach: ebpf.AttachSkReuseportSelectOrMigrate},
		{name: "sk_skb", match: exact, kind: SkSKB, program: ebpf.SkSKB},
		{name: "sk_skb/stream_parser", match: exact, kind: SkSKB, program: ebpf.SkSKB, attach: ebpf.AttachSkSKBStreamParser},
		{name: "sk_skb/stream_verdict", match: exact, kind: SkSKB, program: ebpf.SkSKB, attach: ebpf.AttachSkSKBStreamVerdict},
		{name: "sk_skb/verdict", match: exact, kind: SkSKB, program: ebpf.SkSKB, attach: ebpf.AttachSkSKBVerdict},
		{name: "sk_msg", match: exact, kind: SkMsg, program: ebpf.SkMsg, attach: ebpf.AttachSkMsgVerdict},
		{name: "sk_lookup", match: target, kind: SkLookup, program: ebpf.SkLookup, attach: ebpf.AttachSkLookup},
		{name: "flow_dissector", match: exact, kind: FlowDissector, program: ebpf.FlowDissector, attach: ebpf.AttachFlowDissector},
		{name: "netfilter", match: target, kind: Netfilter, program: ebpf.Netfilter, attach: ebpf.AttachNetfilter},
		{name: "lwt_in", match: exact, kind: LWT, program: ebpf.LWTIn},
		{name: "lwt_out", match: exact, kind: LWT, program: ebpf.LWTOut},
		{name: "lwt_xmit", match: exact, kind: LWT, program: ebpf.LWTXmit},
		{name: "lwt_seg6local", match: exact, kind: LWT, program: ebpf.LWTSeg6Local},
		{name: "lirc_mode2", match: exact, kind: LircMode2, program: ebpf.LircMode2, attach: ebpf.AttachLircMode2},
	}
}

func cgroups() []row {
	const (
		addr = ebpf.CGroupSockAddr
		sock = ebpf.CGroupSock
		opt  = ebpf.CGroupSockopt
	)
	rows := []row{
		{name: "cgroup_skb/ingress", program: ebpf.CGroupSKB, attach: ebpf.AttachCGroupInetIngress},
		{name: "cgroup_skb/egress", program: ebpf.CGroupSKB, attach: ebpf.AttachCGroupInetEgress},
		{name: "cgroup/skb", program: ebpf.CGroupSKB},
		{name: "cgroup/sock", program: sock, attach: ebpf.AttachCGroupInetSockCreate},
		{name: "cgroup/sock_create", program: sock, attach: ebpf.AttachCGroupInetSockCreate},
		{name: "cgroup/sock_release", program: sock, attach: ebpf.AttachCgroupInetSockRelease},
		{name: "cgroup/post_bind4", program: sock, attach: ebpf.AttachCGroupInet4PostBind},
		{name: "cgroup/post_bind6", program: sock, attach: ebpf.AttachCGroupInet6PostBind},
		{name: "cgroup/bind4", program: addr, attach: ebpf.AttachCGroupInet4Bind},
		{name: "cgroup/bind6", program: addr, attach: ebpf.AttachCGroupInet6Bind},
		{name: "cgroup/connect4", program: addr, attach: ebpf.AttachCGroupInet4Connect},
		{name: "cgroup/connect6", program: addr, attach: ebpf.AttachCGroupInet6Connect},
		{name: "cgroup/connect_unix", program: addr, attach: ebpf.AttachCgroupUnixConnect},
		{name: "cgroup/sendmsg4", program: addr, attach: ebpf.AttachCGroupUDP4Sendmsg},
		{name: "cgroup/sendmsg6", program: addr, attach: ebpf.AttachCGroupUDP6Sendmsg},
		{name: "cgroup/sendmsg_unix", program: addr, attach: ebpf.AttachCgroupUnixSendmsg},
		{name: "cgroup/recvmsg4", program: addr, attach: ebpf.AttachCGroupUDP4Recvmsg},
		{name: "cgroup/recvmsg6", program: addr, attach: ebpf.AttachCGroupUDP6Recvmsg},
		{name: "cgroup/recvmsg_unix", program: addr, attach: ebpf.AttachCgroupUnixRecvmsg},
		{name: "cgroup/getpeername4", program: addr, attach: ebpf.AttachCgroupInet4GetPeername},
		{name: "cgroup/getpeername6", program: addr, attach: ebpf.AttachCgroupInet6GetPeername},
		{name: "cgroup/getpeername_unix", program: addr, attach: ebpf.AttachCgroupUnixGetpeername},
		{name: "cgroup/getsockname4", program: addr, attach: ebpf.AttachCgroupInet4GetSockname},
		{name: "cgroup/getsockname6", program: addr, attach: ebpf.AttachCgroupInet6GetSockname},
		{name: "cgroup/getsockname_unix", program: addr, attach: ebpf.AttachCgroupUnixGetsockname},
		{name: "cgroup/sysctl", program: ebpf.CGroupSysctl, attach: ebpf.AttachCGroupSysctl},
		{name: "cgroup/getsockopt", program: opt, attach: ebpf.AttachCGroupGetsockopt},
		{name: "cgroup/setsockopt", program: opt, attach: ebpf.AttachCGroupSetsockopt},
		{name: "cgroup/dev", program: ebpf.CGroupDevice, attach: ebpf.AttachCGroupDevice},
	}
	for i := range rows {
		rows[i].kind = Cgroup
	}
	return append(rows, row{name: "sockops", kind: SockOps, program: ebpf.SockOps, attach: ebpf.AttachCGroupSockOps})
}

// dialects are spellings that libbpf refuses and other loaders take: iproute2's
// sections of its own, tools that match by prefix, an interface behind xdp.
func dialects() []row {
	rows := []row{
		{name: "tc/", match: prefix, kind: TC, program: ebpf.SchedCLS},
		{name: "tc_in", match: prefix, kind: TC, program: ebpf.SchedCLS, direction: "ingress"},
		{name: "tc_eg", match: prefix, kind: TC, program: ebpf.SchedCLS, direction: "egress"},
		{name: "tc_out", match: prefix, kind: TC, program: ebpf.SchedCLS, direction: "egress"},
		{name: "tc_", match: prefix, kind: TC, program: ebpf.SchedCLS},
		{name: "tc-", match: prefix, kind: TC, program: ebpf.SchedCLS},
		{name: "tc", match: prefix, kind: TC, program: ebpf.SchedCLS},
		{name: "cls", match: prefix, kind: TC, program: ebpf.SchedCLS},
		{name: "classifier", match: prefix, kind: TC, program: ebpf.SchedCLS},
		{name: "ingress", match: prefix, kind: TC, program: ebpf.SchedCLS, direction: "ingress"},
		{name: "egress", match: prefix, kind: TC, program: ebpf.SchedCLS, direction: "egress"},
		{name: "xdp", match: prefix, kind: XDP, program: ebpf.XDP, attach: ebpf.AttachXDP},
		{name: "xdp.frags", match: prefix, kind: XDP, program: ebpf.XDP, attach: ebpf.AttachXDP},
		{name: "socket", match: prefix, kind: SocketFilter, program: ebpf.SocketFilter},
		{name: "sockops", match: prefix, kind: SockOps, program: ebpf.SockOps, attach: ebpf.AttachCGroupSockOps},
		{name: "sk_msg", match: prefix, kind: SkMsg, program: ebpf.SkMsg, attach: ebpf.AttachSkMsgVerdict},
		{name: "perf_event", match: prefix, kind: PerfEvent, program: ebpf.PerfEvent},
		{name: "tp.s", match: target, kind: Tracepoint, program: ebpf.TracePoint, sleepable: true},
		{name: "tracepoint.s", match: target, kind: Tracepoint, program: ebpf.TracePoint, sleepable: true},
		{name: "raw_tp.s", match: target, kind: RawTracepoint, program: ebpf.RawTracepoint, sleepable: true},
		{name: "raw_tracepoint.s", match: target, kind: RawTracepoint, program: ebpf.RawTracepoint, sleepable: true},
		{name: "tp_btf.s", match: target, kind: TracingRawTracepoint, program: ebpf.Tracing, attach: ebpf.AttachTraceRawTp, sleepable: true},
	}
	for i := range rows {
		rows[i].dialect = true
	}
	return rows
}
