/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets copied with their payload, where sockets send and receive them: each
 * once, put together if it was in fragments, with the socket that it is of.
 * These programs hang on a cgroup and could refuse packets; they never do.
 */
#ifndef NETFATE_COPY_H
#define NETFATE_COPY_H

#include "maps.h"
#include "headers.h"
#include "owner.h"

#define TINY 256	 /* most questions, and requests */
#define SMALL 1024 /* most answers, and heads of responses */
#define LARGE 4096 /* what most name servers allow by EDNS, at most */
#define CHUNKS 16  /* of LARGE: the largest datagram, a whole buffer of GSO */

/* Rows; read by Go. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} packets SEC(".maps");

struct empty_packet {
	struct packet_event head;
};

struct tiny_packet {
	struct packet_event head;
	__u8 data[TINY];
};

struct small_packet {
	struct packet_event head;
	__u8 data[SMALL];
};

struct large_packet {
	struct packet_event head;
	__u8 data[LARGE];
};

/* Reads the TCP header, whose ports are known or not; false if it is not there. */
static __always_inline bool read_tcp(struct __sk_buff *skb, struct packet_event *e,
				     struct layout *at, bool in_place)
{
	struct tcp_header tcp;

	if (!READ_HEADER(skb, at->l4, &tcp, sizeof(tcp), in_place))
		return false;
	e->tuple.sport = be16(tcp.source);
	e->tuple.dport = be16(tcp.dest);
	e->seq = __builtin_bswap32(tcp.seq);
	e->ack = __builtin_bswap32(tcp.ack);
	e->tcp_flags = tcp.flags;
	e->window = be16(tcp.window);
	at->payload = at->l4 + (tcp.doff >> 4) * 4;
	at->length = skb->len > at->payload ? skb->len - at->payload : 0;
	return true;
}

/* A socket as a number, which the verifier allows only of what was stored. */
static __always_inline struct sock *address_of(struct bpf_sock *sk)
{
	struct bpf_sock *volatile stored = sk;
	struct sock *address = NULL;

	bpf_probe_read_kernel(&address, sizeof(address), (const void *)&stored);
	return address;
}

/* The owner of a packet's socket, or NULL. */
static __always_inline struct owner *owner_of_packet(struct bpf_sock *sk)
{
	struct sock *address;

	if (have_sk_storage)
		return bpf_sk_storage_get(&sk_owner, sk, NULL, 0);
	if (!have_sk_table)
		return NULL;
	address = address_of(sk);
	return bpf_map_lookup_elem(&sk_table, &address);
}

/* The netns of a socket: of TCP it is read as memory is. */
static __always_inline __u32 netns_of(struct bpf_sock *sk, bool is_tcp)
{
	const struct sock *tcp;

	if (!is_tcp)
		return BPF_CORE_READ(address_of(sk), __sk_common.skc_net.net, ns.inum);
	tcp = (const void *)bpf_skc_to_tcp_sock(sk);
	return tcp ? tcp->__sk_common.skc_net.net->ns.inum : 0;
}

/* An address of a socket, by words: the verifier wants no pointers into sockets. */
#define COPY_ADDRESS(to, field)                                            \
	do {                                                               \
		((__u32 *)(to))[0] = *(const volatile __u32 *)&(field)[0]; \
		((__u32 *)(to))[1] = *(const volatile __u32 *)&(field)[1]; \
		((__u32 *)(to))[2] = *(const volatile __u32 *)&(field)[2]; \
		((__u32 *)(to))[3] = *(const volatile __u32 *)&(field)[3]; \
	} while (0)

/*
 * The ends as a connected socket knows them: what is sent passes by here with
 * netfilter's translations, what is received without.
 */
static __always_inline void name_ends(struct bpf_sock *sk, struct tuple *t, __u8 dir)
{
	bool out = dir == PACKET_OUT;
	__u8 *local = out ? t->saddr : t->daddr;
	__u8 *peer = out ? t->daddr : t->saddr;
	__u16 dport = be16(sk->dst_port);

	if (!dport)
		return;
	if (t->eth_proto == ETH_P_IP) {
		map_v4(local, sk->src_ip4);
		map_v4(peer, sk->dst_ip4);
	} else {
		COPY_ADDRESS(local, sk->src_ip6);
		COPY_ADDRESS(peer, sk->dst_ip6);
	}
	t->sport = out ? sk->src_port : dport;
	t->dport = out ? dport : sk->src_port;
}

/* Says of what socket a packet is, surely one of TCP or not, and when it was seen. */
static __always_inline void sign(struct __sk_buff *skb, struct packet_event *e, bool is_tcp)
{
	struct bpf_sock *sk = skb->sk;
	struct owner *owner;

	e->time = bpf_ktime_get_ns();
	e->ifindex = skb->ifindex;
	if (!sk)
		return;
	name_ends(sk, &e->tuple, e->dir);
	e->netns = netns_of(sk, is_tcp);
	owner = owner_of_packet(sk);
	if (owner)
		e->owner = *owner;
}

/* One row of n bytes, the packet's from off on; false if there is no room. */
#define COPY_ROW(row, size)                                                                      \
	({                                                                                       \
		struct row *r = bpf_ringbuf_reserve(&packets, sizeof(*r), 0);                    \
		bool ok = r;                                                                     \
		if (r) {                                                                         \
			r->head = *head;                                                         \
			r->head.captured = n;                                                    \
			if (bpf_skb_load_bytes(skb, off, r->data, ((n - 1) & (size - 1)) + 1)) { \
				r->head.captured = 0;                                            \
				r->head.missing += n;                                            \
			}                                                                        \
			bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);                                 \
		}                                                                                \
		ok;                                                                              \
	})

/* The same without bytes. */
static __always_inline bool tell_row(const struct packet_event *head)
{
	struct empty_packet *r = bpf_ringbuf_reserve(&packets, sizeof(*r), 0);

	if (!r)
		return false;
	r->head = *head;
	r->head.captured = 0;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return true;
}

/* A row of n bytes; 1 if there is no room for it, which is counted. */
static __noinline int copy_row(struct __sk_buff *skb, const struct packet_event *head, __u32 off,
			       __u32 n)
{
	if (!head)
		return 0;
	if (!n	       ? tell_row(head) :
	    n <= TINY  ? COPY_ROW(tiny_packet, TINY) :
	    n <= SMALL ? COPY_ROW(small_packet, SMALL) :
			 COPY_ROW(large_packet, LARGE))
		return 0;
	count_error(SITE_PACKETS, 1);
	return 1;
}
#endif
