// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Sockets that a cgroup opens; 1 lets it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("cgroup/sock_create")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
