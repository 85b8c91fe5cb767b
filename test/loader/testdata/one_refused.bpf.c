// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* One program that the verifier refuses, with a line to show, beside one that loads. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 hits = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} calls SEC(".maps");

SEC("raw_tp/sys_enter")
int good(void *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("raw_tp/sys_exit")
int bad(void *ctx)
{
	__u32 key = 0;
	__u64 *n = bpf_map_lookup_elem(&calls, &key);

	*n += 1; /* n may be NULL */
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
