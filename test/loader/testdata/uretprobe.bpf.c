// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a function of a library returns. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>

__u64 hits = 0;
__s64 last = 0;

SEC("uretprobe/libc.so.6:getpid")
int BPF_KRETPROBE(returned, int ret)
{
	__sync_fetch_and_add(&hits, 1);
	last = ret;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
