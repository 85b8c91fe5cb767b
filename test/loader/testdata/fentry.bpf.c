// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The entry of a kernel function, by BTF. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

__u64 hits = 0;
int last_dfd = 0;

SEC("fentry/do_readlinkat")
int BPF_PROG(on_readlink, int dfd, const char *path)
{
	__sync_fetch_and_add(&hits, 1);
	last_dfd = dfd;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
