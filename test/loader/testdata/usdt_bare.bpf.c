// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A USDT program that asks for no argument, and so has none of libbpf's maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

SEC("usdt/libc.so.6:libc:setjmp")
int count(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
