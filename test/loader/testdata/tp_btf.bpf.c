// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A raw tracepoint whose arguments the verifier knows the types of. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

__u64 hits = 0;
int last_tgid = 0;

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__sync_fetch_and_add(&hits, 1);
	last_tgid = task->tgid;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
