// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Who talks to whom: every packet where the stack takes it from a device and
 * where it gives it to one, in all namespaces, attached to no interface.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lib/maps.h"
#include "lib/owner.h"
#include "lib/skb.h"
#include "lib/filter.h"

#define NETDEV_TX_BUSY 0x10
#define HOOK_RX 0
#define HOOK_TX 1
#define HOOK_RETRY 2
#define LOOPBACK_IFINDEX 1

/* enum in include/linux/skbuff.h without a name, so that BTF can't relocate it. */
#define SKB_GSO_TCPV4 (1 << 0)
#define SKB_GSO_TCPV6 (1 << 4)

/*
 * The caches in front of the tables, mapped into Go.
 * key: cache_index(); value: a flow and its counts; cleared by Go.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CACHE_HOOKS * 2 * CACHE_SLOTS); /* times CPUs, set before load */
	__type(key, __u32);
	__type(value, struct flow_slot);
} flow_cache SEC(".maps");

/* The tables, one a generation. key: flow; value: counts; deleted by Go. */
struct flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow_count);
} flows_0 SEC(".maps"), flows_1 SEC(".maps");

/* What did not fit: key: flow without addresses and ports; deleted by Go. */
struct flow_rest {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow_key);
	__type(value, struct flow_count);
} flow_rest_0 SEC(".maps"), flow_rest_1 SEC(".maps");

static __always_inline int receive(struct sk_buff *skb, const bool btf);
static __always_inline int transmit(struct sk_buff *skb, struct net_device *dev, const bool btf);
static __always_inline int retry(struct sk_buff *skb, int rc, struct net_device *dev,
				 const bool btf);

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(netif_receive_skb, struct sk_buff *skb)
{
	return receive(skb, true);
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(net_dev_start_xmit, struct sk_buff *skb, struct net_device *dev)
{
	return transmit(skb, dev, true);
}

SEC("tp_btf/net_dev_xmit")
int BPF_PROG(net_dev_xmit, struct sk_buff *skb, int rc, struct net_device *dev)
{
	return retry(skb, rc, dev, true);
}

SEC("raw_tp/netif_receive_skb")
int BPF_PROG(raw_netif_receive_skb, struct sk_buff *skb)
{
	return receive(skb, false);
}

SEC("raw_tp/net_dev_start_xmit")
int BPF_PROG(raw_net_dev_start_xmit, struct sk_buff *skb, struct net_device *dev)
{
	return transmit(skb, dev, false);
}

SEC("raw_tp/net_dev_xmit")
int BPF_PROG(raw_net_dev_xmit, struct sk_buff *skb, int rc, struct net_device *dev)
{
	return retry(skb, rc, dev, false);
}

static __always_inline bool same_flow(const struct flow_key *a, const struct flow_key *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]) |
		 (x[5] ^ y[5]));
}

static __always_inline __u32 flow_slot_of(const struct flow_key *key)
{
	const __u64 *x = (const void *)key;

	return cache_hash(x[0] ^ x[1] ^ x[2] << 1 ^ x[3] << 1 ^ x[4] ^ x[5] << 7);
}

/* Adds to counts that other CPUs add to as well. */
static __always_inline void add_shared(struct flow_count *to, const struct flow_count *n)
{
	__sync_fetch_and_add(&to->packets, n->packets);
	__sync_fetch_and_add(&to->bytes, n->bytes);
	__sync_fetch_and_add(&to->buffers, n->buffers);
	__sync_fetch_and_add(&to->buffer_bytes, n->buffer_bytes);
	if (to->last < n->last)
		to->last = n->last;
	if (!to->pid && n->pid) {
		to->owner_start = n->owner_start;
		to->pid = n->pid;
	}
	to->tcp_flags |= n->tcp_flags;
}

/* False if the table is full. */
static __always_inline bool add_to(void *table, const struct flow_key *key,
				   const struct flow_count *n)
{
	struct flow_count *to = bpf_map_lookup_elem(table, key);

	if (!to) {
		if (!bpf_map_update_elem(table, key, n, BPF_NOEXIST))
			return true;
		/* Full, or another CPU was faster. */
		to = bpf_map_lookup_elem(table, key);
		if (!to)
			return false;
	}
	add_shared(to, n);
	return true;
}

/* Moves a slot's counts to the table; the addresses go if it is full. */
static __noinline int spill(struct flow_slot *slot, __u32 gen)
{
	struct flow_key rest = {};

	if (!slot)
		return 0;
	if (gen ? add_to(&flows_1, &slot->key, &slot->count) :
		  add_to(&flows_0, &slot->key, &slot->count))
		return 0;
	count_error(SITE_TABLE_FULL, slot->count.buffers);
	rest.netns = slot->key.netns;
	rest.ifindex = slot->key.ifindex;
	rest.tuple.eth_proto = slot->key.tuple.eth_proto;
	rest.tuple.proto = slot->key.tuple.proto;
	rest.tuple.flags = slot->key.tuple.flags | FLOW_OTHER;
	if (gen ? add_to(&flow_rest_1, &rest, &slot->count) :
		  add_to(&flow_rest_0, &rest, &slot->count))
		return 0;
	count_error(SITE_LOST, slot->count.packets);
	return 0;
}

/* What a buffer adds; modulo 2^64, so that one can be taken back. */
struct amount {
	__u64 packets;
	__u64 bytes;
	__u64 buffers;
	__u64 buffer_bytes;
	__u8 tcp_flags;
};

static __always_inline void count_flow(const struct flow_key *key, const struct amount *n,
				       struct sock *sk, __u32 hook)
{
	__u32 gen = generation & 1;
	__u32 index = cache_index(hook, gen, flow_slot_of(key));
	struct flow_slot *slot = bpf_map_lookup_elem(&flow_cache, &index);
	struct owner *owner;

