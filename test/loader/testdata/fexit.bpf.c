// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Arguments and result of a kernel function, by BTF. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

__u64 hits = 0;
__s64 last = 0;

SEC("fexit/do_readlinkat")
int BPF_PROG(on_read, int dfd, const char *path, char *buf, int size, int ret)
{
	__sync_fetch_and_add(&hits, 1);
	if (ret == -2) /* ENOENT; whoever looks at this reads links of its own */
		last = ret;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
