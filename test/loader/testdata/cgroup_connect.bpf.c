// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Connections that a cgroup makes, with their address; 1 lets it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;
__be32 last_ip = 0;

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	last_ip = ctx->user_ip4;
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
