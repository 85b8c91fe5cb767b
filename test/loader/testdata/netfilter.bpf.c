// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A netfilter hook, which accepts everything; since 6.4. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NF_ACCEPT 1

__u64 hits = 0;

SEC("netfilter")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
