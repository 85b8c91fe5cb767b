// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A raw tracepoint under the name that libbpf has for it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("raw_tp/sys_enter")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
