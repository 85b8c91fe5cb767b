// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What is lost: every buffer that the kernel frees as dropped, with the place,
 * the reason and the socket that lost it.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lib/maps.h"
#include "lib/owner.h"
#include "lib/skb.h"
#include "lib/filter.h"

/* Which argument of kfree_skb is what on this kernel; 0 if it has none. */
const volatile __u32 location_arg = 1;
const volatile __u32 reason_arg = 2;
const volatile __u32 rx_sk_arg = 3;

/* Whether samples carry the kernel stack. */
const volatile bool want_stack = false;

/* Bytes of the packet's head in a sample: whole words, below 64 KB. */
const volatile __u32 snaplen = PACKET_LEN;

#define AF_INET 2
#define AF_INET6 10
#define RTN_LOCAL 2
#define RTN_BROADCAST 3
#define RTN_MULTICAST 5
#define RTF_LOCAL 0x80000000
#define DST_PTRMASK (~7ULL)
#define BPF_STACK_BYTES (STACK_LEN * 8)

/*
 * The caches in front of the tables, mapped into Go.
 * key: cache_index(); value: a drop and its counts; cleared by Go.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CACHE_HOOKS * 2 * CACHE_SLOTS); /* times CPUs, set before load */
	__type(key, __u32);
	__type(value, struct drop_slot);
} drop_cache SEC(".maps");

/* The tables, one a generation. key: drop; value: counts; deleted by Go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct drop_key);
	__type(value, struct drop_count);
} drops_0 SEC(".maps"), drops_1 SEC(".maps");

/* What did not fit: key: drop without addresses and ports; deleted by Go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct drop_key);
	__type(value, struct drop_count);
} drop_rest_0 SEC(".maps"), drop_rest_1 SEC(".maps");

/*
 * How many samples each CPU may still take: Go puts new ones in at each tick,
 * so that no clock is read here.
 * key: CPU; value: samples left; nobody deletes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* CPUs, set before load */
	__type(key, __u32);
	__type(value, __s64);
} drop_tokens SEC(".maps");

/* Samples: struct drop_event, and behind it the packet's head and the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* more where packets are to be kept */
} drop_samples SEC(".maps");

static __always_inline int dropped(__u64 *ctx, struct sk_buff *skb, __u64 location, __u32 reason,
				   struct sock *rx_sk, const bool btf);

/*
 * An argument by its index. The offset must be a constant of the instruction:
 * the verifier refuses a context pointer that was moved.
 */
#define ARG_AT(ctx, n)                                                                         \
	({                                                                                     \
		__u64 value;                                                                   \
		asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value) : "r"(ctx), "i"((n) * 8)); \
		value;                                                                         \
	})

static __always_inline __u64 arg(const __u64 *ctx, __u32 n)
{
	if (n == 1)
		return ARG_AT(ctx, 1);
	if (n == 2)
		return ARG_AT(ctx, 2);
	if (n == 3)
		return ARG_AT(ctx, 3);
	return 0;
}

SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	return dropped(ctx, (struct sk_buff *)ctx[0], arg(ctx, location_arg), arg(ctx, reason_arg),
		       (struct sock *)arg(ctx, rx_sk_arg), true);
}

SEC("raw_tp/kfree_skb")
int raw_kfree_skb(__u64 *ctx)
{
	return dropped(ctx, (struct sk_buff *)ctx[0], arg(ctx, location_arg), arg(ctx, reason_arg),
		       (struct sock *)arg(ctx, rx_sk_arg), false);
}

static __always_inline bool same_drop(const struct drop_key *a, const struct drop_key *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]) |
		 (x[5] ^ y[5]) | (x[6] ^ y[6]) | (x[7] ^ y[7]));
}

static __always_inline __u32 drop_slot_of(const struct drop_key *key)
{
	const __u64 *x = (const void *)key;

	return cache_hash(x[0] ^ x[1] ^ x[2] << 1 ^ x[3] << 1 ^ x[4] ^ x[5] << 5 ^ x[6] << 7 ^
			  x[7]);
}

