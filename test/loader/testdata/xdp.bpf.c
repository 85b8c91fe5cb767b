// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An XDP program that passes everything. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
