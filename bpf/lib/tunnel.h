/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One level of tunnel: VXLAN, Geneve, GRE, IP in IP. */
#ifndef NETFATE_TUNNEL_H
#define NETFATE_TUNNEL_H

#include "parse.h"

#define PORT_VXLAN 4789
#define PORT_VXLAN_LINUX 8472 /* the kernel's default from before IANA's */
#define PORT_GENEVE 6081

#define GRE_CHECKSUM 0x8000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION 0x0007

#define ETHERNET_LEN 14

/* Where the packet inside begins, and its ethertype; 0 if there is none. */
static __always_inline __u16 open_tunnel(const struct cursor *c, const struct packet *outer,
					 const struct tuple *t, __u32 *at)
{
	__u16 head[4] __attribute__((aligned(4)));

	if (outer->fragment == 2)
		return 0;
	switch (t->proto) {
	case IPPROTO_IPIP:
		*at = outer->l4;
		return ETH_P_IP;
	case IPPROTO_IPV6:
		*at = outer->l4;
		return ETH_P_IPV6;
	case IPPROTO_GRE:
		if (!read_at(c, outer->l4, head, 4) || be16(head[0]) & GRE_VERSION)
			return 0;
		*at = outer->l4 + 4;
		*at += be16(head[0]) & GRE_CHECKSUM ? 4 : 0;
		*at += be16(head[0]) & GRE_KEY ? 4 : 0;
		*at += be16(head[0]) & GRE_SEQUENCE ? 4 : 0;
		return be16(head[1]);
	case IPPROTO_UDP:
		if (t->dport == PORT_VXLAN || t->dport == PORT_VXLAN_LINUX) {
			*at = outer->payload + 8;
			return ETH_P_TEB;
		}
		if (t->dport == PORT_GENEVE && read_at(c, outer->payload, head, 4)) {
			/* The low six bits of the first byte are the options' words. */
			*at = outer->payload + 8 + (be16(head[0]) >> 8 & 0x3f) * 4;
			return be16(head[1]);
		}
	}
	return 0;
}

/* Fills *inner with what the tunnel carries; eth_proto stays 0 if none. */
static __always_inline void parse_inner(const struct cursor *c, const struct packet *outer,
					const struct tuple *t, struct tuple *inner)
{
	struct packet p = {};
	struct cursor in;
	__u16 type[2] __attribute__((aligned(4)));
	__u32 at = 0;
	__u16 proto = open_tunnel(c, outer, t, &at);

	if (proto == ETH_P_TEB) {
		if (!read_at(c, at + ETHERNET_LEN - 2, type, 2))
			return;
		proto = be16(type[0]);
		at += ETHERNET_LEN;
	}
	if (!proto || at > c->len)
		return;
	in.data = c->data + at;
	in.len = c->len - at;
	inner->eth_proto = proto;
	parse(&in, &p, inner);
}
#endif
