// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A USDT probe with an argument: libbpf keeps where it is in weak maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>
#include <bpf/usdt.bpf.h>

__u64 hits = 0;
__s64 last = 0;

SEC("usdt/libc.so.6:libc:setjmp")
int BPF_USDT(jump, void *env)
{
	__sync_fetch_and_add(&hits, 1);
	last = (long)env;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
