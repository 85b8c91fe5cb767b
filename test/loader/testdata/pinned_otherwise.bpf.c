// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The map of pinned with a larger value: the two cannot share a pin. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64[2]);
} shared SEC(".maps");

SEC("tp/syscalls/sys_enter_getpid")
int count(void *ctx)
{
	__u32 key = 0;
	__u64 *n = bpf_map_lookup_elem(&shared, &key), one[2] = { 1 };

	if (n)
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(&shared, &key, one, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
