// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What connections that look like HTTP or TLS say, where sockets send and
 * receive it. Go puts it in order and reads it; here is decided what is worth
 * copying: heads, and of bodies so much that what follows them is found. What is
 * not copied is told by its length, so that Go waits for none of it.
 *
 * Of two sockets that talk over lo, one copies what both say.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "lib/copy.h"
#include "lib/sock.h"
#include "http/likeness.h"

#define PASS 1
#define LOOPBACK 1 /* index of lo in each netns */

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10

#define TLS_ROOM (16 << 10)  /* of handshakes, each way */
#define TRIES 64	 /* packets of a connection joined midway that are looked at */
#define SINGLES 200   /* requests of a connection that are looked at for that */
#define TAIL 6    /* a line end, and the last chunk: see tail_of() */
#define UNTOLD (1 << 29)	 /* bytes; their number has 32 bits */

/* Bytes that are copied of a message, from its head on. Set by Go. */
volatile __u32 room = 16 << 10;
/* Copy one of so many requests with its response. Set by Go. */
volatile __u32 one_in = 1;

/* What a connection speaks, as far as is known. */
enum speech {
	UNKNOWN, /* joined midway, and nothing was recognized yet */
	FRESH,  /* its first byte did not come yet */
	MAYBE,  /* HTTP/1, by the first word of its first message */
	HTTP1,
	HTTP2,
	SWITCHED, /* HTTP/1 that has become something else */
	TLS,
	OTHER,
};

/*
 * One direction of a connection, in sequence numbers. All up to seen passed by
 * here, all up to told is known to Go, copied or not.
 */
struct way {
	__u32 seen;
	__u32 told;
	__u32 top; /* the highest seen beyond a hole */
	__u32 left; /* bytes of this message that may still be copied */
	__u8 begun;
	__u8 holes; /* how many packets more are copied although they look old */
	__u8 part;  /* bytes of a first word that has not come whole */
	__u8 pad;
};

struct talk {
	struct way way[2]; /* by direction: received, sent */
	__u32 weight;    /* this request stands for so many */
	__u8 speech;    /* enum speech */
	__u8 asks;	   /* direction of requests */
	__u8 last;	   /* direction of the last message */
	__u8 quiet;    /* this request is one of those that are not copied */
	__u8 tries;
	__u8 connects; /* a proxy was asked for a tunnel */
	__u8 pipelined; /* requests do not wait for responses: all is copied */
	__u8 singles; /* requests of which it is known that they came alone */
};

/* key: socket; value: its connection; the kernel deletes it with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct talk);
} talks SEC(".maps");

/*
 * A connection by the numbers of its first bytes, of who spoke first and of the other
 * one: what netfilter translates on the way leaves them alone.
 */
struct first {
	__u32 seq;
	__u32 ack;
};

/*
 * Connections that Go knows: from the end that spoke first, and then the other one
 * tells nothing of them; or from a listener, and then the value is what they speak
 * (enum speech). The kernel deletes the oldest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct first);
	__type(value, __u8);
} firsts SEC(".maps");

#define SENT 255 /* value of firsts: from the end that spoke first */

/* A packet and where its payload is. */
struct segment {
	struct packet_event row;
	struct layout at;
};

static __always_inline bool read_segment(struct __sk_buff *skb, struct segment *s)
{
	return read_ip(skb, &s->row.tuple, &s->at, true) && s->row.tuple.proto == IPPROTO_TCP &&
	       read_tcp(skb, &s->row, &s->at, true);
}

/* How a row is told: what tell() takes beside the place in the packet. */
static __always_inline __u64 how(__u32 weight, __u8 flags, __u8 dir)
{
	return (__u64)weight << 32 | flags << 8 | dir;
}

static __always_inline __u64 both(__u32 high, __u32 low)
{
	return (__u64)high << 32 | low;
}

/*
 * Copies bytes of a packet in as many rows as it takes: part says how far they
 * are behind its headers, and how many they are; place the number of the first
 * one, and how many before it were skipped. 1 if there was no room for a row.
 *
 * It is a function for all the world, which the verifier looks at once and not
 * at each call. Before 5.12 that takes numbers only, so it reads the headers anew.
 */
