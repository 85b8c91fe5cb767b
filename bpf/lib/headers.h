/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers of packets where sockets send and receive them: whole, and read
 * wherever they lie.
 */
#ifndef NETFATE_HEADERS_H
#define NETFATE_HEADERS_H

#include "parse.h"

#define FRAG_OFFSET 0x1fff

struct tcp_header {
	__u16 source;
	__u16 dest;
	__u32 seq;
	__u32 ack;
	__u8 doff;
	__u8 flags;
	__u16 window;
};

/* Where in a packet, which begins with the network header, its payload is. */
struct layout {
	__u32 l4;
	__u32 payload;
	__u32 length; /* of the payload, by the headers */
};

/*
 * Copies n bytes of a header from off on, which is below 64 KB, to where its type has
 * room for them; false if they are not there. In place, those in the packet's buffer, as
 * headers are as a rule, are read as memory is, since a helper takes longer than all
 * that is done with them; for the verifier it is a path more.
 */
#define READ_HEADER(skb, off, to, n, in_place)                                                  \
	({                                                                                      \
		const typeof(*(to)) *h = (const void *)(long)(skb)->data + (off);               \
		bool ok = true;                                                                 \
		if ((in_place) && (const void *)(h + 1) <= (const void *)(long)(skb)->data_end) \
			*(to) = *h;                                                             \
		else                                                                            \
			ok = !bpf_skb_load_bytes(skb, off, to, n);                              \
		ok;                                                                             \
	})

/*
 * Where a packet's transport header is and of what protocol, by a look at what its
 * buffer begins with, which costs no helper. 0 if that does not tell it.
 */
static __always_inline __u32 peek_ip(struct __sk_buff *skb, __u8 *proto)
{
	const void *at = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	const struct ipv4_header *four = at;
	const struct ipv6_header *six = at;

	if (skb->protocol == be16(ETH_P_IP)) {
		if (at + IPV4_LEN > end)
			return 0;
		*proto = four->protocol;
		return (four->version_ihl & 15) * 4;
	}
	if (skb->protocol != be16(ETH_P_IPV6) || at + sizeof(*six) > end)
		return 0;
	*proto = six->next;
	/* Others may be extensions, and these behind them. */
	return *proto == IPPROTO_TCP || *proto == IPPROTO_UDP ? sizeof(*six) : 0;
}

/* Skips the extension headers that packets for sockets may have. */
static __always_inline bool skip_ext(struct __sk_buff *skb, __u8 *next, __u32 *off)
{
	struct ext_header ext;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (*next != IPPROTO_HOPOPTS && *next != IPPROTO_ROUTING &&
		    *next != IPPROTO_DSTOPTS)
			break;
		if (bpf_skb_load_bytes(skb, *off, &ext, sizeof(ext)))
			return false;
		*next = ext.next;
		*off += (ext.length + 1) * 8;
	}
	return true;
}

/* The addresses, the protocol, and where the transport header is; or false. */
static __always_inline bool read_ip(struct __sk_buff *skb, struct tuple *t, struct layout *at,
				    bool in_place)
{
	struct ipv4_header four = {};
	struct ipv6_header six;

	if (skb->protocol == be16(ETH_P_IP)) {
		if (!READ_HEADER(skb, 0, &four, IPV4_LEN, in_place) ||
		    be16(four.frag_off) & FRAG_OFFSET)
			return false;
		t->eth_proto = ETH_P_IP;
		t->proto = four.protocol;
		map_v4(t->saddr, four.saddr);
		map_v4(t->daddr, four.daddr);
		at->l4 = (four.version_ihl & 15) * 4;
		return true;
	}
	if (skb->protocol != be16(ETH_P_IPV6) || !READ_HEADER(skb, 0, &six, sizeof(six), in_place))
		return false;
	t->eth_proto = ETH_P_IPV6;
	t->proto = six.next;
	__builtin_memcpy(t->saddr, six.saddr, ADDR_LEN);
	__builtin_memcpy(t->daddr, six.daddr, ADDR_LEN);
	at->l4 = sizeof(six);
	return skip_ext(skb, &t->proto, &at->l4);
}
#endif
