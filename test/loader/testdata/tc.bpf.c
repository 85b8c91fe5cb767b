// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Both directions of tc, by section, and one that leaves it to the user. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <linux/pkt_cls.h>

__u64 in = 0, out = 0, other = 0;

SEC("tc/ingress")
int count_in(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&in, 1);
	return TC_ACT_UNSPEC;
}

SEC("tc/egress")
int count_out(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&out, 1);
	return TC_ACT_OK;
}

SEC("?tc")
int count_other(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&other, 1);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