__noinline int tell(struct __sk_buff *skb, __u64 part, __u64 place, __u64 as)
{
	struct segment s = {};
	__u32 left = part, off = part >> 32;

	if (!read_segment(skb, &s))
		return 1;
	off += s.at.payload;
	s.row.seq = place >> 32;
	s.row.skipped = place;
	s.row.one_in = as >> 32;
	s.row.tcp_flags = as >> 8;
	s.row.dir = as;
	sign(skb, &s.row, true);
	for (int i = 0; i < CHUNKS && left > LARGE; i++) {
		if (copy_row(skb, &s.row, off, LARGE))
			return 1;
		left -= LARGE;
		off += LARGE;
		s.row.seq += LARGE;
		s.row.skipped = 0;
	}
	if (left > LARGE) { /* BIG TCP */
		s.row.missing = left - LARGE;
		left = LARGE;
	}
	return copy_row(skb, &s.row, off, left);
}

/*
 * What a connection speaks whose first payload looks like this. Who begins is the
 * client, but for servers of HTTP/2.
 */
static __always_inline __u8 first_words(__u32 like)
{
	switch (like) {
	case PART:
	case REQUEST:
	case CONNECT:
	case SETTINGS:
		return MAYBE;
	case PREFACE:
		return HTTP2;
	case HANDSHAKE:
		return TLS;
	}
	return OTHER;
}

/*
 * Whether a request that begins with this number is one of those that are not copied,
 * by it and the client's port: each sensor that sees it comes to the same. Of pipelined
 * ones it is all or none, since they cannot be told apart here.
 */
static __always_inline bool is_quiet(__u16 port, __u32 seq, bool pipelined)
{
	__u64 mixed = port;
	__u32 n = one_in;

	if (!pipelined)
		mixed ^= (__u64)seq << 16;
	return n > 1 && (__u32)(mixed * 0x9e3779b97f4a7c15ULL >> 32) % n;
}

static __always_inline void choose(struct talk *t, __u16 port, __u32 seq)
{
	t->weight = one_in;
	t->quiet = is_quiet(port, seq, t->pipelined);
}

/* Tells Go that a connection begins with this number. */
static __always_inline void tell_begin(struct __sk_buff *skb, __u32 seq, bool asks, __u8 dir)
{
	tell(skb, 0, both(seq - 1, 0), how(0, asks ? SYN : SYN | ACK, dir));
}

/* Begins to follow a connection; NULL if there is no room for it. */
static __always_inline struct talk *meet(struct bpf_sock *sk, const struct segment *s, __u8 dir)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	bool fresh = tcp && !tcp->bytes_received && tcp->bytes_acked <= 1;
	struct first key;
	struct talk *t;
	__u8 *known;

	if (!tcp)
		return NULL;
	t = bpf_sk_storage_get(&talks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t) {
		count_error(SITE_TALK, 1);
		return NULL;
	}
	t->last = 2;
	/* What came first may have been overtaken, so it is not always this packet. */
	key.seq = tcp->rcv_nxt - (__u32)tcp->bytes_received;
	key.ack = tcp->snd_una - (__u32)tcp->bytes_acked;
	if (fresh && dir != PACKET_OUT)
		key.ack = s->row.ack; /* a client's sockets count their SYN, too */
	known = bpf_map_lookup_elem(&firsts, &key);
	if (known && *known == SENT) {
		t->speech = OTHER;
		return t;
	}
	if (known) {
		t->speech = *known;
		choose(t, dir == PACKET_OUT ? s->row.tuple.dport : s->row.tuple.sport, key.seq);
		t->way[0].begun = 1;
		t->way[0].seen = t->way[0].told = tcp->rcv_nxt;
		t->way[0].left = t->way[1].left = room;
		return t;
	}
	if (!fresh)
		return t;
	t->speech = FRESH;
	t->way[dir & 1].begun = t->way[!dir].begun = 1;
	t->way[dir & 1].seen = t->way[dir & 1].told = dir == PACKET_OUT ? s->row.seq : key.seq;
	t->way[!dir].seen = t->way[!dir].told = s->row.ack;
	return t;
}

/*
 * Notes that a connection is known. No room is no harm: then both ends tell. Listeners
 * do not know which byte is the first, so they find it by one number alone.
 */
