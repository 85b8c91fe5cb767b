// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A tracepoint, which has a group and a name. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("tracepoint/syscalls/sys_enter_getpid")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
