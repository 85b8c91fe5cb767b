// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program that is loaded only if it is asked for: this one would be refused. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("raw_tp/sys_enter")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("?tp/netfate/no_such_tracepoint")
int nowhere(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
