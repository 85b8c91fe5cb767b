// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A socket filter, which sees packets and keeps none. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 bytes = 0;

SEC("socket")
int count(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&bytes, skb->len);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
