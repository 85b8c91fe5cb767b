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

#define PASS 1
#define LOOPBACK 1 /* index of lo in each netns */

#define WORD_LEN 16  /* the longest method, with the blank behind it */
#define IN_PIECES WORD_LEN /* a word that goes on in the next packet */
#define WINDOW 192 /* bytes that are looked at in one go; a multiple of 8 */
#define LONG_LINE 64 /* windows of a request line */
#define LINES 128	  /* of a head, in one step */
#define STEPS 1024  /* in a packet: a head, a body and a chunk are one each */
#define TRIES 64	 /* packets of a connection that are looked at for a request */
#define TCP_LISTEN 10
#define ENDS 8   /* packets of a client that are looked up in firsts */

enum speech {
	UNKNOWN, /* nothing was recognized yet */
	HTTP1,
	OTHER, /* or the other end of the connection counts */
};

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
