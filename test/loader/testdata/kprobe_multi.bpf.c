// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A pattern of kernel functions. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("kprobe.multi/tcp_v4_syn_*")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
