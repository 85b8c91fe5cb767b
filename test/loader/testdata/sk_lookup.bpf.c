// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Which socket a connection goes to: it leaves that to the kernel. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("sk_lookup")
int count(struct bpf_sk_lookup *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
