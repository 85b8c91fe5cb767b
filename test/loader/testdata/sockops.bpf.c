// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What happens to the TCP sockets of a cgroup. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 established = 0;

SEC("sockops")
int on_event(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		__sync_fetch_and_add(&established, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
