/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Words, lines and numbers in the text of a packet. */
#ifndef NETFATE_URLS_TEXT_H
#define NETFATE_URLS_TEXT_H

#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "lib/maps.h"

#define WORD_LEN 16  /* the longest method, with the blank behind it */
#define IN_PIECES WORD_LEN /* a word that goes on in the next packet */
#define WINDOW 192 /* bytes that are looked at in one go; a multiple of 8 */

/*
 * Eight bytes at once, the first one lowest: which of them are so is told by their
 * highest bits. Only the lowest one that is set is sure to be right.
 */
#define EACH(byte) (0x0101010101010101ULL * (byte))
#define LESS(x, byte) (((x) - EACH(byte)) & ~(x) & EACH(0x80))
#define EQUAL(x, byte) LESS((x) ^ EACH(byte), 1)

/* All bytes below the lowest that is told; all eight if none is. */
static __always_inline __u64 below(__u64 told)
{
	return ((told & -told) >> 7) - 1;
}

static __always_inline __u32 bytes_of(__u64 mask)
{
	return (mask & EACH(1)) * EACH(1) >> 56;
}

static __always_inline __u64 lower_case(__u64 x)
{
	__u64 seven = x & EACH(0x7f);
	__u64 beyond = seven + EACH(0x7f - 'Z'), from = seven + EACH(0x80 - 'A');

	return x | (~x & EACH(0x80) & (from ^ beyond)) >> 2;
}

/*
 * Copies the bytes up to an end, at most so many, a constant; returns how many, 0 if
 * none. Before 6.8 the verifier learns nothing from a number that is not 0, but from
 * one above it.
 */
#define COPY(skb, at, end, to, most)                                               \
	({                                                                         \
		__u64 copied = (at) < (end) ? (end) - (at) : 0;                    \
		if (copied > (most))                                               \
			copied = (most);                                           \
		barrier_var(copied);                                               \
		if ((__s64)copied <= 0 || bpf_skb_load_bytes(skb, at, to, copied)) \
			copied = 0;                                                \
		copied;                                                            \
	})

static __always_inline bool is_word(__u8 c)
{
	return (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* The length of the method at a place; IN_PIECES, or 0 if there is none. */
__noinline int word_at(struct __sk_buff *skb, __u32 at)
{
	__u8 b[WORD_LEN] = {};
	__u64 n = COPY(skb, at, skb->len, b, WORD_LEN);
	__u32 i;

	if (!n)
		return 0;
#pragma unroll
	for (i = 0; i < WORD_LEN - 1; i++)
		if (!is_word(b[i]))
			break;
	if (i == n)
		return IN_PIECES;
	return i >= 3 && b[i & (WORD_LEN - 1)] == ' ' ? i : 0;
}

/* What a line is by its first bytes. */
enum kind {
	PLAIN,
	BLANK,
	HALF, /* of a blank one: the CR, and no more */
	HOST,
	LENGTH,
	CODING,
};

static __always_inline __u32 kind_of(const __u64 *w)
{
	__u64 a = w[0] | EACH(0x20), b = w[1] | EACH(0x20), c = w[2] | EACH(0x20);

	if ((w[0] & 0xff) == '\n' || (w[0] & 0xffff) == ('\r' | '\n' << 8))
		return BLANK;
	if ((w[0] & 0xffff) == '\r')
		return HALF;
	if ((a & 0xffffffffff) == 0x3a74736f68) /* host: */
		return HOST;
	if (a == 0x2d746e65746e6f63 &&
	    (b & 0xffffffffffffff) == 0x3a6874676e656c) /* content-length: */
		return LENGTH;
	if (a == 0x726566736e617274 && b == 0x6e69646f636e652d &&
	    (c & 0xffff) == 0x3a67) /* transfer-encoding: */
		return CODING;
	return PLAIN;
}

/* Whether a line that begins so may be another kind than PLAIN. */
static __always_inline bool may_matter(__u64 begin)
{
	__u64 a = begin | EACH(0x20);

	return (begin & 0xff) == '\n' || (begin & 0xff) == '\r' ||
	       (a & 0xffffffffff) == 0x3a74736f68 || /* host: */
	       a == 0x2d746e65746e6f63 || a == 0x726566736e617274; /* content-, transfer */
}

#define LINE_LEN(line) ((line) & 0xffff)
#define LINE_KIND(line) ((line) >> 16)

/*
 * What a line is, and how long with its end; without a length if it does not end
 * in the window. With on, lines behind it that do not matter are taken with it, as
 * far as the window goes.
 */
__noinline int line_at(struct __sk_buff *skb, __u32 at, __u32 on)
{
	__u64 w[WINDOW / 8 + 1] = {}, n = COPY(skb, at, skb->len, w, WINDOW);
	__u32 kind = kind_of(w), last = 0;

	if (!n)
		return 0;
	if (kind == BLANK)
		on = 0;
#pragma unroll
	for (int i = 0; i < WINDOW / 8; i++) {
		__u64 x = w[i] ^ EACH('\n');
		__u64 told = ~(((x & EACH(0x7f)) + EACH(0x7f)) | x | EACH(0x7f));

		for (int j = 0; j < 4 && told; j++) { /* lines have two bytes at least */
			__u32 bits = bytes_of(below(told)) * 8;

			last = i * 8 + bits / 8 + 1;
			if (!on || last + 8 > n ||
			    may_matter(w[i] >> bits >> 8 | w[i + 1] << (56 - bits)))
				return kind << 16 | last;
			told &= told - 1;
		}
	}
	return kind << 16 | last;
}

/* The first byte from a place on that is no blank. */
__noinline int skip_blanks(struct __sk_buff *skb, __u32 at)
{
	__u8 b[8] = {};

	COPY(skb, at, skb->len, b, 8);
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (b[i] != ' ' && b[i] != '\t')
			return at + i;
	return at;
}

#define NO_NUMBER (~0ULL)

/* A number with one digit more; NO_NUMBER if it is none. */
__noinline __u64 add_digit(__u64 number, __u32 c, __u32 base)
{
	__u32 digit = c - '0', letter = (c | 0x20) - 'a';

	if (letter < 6)
		digit = letter + 10;
	return digit < base ? number * base + digit : NO_NUMBER;
}

/* The number at a place, blanks before it; NO_NUMBER if there is none. */
__noinline __u64 number_at(struct __sk_buff *skb, __u32 at, __u32 base)
{
	__u64 number = NO_NUMBER, next = 0;
	__u8 b[16] = {};

	at = skip_blanks(skb, at);
	COPY(skb, at, skb->len, b, 16);
	for (int i = 0; i < 16; i++) {
		next = add_digit(i ? number : 0, b[i], base);
		if (next == NO_NUMBER)
			break;
		number = next;
	}
	return number;
}

#endif
