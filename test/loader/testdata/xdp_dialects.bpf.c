// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Sections that begin as XDP's do: one names its interface. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("xdp/eth0")
int on_eth0(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return XDP_PASS;
}

SEC("?xdp_pass")
int passes(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
