// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An LSM program, which could deny and never does. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct file;

__u64 hits = 0;

SEC("lsm/file_open")
int BPF_PROG(on_open, struct file *file, int ret)
{
	__sync_fetch_and_add(&hits, 1);
	return ret;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
