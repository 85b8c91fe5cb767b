// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Ring buffer events of one size and no annotation: DWARF tells their struct. */
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
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_getpid")
int on_getpid(void *ctx)
{
	struct event *e;

	if (bpf_get_current_pid_tgid() >> 32 != my_pid)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = my_pid;
	e->number = 42;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
