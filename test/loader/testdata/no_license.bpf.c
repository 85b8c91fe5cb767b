// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program without a license, which a helper for GPL programs only refuses. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int traced(void *ctx)
{
	bpf_printk("a system call");
	return 0;
}
