/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a payload looks like by its first bytes: the protocol, and whether a request comes alone. */
#ifndef NETFATE_HTTP_LIKENESS_H
#define NETFATE_HTTP_LIKENESS_H

#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "lib/copy.h"

#define BEGIN_LEN 16 /* of a payload, to tell what it is */
#define MANY_LEN 64 /* bytes that are searched for a second request at once; 2 ^ n */
#define MANY_PARTS 4

/* What the beginning of a payload looks like. */
enum likeness {
	NOTHING,
	PART, /* of a first word: too short to tell */
	REQUEST,
	CONNECT,
	RESPONSE,
	RESPONSE_101, /* both sides speak something else now */
	RESPONSE_2XX, /* to CONNECT: a tunnel */
	PREFACE, /* of HTTP/2 */
	SETTINGS, /* of an HTTP/2 server that speaks first */
	FRAME, /* of HTTP/2, and nothing else */
	HANDSHAKE, /* of TLS */
};

static __always_inline bool is_word(__u8 c)
{
	return (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* What a first word is that begins a head, and ends with a blank after i bytes. */
static __always_inline __u32 like_request(const __u8 *b, __u32 i)
{
	if (i == 3 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I')
		return PREFACE;
	return i == 7 && b[0] == 'C' && b[1] == 'O' && b[2] == 'N' ? CONNECT : REQUEST;
}

/* The same of a status line. */
static __always_inline __u32 like_response(const __u8 *b)
{
	if (b[0] != 'H' || b[1] != 'T' || b[2] != 'T' || b[3] != 'P' || (b[8] && b[8] != ' '))
		return NOTHING;
	if (b[9] == '1' && b[10] == '0' && b[11] == '1')
		return RESPONSE_101;
	return b[9] == '2' ? RESPONSE_2XX : RESPONSE;
}

/* Whether a payload may be one frame of HTTP/2. */
static __always_inline bool is_frame(const __u8 *b, __u32 length)
{
	return length >= 9 && length <= SMALL && !b[0] && b[3] <= 9 && !(b[5] & 0x80) &&
	       ((__u32)b[1] << 8 | b[2]) + 9 == length;
}

/* What a payload looks like by its first bytes; behind it are zeros. */
static __always_inline __u32 likeness(const __u8 *b, __u32 length)
{
	__u32 i;

	if (b[0] == 0x16)
		return length < 2 || (b[1] == 3 && (length < 6 || b[5] == 1 || b[5] == 2)) ?
			       HANDSHAKE :
			       NOTHING;
	if (!b[0] && length >= 9 && !b[1] && b[2] % 6 == 0 && b[3] == 4 && !b[4] && !b[5] &&
	    !b[6] && !b[7] && !b[8])
		return SETTINGS;
	if (!b[0])
		return is_frame(b, length) ? FRAME : NOTHING;
#pragma unroll
	for (i = 0; i < BEGIN_LEN - 1; i++)
		if (!is_word(b[i]))
			break;
	if (i == length)
		return PART;
	if (i >= 3 && b[i & (BEGIN_LEN - 1)] == ' ')
		return like_request(b, i);
	return i == 4 && b[4] == '/' ? like_response(b) : NOTHING;
}

static __always_inline bool is_response(__u32 like)
{
	return like == RESPONSE || like == RESPONSE_101 || like == RESPONSE_2XX;
}

/*
 * What a payload of so many bytes looks like, if so many bytes of a status line
 * came before. It is a function for all the world, which the verifier looks at
 * once: what it returns is then one number, and not as many ways as there are to
 * find it.
 */
__noinline int look_at(struct __sk_buff *skb, __u32 payload, __u32 length, __u32 part)
{
	__u8 begin[2 * BEGIN_LEN] = "HTTP";
	__u32 n = length < BEGIN_LEN ? length : BEGIN_LEN;

	if (part > 4)
		part = 4;
	if (!n || bpf_skb_load_bytes(skb, payload, begin + part, ((n - 1) & (BEGIN_LEN - 1)) + 1))
		return NOTHING;
	if (n + part < BEGIN_LEN)
		begin[n + part] = 0;
	return likeness(begin, length + part);
}

/* Whether one of eight bytes is a newline: which one became 0, and so borrows. */
static __always_inline bool has_newline(__u64 word)
{
	word ^= 0x0a0a0a0a0a0a0a0aULL;
	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/*
 * Whether a payload that begins with a request without a body holds more than
 * that: a blank line, and then another word. Of long requests it is not told.
 */
__noinline int is_many(struct __sk_buff *skb, __u32 payload, __u32 length)
{
	__u32 n;

	for (int part = 0; part < MANY_PARTS && length; part++) {
		__u8 b[MANY_LEN + 4] __attribute__((aligned(8))) = {};

		n = length < MANY_LEN + 4 ? length : MANY_LEN + 4;
		if (n > MANY_LEN) {
			if (bpf_skb_load_bytes(skb, payload, b, MANY_LEN + 4))
				return 0;
		} else if (bpf_skb_load_bytes(skb, payload, b, ((n - 1) & (MANY_LEN - 1)) + 1)) {
			return 0;
		}
		for (int i = 0; i < MANY_LEN; i += 8) {
			if (!has_newline(*(__u64 *)(b + i)))
				continue;
			for (int j = i; j < i + 8; j++)
				if (b[j] == '\n' && b[j + 1] == '\r' && b[j + 2] == '\n')
					return is_word(b[j + 3]);
		}
		payload += MANY_LEN;
		length -= length < MANY_LEN ? length : MANY_LEN;
	}
	return 0;
}

#endif
