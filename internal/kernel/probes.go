package kernel

// probes lists what is tried, the most important first. Costs are what
// netfate's commands lose without; docs/doctor.md repeats them.
func probes() []probe {
	return append(baseProbes(), extraProbes()...)
}

// baseProbes are those that drops and flows build on.
func baseProbes() []probe {
	const newer = "take a newer kernel"
	return []probe{
		{"bpf", "bpf system call", "everything live: only recordings (-r FILE) and explain work", "", []string{"CONFIG_BPF_SYSCALL"}, (*lab).bpf},
		{"btf", "types of the kernel (BTF)", "everything live: positions and names of what is read come from it",
			"take a kernel built with CONFIG_DEBUG_INFO_BTF=y", []string{"CONFIG_DEBUG_INFO_BTF"}, (*lab).btf},
		{"tp_btf", "tracepoints with types", "drops and flows fall back to raw_tp: no cookie and storage of sockets, so fewer owners; capture: what lies in pages beside a buffer is not copied",
			newer, []string{"CONFIG_BPF_EVENTS"}, (*lab).tpBTF},
		{"raw_tp", "raw tracepoints", "nothing if tp_btf works; else drops and flows", newer, []string{"CONFIG_BPF_EVENTS"}, (*lab).rawTP},
		{"tracepoint", "tracepoints through tracefs", "run: user objects with SEC(\"tracepoint\"); drops and flows do not need it",
			"mount -t tracefs tracefs /sys/kernel/tracing", nil, (*lab).tracepoint},
		{"ringbuf", "ring buffer", "single events: drops --each, --stack, capture --drops, conns, http, dns; counts stay", newer, nil, (*lab).ringbuf},
		{"map_batch", "map operations in batches", "drops and flows read their maps entry by entry: more CPU on busy hosts", newer, nil, (*lab).mapBatch},
		{"memcg", "BPF memory charged to the cgroup", "nothing, as long as RLIMIT_MEMLOCK can be raised (root or CAP_SYS_RESOURCE)",
			"run netfate with ulimit -l unlimited", nil, (*lab).memcg},
		{"kallsyms", "names of kernel code", "drops shows places as addresses, and verdicts that depend on the place are less sure",
			"", []string{"CONFIG_KALLSYMS"}, (*lab).kallsyms},
		{"drop_reasons", "reasons of drops", "drops: reason is empty, verdicts come from the place alone", "take 5.17 or newer, or RHEL 9.2 or newer", nil, (*lab).dropReasons},
		{"rx_sk", "receiving socket of drops", "drops: no state of the socket on established TCP connections; namespace and owner come from the route, or from what is known of the flow",
			"take 6.11 or newer", nil, (*lab).rxSK},
		{"sk_storage", "storage on sockets in tracing programs", "drops and flows: owners are kept in a table of 65,536 sockets; those beyond it are found by address only, less surely", "take 5.11 or newer", nil, (*lab).skStorage},
		{"sock_from_file", "socket of a file", "nothing: where it is missing so is sk_storage, and the socket is found by its file", "take 5.11 or newer", nil, (*lab).sockFromFile},
		{"cgroup_sock", "hook at socket creation (cgroup2)", "drops, flows: owner of a socket is known only once it sends or receives", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified", []string{"CONFIG_CGROUP_BPF"}, (*lab).cgroupSock},
		{"cgroup_skb", "hook at packets of sockets (cgroup2)", "dns, http: nothing live, captures can be read; peers have no names", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified", []string{"CONFIG_CGROUP_BPF"}, (*lab).cgroupSKB},
		{"sock_length", "tracepoints at send and receive", "nothing if fentry works; else drops, flows: a forked worker's sockets keep the parent as owner; http: what OpenSSL and GnuTLS carry has no addresses", "take 6.3 or newer", nil, (*lab).sockLength},
		{"iter_task_file", "iterator over open files", "drops, flows: sockets older than netfate have no owner; conns: connections older than netfate are told when they close only", "take 5.8 or newer", nil, (*lab).iterTaskFile},
		{"iter_tcp", "iterator over TCP sockets", "nothing: connections older than netfate are found by the files that processes have open", "take 5.9 or newer", nil, (*lab).iterTCP},
		{"iter_udp", "iterator over UDP sockets", "nothing: UDP sockets older than netfate are found by the files that processes have open", "take 5.9 or newer", nil, (*lab).iterUDP},
		{"iter_map_elem", "iterator over entries of maps", "conns: connections that no process has open any more are not listed while they end", "take 5.9 or newer", nil, (*lab).iterMapElem},
	}
}

// extraProbes are those that other commands and users' objects build on.
func extraProbes() []probe {
	const userOnly = "run: user objects with "
	return []probe{
		{"bpf_loop", "loops by helper", "http, dns: shorter headers and fewer answers are read", "take 5.17 or newer", nil, (*lab).bpfLoop},
		{"module_btf", "types of modules", "drops: reasons of mac80211 and openvswitch are numbers", "take a kernel built with CONFIG_DEBUG_INFO_BTF_MODULES=y", []string{"CONFIG_DEBUG_INFO_BTF_MODULES"}, (*lab).moduleBTF},
		{"uprobe", "probes in programs", "http: no TLS, no Go; plain text stays", "take a kernel built with CONFIG_UPROBE_EVENTS=y", []string{"CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS"}, (*lab).uprobe},
		{"uprobe_multi", "many probes in programs at once", "http: netfate takes longer to stop, since each place in a TLS library is let go of by itself", "take 6.6 or newer", []string{"CONFIG_UPROBES"}, (*lab).uprobeMulti},
		{"kprobe", "probes in kernel functions", userOnly + "SEC(\"kprobe\"); the sensors use tracepoints", "take a kernel built with CONFIG_KPROBES=y", []string{"CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"}, (*lab).kprobe},
		{"kprobe_multi", "probes in many kernel functions at once", userOnly + "SEC(\"kprobe.multi\")", "take 5.18 or newer, built with CONFIG_FPROBE=y", []string{"CONFIG_KPROBES", "CONFIG_FPROBE"}, (*lab).kprobeMulti},
		{"fentry", "entry of kernel functions", userOnly + "SEC(\"fentry\"); drops, flows: what a forked worker sends first has the parent as owner, as has all of it without sock_length; without sk_storage packet sockets have no owner", "", []string{"CONFIG_FUNCTION_TRACER", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"}, (*lab).fentry},
		{"fexit", "exit of kernel functions", userOnly + "SEC(\"fexit\"); conns: a connect that finds no route, or may not, is not told", "", []string{"CONFIG_FUNCTION_TRACER", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"}, (*lab).fexit},
		{"tcx", "programs at interfaces (TCX)", userOnly + "SEC(\"tcx\"); SEC(\"tc\") hangs in clsact instead", "take 6.6 or newer", []string{"CONFIG_NET_XGRESS"}, (*lab).tcx},
		{"clsact", "programs at interfaces (clsact)", userOnly + "SEC(\"tc\") on kernels without TCX", "take a kernel built with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF", []string{"CONFIG_NET_SCH_INGRESS", "CONFIG_NET_CLS_ACT"}, (*lab).clsact},
		{"xdp", "programs at the driver (XDP)", userOnly + "SEC(\"xdp\")", "", nil, (*lab).xdp},
		{"netfilter", "programs at netfilter hooks", userOnly + "SEC(\"netfilter\")", "take 6.4 or newer, built with CONFIG_NETFILTER_BPF_LINK=y", []string{"CONFIG_NETFILTER_BPF_LINK"}, (*lab).netfilter},
		{"lsm", "programs at security hooks", userOnly + "SEC(\"lsm\")", "boot with bpf in the list of lsm=", []string{"CONFIG_BPF_LSM"}, (*lab).lsm},
		{"struct_ops", "kernel interfaces in BPF", userOnly + "SEC(\"struct_ops\")", "", []string{"CONFIG_BPF_JIT"}, (*lab).structOps},
	}
}
