// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Packets of a cgroup, both ways; 1 lets them pass. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 in = 0, out = 0;

SEC("cgroup_skb/ingress")
int count_in(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&in, 1);
	return 1;
}

SEC("cgroup_skb/egress")
int count_out(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&out, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