/* False if the table is full. */
static __always_inline bool add_to(void *table, const struct drop_key *key,
				   const struct drop_count *n)
{
	struct drop_count *to = bpf_map_lookup_elem(table, key);

	if (!to) {
		if (!bpf_map_update_elem(table, key, n, BPF_NOEXIST))
			return true;
		/* Full, or another CPU was faster. */
		to = bpf_map_lookup_elem(table, key);
		if (!to)
			return false;
	}
	__sync_fetch_and_add(&to->packets, n->packets);
	__sync_fetch_and_add(&to->bytes, n->bytes);
	__sync_fetch_and_add(&to->buffers, n->buffers);
	if (to->last < n->last)
		to->last = n->last;
	if (!to->pid && n->pid) {
		to->owner_start = n->owner_start;
		to->pid = n->pid;
	}
	to->tcp_flags |= n->tcp_flags;
	return true;
}

/* Moves a slot's counts to the table; the addresses go if it is full. */
static __noinline int spill(struct drop_slot *slot, __u32 gen)
{
	struct drop_key rest;

	if (!slot)
		return 0;
	if (gen ? add_to(&drops_1, &slot->key, &slot->count) :
		  add_to(&drops_0, &slot->key, &slot->count))
		return 0;
	count_error(SITE_TABLE_FULL, slot->count.buffers);
	rest = slot->key;
	__builtin_memset(rest.tuple.saddr, 0, 2 * ADDR_LEN);
	rest.tuple.sport = 0;
	rest.tuple.dport = 0;
	rest.tuple.flags |= DROP_OTHER;
	rest.sk_state = 0;
	if (gen ? add_to(&drop_rest_1, &rest, &slot->count) :
		  add_to(&drop_rest_0, &rest, &slot->count))
		return 0;
	count_error(SITE_LOST, slot->count.packets);
	return 0;
}

/* Whether the route of a received packet leads out of the host again. */
static __always_inline bool forwarded(const struct sk_buff *skb, __u16 eth_proto, const bool btf)
{
	__u64 dst = LOAD(btf, skb, _skb_refdst) & DST_PTRMASK;
	__u32 type;

	if (!dst)
		return false;
	if (eth_proto == ETH_P_IPV6)
		return !(LOAD_AS(struct rt6_info, dst, rt6i_flags) & RTF_LOCAL);
	if (eth_proto != ETH_P_IP || !LOAD_AS(struct rtable, dst, rt_is_input))
		return false;
	type = LOAD_AS(struct rtable, dst, rt_type);
	return type != RTN_LOCAL && type != RTN_BROADCAST && type != RTN_MULTICAST;
}

/*
 * The namespace of a buffer that TCP has taken from its device: its route is
 * still there, unless data of it was queued already.
 */
static __always_inline __u32 netns_of_route(const struct sk_buff *skb, const bool btf)
{
	__u64 dst = LOAD(btf, skb, _skb_refdst) & DST_PTRMASK;

	return dst ? BPF_CORE_READ((struct dst_entry *)dst, dev, nd_net.net, ns.inum) : 0;
}

/*
 * in: received for this host. out: sent by it. forward: received and on its
 * way out. A buffer does not say so itself; the interface that it came in by
 * does, and before that is set, where its data begins.
 */
static __always_inline __u8 direction_of(const struct sk_buff *skb, const struct view *v,
					 struct net_device *dev, const struct sock *sk,
					 const struct sock *rx_sk, __u16 eth_proto, const bool btf)
{
	int iif = LOAD(btf, skb, skb_iif);

	if (rx_sk)
		return DROP_IN;
	if (!iif) {
		if (sk || v->mac == MAC_UNSET || v->data <= v->mac)
			return DROP_OUT;
		return DROP_IN;
	}
	/* Local delivery has moved data behind the network header. */
	if (v->data > v->network)
		return DROP_IN;
	if (dev && LOAD(btf, dev, ifindex) != iif)
		return DROP_FORWARD;
	return forwarded(skb, eth_proto, btf) ? DROP_FORWARD : DROP_IN;
}

