/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How what a client says is read on from one packet to the next. */
#ifndef NETFATE_URLS_READ_H
#define NETFATE_URLS_READ_H

#include "urls/request.h"

#define LINES 128	  /* of a head, in one step */
#define STEPS 1024  /* in a packet: a head, a body and a chunk are one each */

/* Where in what a client says the next byte is. */
enum in {
	NOWHERE, /* not known: a packet that looks like a request begins one */
	BETWEEN, /* two requests */
	LINE,  /* at the beginning of a line of a head */
	RETURN, /* behind a CR there */
	REST,  /* somewhere in a line of a head */
	BODY,
	CHUNK, /* at the line that has its size */
};

/*
 * A state is where the next byte is, whether the body there comes in chunks, and
 * how many bytes of it are still to come; read_on() puts the place in the packet
 * above.
 */
#define IN(state) ((state) & 7)
#define HOSTED 8 /* of read_line() alone */
#define CHUNKED 16
#define SPLIT 32 /* a line of the head was: it may have said that there is a body */
#define BODY_SHIFT 6
#define PLACE_SHIFT 44
#define STATE_MASK ((1ULL << PLACE_SHIFT) - 1)
#define MAX_BODY (STATE_MASK >> BODY_SHIFT)

static __always_inline __u64 state_of(__u32 in, __u64 flags, __u64 body)
{
	return (body & MAX_BODY) << BODY_SHIFT | flags | in;
}

static __always_inline __u64 result(__u32 pos, __u64 state)
{
	return (__u64)pos << PLACE_SHIFT | state;
}

/* What comes behind a head. */
static __always_inline __u64 behind_head(__u64 flags, __u64 body)
{
	if (flags & CHUNKED)
		return state_of(CHUNK, 0, 0);
	if (body)
		return state_of(BODY, 0, body);
	return state_of(flags & SPLIT ? NOWHERE : BETWEEN, 0, 0);
}

/* Steps over a body, or as much of it as is here. */
static __always_inline __u64 read_body(struct __sk_buff *skb, __u32 pos, __u64 was)
{
	__u64 body = was >> BODY_SHIFT, here = skb->len - pos;

	if (body > here)
		return result(skb->len, state_of(BODY, was & CHUNKED, body - here));
	return result(pos + body, state_of(was & CHUNKED ? CHUNK : BETWEEN, 0, 0));
}

/* Reads the line ahead of a chunk; behind the last one are fields, as in a head. */
static __always_inline __u64 read_chunk(struct __sk_buff *skb, __u32 pos)
{
	__u32 n = LINE_LEN(line_at(skb, pos, 0));
	__u64 size = number_at(skb, pos, 16);

	if (!n || size == NO_NUMBER)
		return result(skb->len, NOWHERE);
	if (!size)
		return result(pos + n, LINE);
	return result(pos + n, state_of(BODY, CHUNKED, size + 2));
}

/*
 * Reads a line of a head, or as much of it as is looked at in one go, and returns
 * what comes behind it; with HOSTED if it is the Host field.
 */
__noinline __u64 read_line(struct __sk_buff *skb, __u32 pos, __u64 was)
{
	__u64 body = was >> BODY_SHIFT, flags = was & (CHUNKED | SPLIT), number;
	__u32 line = line_at(skb, pos, 1), n = LINE_LEN(line), in = IN(was);

	if (in == RETURN && n != 1)
		in = REST; /* it was no blank line */
	if (in != REST) {
		switch (LINE_KIND(line)) {
		case BLANK:
			return result(pos + n, behind_head(flags, body));
		case HALF:
			return result(pos + 1, state_of(RETURN, flags, body));
		case HOST:
			flags |= HOSTED;
			break;
		case LENGTH:
			number = number_at(skb, pos + 15, 10);
			if (n && number != NO_NUMBER)
				body = number;
			break;
		case CODING:
			flags |= CHUNKED;
		}
	}
	if (n)
		return result(pos + n, state_of(LINE, flags, body));
	n = WINDOW;
	if (skb->len - pos < n) {
		n = skb->len - pos;
		flags |= SPLIT;
	}
	return result(pos + n, state_of(REST, flags, body));
}

/* Reads on in a head, from a place where something else was before. */
__noinline __u64 read_head(struct __sk_buff *skb, __u32 at, __u32 word, __u64 where)
{
	__u32 pos = where >> PLACE_SHIFT, host = 0, in;
	__u64 state = where & STATE_MASK, ends = IN(state) == LINE ? pos : skb->len;

	for (int i = 0; i < LINES; i++) {
		if (pos >= skb->len)
			break;
		where = read_line(skb, pos, state);
		if (where & HOSTED && !host) {
			host = pos + 5;
			ends |= where >> PLACE_SHIFT << 32;
		}
		pos = where >> PLACE_SHIFT;
		state = where & STATE_MASK & ~(__u64)HOSTED;
		in = IN(state);
		if (in < LINE || in > REST) {
			if (word)
				count_request(skb, at, word, url_at(skb, at, word, host), ends);
			return result(pos, state);
		}
	}
	if (word)
		count_request(skb, at, word, host ? url_at(skb, at, word, host) : 0, ends);
	return result(pos, state);
}

/* Begins to read a request, where one may begin. */
static __always_inline __u64 read_request(struct __sk_buff *skb, __u32 at, __u32 in)
{
	__u32 word = word_at(skb, at), line = 0;

	if (word == IN_PIECES && in == BETWEEN) {
		count_request(skb, at, 0, 0, 0);
		return result(skb->len, REST);
	}
	if (word && word != IN_PIECES)
		line = request_line(skb, at);
	if (in == BETWEEN ? line : is_request(skb, at, word, line))
		return read_head(skb, at, word,
				 line == UNENDED ? result(at, REST) : result(at + line, LINE));
	line = line_at(skb, at, 0);
	if (in == BETWEEN && LINE_KIND(line) == BLANK)
		return result(at + LINE_LEN(line), BETWEEN);
	return result(skb->len, NOWHERE);
}

/*
 * Reads on from a place in the packet: one head, or the rest of one, a body or the
 * beginning of a chunk. Returns where the next one is, and what.
 */
__noinline __u64 read_on(struct __sk_buff *skb, __u32 at, __u64 was)
{
	switch (IN(was)) {
	case NOWHERE:
	case BETWEEN:
		return read_request(skb, at, IN(was));
	case BODY:
		return read_body(skb, at, was);
	case CHUNK:
		return read_chunk(skb, at);
	}
	return read_head(skb, at, 0, result(at, was));
}

/* Reads a packet from a place on, as far as limit; returns the state behind it. */
__noinline __u64 read_packet(struct __sk_buff *skb, __u32 at, __u32 limit, __u64 state)
{
	__u32 pos = at;

	for (int i = 0; i < STEPS; i++) {
		if (pos >= limit)
			return state;
		state = read_on(skb, pos, state);
		pos = state >> PLACE_SHIFT;
		state &= STATE_MASK;
	}
	count_error(SITE_URL_MANY, 1);
	return NOWHERE;
}

#endif
