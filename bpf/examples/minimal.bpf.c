// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The smallest program that shows something: a line in the kernel's trace log
 * for each write(2) of one process.
 *
 *	netfate run minimal.bpf.o --set my_pid=self
 *	netfate log
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The process that is watched; set before the program is loaded. */
int my_pid = 0;

SEC("tp/syscalls/sys_enter_write")
int handle_tp(void *ctx)
{
	int pid = bpf_get_current_pid_tgid() >> 32;

	if (pid == my_pid)
		bpf_printk("BPF triggered from PID %d.", pid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
