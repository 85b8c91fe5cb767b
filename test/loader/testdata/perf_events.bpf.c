// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Events through a perf buffer of each CPU. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event {
	__u64 time;
	__u32 pid;
	__u32 number;
	char comm[16];
};

/* Only this process; set by --set. */
int my_pid = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_getpid")
int on_getpid(void *ctx)
{
	struct event e = { .time = bpf_ktime_get_ns(), .pid = my_pid, .number = 42 };

	if (bpf_get_current_pid_tgid() >> 32 != my_pid)
		return 0;
	bpf_get_current_comm(e.comm, sizeof(e.comm));
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