static __always_inline void note_first(const struct segment *s, __u8 value)
{
	struct first key = { .seq = s->row.seq, .ack = s->row.ack };

	bpf_map_update_elem(&firsts, &key, &value, BPF_ANY);
	key.seq = 0;
	bpf_map_update_elem(&firsts, &key, &value, BPF_ANY);
}

/* Decides what a connection speaks whose first byte comes now, or will. */
static __always_inline void begin_talk(struct __sk_buff *skb, struct talk *t,
				       const struct segment *s, __u32 like, __u8 dir)
{
	struct way *w = &t->way[dir & 1];

	if (s->row.seq != w->seen) {
		if (t->tries)
			return;
		t->tries = 1;
		w->left = room;
		tell_begin(skb, w->seen, true, dir);
		return;
	}
	t->speech = first_words(like);
	t->asks = like == SETTINGS ? !dir : dir;
	if (t->speech == HTTP2) {
		/* What its heads say refers to earlier ones: all of it or nothing. */
		choose(t, s->row.tuple.sport, s->row.seq);
		if (t->quiet)
			t->speech = OTHER;
	}
	if (t->speech == OTHER) {
		if (w->left > s->at.length)
			w->left = s->at.length; /* Go waits for it */
		return;
	}
	if (t->speech == TLS)
		t->way[0].left = t->way[1].left = TLS_ROOM;
	if (!t->tries)
		tell_begin(skb, s->row.seq, dir == t->asks, dir);
	t->tries = 0;
	if (dir == PACKET_OUT)
		note_first(s, SENT);
}

/*
 * What comes to a listener begins a connection that has no socket yet: its handshake
 * ends with it. The socket that it gets goes on from there.
 */
static __always_inline void overhear(struct __sk_buff *skb, const struct segment *s, __u32 like)
{
	__u32 n = s->at.length < room ? s->at.length : room, seq = s->row.seq;
	struct first key = { .ack = s->row.ack };
	__u8 speech = first_words(like);

	if (!s->at.length || speech == OTHER || bpf_map_lookup_elem(&firsts, &key))
		return;
	note_first(s, speech);
	if (speech != TLS && is_quiet(s->row.tuple.sport, seq, false))
		return;
	tell_begin(skb, seq, true, 0);
	tell(skb, n, both(seq, 0), how(one_in, ACK, 0));
	if (n < s->at.length)
		tell(skb, 0, both(seq + s->at.length, s->at.length - n), how(one_in, ACK, 0));
}

/* A message begins. With a request it is decided whether it is one of those copied. */
static __always_inline void begin_message(struct talk *t, __u32 like, const struct segment *s,
					  __u8 dir)
{
	t->way[dir].left = room;
	if (dir != t->asks)
		return;
	t->connects = like == CONNECT;
	if (t->last == dir) {
		t->pipelined |= like != PART;
		return;
	}
	choose(t, s->row.tuple.sport, s->row.seq);
}

/* Updates what is known of a connection with the beginning of a payload. */
static __always_inline void listen(struct talk *t, struct segment *s, __u32 like, __u8 dir)
{
	bool asking = dir == t->asks;

	switch (t->speech) {
	case FRESH:
		return;
	case UNKNOWN:
		if (like == REQUEST || like == CONNECT || is_response(like)) {
			t->speech = HTTP1;
			t->asks = is_response(like) ? !dir : dir;
			break;
		}
		if (like == FRAME) {
			t->way[dir].left = SMALL; /* Go notes it, and can read no more */
			t->speech = OTHER;
		} else if (++t->tries > TRIES) {
			t->speech = OTHER;
		}
		return;
	case MAYBE:
		if (asking || like == PART)
			break;
		if (t->way[dir & 1].begun && t->way[dir & 1].seen != s->row.seq) {
			t->way[dir & 1].left = room; /* it has overtaken what tells more */
			return;
		}
		t->speech = is_response(like) ? HTTP1 : like == SETTINGS ? HTTP2 : OTHER;
		break;
	case SWITCHED:
		if (asking)
			t->speech = like == PREFACE ? HTTP2 : OTHER;
		return;
	}
	if (t->speech == HTTP2 || t->speech == TLS || t->speech == OTHER)
		return;
	asking = dir == t->asks;
	if (asking ? like == REQUEST || like == CONNECT || like == PART :
		     is_response(like) || like == PART)
		begin_message(t, like, s, dir);
	t->last = dir;
	if (asking)
		return;
	if (like == RESPONSE_101) {
		t->speech = SWITCHED;
		t->way[t->asks & 1].left = room;
	} else if (like == RESPONSE_2XX && t->connects) {
		t->speech = TLS;
		t->way[0].left = t->way[1].left = TLS_ROOM;
	}
}

