/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one parser: a cursor over the bytes of a packet from its network header
 * on. VLAN and QinQ tags, IPv4 options and fragments, IPv6 extension headers,
 * TCP, UDP, ICMP, ICMPv6, SCTP. What a tunnel carries is left to Go, which sees
 * the head of sampled packets: here it would be too many paths to verify.
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

#define IPV4_LEN 20 /* without options; the struct is padded for wide loads */
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
} __attribute__((aligned(8)));

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
} __attribute__((aligned(8)));

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

	if (!read_at(c, p->l3, &h, IPV4_LEN))
		return false;
	ihl = (h.version_ihl & 15) * 4;
	if (h.version_ihl >> 4 != 4 || ihl < IPV4_LEN)
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

/* What walk_ext() returns, packed so that one register holds it. */
#define EXT_L4(r) ((r) & 0xffff)
#define EXT_PROTO(r) ((r) >> 16 & 0xff)
#define EXT_FRAGMENT(r) ((r) >> 24 & 3)
#define EXT_LOST(r) ((r) >> 31) /* no transport header to be had */
#define EXT(l4, proto, fragment, lost) \
	((l4) | (proto) << 16 | (fragment) << 24 | (__u32)(lost) << 31)

static __always_inline bool is_ext(__u8 proto)
{
	switch (proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_NONE:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
		return true;
	}
	return false;
}

/*
 * Steps over extension headers from l4 on. A function of its own: inlined, it
 * would multiply the paths that the verifier walks behind it by ten.
 */
static __noinline __u32 walk_ext(const struct cursor *c, __u32 l4, __u32 proto)
{
	struct ext_header e = {};
	__u32 fragment = 0;

	for (int i = 0; i < MAX_EXT && is_ext(proto); i++) {
		l4 &= 0xffff;
		if (proto == IPPROTO_NONE || !read_at(c, l4, &e, 4))
			return EXT(l4, proto, fragment, 1);
		if (proto == IPPROTO_FRAGMENT) {
			l4 += 8;
			fragment = be16(e.frag_off) & 0xfff8 ? 2 : 1;
			if (fragment == 2)
				return EXT(l4 & 0xffff, e.next, fragment, 1);
		} else if (proto == IPPROTO_AH) {
			l4 += (e.length + 2) * 4;
		} else {
			l4 += (e.length + 1) * 8;
		}
		proto = e.next;
	}
	return EXT(l4 & 0xffff, proto, fragment, is_ext(proto));
}

static __always_inline bool parse_v6(const struct cursor *c, struct packet *p, struct tuple *t)
{
	struct ipv6_header h;
	__u32 ext;

	if (!read_at(c, p->l3, &h, sizeof(h)) || h.version_class >> 4 != 6)
		return false;
	__builtin_memcpy(t->saddr, h.saddr, ADDR_LEN);
	__builtin_memcpy(t->daddr, h.daddr, ADDR_LEN);
	t->proto = h.next;
	p->l4 = p->l3 + sizeof(h);
	if (is_ext(h.next)) {
		ext = walk_ext(c, p->l4, h.next);
		t->proto = EXT_PROTO(ext);
		p->l4 = EXT_L4(ext);
		p->fragment = EXT_FRAGMENT(ext);
		p->payload = p->l4;
		if (EXT_LOST(ext))
			return true;
	}
	p->payload = p->l4;
	parse_l4(c, p, t);
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
