// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How often what is asked for over HTTP/1, counted where sockets of this host
 * send and receive it: by method, host and path. Nothing is copied to Go.
 *
 * A request counts when its first packet passes by; what is not to be seen in that
 * packet is not waited for: such a request counts in the remainder. Of two
 * sockets of this host that talk to each other, one counts.
 *
 * A CPU may be at several packets at once: a softirq brings one while a process
 * sends another, and where the kernel preempts, so does a second process. Nothing
 * here lies in a map of the CPU's, as SCRATCH in maps.h would have it: a key is
 * made on the stack, which is why each function below is for all the world and
 * takes numbers only: the verifier looks at it once, whatever calls it, and the
 * longest chain of calls stays within 512 bytes. What must last from one packet to
 * the next is in the storage of the socket, whose packets come one by one.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "lib/maps.h"
#include "lib/headers.h"
#include "urls/read.h"

#define PASS 1
#define LOOPBACK 1 /* index of lo in each netns */
#define TRIES 64	 /* packets of a connection that are looked at for a request */
#define TCP_LISTEN 10
#define ENDS 8   /* packets of a client that are looked up in firsts */

enum speech {
	UNKNOWN, /* nothing was recognized yet */
	HTTP1,
	OTHER, /* or the other end of the connection counts */
};

/* How far one side was read, in order. */
struct reading {
	__u64 state; /* see state_of() */
	__u32 seq; /* of the next byte */
	__u32 pad;
};

struct talk {
	struct reading now;
	struct reading far; /* behind a hole, where there is one */
	__u32 far_begin;	 /* sequence number */
	__u8 speech;  /* enum speech */
	__u8 asks;   /* direction of requests */
	__u8 begun;
	__u8 hole;
	__u8 tries;
	__u8 ends; /* how often it was asked whether the other end counts */
	__u8 pad[2];
};

/* key: socket; value: its connection; the kernel deletes it with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct talk);
} talks SEC(".maps");

/* A packet with a request: no address of NAT is in it. */
struct first {
	__u32 seq;
	__u32 ack;
};

/* The first ones that sockets of this host sent; the kernel deletes the oldest. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct first);
	__type(value, __u8);
} firsts SEC(".maps");

/* Where the payload of a packet is, and of what number its first byte is. */
struct segment {
	__u32 at;
	__u32 seq;
};

/* Reads what is due of a packet, as far as limit. */
static __always_inline void read_due(struct __sk_buff *skb, struct reading *r,
				     const struct segment *s, __u32 limit)
{
	__u32 end = s->seq + skb->len - s->at;

	if ((__s32)(end - r->seq) <= 0)
		return; /* sent again */
	r->state = read_packet(skb, s->at + (r->seq - s->seq), limit, r->state);
	r->seq = end;
}

/*
 * Reads on where packets were missing, and then what comes behind those: what was
 * read apart may be all of it in a body that began before.
 */
static __always_inline void fill_hole(struct __sk_buff *skb, struct talk *t,
				      const struct segment *s)
{
	__u32 limit = skb->len, apart = t->far.seq - t->far_begin;
	__u64 body;

	if ((__s32)(s->seq + limit - s->at - t->far_begin) > 0)
		limit = s->at + (t->far_begin - s->seq);
	read_due(skb, &t->now, s, limit);
	if ((__s32)(t->now.seq - t->far_begin) < 0)
		return;
	t->hole = 0;
	body = t->now.state >> BODY_SHIFT;
	if (t->far.state == NOWHERE && IN(t->now.state) == BODY && body >= apart)
		t->far.state = state_of(BODY, t->now.state & CHUNKED, body - apart);
	t->now = t->far;
	read_due(skb, &t->now, s, skb->len);
}

/*
 * Reads what a client says, in order. Packets that come ahead of others are read
 * apart: there is one hole at a time, and what is missing comes in order.
 */
static __always_inline void read_client(struct __sk_buff *skb, struct talk *t,
					const struct segment *s)
{
	if (!t->begun) {
		t->begun = 1;
		t->now.seq = s->seq;
	}
	if ((__s32)(s->seq - t->now.seq) <= 0) {
		if (t->hole)
			fill_hole(skb, t, s);
		else
			read_due(skb, &t->now, s, skb->len);
		return;
	}
	if (t->hole && (__s32)(s->seq - t->far_begin) < 0) {
		count_error(SITE_URL_ORDER, 1);
		return;
	}
	if (t->hole && (__s32)(s->seq - t->far.seq) > 0) {
		count_error(SITE_URL_ORDER, 1); /* the first hole is given up */
		t->now = t->far;
		t->hole = 0;
	}
	if (!t->hole) {
		t->hole = 1;
		t->far_begin = t->far.seq = s->seq;
		t->far.state = NOWHERE;
	}
	read_due(skb, &t->far, s, skb->len);
}

/*
 * Where in a packet its payload is, above that its TCP header, and above that the
 * number of its first byte; 0 if there is no payload.
 */
__noinline __u64 payload_of(struct __sk_buff *skb)
{
	struct layout at = {};
	struct tcp_header tcp;
	struct tuple t = {};
	__u32 payload;

	if (!read_ip(skb, &t, &at, true) || t.proto != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, at.l4, &tcp, sizeof(tcp)))
		return 0;
	payload = at.l4 + (tcp.doff >> 4) * 4;
	if (payload >= skb->len)
		return 0;
	return (__u64)__builtin_bswap32(tcp.seq) << 32 | at.l4 << 16 | payload;
}

