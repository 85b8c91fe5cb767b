/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one parser: a cursor over the bytes of a packet from its network header
 * on. VLAN and QinQ tags, IPv4 options and fragments, IPv6 extension headers,
 * TCP, UDP, ICMP, ICMPv6, SCTP, and one level of tunnel.
 *
 * It reads only through read_at(), so that it also builds natively, where
 * PARSE_NATIVE is set and it is fuzzed.
 */
#ifndef NETFATE_PARSE_H
#define NETFATE_PARSE_H

#include "abi.h"

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_TEB 0x6558
#define ETH_P_8021Q 0x8100
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021AD 0x88a8

#define IPPROTO_HOPOPTS 0
#define IPPROTO_ICMP 1
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_IPV6 41
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_GRE 47
#define IPPROTO_AH 51
#define IPPROTO_ICMPV6 58
#define IPPROTO_NONE 59
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132
#define IPPROTO_MH 135

#define MAX_VLAN 2
#define MAX_EXT 8 /* IPv6 extension headers in a row; more is an attack */

struct cursor {
	const void *data; /* the network header, or the VLAN tag before it */
	__u32 len;   /* bytes that may be read from there */
};

/* What the parser found. Offsets count from the cursor's first byte. */
struct packet {
	__u16 l3;	  /* network header */
	__u16 l4;	  /* transport header */
	__u16 payload; /* first byte behind the transport header; l4 if unknown */
	__u8 tcp_flags;
	__u8 fragment; /* 1: any fragment; 2: not the first, so no ports */
};

#ifdef PARSE_NATIVE
#define read_bytes(dst, n, src) (__builtin_memcpy(dst, src, n), 0)
#else
#include "compat.h"
#define read_bytes(dst, n, src) read_kernel(dst, n, src)
#endif

static __always_inline bool read_at(const struct cursor *c, __u32 off, void *dst, __u32 n)
{
	if (off + n > c->len)
		return false;
	return read_bytes(dst, n, c->data + off) == 0;
}

static __always_inline __u16 be16(__u16 v)
{
	return __builtin_bswap16(v);
}

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__u16 total_length;
	__u16 id;
	__u16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__u32 saddr;
	__u32 daddr;
};

struct ipv6_header {
	__u8 version_class;
	__u8 flow[3];
	__u16 payload_length;
	__u8 next;
	__u8 hop_limit;
	__u64 saddr[2];
	__u64 daddr[2];
};

struct ext_header {
	__u8 next;
	__u8 length;
	__u16 frag_off; /* of a fragment header */
};

/* The first 14 bytes of TCP; UDP, ICMP and SCTP need fewer. */
struct l4_header {
	__u16 a; /* source port; ICMP type and code */
	__u16 b; /* destination port; ICMP checksum */
	__u16 c; /* ICMP echo id */
	__u16 d[3];
	__u8 doff;
	__u8 tcp_flags;
} __attribute__((aligned(4)));

static __always_inline void map_v4(__u8 *dst, __u32 addr)
{
	*(__u64 *)dst = 0;
	*(__u32 *)(dst + 8) =
		0xffff0000; /* 00 00 ff ff in memory; big-endian hosts are not built */
	*(__u32 *)(dst + 12) = addr;
}

/* Ports, flags and the length of the transport header at p->l4. */
static __always_inline void parse_l4(const struct cursor *c, struct packet *p, struct tuple *t)
{
	struct l4_header h = {};

	p->payload = p->l4;
	switch (t->proto) {
	case IPPROTO_TCP:
		if (!read_at(c, p->l4, &h, 14)) {
			/* The ports alone may still be there. */
			if (read_at(c, p->l4, &h, 4)) {
				t->sport = be16(h.a);
				t->dport = be16(h.b);
			}
			return;
		}
		t->sport = be16(h.a);
		t->dport = be16(h.b);
		p->tcp_flags = h.tcp_flags;
		p->payload = p->l4 + (h.doff >> 4) * 4;
		return;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		if (!read_at(c, p->l4, &h, 4))
			return;
		t->sport = be16(h.a);
		t->dport = be16(h.b);
		p->payload = p->l4 + (t->proto == IPPROTO_UDP ? 8 : 12);
		return;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (!read_at(c, p->l4, &h, 6))
			return;
		t->sport = be16(h.a);
		p->payload = p->l4 + 8;
		/* Echo request and reply carry an id, which tells pings apart. */
		if (t->proto == IPPROTO_ICMP ? (t->sport >> 8 == 8 || t->sport >> 8 == 0) :
					       (t->sport >> 8 == 128 || t->sport >> 8 == 129))
			t->dport = be16(h.c);
		return;
	}
}

