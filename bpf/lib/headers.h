/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers of packets where sockets send and receive them: whole, and read by
 * a helper, wherever they lie.
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
static __always_inline bool read_ip(struct __sk_buff *skb, struct tuple *t, struct layout *at)
{
	struct ipv4_header four = {};
	struct ipv6_header six;

	if (skb->protocol == be16(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, &four, IPV4_LEN) ||
		    be16(four.frag_off) & FRAG_OFFSET)
			return false;
		t->eth_proto = ETH_P_IP;
		t->proto = four.protocol;
		map_v4(t->saddr, four.saddr);
		map_v4(t->daddr, four.daddr);
		at->l4 = (four.version_ihl & 15) * 4;
		return true;
	}
	if (skb->protocol != be16(ETH_P_IPV6) || bpf_skb_load_bytes(skb, 0, &six, sizeof(six)))
		return false;
	t->eth_proto = ETH_P_IPV6;
	t->proto = six.next;
	__builtin_memcpy(t->saddr, six.saddr, ADDR_LEN);
	__builtin_memcpy(t->daddr, six.daddr, ADDR_LEN);
	at->l4 = sizeof(six);
	return skip_ext(skb, &t->proto, &at->l4);
}
#endif
