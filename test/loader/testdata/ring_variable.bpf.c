// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Ring buffer events of a header and as much of a string as there is. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Only this process; set by --set. */
int my_pid = 0;

struct header {
	__u32 pid;
	__u32 len;
};

struct event {
	struct header header;
	char text[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} scratch SEC(".maps");

struct enter {
	__u64 common;
	__u64 number;
	__u64 args[6];
};

SEC("tp/syscalls/sys_enter_chdir")
int on_chdir(struct enter *ctx)
{
	__u32 zero = 0;
	struct event *e;
	long len;

	if (bpf_get_current_pid_tgid() >> 32 != my_pid)
		return 0;
	e = bpf_map_lookup_elem(&scratch, &zero);
	if (!e)
		return 0;
	len = bpf_probe_read_user_str(e->text, sizeof(e->text), (void *)ctx->args[0]);
	if (len < 0 || len > sizeof(e->text))
		return 0;
	e->header.pid = my_pid;
	e->header.len = len;
	bpf_ringbuf_output(&events, e, sizeof(e->header) + len, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
