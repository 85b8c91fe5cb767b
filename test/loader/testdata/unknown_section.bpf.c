// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A section that no loader knows, beside one that all know. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("tracepiont/syscalls/sys_enter_write")
int misspelt(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("raw_tp/sys_enter")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