/*
 * How many bytes at the end of a segment are the last chunk of a body, with the line
 * end before it: they are copied, so that Go knows where the body ends. Any others
 * are not: they might look like the head of the next message.
 */
static __always_inline __u32 tail_of(struct __sk_buff *skb, const struct segment *s, __u32 n)
{
	__u8 b[TAIL];

	if (s->at.length < n + TAIL ||
	    bpf_skb_load_bytes(skb, s->at.payload + s->at.length - TAIL, b, TAIL))
		return 0;
	return __builtin_memcmp(b, "\n0\r\n\r\n", TAIL) ? 0 : TAIL;
}

/* Tells of bytes up to end that are not copied, but for the tail of this segment. */
static __always_inline void tell_skipped(struct __sk_buff *skb, const struct segment *s,
					 const struct talk *t, struct way *w, __u32 end, __u32 tail)
{
	if (!tell(skb, both(s->at.length - tail, tail), both(end - tail, end - tail - w->told),
		  how(t->weight, ACK, s->row.dir)))
		w->told = end;
}

/* What a segment is to those of its direction that were seen before. */
enum place {
	OLD,  /* sent again */
	APART,  /* ahead of what is due, or behind what was ahead of it */
	NEXT,
};

static __always_inline __u32 place(const struct segment *s, struct way *w)
{
	__u32 seq = s->row.seq, end = seq + s->at.length;

	if (!w->begun) {
		w->begun = 1;
		w->seen = w->told = seq;
	}
	if ((__s32)(seq - w->seen) > 0) {
		if (!w->holes || (__s32)(end - w->top) > 0)
			w->top = end;
		w->holes = 255;
		return APART;
	}
	if ((__s32)(end - w->seen) > 0)
		return NEXT;
	if (!w->holes)
		return OLD;
	w->holes--;
	return APART;
}

/* Copies n bytes of a segment that is not the next one, and tells the length of the rest. */
static __always_inline void copy_apart(struct __sk_buff *skb, const struct segment *s,
				       const struct talk *t, struct way *w, __u32 n)
{
	__u32 seq = s->row.seq, end = seq + s->at.length, rest = s->at.length - n, tail;

	if (w->seen != w->told && (__s32)(seq - w->seen) > 0)
		tell_skipped(skb, s, t, w, w->seen, 0);
	if (n)
		tell(skb, n, both(seq, 0), how(t->weight, ACK, s->row.dir));
	if (!rest)
		return;
	tail = tail_of(skb, s, n);
	tell(skb, both(s->at.length - tail, tail), both(end - tail, rest - tail),
	     how(t->weight, ACK, s->row.dir));
}

/*
 * The same of one that is due. What is not copied is told at the end of what
 * was said in one go, not packet by packet, and of TLS at its end.
 */
static __always_inline void copy_next(struct __sk_buff *skb, const struct segment *s,
				      const struct talk *t, struct way *w, __u32 n, bool told)
{
	__u32 seq = s->row.seq, end = seq + s->at.length, skipped;

	if (n) {
		skipped = (__s32)(seq - w->told) > 0 ? seq - w->told : 0;
		if (!tell(skb, n, both(seq, skipped), how(t->weight, ACK, s->row.dir)) &&
		    (__s32)(seq + n - w->told) > 0)
			w->told = seq + n;
	}
	w->seen = end;
	if (w->holes && (__s32)(w->top - end) > 0) {
		w->seen = w->top; /* what is between was told, or comes */
		told = true;
	} else if (w->holes) {
		w->holes--;
	}
	if (w->told != end && (told || end - w->told > UNTOLD))
		tell_skipped(skb, s, t, w, end, tail_of(skb, s, n));
	if (w->seen != end && w->told == end)
		w->told = w->seen;
}

