// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts the buffers that the kernel frees as dropped, by the place in the
 * kernel's code and the reason that it gives.
 *
 *	netfate run kfree_skb.bpf.o --pin
 *	netfate map watch frees
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * The kernel has this enum, and the tracepoint its third argument, since 5.17
 * (c504e5c2f964). Reasons have other numbers in every release, so none is named
 * here: "netfate drops" names them as the running kernel does.
 */
enum skb_drop_reason {
	SKB_NOT_DROPPED_YET,
};

/* What an older kernel's frees are counted under. */
#define NO_REASON ((enum skb_drop_reason) - 1)

struct place {
	void *location; /* the instruction behind the call of kfree_skb */
	enum skb_drop_reason reason;
};

struct free_count {
	__u64 buffers;
	__u64 last_ns; /* since boot, without time asleep */
};

/* key: place and reason; value: frees there; nobody deletes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct place);
	__type(value, struct free_count);
} frees SEC(".maps");

/* Frees that had no room in the map. */
__u64 uncounted = 0;

SEC("raw_tp/kfree_skb")
int count_free(struct bpf_raw_tracepoint_args *ctx)
{
	struct free_count *n, first = {};
	struct place place;

	/* Keys are compared by all their bytes, those between members included. */
	__builtin_memset(&place, 0, sizeof(place));
	place.location = (void *)ctx->args[1];
	/* Decided at load: an older kernel refuses programs that read a third argument. */
	if (bpf_core_type_exists(enum skb_drop_reason))
		place.reason = ctx->args[2];
	else
		place.reason = NO_REASON;

	n = bpf_map_lookup_elem(&frees, &place);
	if (!n) {
		/* Another CPU may be faster: then its entry stays. */
		bpf_map_update_elem(&frees, &place, &first, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&frees, &place);
		if (!n) {
			__sync_fetch_and_add(&uncounted, 1);
			return 0;
		}
	}
	__sync_fetch_and_add(&n->buffers, 1);
	n->last_ns = bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