/* A drop that is about to be counted. */
struct drop {
	struct drop_key key;
	struct view view;
	struct cursor cursor;
	struct packet packet;
	struct wire wire;
	__u32 link; /* bytes of link header before the network header */
	bool foreign; /* skb->sk is of another namespace: the sender's */
};

/* key: hook 0; value: the drop that the CPU is at; nobody deletes. */
SCRATCH(drop_scratch, struct drop);

/*
 * Sends one drop to Go, with the head of the packet and, if asked for, the
 * stack. The record is written in place: it is too large for the stack.
 */
static __always_inline void sample(__u64 *ctx, const struct sk_buff *skb, const struct drop *d,
				   const struct drop_count *n, const bool btf)
{
	__u32 start = d->view.network - d->link;
	__u32 size = d->view.tail > start ? d->view.tail - start : 0;
	struct drop_event *e;
	struct sock *sk;
	long frames;

	e = bpf_ringbuf_reserve(&drop_samples,
				sizeof(*e) + snaplen + (want_stack ? BPF_STACK_BYTES : 0), 0);
	if (!e) {
		count_error(SITE_RING_FULL, 1);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->key = d->key;
	e->time = bpf_ktime_get_ns();
	e->owner_start = n->owner_start;
	e->pid = n->pid;
	e->length = d->view.len;
	e->whole = d->view.len + d->view.data - start;
	e->tag = offloaded_tag(skb, btf);
	e->packet_room = snaplen;
	e->packets = d->wire.packets;
	e->bytes = d->wire.bytes;
	e->tcp_flags = d->packet.tcp_flags;
	e->eth_proto = be16(d->view.protocol);
	e->has_link = d->link != 0;
	e->l3 = d->link;
	sk = (struct sock *)arg(ctx, rx_sk_arg);
	if (!sk)
		sk = LOAD(btf, skb, sk); /* sk_state tells whether it is the victim's */
	if (sk && d->key.sk_state) {
		e->sk_rcvbuf = LOAD(btf, sk, sk_rcvbuf);
		e->sk_rmem = LOAD(btf, sk, sk_backlog.rmem_alloc.counter);
	}
	if (size > snaplen)
		size = snaplen;
	if (size && !bpf_probe_read_kernel(e + 1, size, (void *)(d->view.head + start)))
		e->packet_len = size;
	else if (size)
		count_error(SITE_READ, 1);
	if (want_stack) {
		frames = bpf_get_stack(ctx, (void *)(e + 1) + snaplen, BPF_STACK_BYTES, 0);
		if (frames > 0)
			e->frames = frames / 8;
		else
			count_error(SITE_STACK, 1);
	}
	/* Go polls: waking it costs twenty times what all of this does. */
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

static __always_inline bool take_token(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__s64 *tokens = bpf_map_lookup_elem(&drop_tokens, &cpu);

	if (!tokens || *tokens <= 0)
		return false;
	*tokens -= 1;
	return true;
}

/*
 * The sockets are loaded again where they are needed: kept, each that may be
 * NULL would double the paths that the verifier walks.
 */
static __always_inline void count_drop(__u64 *ctx, struct sk_buff *skb, struct drop *d,
				       const bool btf)
{
	__u32 gen = generation & 1;
	__u32 index = cache_index(0, gen, drop_slot_of(&d->key));
	struct drop_slot *slot = bpf_map_lookup_elem(&drop_cache, &index);
	struct owner *owner = NULL;

	if (!slot) {
		count_error(SITE_CACHE, 1);
		return;
	}
	if (!slot->count.buffers || !same_drop(&slot->key, &d->key)) {
		if (slot->count.buffers)
			spill(slot, gen);
		__builtin_memset(&slot->count, 0, sizeof(slot->count));
		slot->key = d->key;
		slot->count.first = exact_now();
		if (btf) {
			owner = owner_of((struct sock *)arg(ctx, rx_sk_arg));
			if (!owner && !d->foreign)
				owner = owner_of(skb->sk);
			if (owner) {
				slot->count.owner_start = owner->start;
				slot->count.pid = owner->pid;
			}
		}
	}
	slot->count.packets += d->wire.packets;
	slot->count.bytes += d->wire.bytes;
	slot->count.buffers++;
	slot->count.last = bpf_jiffies64();
	slot->count.tcp_flags |= d->packet.tcp_flags;
	if (take_token())
		sample(ctx, skb, d, &slot->count, btf);
}

/*
 * Fills in what follows from where the packet is and whose: each socket and
 * device that may be NULL doubles the paths that the verifier walks, so they
 * are looked at here, and nothing else is.
 */
static __always_inline void place_drop(struct drop *d, struct sk_buff *skb, struct sock *rx_sk,
				       const bool btf)
{
	struct sock *sk = LOAD(btf, skb, sk), *of = rx_sk ? rx_sk : sk;
	struct net_device *dev = LOAD(btf, skb, dev);

	if (dev)
		d->key.netns = netns_of_dev(dev, btf);
	if (rx_sk)
		d->key.netns = netns_of_sk(rx_sk, btf);
	else if (sk)
		/* A veth keeps the sender's socket: here it is a stranger. */
		d->foreign = dev && netns_of_sk(sk, btf) != d->key.netns;
	if (!d->key.netns && sk)
		d->key.netns = netns_of_sk(sk, btf);
	if (!rx_sk_arg && !d->key.netns)
		d->key.netns = netns_of_route(skb, btf);
	if (d->foreign) {
		sk = NULL;
		of = rx_sk;
	}
	if (dev)
		d->key.ifindex = LOAD(btf, dev, ifindex);
	if (of) {
		__u16 family = LOAD(btf, of, __sk_common.skc_family);

		if (family == AF_INET || family == AF_INET6)
			d->key.sk_state = LOAD(btf, of, __sk_common.skc_state);
	}
	d->key.tuple.flags =
		direction_of(skb, &d->view, dev, sk, rx_sk, d->key.tuple.eth_proto, btf);
}

static __always_inline int dropped(__u64 *ctx, struct sk_buff *skb, __u64 location, __u32 reason,
				   struct sock *rx_sk, const bool btf)
{
	__u32 hook = 0, tag;
	struct drop *d = bpf_map_lookup_elem(&drop_scratch, &hook);

	if (!d) {
		count_error(SITE_CACHE, 1);
		return 0;
	}
	__builtin_memset(d, 0, sizeof(*d));
	view_of(&d->view, skb, btf);
	d->view.network = after_ethernet(&d->view, d->view.network);
	d->link = link_len(&d->view, d->view.network);
	tag = offloaded_tag(skb, btf);
	if (!filter_match(&d->view, d->view.network, tag, 0))
		return 0;

	d->key.location = location;
	d->key.reason = reason;
	d->key.tuple.eth_proto = be16(d->view.protocol);
	d->cursor.data = (void *)(d->view.head + d->view.network);
	if (d->view.tail > d->view.network)
		d->cursor.len = d->view.tail - d->view.network;
	parse(&d->cursor, &d->packet, &d->key.tuple);
	/* Wherever data points by now, the packet ends where it ends. */
	wire_of(&d->wire, &d->view, d->view.len + d->view.data - (d->view.network - d->link),
		d->link + d->packet.payload);
	if (tag)
		d->wire.bytes += 4 * d->wire.packets;
	place_drop(d, skb, rx_sk, btf);
	count_drop(ctx, skb, d, btf);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