/* Whether a request begins at a place; IN_PIECES if its method goes on elsewhere. */
__noinline int begins_request(struct __sk_buff *skb, __u32 at)
{
	__u32 word = word_at(skb, at);

	if (!word || word == IN_PIECES)
		return word;
	return is_request(skb, at, word, request_line(skb, at));
}

/*
 * Whether the other end of a connection is on this host too and counts its
 * requests: it was the first to see the packet. l4 is where its TCP header is.
 */
__noinline int is_told(struct __sk_buff *skb, __u32 l4, __u32 dir)
{
	struct first key = {};
	__u8 told = 1;

	if (skb->ifindex == LOOPBACK || bpf_skb_load_bytes(skb, l4 + 4, &key, sizeof(key)))
		return 0;
	if (dir != PACKET_OUT)
		return bpf_map_lookup_elem(&firsts, &key) != NULL;
	if (bpf_map_update_elem(&firsts, &key, &told, BPF_ANY))
		count_error(SITE_URL_TWICE, 1);
	return 0;
}

/*
 * The same by the number of the first byte of a connection, which both ends know
 * however packets come; with tell, this end says that it counts.
 */
__noinline int is_first_told(struct __sk_buff *skb, __u32 first, __u32 tell)
{
	struct first key = { .seq = first };
	__u8 told = 1;

	if (skb->ifindex == LOOPBACK)
		return 0;
	if (!tell)
		return bpf_map_lookup_elem(&firsts, &key) != NULL;
	if (bpf_map_update_elem(&firsts, &key, &told, BPF_ANY))
		count_error(SITE_URL_TWICE, 1);
	return 0;
}

/* Begins to follow a connection; NULL if there is no room for it. */
static __always_inline struct talk *meet(struct __sk_buff *skb, struct bpf_sock *sk, __u32 seq,
					 __u8 dir)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct talk *t = bpf_sk_storage_get(&talks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!t) {
		count_error(SITE_TALK, 1);
		return NULL;
	}
	/* Where nobody said anything before, the first words tell. */
	if (!tcp)
		return t;
	if (is_first_told(skb, tcp->rcv_nxt - (__u32)tcp->bytes_received, 0)) {
		t->speech = OTHER;
	} else if (!tcp->bytes_received && tcp->bytes_acked <= 1) {
		t->tries = TRIES - 1;
		if (dir == PACKET_OUT)
			is_first_told(skb, seq, 1);
	}
	return t;
}

/* Whether it is known now that a connection is one of HTTP/1. */
static __always_inline bool recognize(struct __sk_buff *skb, struct talk *t,
				      const struct segment *s, __u8 dir)
{
	__u32 what = begins_request(skb, s->at);

	if (what == IN_PIECES) {
		t->tries = 0;
		return false;
	}
	if (!what) {
		if (++t->tries >= TRIES)
			t->speech = OTHER;
		return false;
	}
	t->speech = HTTP1;
	t->asks = dir;
	return true;
}

static __always_inline void follow(struct __sk_buff *skb, struct bpf_sock *sk, struct talk *t,
				   __u8 dir)
{
	__u64 where = payload_of(skb);
	struct segment s = { .at = where & 0xffff, .seq = where >> 32 };

	if (!where)
		return;
	if (!t)
		t = meet(skb, sk, s.seq, dir);
	if (!t || t->speech == OTHER || (t->speech == UNKNOWN && !recognize(skb, t, &s, dir)))
		return;
	if (t->ends < ENDS) {
		t->ends = dir == PACKET_OUT ? ENDS : t->ends + 1;
		if (is_told(skb, where >> 16 & 0xffff, dir)) {
			t->speech = OTHER;
			return;
		}
	}
	read_client(skb, t, &s);
}

/*
 * A packet for a connection that is not accepted yet: what a client says came
 * before the end of its handshake, or makes that. There is no socket that could
 * keep how far it was read, so it is not counted here, and that is said.
 */
static __always_inline void at_listener(struct __sk_buff *skb, __u8 dir)
{
	__u64 where = payload_of(skb);

	if (where && begins_request(skb, where & 0xffff) &&
	    !is_told(skb, where >> 16 & 0xffff, dir))
		count_error(SITE_URL_ORDER, 1);
}

static __always_inline int observe(struct __sk_buff *skb, __u8 dir)
{
	struct bpf_sock *sk = skb->sk;
	struct talk *t;

	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP)
		return PASS;
	if (skb->ifindex == LOOPBACK && sk->src_port < be16(sk->dst_port))
		return PASS;
	if (sk->state == TCP_LISTEN) {
		at_listener(skb, dir);
		return PASS;
	}
	t = bpf_sk_storage_get(&talks, sk, NULL, 0);
	if (!t || t->speech == UNKNOWN || (t->speech == HTTP1 && t->asks == dir))
		follow(skb, sk, t, dir);
	return PASS;
}

SEC("cgroup_skb/egress")
int urls_out(struct __sk_buff *skb)
{
	return observe(skb, PACKET_OUT);
}

SEC("cgroup_skb/ingress")
int urls_in(struct __sk_buff *skb)
{
	return observe(skb, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