static __always_inline void copy_segment(struct __sk_buff *skb, const struct segment *s,
					 const struct talk *t, struct way *w)
{
	bool http1 = t->speech == HTTP1 || t->speech == MAYBE;
	bool quiet = http1 && t->quiet;
	__u32 n = 0;

	if (t->speech == HTTP2 || (t->pipelined && !quiet))
		n = s->at.length;
	else if (!quiet)
		n = w->left < s->at.length ? w->left : s->at.length;
	w->left -= n < w->left ? n : w->left;
	if (http1 && !quiet && s->at.length - n < TAIL)
		n = s->at.length; /* the last chunk may be a segment of its own */
	switch (place(s, w)) {
	case APART:
		if (!quiet)
			copy_apart(skb, s, t, w, n);
		break;
	case NEXT:
		copy_next(skb, s, t, w, n, !quiet && s->row.tcp_flags & PSH && t->speech != TLS);
	}
}

/* A connection ends one way, or both. */
static __always_inline void tell_end(struct __sk_buff *skb, const struct segment *s,
				     const struct talk *t, struct way *w)
{
	__u32 end = s->row.seq + s->at.length;
	__u8 flags = s->row.tcp_flags & (FIN | RST);

	if (w->begun && w->told != end && w->seen == end)
		tell_skipped(skb, s, t, w, end, 0);
	tell(skb, 0, both(end, 0), how(t->weight, flags | ACK, s->row.dir));
}

static __noinline int follow(struct __sk_buff *skb, struct bpf_sock *sk, struct talk *t, __u8 dir)
{
	struct segment s = { .row.dir = dir };
	struct way *w;
	__u32 like, part = 0;

	if (!read_segment(skb, &s))
		return 0;
	if (!s.at.length && (!t || !(s.row.tcp_flags & (FIN | RST))))
		return 0;
	if (t)
		part = t->way[dir & 1].part;
	like = look_at(skb, s.at.payload, s.at.length, part);
	if (!t && sk->state == TCP_LISTEN) {
		overhear(skb, &s, like);
		return 0;
	}
	if (!t)
		t = meet(sk, &s, dir);
	if (!t)
		return 0;
	if (t->speech == FRESH && s.at.length)
		begin_talk(skb, t, &s, like, dir);
	if (s.at.length)
		listen(t, &s, like, dir);
	w = &t->way[dir & 1];
	w->part = like == PART ? part + s.at.length : 0;
	if (like == REQUEST && t->singles < SINGLES) {
		t->singles++;
		t->pipelined |= is_many(skb, s.at.payload, s.at.length);
	}
	if (t->speech == OTHER && !w->left)
		return 0;
	if (s.at.length)
		copy_segment(skb, &s, t, w);
	if (s.row.tcp_flags & (FIN | RST))
		tell_end(skb, &s, t, w);
	return 0;
}

/* Whether a packet surely says nothing: it is none of TCP, or only acknowledges. */
static __always_inline bool is_silent(struct __sk_buff *skb)
{
	const struct tcp_header *tcp = (const void *)(long)skb->data;
	__u8 proto = 0;
	__u32 l4 = peek_ip(skb, &proto);

	if (!l4)
		return false;
	if (proto != IPPROTO_TCP)
		return true;
	tcp = (const void *)tcp + l4;
	if ((const void *)(tcp + 1) > (const void *)(long)skb->data_end)
		return false;
	return !(tcp->flags & (FIN | RST)) && skb->len <= l4 + (tcp->doff >> 4) * 4;
}

static __always_inline int observe(struct __sk_buff *skb, __u8 dir)
{
	struct bpf_sock *sk = skb->sk;
	struct talk *t;

	if (!sk || is_silent(skb))
		return PASS;
	if (skb->ifindex == LOOPBACK && sk->src_port < be16(sk->dst_port))
		return PASS;
	t = bpf_sk_storage_get(&talks, sk, NULL, 0);
	if (!t || t->speech != OTHER)
		follow(skb, sk, t, dir);
	return PASS;
}

SEC("cgroup_skb/egress")
int http_out(struct __sk_buff *skb)
{
	return observe(skb, PACKET_OUT);
}

SEC("cgroup_skb/ingress")
int http_in(struct __sk_buff *skb)
{
	return observe(skb, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
