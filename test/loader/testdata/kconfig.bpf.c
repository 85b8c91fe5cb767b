// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The version of the kernel as an external variable. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;

int version = 0;

SEC("raw_tp/sys_enter")
int note(void *ctx)
{
	version = LINUX_KERNEL_VERSION;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
