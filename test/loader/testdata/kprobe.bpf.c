// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A kernel function and its argument. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>

__u64 hits = 0;
int last_dfd = 0;

SEC("kprobe/do_readlinkat")
int BPF_KPROBE(on_readlink, int dfd)
{
	__sync_fetch_and_add(&hits, 1);
	last_dfd = dfd;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