	if (!slot) {
		count_error(SITE_CACHE, n->buffers);
		return;
	}
	if (!slot->count.buffers || !same_flow(&slot->key, key)) {
		if (slot->count.buffers)
			spill(slot, gen);
		__builtin_memset(&slot->count, 0, sizeof(slot->count));
		slot->key = *key;
		slot->count.first = exact_now();
	}
	slot->count.packets += n->packets;
	slot->count.bytes += n->bytes;
	slot->count.buffers += n->buffers;
	slot->count.buffer_bytes += n->buffer_bytes;
	slot->count.last = bpf_jiffies64();
	slot->count.tcp_flags |= n->tcp_flags;
	if (sk && !slot->count.pid) {
		owner = owner_of(sk);
		if (owner) {
			slot->count.owner_start = owner->start;
			slot->count.pid = owner->pid;
		}
	}
}

/*
 * The headers of a tunnelled packet that each of its segments repeats, from
 * the link header on. A function of its own, as walk_ext() is.
 */
static __noinline __u32 tunnel_header(const void *head, __u32 end, __u32 mac, __u32 inner)
{
	__u8 doff[2] __attribute__((aligned(4))) = {};
	__u32 type = LOAD_AS(struct skb_shared_info, head + end, gso_type);

	if (!(type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6)))
		return inner - mac + 8;
	if (read_kernel(doff, 2, head + inner + 12))
		count_error(SITE_READ, 1);
	return inner - mac + (doff[0] >> 4) * 4;
}

/* The headers that each segment of a packet repeats; p has the outermost. */
static __always_inline __u32 segment_header(const struct sk_buff *skb, const struct view *v,
					    const struct packet *p, __u32 link, const bool btf)
{
	__u32 inner;

	if (btf ? skb->encapsulation : BPF_CORE_READ_BITFIELD_PROBED(skb, encapsulation)) {
		inner = LOAD(btf, skb, inner_transport_header);
		if (v->mac != MAC_UNSET && inner > v->mac)
			return tunnel_header((void *)v->head, v->end, v->mac, inner);
	}
	return link + p->payload;
}

/* A packet that is about to be counted. */
struct passing {
	struct flow_key key;
	struct view view;
	struct cursor cursor;
	struct packet packet;
	struct wire wire;
	struct amount amount;
};

/* key: hook; value: the packet that the CPU is at there; nobody deletes. */
SCRATCH(flow_scratch, struct passing);

static __always_inline int observe(struct sk_buff *skb, struct net_device *dev, __u32 hook,
				   const bool btf)
{
	struct passing *p = bpf_map_lookup_elem(&flow_scratch, &hook);
	__u32 l3, link, tag;

	if (!p) {
		count_error(SITE_CACHE, 1);
		return 0;
	}
	__builtin_memset(p, 0, sizeof(*p));
	view_of(&p->view, skb, btf);
	/* On the way in the network header is where data is, and not yet set. */
	l3 = after_ethernet(&p->view, hook == HOOK_RX ? p->view.data : p->view.network);
	link = link_len(&p->view, l3);
	tag = offloaded_tag(skb, btf);
	if (!filter_match(&p->view, l3, tag, hook))
		return 0;

	p->key.netns = netns_of_dev(dev, btf);
	p->key.ifindex = LOAD(btf, dev, ifindex);
	p->key.tuple.eth_proto = be16(p->view.protocol);
	if (hook != HOOK_RX)
		p->key.tuple.flags = LOAD(btf, skb, skb_iif) ? FLOW_TX : FLOW_TX | FLOW_BORN;
	/* Drivers of hardware have no link operations; lo has none either. */
	if (p->key.ifindex == LOOPBACK_IFINDEX || LOAD(btf, dev, rtnl_link_ops))
		p->key.tuple.flags |= FLOW_SOFT;
	p->cursor.data = (void *)(p->view.head + l3);
	if (p->view.tail > l3)
		p->cursor.len = p->view.tail - l3;
	parse(&p->cursor, &p->packet, &p->key.tuple);

	wire_of(&p->wire, &p->view, p->view.len + (hook == HOOK_RX ? link : 0),
		segment_header(skb, &p->view, &p->packet, link, btf));
	p->amount.packets = p->wire.packets;
	p->amount.bytes = p->wire.bytes + (tag ? 4 * p->wire.packets : 0);
	p->amount.buffers = 1;
	p->amount.buffer_bytes = p->view.len;
	p->amount.tcp_flags = p->packet.tcp_flags;
	if (hook == HOOK_RETRY) {
		p->amount.packets = -p->amount.packets;
		p->amount.bytes = -p->amount.bytes;
		p->amount.buffers = -1;
		p->amount.buffer_bytes = -p->amount.buffer_bytes;
	}
	/* Socket storage is not to be had in raw tracepoints. */
	count_flow(&p->key, &p->amount, btf && hook == HOOK_TX ? LOAD(btf, skb, sk) : NULL, hook);
	return 0;
}

static __always_inline int receive(struct sk_buff *skb, const bool btf)
{
	return observe(skb, LOAD(btf, skb, dev), HOOK_RX, btf);
}

static __always_inline int transmit(struct sk_buff *skb, struct net_device *dev, const bool btf)
{
	return observe(skb, dev, HOOK_TX, btf);
}

/* A busy driver leaves the packet with the qdisc, which will send it again. */
static __always_inline int retry(struct sk_buff *skb, int rc, struct net_device *dev,
				 const bool btf)
{
	return rc == NETDEV_TX_BUSY ? observe(skb, dev, HOOK_RETRY, btf) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
