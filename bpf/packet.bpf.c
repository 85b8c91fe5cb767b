// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Packets themselves, copied where the stack takes them from a device and where it gives
 * them to one: in all namespaces, attached to no interface.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lib/maps.h"
#include "lib/owner.h"
#include "lib/skb.h"
#include "lib/filter.h"

#define HOOK_RX 0
#define HOOK_TX 1
#define LINEAR_LEN 4096 /* bytes that a raw tracepoint can copy */

/* Bytes of a packet to copy. */
const volatile __u32 snaplen = 65400;

/* The only namespace to look at; 0: all. */
const volatile __u32 only_netns = 0;

/*
 * The rings, one a CPU: struct frame_event and the packet. They are perf events, since only
 * for those is there a helper that copies packets out of pages, on all kernels.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} frames SEC(".maps");

/* key: hook; value: packets that were selected; nobody deletes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} frames_matched SEC(".maps");

/* key: device; value: packets that the ring had no room for; nobody deletes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct device_key);
	__type(value, __u64);
} frames_lost SEC(".maps");

/* A packet that is about to be copied. */
struct frame {
	struct frame_event head;
	__u8 bytes[LINEAR_LEN]; /* right behind it, as in the ring */
	struct view view;
};

/* key: hook; value: the packet that the CPU is at there; nobody deletes. */
SCRATCH(frame_scratch, struct frame);

static __always_inline int observe(void *ctx, struct sk_buff *skb, struct net_device *dev,
				   __u32 hook, const bool btf);

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(netif_receive_skb, struct sk_buff *skb)
{
	return observe(ctx, skb, skb->dev, HOOK_RX, true);
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(net_dev_start_xmit, struct sk_buff *skb, struct net_device *dev)
{
	return observe(ctx, skb, dev, HOOK_TX, true);
}

SEC("raw_tp/netif_receive_skb")
int BPF_PROG(raw_netif_receive_skb, struct sk_buff *skb)
{
	return observe(ctx, skb, BPF_CORE_READ(skb, dev), HOOK_RX, false);
}

SEC("raw_tp/net_dev_start_xmit")
int BPF_PROG(raw_net_dev_start_xmit, struct sk_buff *skb, struct net_device *dev)
{
	return observe(ctx, skb, dev, HOOK_TX, false);
}

/* Counts a packet that was not copied, by its device as far as there is room. */
static __noinline int lose(struct frame *f)
{
	struct device_key key = {};
	__u64 one = 1, *count;

	count_error(SITE_FRAME, 1);
	if (!f)
		return 0;
	key.netns = f->head.netns;
	key.ifindex = f->head.ifindex;
	count = bpf_map_lookup_elem(&frames_lost, &key);
	if (!count) {
		if (!bpf_map_update_elem(&frames_lost, &key, &one, BPF_NOEXIST))
			return 0;
		/* Full, or another CPU was faster. */
		count = bpf_map_lookup_elem(&frames_lost, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

/*
 * Where types are known the kernel copies what is from data on, pages and all, and only the
 * link header before it, which a received packet has been relieved of, is read here.
 */
static __always_inline void copy_typed(struct sk_buff *skb, struct frame *f, __u32 start)
{
	__u32 before = f->view.data - start;
	__u64 rest = f->view.len;

	if (before > MAX_LINK)
		before = MAX_LINK;
	if (before > snaplen)
		before = snaplen;
	if (before && bpf_probe_read_kernel(f->bytes, before, (void *)(f->view.head + start))) {
		count_error(SITE_READ, 1);
		__builtin_memset(f->bytes, 0, MAX_LINK);
	}
	if (rest > snaplen - before)
		rest = snaplen - before;
	f->head.captured = before + rest;
	if (bpf_skb_output(skb, &frames, BPF_F_CURRENT_CPU | rest << 32, &f->head,
			   sizeof(f->head) + before))
		lose(f);
}

/* Elsewhere only what is in the buffer itself can be copied. */
static __always_inline void copy_raw(void *ctx, struct frame *f, __u32 start)
{
	__u32 n = f->view.tail > start ? f->view.tail - start : 0;

	if (n > snaplen)
		n = snaplen;
	/* Else the compiler compares what it had before, and 5.10 does not follow. */
	asm volatile("" : "+r"(n));
	if (n > LINEAR_LEN)
		n = LINEAR_LEN;
	asm volatile("" : "+r"(n));
	if (n && bpf_probe_read_kernel(f->bytes, n, (void *)(f->view.head + start))) {
		count_error(SITE_READ, 1);
		n = 0;
	}
	f->head.captured = n;
	if (bpf_perf_event_output(ctx, &frames, BPF_F_CURRENT_CPU, &f->head, sizeof(f->head) + n))
		lose(f);
}

/* How many packets a buffer stands for; 0: itself. */
static __always_inline __u16 segments_of(const struct view *v)
{
	__u64 shinfo = v->head + v->end;

	if (!LOAD_AS(struct skb_shared_info, shinfo, gso_size))
		return 0;
	return LOAD_AS(struct skb_shared_info, shinfo, gso_segs);
}

static __always_inline int observe(void *ctx, struct sk_buff *skb, struct net_device *dev,
				   __u32 hook, const bool btf)
{
	__u32 netns = netns_of_dev(dev, btf), l3, start, tag;
	struct frame *f;
	struct owner *owner = NULL;
	__u64 *matched;

	if (only_netns && netns != only_netns)
		return 0;
	f = bpf_map_lookup_elem(&frame_scratch, &hook);
	if (!f) {
		count_error(SITE_CACHE, 1);
		return 0;
	}
	view_of(&f->view, skb, btf);
	/* On the way in the network header is where data is, and not yet set. */
	l3 = after_ethernet(&f->view, hook == HOOK_RX ? f->view.data : f->view.network);
	tag = offloaded_tag(skb, btf);
	if (!filter_match(&f->view, l3, tag, hook))
		return 0;
	matched = bpf_map_lookup_elem(&frames_matched, &hook);
	if (matched)
		*matched += 1;

	__builtin_memset(&f->head, 0, sizeof(f->head));
	start = l3 - link_len(&f->view, l3);
	if (start > f->view.data)
		start = f->view.data; /* a header that nobody has marked */
	f->head.time = bpf_ktime_get_ns();
	f->head.netns = netns;
	f->head.ifindex = LOAD(btf, dev, ifindex);
	f->head.whole = f->view.len + f->view.data - start;
	f->head.tag = tag;
	f->head.l3 = l3 - start;
	f->head.eth_proto = be16(f->view.protocol);
	f->head.segments = segments_of(&f->view);
	f->head.out = hook == HOOK_TX;
	if (!btf) {
		copy_raw(ctx, f, start);
		return 0;
	}
	/* Socket storage is not to be had in raw tracepoints. */
	if (hook == HOOK_TX)
		owner = owner_of(skb->sk);
	if (owner)
		f->head.owner = *owner;
	copy_typed(skb, f, start);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
