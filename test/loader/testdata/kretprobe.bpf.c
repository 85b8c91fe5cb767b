// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a kernel function returns. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>

__u64 hits = 0;
__s64 last = 0;

SEC("kretprobe/do_readlinkat")
int BPF_KRETPROBE(on_read, int ret)
{
	__sync_fetch_and_add(&hits, 1);
	if (ret == -2) /* ENOENT; whoever looks at this reads links of its own */
		last = ret;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