static __always_inline bool parse_v4(const struct cursor *c, struct packet *p, struct tuple *t)
{
	struct ipv4_header h;
	__u32 ihl;

	if (!read_at(c, p->l3, &h, sizeof(h)))
		return false;
	ihl = (h.version_ihl & 15) * 4;
	if (h.version_ihl >> 4 != 4 || ihl < sizeof(h))
		return false;
	map_v4(t->saddr, h.saddr);
	map_v4(t->daddr, h.daddr);
	t->proto = h.protocol;
	p->l4 = p->l3 + ihl;
	p->payload = p->l4;
	if (be16(h.frag_off) & 0x3fff) {
		p->fragment = be16(h.frag_off) & 0x1fff ? 2 : 1;
		if (p->fragment == 2)
			return true;
	}
	parse_l4(c, p, t);
	return true;
}

/* Steps over extension headers. False if the transport header is not there. */
static __always_inline bool skip_ext(const struct cursor *c, struct packet *p, struct tuple *t)
{
	struct ext_header e;

	for (int i = 0; i < MAX_EXT; i++) {
		switch (t->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_MH:
			if (!read_at(c, p->l4, &e, 2))
				return false;
			p->l4 += (e.length + 1) * 8;
			break;
		case IPPROTO_AH:
			if (!read_at(c, p->l4, &e, 2))
				return false;
			p->l4 += (e.length + 2) * 4;
			break;
		case IPPROTO_FRAGMENT:
			if (!read_at(c, p->l4, &e, 4))
				return false;
			p->l4 += 8;
			p->fragment = be16(e.frag_off) & 0xfff8 ? 2 : 1;
			if (p->fragment == 2) {
				t->proto = e.next;
				return false;
			}
			break;
		default:
			return t->proto != IPPROTO_NONE;
		}
		t->proto = e.next;
	}
	return false;
}

static __always_inline bool parse_v6(const struct cursor *c, struct packet *p, struct tuple *t)
{
	struct ipv6_header h;

	if (!read_at(c, p->l3, &h, sizeof(h)) || h.version_class >> 4 != 6)
		return false;
	__builtin_memcpy(t->saddr, h.saddr, ADDR_LEN);
	__builtin_memcpy(t->daddr, h.daddr, ADDR_LEN);
	t->proto = h.next;
	p->l4 = p->l3 + sizeof(h);
	p->payload = p->l4;
	if (skip_ext(c, p, t))
		parse_l4(c, p, t);
	p->payload = p->payload < p->l4 ? p->l4 : p->payload;
	return true;
}

/*
 * Parses from the network header on; t->eth_proto says what is there and must
 * be set, everything else in *p and *t zero. False for what is not IP, or is
 * malformed: eth_proto is then all that is known.
 */
static __always_inline bool parse(const struct cursor *c, struct packet *p, struct tuple *t)
{
	__u16 tag[2];

	for (int i = 0; i < MAX_VLAN; i++) {
		if (t->eth_proto != ETH_P_8021Q && t->eth_proto != ETH_P_8021AD)
			break;
		if (!read_at(c, p->l3, tag, 4))
			return false;
		t->eth_proto = be16(tag[1]);
		p->l3 += 4;
	}
	if (t->eth_proto == ETH_P_IP)
		return parse_v4(c, p, t);
	if (t->eth_proto == ETH_P_IPV6)
		return parse_v6(c, p, t);
	return false;
}
#endif
