// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Questions to name servers and their answers, whole, where sockets send and
 * receive them. Go reads what they say.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "lib/copy.h"

#define PORT_DNS 53
#define PORT_MDNS 5353
#define PORT_LLMNR 5355
#define UDP_LEN 8
#define PASS 1

struct udp_header {
	__u16 source;
	__u16 dest;
	__u16 length;
	__u16 check;
};

static __always_inline bool is_dns(__u16 port)
{
	return port == PORT_DNS || port == PORT_MDNS || port == PORT_LLMNR;
}

/*
 * Whether a socket is connected to a name server, whose port was translated before its
 * packets come here: so it is with Docker's, in each container.
 */
static __always_inline bool asks_dns(struct __sk_buff *skb, __u8 dir)
{
	struct bpf_sock *sk = skb->sk;

	return dir == PACKET_OUT && sk && is_dns(be16(sk->dst_port));
}

/* Reads the transport header; false if the packet is none of DNS. */
static __always_inline bool read_l4(struct __sk_buff *skb, struct packet_event *e,
				    struct layout *at)
{
	struct udp_header udp;

	/* The ports, which are in the same place: most packets are others. */
	if (e->tuple.proto != IPPROTO_UDP && e->tuple.proto != IPPROTO_TCP)
		return false;
	if (bpf_skb_load_bytes(skb, at->l4, &udp, sizeof(udp)))
		return false;
	e->tuple.sport = be16(udp.source);
	e->tuple.dport = be16(udp.dest);
	if (!is_dns(e->tuple.sport) && !is_dns(e->tuple.dport) && !asks_dns(skb, e->dir))
		return false;
	if (e->tuple.proto == IPPROTO_TCP)
		return read_tcp(skb, e, at, false);
	at->payload = at->l4 + UDP_LEN;
	at->length = skb->len > at->payload ? skb->len - at->payload : 0;
	return true;
}

/* Whether a packet is surely none of DNS: most packets are others. */
static __always_inline bool is_other(struct __sk_buff *skb, __u8 dir)
{
	const __u16 *ports = (const void *)(long)skb->data;
	__u8 proto = 0;
	__u32 l4 = peek_ip(skb, &proto);

	if (!l4)
		return false;
	if (proto != IPPROTO_UDP && proto != IPPROTO_TCP)
		return true;
	ports = (const void *)ports + l4;
	if ((const void *)(ports + 2) > (const void *)(long)skb->data_end)
		return false;
	return !is_dns(be16(ports[0])) && !is_dns(be16(ports[1])) && !asks_dns(skb, dir);
}

static __always_inline bool read_headers(struct __sk_buff *skb, struct packet_event *e,
					 struct layout *at)
{
	return read_ip(skb, &e->tuple, at, false) && read_l4(skb, e, at);
}

/*
 * A row of n bytes of a payload from off on, behind which so many are missing; the
 * direction is below them. Of a datagram each row has its place, the whole length and
 * the same time, so that Go can put it together. It is a function for all the world, which the verifier looks at once and not
 * at each row; before 5.12 that takes numbers only, so it reads the headers anew.
 */
__noinline int copy_part(struct __sk_buff *skb, __u64 part, __u64 missing, __u64 time)
{
	struct packet_event e = { .dir = missing };
	__u32 off = part >> 32, n = part;
	struct layout at = {};

	if (!read_headers(skb, &e, &at))
		return 0;
	if (e.tuple.proto == IPPROTO_UDP)
		e.ack = at.length;
	e.seq += off;
	e.missing = missing >> 32;
	sign(skb, &e, false);
	e.time = time;
	copy_row(skb, &e, at.payload + off, n);
	return 0;
}

/*
 * Copies a packet, if it is of DNS, in as many rows as it takes: one after the other,
 * since nothing else runs on this CPU meanwhile that writes them.
 */
static __always_inline void look_into(struct __sk_buff *skb, __u8 dir)
{
	struct packet_event e = { .dir = dir };
	struct layout at = {};
	__u64 time = bpf_ktime_get_ns(), missing;
	__u32 left, off = 0, n;

	if (!read_headers(skb, &e, &at))
		return;
	left = at.length;
	for (int i = 0; i < CHUNKS; i++) {
		n = left < LARGE ? left : LARGE;
		left -= n;
		missing = i == CHUNKS - 1 ? left : 0;
		copy_part(skb, (__u64)off << 32 | n, missing << 32 | dir, time);
		if (!left)
			return;
		off += n;
	}
}

static __always_inline int observe(struct __sk_buff *skb, __u8 dir)
{
	if (!is_other(skb, dir))
		look_into(skb, dir);
	return PASS;
}

SEC("cgroup_skb/egress")
int dns_out(struct __sk_buff *skb)
{
	return observe(skb, PACKET_OUT);
}

SEC("cgroup_skb/ingress")
int dns_in(struct __sk_buff *skb)
{
	return observe(skb, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
