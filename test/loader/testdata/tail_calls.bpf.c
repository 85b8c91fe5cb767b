// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program array that is filled in the source, and must outlive the loader. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 entered = 0, jumped = 0, returned = 0;

int target(void *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, int(void *));
} jumps SEC(".maps") = {
	.values = { [1] = (void *)&target },
};

SEC("raw_tp/sys_enter")
int entry(void *ctx)
{
	__sync_fetch_and_add(&entered, 1);
	bpf_tail_call(ctx, &jumps, 1);
	__sync_fetch_and_add(&returned, 1); /* the array was empty */
	return 0;
}

SEC("raw_tp")
int target(void *ctx)
{
	__sync_fetch_and_add(&jumped, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
