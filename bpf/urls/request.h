/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a request asks for, and the tables that count it. */
#ifndef NETFATE_URLS_REQUEST_H
#define NETFATE_URLS_REQUEST_H

#include "urls/text.h"

#define LONG_LINE 64 /* windows of a request line */

/* The tables, one a generation. key: request; value: count; deleted by Go. */
struct url_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct url_key);
	__type(value, struct url_count);
} urls_0 SEC(".maps"), urls_1 SEC(".maps");

/* What did not fit. key: method alone; deleted by Go. */
struct url_rest {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct url_key);
	__type(value, struct url_count);
} url_rest_0 SEC(".maps"), url_rest_1 SEC(".maps");

#define UNENDED 0xffff

/*
 * The length of a request line; UNENDED if its end is not here; 0 if it is of
 * another protocol.
 */
__noinline int request_line(struct __sk_buff *skb, __u32 at)
{
	__u32 pos = at, n;
	__u64 end = 0;

	for (int i = 0; i < LONG_LINE; i++) {
		if (pos >= skb->len)
			return UNENDED;
		n = LINE_LEN(line_at(skb, pos, 0));
		pos += n;
		if (n)
			break;
		pos += WINDOW;
	}
	if (!n)
		return UNENDED;
	if (pos < at + 10 || bpf_skb_load_bytes(skb, pos - 10, &end, sizeof(end)))
		return 0;
	/* HTTP/1.1 and CR LF, or LF alone */
	if ((end & 0xffffffffffffff) == 0x2e312f50545448 || end >> 8 == 0x2e312f50545448)
		return pos - at;
	return 0;
}

/* Whether a request begins at a place, of which so much must be here. */
static __always_inline bool is_request(struct __sk_buff *skb, __u32 at, __u32 word, __u32 line)
{
	__u8 slash = 0;

	if (line != UNENDED)
		return line;
	return !bpf_skb_load_bytes(skb, at + word + 1, &slash, 1) && slash == '/';
}

/*
 * Where in a target with a scheme the authority is, and where behind it the path:
 * in the upper and the lower half. 0 if it has none, or no end here.
 */
__noinline __u64 authority_at(struct __sk_buff *skb, __u32 at)
{
	__u8 b[HOST_LEN] = {};
	__u64 begin = 0;

	COPY(skb, at, skb->len, b, HOST_LEN);
	for (int i = 3; i < HOST_LEN; i++) {
		if (!begin) {
			if (b[i - 2] == ':' && b[i - 1] == '/' && b[i] == '/')
				begin = at + i + 1;
			continue;
		}
		if (b[i] == '/' || b[i] == '?' || b[i] == '#' || b[i] == ' ')
			return begin << 32 | (at + i);
	}
	return 0;
}

/*
 * Ends a text of n bytes, with NULs behind, where its end is, and makes the rest
 * NULs; returns its length. Loops stay loops here: the verifier knows their counters,
 * and a stack knows no more than 512 bytes.
 */
static __always_inline __u32 end_text(__u64 *w, __u64 n, const int words, const bool host)
{
	__u64 alive = ~0ULL;
	__u32 length = 0;

#pragma nounroll
	for (int i = 0; i < words; i++) {
		__u64 x, told;

		if (i * 8 >= n)
			break;
		x = w[i];
		told = LESS(x, ' ' + 1) | EQUAL(x, '?') | EQUAL(x, '#');
		if (host)
			told |= EQUAL(x, '/');
		alive &= below(told);
		x &= alive;
		length += bytes_of(alive);
		w[i] = host ? lower_case(x) : x;
		if (told)
			alive = 0;
	}
	return length;
}

/* Whether a host can be told of the bytes up to an end: names and passwords cannot. */
static __always_inline bool take_host(struct __sk_buff *skb, struct url_key *key, __u32 at,
				      __u32 end)
{
	__u64 *w = (__u64 *)key->host, n = COPY(skb, at, end, w, HOST_LEN), user = 0;

	if (end_text(w, n, HOST_LEN / 8, true) >= n)
		return false;
#pragma nounroll
	for (int i = 0; i < HOST_LEN / 8; i++) {
		if (i * 8 >= n)
			break;
		user |= EQUAL(w[i], '@');
	}
	return !user;
}

static __always_inline bool take_path(struct __sk_buff *skb, struct url_key *key, __u32 at,
				      __u32 end)
{
	__u64 *w = (__u64 *)key->path, n = COPY(skb, at, end, w, PATH_LEN);

	if (end_text(w, n, PATH_LEN / 8, false) >= n)
		return false;
	if (!key->path[0])
		key->path[0] = '/'; /* of a target that is a host alone */
	return true;
}

/*
 * Where the host is that a request at a place asks for, in the upper half, and in
 * the lower one the path; none is 0, and both are if they are not here. host is
 * where the value of the Host field is: a target may have one of its own.
 */
__noinline __u64 url_at(struct __sk_buff *skb, __u32 at, __u32 word, __u32 host)
{
	__u32 target = at + word + 1, begin = 0;
	__u8 c = 0;

	if (bpf_skb_load_bytes(skb, target, &c, 1))
		return 0;
	if (c == '/' || c == '*')
		return (host ? (__u64)skip_blanks(skb, host) << 32 : 0) | target;
	if (!bpf_skb_load_bytes(skb, at, &begin, 4) && begin == 0x4e4e4f43) /* CONN */
		return (__u64)target << 32;
	return authority_at(skb, target);
}

/* False if the table is full. */
static __always_inline bool add_to(void *table, const struct url_key *key)
{
	struct url_count *to = bpf_map_lookup_elem(table, key), one = { .requests = 1 };

	if (!to) {
		if (!bpf_map_update_elem(table, key, &one, BPF_NOEXIST))
			return true;
		/* Full, or another CPU was faster. */
		to = bpf_map_lookup_elem(table, key);
		if (!to)
			return false;
	}
	__sync_fetch_and_add(&to->requests, 1);
	return true;
}

/*
 * Counts a request at a place, by the length of its method and what url_at() says:
 * in the remainder if that is nothing, or too long. ends are where the Host field
 * ends, in the upper half, and the request line.
 */
__noinline int count_request(struct __sk_buff *skb, __u32 at, __u32 word, __u64 url, __u64 ends)
{
	__u32 gen = generation & 1, host = url >> 32, path = url, line = ends;
	__u32 field = host < line ? line : ends >> 32;
	struct url_key key = {};

	if (word && word < WORD_LEN)
		bpf_skb_load_bytes(skb, at, key.method, ((word - 1) & (WORD_LEN - 1)) + 1);
	if (url && (!host || take_host(skb, &key, host, field)) &&
	    (!path || take_path(skb, &key, path, line))) {
		if (gen ? add_to(&urls_1, &key) : add_to(&urls_0, &key))
			return 0;
		count_error(SITE_URL_FULL, 1);
	} else {
		count_error(SITE_URL_CUT, 1);
	}
	__builtin_memset(key.host, 0, HOST_LEN + PATH_LEN);
	key.other = 1;
	if (!(gen ? add_to(&url_rest_1, &key) : add_to(&url_rest_0, &key)))
		count_error(SITE_URL_LOST, 1);
	return 0;
}

#endif
