// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The flow sensor with one more program, which counts what the test asks for,
 * so that every count is known.
 */
#include "flow.bpf.c"

#define KEYS 16

/* One packet of 100 bytes for each of KEYS interfaces from the argument on. */
SEC("raw_tp")
int count_keys(__u64 *ctx)
{
	struct amount one = { .packets = 1, .bytes = 100, .buffers = 1, .buffer_bytes = 86 };
	struct flow_key key = {};
	__u32 first = ctx[0];

	for (int i = 0; i < KEYS; i++) {
		key.ifindex = first + i;
		count_flow(&key, &one, NULL, HOOK_RX);
	}
	return 0;
}
