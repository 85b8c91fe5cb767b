/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What of a connection is copied: HTTP, bodies in part, HTTP/2 whole. */
#ifndef NETFATE_TLS_TEXT_H
#define NETFATE_TLS_TEXT_H

#include "tls/session.h"

#define CHUNKS 16	  /* of HUGE, in one call */
#define PEEK 16 /* bytes by which HTTP is told */

/* How much of a head, and of what follows it the same way, is copied. */
const volatile __u32 body_bytes = 16384;

/* What a piece of a connection begins with. */
enum beginning {
	NOTHING, /* of HTTP */
	HEAD,  /* of a message, or too short to tell */
	PREFACE, /* of HTTP/2, or its settings */
	HEADERS, /* a frame of HTTP/2 */
};

/* Whether b begins as text does, which has size bytes up to 8, or all n. */
static __always_inline bool begins(const __u8 *b, __u32 n, __u64 text, __u32 size)
{
	__u64 mask = ~0ULL >> (64 - 8 * (n < size ? n : size));

	return ((*(__u64 *)b ^ text) & mask) == 0;
}

/* Eight letters as they lie in memory; both machines have the lowest first. */
#define TEXT(a, b, c, d, e, f, g, h)                                                             \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)

/* Whether n bytes, of which PEEK are in b, begin with a method and a space. */
static __always_inline bool begins_with_method(const __u8 *b, __u32 n)
{
	for (__u32 i = 0; i < PEEK; i++) {
		if (i == n)
			return true; /* all capitals so far */
		if (b[i] == ' ')
			return i > 0;
		if ((b[i] < 'A' || b[i] > 'Z') && b[i] != '-')
			return false;
	}
	return false;
}

/* A frame of HTTP/2 that could be one of headers: RFC 9113, 4.1 and 6.2. */
static __always_inline bool begins_with_headers(const __u8 *b, __u32 n)
{
	return n > 9 && b[0] == 0 && b[1] <= 64 && b[3] == 1 && !(b[4] & ~0x2d) && b[5] < 128 &&
	       (b[8] & 1);
}

/*
 * What n bytes begin with, whose first ones are in these words. It is a function for
 * all the world, which the verifier looks at once: what it returns is then one
 * number, and not as many ways as there are to find it.
 */
__noinline int look(__u64 first, __u64 second, __u32 n)
{
	const __u64 words[PEEK / 8] = { first, second };
	const __u8 *b = (const __u8 *)words;

	if (begins(b, n, TEXT('P', 'R', 'I', ' ', '*', ' ', 'H', 'T'), 8) && n >= 8)
		return PREFACE;
	/* A server's settings come before it has read anything. */
	if (n >= 9 && b[0] == 0 && b[1] == 0 && b[3] == 4 && b[4] == 0 && b[5] == 0 && b[6] == 0 &&
	    b[7] == 0 && b[8] == 0)
		return PREFACE;
	if (begins(b, n, TEXT('H', 'T', 'T', 'P', '/', '1', '.', 0), 7) || begins_with_method(b, n))
		return HEAD;
	return begins_with_headers(b, n) ? HEADERS : NOTHING;
}

/* How many of the next n bytes of a direction are to be copied. */
static __always_inline __u32 wanted(struct tls *t, bool out, __u64 buffer, __u32 n)
{
	__u64 b[PEEK / 8] = {};
	enum beginning begin;
	__u32 *left = out ? &t->left[1] : &t->left[0];
	__u32 take;

	if (t->kind == HTTP2)
		return n;
	if (t->kind == OTHER)
		return 0;
	take = n < PEEK ? n : PEEK;
	/* So that 5.10's verifier sees the bound too. */
	if (bpf_probe_read_user(b, ((take - 1) & (PEEK - 1)) + 1, (const void *)buffer)) {
		count_error(SITE_PLAIN, 1);
		return 0;
	}
	begin = look(b[0], b[1], n);
	if (t->kind == UNKNOWN) {
		if (begin == PREFACE || (begin == HEADERS && !t->fresh))
			t->kind = HTTP2;
		else if (begin == HEAD)
			t->kind = HTTP1;
		else if (t->fresh)
			t->kind = OTHER;
	}
	if (t->kind == HTTP2)
		return n;
	if (t->kind != HTTP1)
		return 0;
	if (begin == HEAD)
		*left = body_bytes;
	take = n < *left ? n : *left;
	*left -= take;
	return take;
}

/*
 * Copies take bytes of the next n of a connection's direction, in as many rows as it
 * takes. It is a function for all the world, which before 5.12 takes numbers only, so
 * it looks the connection up again.
 */
__noinline int copy_rows(__u64 object, __u64 at, __u64 sizes, __u32 out)
{
	struct tls_key key = { .object = object, .pid = current_pid() };
	struct tls *t = bpf_map_lookup_elem(&sessions, &key);
	__u32 take = sizes >> 32, n = sizes, piece;
	struct packet_event e = {};

	if (!t)
		return 0;
	describe(&e, t, out);
	if (t->fresh && !e.seq)
		e.tcp_flags = SYN;
	for (int i = 0; i < CHUNKS; i++) {
		piece = take < HUGE ? take : HUGE;
		take -= piece;
		n -= piece;
		e.missing = !take || i == CHUNKS - 1 ? n : 0;
		copy_row(&e, at, piece);
		if (!take)
			break;
		at += piece;
		e.seq += piece;
		e.tcp_flags = 0;
	}
	return 0;
}

/* Rows of the next n bytes of a direction. */
static __noinline int tell(struct tls *t, __u64 object, bool out, __u64 at, __u32 n)
{
	__u32 take = wanted(t, out, at, n);

	if (t->kind != UNKNOWN && t->kind != OTHER) {
		t->told = 1;
		copy_rows(object, at, (__u64)take << 32 | n, out);
	}
	if (out)
		t->bytes[1] += n;
	else
		t->bytes[0] += n;
	return 0;
}

#endif
