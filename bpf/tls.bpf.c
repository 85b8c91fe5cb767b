// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What programs say through TLS before it is encrypted, and what they are told
 * after it was decrypted, where their libraries' functions are called. Only
 * HTTP is copied: bodies in part, HTTP/2 whole.
 *
 * A read or write is two hits: its beginning, which has the arguments, and its
 * end, which knows how many bytes it came to.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lib/maps.h"
#include "lib/regs.h"
#include "lib/sock.h"

#define SMALL 512	  /* most heads */
#define LARGE 4096  /* most buffers of programs */
#define HUGE 16384  /* a record of TLS, RFC 8446 5.1 */
#define CHUNKS 16	  /* of HUGE, in one call */
#define PEEK 16 /* bytes by which HTTP is told */
#define WRAPPED 3	  /* connections of Go inside each other */
#define IPPROTO_MPTCP 262
#define MAX_FDS (1 << 20)
#define THREADS 4096 /* 2 ^ n */

#define SYN 2
#define FIN 1

/* How much of a head, and of what follows it the same way, is copied. */
const volatile __u32 body_bytes = 16384;

/* What a connection carries, as far as it is known. */
enum kind {
	UNKNOWN,
	HTTP1, /* or what begins like it */
	HTTP2,
	OTHER, /* nothing for us, and so for good */
};

/* What a piece of a connection begins with. */
enum beginning {
	NOTHING, /* of HTTP */
	HEAD,  /* of a message, or too short to tell */
	PREFACE, /* of HTTP/2, or its settings */
	HEADERS, /* a frame of HTTP/2 */
};

/* What a place means: as tlslib.What. */
enum what {
	C_WRITE,
	C_READ,
	C_WRITE_EX,
	C_READ_EX,
	C_CLIENT,
	C_SERVER,
	C_HANDSHAKE,
	C_CONNECT,
	C_ACCEPT,
	C_FREE,
	GO_WRITE,
	GO_READ,
	GO_RETURN,
	GO_CLIENT,
	GO_SERVER,
	GO_CLOSE,
};

/* A call under way. One may be inside another: TLS over TLS, for a proxy. */
struct call_key {
	__u64 who; /* thread, or goroutine of Go */
	__u32 pid;
	__u32 level; /* enum level */
};

enum level {
	OUTER,
	INNER,
	LEVELS,
	GO = 2, /* added to those of goroutines */
};

struct call {
	__u64 object; /* what the library keeps of the connection; 0: the call is over */
	__u64 buffer; /* of a goroutine's stack, which moves: how far below its top */
	__u64 done;   /* where the number of bytes will be; 0: it is returned */
	__u64 depth;  /* of the stack; a return of another depth is of another call */
	__u8 out;
	__u8 on_stack; /* buffer is below the top */
	__u8 returns;  /* more of the same frame, before the last one */
	__u8 pad[5];
};

struct tls_key {
	__u64 object;
	__u32 pid;
	__u32 pad;
};

struct tls {
	__u64 id;
	__u64 sock; /* its address; 0: not known yet */
	struct tuple tuple; /* local side first; empty without a socket */
	struct owner owner; /* the process; netns of the socket, once it is known */
	__u32 bytes[2]; /* received and sent so far */
	__u32 left[2]; /* that are still copied, of HTTP/1 */
	__u8 kind; /* enum kind */
	__u8 fresh; /* seen from its beginning */
	__u8 role; /* PACKET_CLIENT, PACKET_SERVER or 0 */
	__u8 told; /* it has rows */
};

/*
 * key: thread or goroutine; value: the call that it is in, if any: it stays for
 * the next one, which costs less than to delete and make it. The oldest go first.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

/*
 * key: thread, by the low bits of its number; value: how many calls of C the threads
 * are in that share it, and more where an end was missed; nobody deletes. The sockets
 * of others, which are most, are passed by with a look at it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, THREADS);
	__type(key, __u32);
	__type(value, __u32);
} under_way SEC(".maps");

/* key: connection; value: what is known of it; its end deletes it, and the oldest go first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tls_key);
	__type(value, struct tls);
} sessions SEC(".maps");

/* Rows; read by Go. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} packets SEC(".maps");

struct bare_row {
	struct packet_event head;
	__u8 data[];
};

struct small_row {
	struct packet_event head;
	__u8 data[SMALL];
};

struct large_row {
	struct packet_event head;
	__u8 data[LARGE];
};

struct huge_row {
	struct packet_event head;
	__u8 data[HUGE];
};

static __always_inline int c_ends(struct regs *ctx);
static __noinline int used(struct sock *sk);
static __always_inline int any(struct regs *ctx, __u64 what);

/* All places of a file but returns of C, where one link can have them all. */
SEC("uprobe.multi")
int begins_or_ends(struct regs *ctx)
{
	return any(ctx, bpf_get_attach_cookie(ctx));
}

/* OpenSSL's SSL_write and GnuTLS's send: int f(object, buffer, size, …). */
SEC("uprobe")
int c_write(struct regs *ctx)
{
	return any(ctx, C_WRITE);
}

SEC("uprobe")
int c_read(struct regs *ctx)
{
	return any(ctx, C_READ);
}

/* SSL_write_ex: int f(object, buffer, size, size_t *done). */
SEC("uprobe")
int c_write_ex(struct regs *ctx)
{
	return any(ctx, C_WRITE_EX);
}

SEC("uprobe")
int c_read_ex(struct regs *ctx)
{
	return any(ctx, C_READ_EX);
}

/* The return of all of them. */
SEC("uretprobe")
int c_return(struct regs *ctx)
{
	return c_ends(ctx);
}

/* SSL_set_connect_state and SSL_set_accept_state: the handshake is to begin. */
SEC("uprobe")
int c_client(struct regs *ctx)
{
	return any(ctx, C_CLIENT);
}

SEC("uprobe")
int c_server(struct regs *ctx)
{
	return any(ctx, C_SERVER);
}

/* gnutls_handshake, which is called until it is done, and again for new keys. */
SEC("uprobe")
int c_handshake(struct regs *ctx)
{
	return any(ctx, C_HANDSHAKE);
}

/* SSL_connect and SSL_accept, of BoringSSL, likewise. */
SEC("uprobe")
int c_connect(struct regs *ctx)
{
	return any(ctx, C_CONNECT);
}

SEC("uprobe")
int c_accept(struct regs *ctx)
{
	return any(ctx, C_ACCEPT);
}

/* SSL_free, gnutls_deinit. */
SEC("uprobe")
int c_free(struct regs *ctx)
{
	return any(ctx, C_FREE);
}

/* Go's crypto/tls: (*Conn).Write and Read, each of their RETs, … */
SEC("uprobe")
int go_write(struct regs *ctx)
{
	return any(ctx, GO_WRITE);
}

SEC("uprobe")
int go_read(struct regs *ctx)
{
	return any(ctx, GO_READ);
}

SEC("uprobe")
int go_return(struct regs *ctx)
{
	return any(ctx, GO_RETURN);
}

/* … clientHandshake and serverHandshake, and Close. */
SEC("uprobe")
int go_client(struct regs *ctx)
{
	return any(ctx, GO_CLIENT);
}

SEC("uprobe")
int go_server(struct regs *ctx)
{
	return any(ctx, GO_SERVER);
}

SEC("uprobe")
int go_close(struct regs *ctx)
{
	return any(ctx, GO_CLOSE);
}

/* The socket of a call of C is the one that its thread uses meanwhile. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk)
{
	return used(sk);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk)
{
	return used(sk);
}

SEC("fentry/inet_sendmsg")
int BPF_PROG(inet_sendmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/inet6_sendmsg")
int BPF_PROG(inet6_sendmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/inet_recvmsg")
int BPF_PROG(inet_recvmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/inet6_recvmsg")
int BPF_PROG(inet6_recvmsg, struct socket *sock)
{
	return used(sock->sk);
}

static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

/* A word of a program's memory, 0 if there is none. */
static __always_inline __u64 user_word(__u64 address)
{
	__u64 word = 0;

	if (bpf_probe_read_user(&word, sizeof(word), (const void *)address))
		return 0;
	return word;
}

/* A number that no connection had before at the same place. */
static __always_inline __u64 new_id(const struct tls_key *key)
{
	__u64 mixed = key->object ^ ((__u64)key->pid << 40);

	return (mixed * 0x9e3779b97f4a7c15ULL + bpf_ktime_get_ns()) * 0xbf58476d1ce4e5b9ULL | 1;
}

/* Keeps a new connection in place of what had its key; NULL if there is no room. */
static __noinline struct tls *open_tls(const struct tls_key *key, __u8 role, bool fresh)
{
	struct tls t = { .role = role, .fresh = fresh };

	t.id = new_id(key);
	owner_of_task((void *)bpf_get_current_task(), &t.owner);
	if (bpf_map_update_elem(&sessions, key, &t, BPF_ANY)) {
		count_error(SITE_CALL, 1);
		return NULL;
	}
	return bpf_map_lookup_elem(&sessions, key);
}

/* What all rows of a connection say. */
static __always_inline void describe(struct packet_event *e, const struct tls *t, bool out)
{
	e->owner = t->owner;
	e->tuple = t->tuple;
	e->tuple.flags = 0;
	if (!out) {
		__builtin_memcpy(e->tuple.saddr, t->tuple.daddr, ADDR_LEN);
		__builtin_memcpy(e->tuple.daddr, t->tuple.saddr, ADDR_LEN);
		e->tuple.sport = t->tuple.dport;
		e->tuple.dport = t->tuple.sport;
	}
	e->time = bpf_ktime_get_ns();
	e->conn = t->id;
	e->dir = PACKET_PLAIN | t->role | (out ? PACKET_OUT : 0);
	e->seq = out ? t->bytes[1] : t->bytes[0];
	e->ack = out ? t->bytes[0] : t->bytes[1];
}

/* One row of n bytes, the program's from address on; false if there is no room. */
#define COPY_ROW(row, size)                                                                  \
	({                                                                                   \
		struct row *r = bpf_ringbuf_reserve(&packets, sizeof(*r), 0);                \
		bool ok = r;                                                                 \
		if (r) {                                                                     \
			r->head = *head;                                                     \
			r->head.captured = n;                                                \
			if (size && bpf_probe_read_user(r->data, ((n - 1) & (size - 1)) + 1, \
							(const void *)address)) {            \
				r->head.captured = 0;                                        \
				r->head.missing += n;                                        \
				count_error(SITE_PLAIN, 1);                                  \
			}                                                                    \
			bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);                             \
		}                                                                            \
		ok;                                                                          \
	})

static __noinline int copy_row(const struct packet_event *head, __u64 address, __u32 n)
{
	bool ok;

	if (!n)
		ok = COPY_ROW(bare_row, 0);
	else if (n <= SMALL)
		ok = COPY_ROW(small_row, SMALL);
	else if (n <= LARGE)
		ok = COPY_ROW(large_row, LARGE);
	else
		ok = COPY_ROW(huge_row, HUGE);
	if (!ok)
		count_error(SITE_PACKETS, 1);
	return 0;
}

/* Tells that a connection is over, if there was anything of it to read. */
static __noinline int tell_end(const struct tls *t)
{
	struct packet_event e = { .tcp_flags = FIN };

	if (!t->told)
		return 0;
	describe(&e, t, false);
	return copy_row(&e, 0, 0);
}

static __always_inline int opens(__u64 object, __u8 role, bool again)
{
	struct tls_key key = { .object = object, .pid = current_pid() };
	struct tls *t = bpf_map_lookup_elem(&sessions, &key);

	if (t && !again)
		return 0;
	if (t)
		tell_end(t);
	open_tls(&key, role, true);
	return 0;
}

static __always_inline int closes(__u64 object)
{
	struct tls_key key = { .object = object, .pid = current_pid() };
	struct tls *t = bpf_map_lookup_elem(&sessions, &key);

	if (!t)
		return 0;
	tell_end(t);
	bpf_map_delete_elem(&sessions, &key);
	return 0;
}

/* Whether the socket that a connection was last seen at still is that one. */
static __always_inline bool is_alive(const struct tls *t)
{
	const struct sock *sk = (void *)t->sock;

	return BPF_CORE_READ(sk, __sk_common.skc_num) == t->tuple.sport &&
	       be16(BPF_CORE_READ(sk, __sk_common.skc_dport)) == t->tuple.dport;
}

/*
 * Keeps the socket of a connection. Another one than before makes it another
 * connection, of which nobody told the beginning, unless the one before lives.
 */
static __noinline int use_sock(struct tls *t, const struct sock *sk, const struct tls_key *key)
{
	__u16 family, protocol;

	if (t->sock == (__u64)sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if ((family != AF_INET && family != AF_INET6) ||
	    (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP))
		return 0;
	if (t->sock) {
		if (is_alive(t))
			return 0;
		tell_end(t);
		t = open_tls(key, t->role, false);
		if (!t)
			return 0;
	}
	tuple_of(sk, family, &t->tuple);
	t->owner.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	t->sock = (__u64)sk;
	return 0;
}

/* The connection of a call, new if it was not known. */
static __always_inline struct tls *tls_of(const struct tls_key *key)
{
	struct tls *t = bpf_map_lookup_elem(&sessions, key);

	return t ? t : open_tls(key, 0, false);
}

static __noinline int used_in(struct call_key *key, const struct sock *sk)
{
	struct call *call = bpf_map_lookup_elem(&calls, key);
	struct tls_key id = { .pid = key->pid };
	struct tls *t;

	if (!call || !call->object)
		return 0;
	id.object = call->object;
	t = tls_of(&id);
	if (t)
		use_sock(t, sk, &id);
	return 1;
}

/* How many calls the threads are in that share a thread's place. */
static __always_inline __u32 *calls_of(__u64 who)
{
	__u32 place = who & (THREADS - 1);

	return bpf_map_lookup_elem(&under_way, &place);
}

/*
 * Notes that a thread is in one call more, or less. A function for all the world, which
 * the verifier looks at once: what it does makes no paths of its callers.
 */
__noinline int note_call(__u64 who, __s32 more)
{
	__u32 *calls = calls_of(who);

	if (calls)
		__sync_fetch_and_add(calls, more);
	return 0;
}

static __noinline int used(struct sock *sk)
{
	struct call_key key = { .who = bpf_get_current_pid_tgid(), .level = OUTER };
	__u32 *calls = calls_of(key.who);

	key.pid = key.who >> 32;
	if (!sk || !calls || !*calls || !used_in(&key, sk))
		return 0;
	key.level = INNER;
	used_in(&key, sk);
	return 0;
}

/*
 * Keeps a call's arguments. One of the same bytes inside another, or in its
 * place, is a library that calls itself; one of other bytes inside is TLS over
 * TLS. What else is as deep as this one, or deeper, has ended by other ways than
 * a return. A function of Go begins anew when its stack has grown.
 */
static __always_inline int call_begins(struct call_key *key, const struct call *call)
{
	struct call *kept = bpf_map_lookup_elem(&calls, key);

	if (kept && kept->object && kept->depth <= call->depth) {
		bool same = kept->object == call->object && kept->out == call->out &&
			    kept->buffer == call->buffer;

		if (kept->depth < call->depth) {
			if (same)
				return 0;
			key->level += INNER;
			kept = bpf_map_lookup_elem(&calls, key);
		} else if (same && key->level < GO) {
			kept->returns++;
			return 0;
		}
	}
	if (key->level < GO && (!kept || !kept->object))
		note_call(key->who, 1);
	if (kept)
		*kept = *call;
	else if (bpf_map_update_elem(&calls, key, call, BPF_ANY))
		count_error(SITE_CALL, 1);
	return 0;
}

/* The call that ends at this depth and returned n; NULL if it is not known. */
static __always_inline struct call *call_ends(struct call_key *key, __u64 depth, __s64 n)
{
	struct call *kept = bpf_map_lookup_elem(&calls, key);

	if (!kept || !kept->object) {
		if (n > 0)
			count_error(SITE_CALL, 1);
		return NULL;
	}
	if (kept->depth != depth) {
		key->level += INNER;
		kept = bpf_map_lookup_elem(&calls, key);
		if (!kept || !kept->object || kept->depth != depth)
			return NULL; /* a library that called itself */
	}
	if (kept->returns) {
		kept->returns--;
		return NULL;
	}
	return kept;
}

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

/* A call is over that has brought n bytes, which are in buffer, if any. */
static __always_inline int call_brought(const struct call_key *key, struct call *call, __u64 buffer,
					__s64 n)
{
	struct tls_key id = { .object = call->object, .pid = key->pid };
	bool out = call->out;
	struct tls *t;

	call->object = 0;
	if (key->level < GO)
		note_call(key->who, -1);
	if (n <= 0)
		return 0;
	t = tls_of(&id);
	if (t)
		tell(t, id.object, out, buffer, n);
	return 0;
}

static __always_inline int c_begins(struct regs *ctx, bool out, bool tells)
{
	struct call_key key = { .who = bpf_get_current_pid_tgid(), .level = OUTER };
	struct call call = { .out = out };

	key.pid = key.who >> 32;
	call.object = C_ARG1(ctx);
	call.buffer = C_ARG2(ctx);
	call.done = tells ? C_ARG4(ctx) : 0;
	call.depth = ~USER_SP(ctx);
	return call_begins(&key, &call);
}

static __always_inline int c_ends(struct regs *ctx)
{
	struct call_key key = { .who = bpf_get_current_pid_tgid(), .level = OUTER };
	__s32 n = C_RESULT(ctx);
	struct call *call;

	key.pid = key.who >> 32;
	call = call_ends(&key, ~C_RETURNED_SP(ctx), n);
	if (!call)
		return 0;
	if (call->done && n > 0)
		n = user_word(call->done);
	return call_brought(&key, call, call->buffer, n);
}

/* The socket of an open file of the current process, or NULL. */
static __noinline const struct sock *sock_of_fd(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;
	struct inode *inode;
	struct socket *sock;

	if (fd >= MAX_FDS || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK ||
	    BPF_CORE_READ(inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	sock = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(sock, sk);
}

/* As much of Go's net.netFD as is read; pfd.Sysfd, family and sotype. */
#define NETFD_SYSFD 16
#define NETFD_FAMILY 56
#define NETFD_SOTYPE 64
#define GO_STREAM 1

/*
 * The socket of Go's tls.Conn: its first member is a net.Conn, which is an
 * interface and so a table and a pointer: to a net.TCPConn, whose only member
 * is a *netFD, or to a struct that again has a net.Conn as its first member.
 */
static __always_inline const struct sock *sock_of_go(__u64 conn)
{
	__u64 at = user_word(conn + 8), fd;

#pragma unroll
	for (int i = 0; i < WRAPPED; i++) {
		__u64 family, kind;

		fd = user_word(at);
		family = user_word(fd + NETFD_FAMILY);
		kind = user_word(fd + NETFD_SOTYPE);
		if ((family == AF_INET || family == AF_INET6) && kind == GO_STREAM)
			return sock_of_fd(user_word(fd + NETFD_SYSFD));
		at = user_word(at + 8);
	}
	return NULL;
}

/* A goroutine's stack: struct g begins with it. */
struct go_stack {
	__u64 low, high;
};

static __always_inline bool go_call(struct regs *ctx, struct call_key *key, struct go_stack *stack)
{
	key->who = GO_G(ctx);
	key->pid = current_pid();
	key->level = GO + OUTER;
	return !bpf_probe_read_user(stack, sizeof(*stack), (const void *)key->who);
}

static __always_inline int go_begins(struct regs *ctx, bool out)
{
	struct call call = { .out = out };
	struct call_key key = {};
	struct go_stack stack;
	struct tls_key id = {};
	const struct sock *sk;
	struct tls *t;

	if (!go_call(ctx, &key, &stack))
		return 0;
	call.object = id.object = GO_ARG1(ctx);
	call.buffer = GO_ARG2(ctx);
	call.depth = stack.high - USER_SP(ctx);
	call.on_stack = stack.low <= call.buffer && call.buffer < stack.high;
	if (call.on_stack)
		call.buffer = stack.high - call.buffer;
	call_begins(&key, &call);
	id.pid = key.pid;
	sk = sock_of_go(id.object);
	if (!sk)
		return 0;
	t = tls_of(&id);
	if (t)
		use_sock(t, sk, &id);
	return 0;
}

static __always_inline int go_ends(struct regs *ctx)
{
	struct call_key key = {};
	struct go_stack stack;
	__s64 n = GO_RESULT(ctx);
	struct call *call;

	if (!go_call(ctx, &key, &stack))
		return 0;
	call = call_ends(&key, stack.high - USER_SP(ctx), n);
	if (!call)
		return 0;
	return call_brought(&key, call, call->on_stack ? stack.high - call->buffer : call->buffer,
			    n);
}

/* What the process is, whose handshake begins. */
static __always_inline __u8 role_of(__u64 what)
{
	switch (what) {
	case C_CLIENT:
	case C_CONNECT:
	case GO_CLIENT:
		return PACKET_CLIENT;
	case C_SERVER:
	case C_ACCEPT:
	case GO_SERVER:
		return PACKET_SERVER;
	}
	return 0;
}

static __always_inline int any(struct regs *ctx, __u64 what)
{
	switch (what) {
	case C_WRITE:
	case C_READ:
	case C_WRITE_EX:
	case C_READ_EX:
		return c_begins(ctx, what == C_WRITE || what == C_WRITE_EX, what >= C_WRITE_EX);
	case C_CLIENT:
	case C_SERVER:
		return opens(C_ARG1(ctx), role_of(what), true);
	case C_HANDSHAKE:
	case C_CONNECT:
	case C_ACCEPT:
		return opens(C_ARG1(ctx), role_of(what), false);
	case C_FREE:
		return closes(C_ARG1(ctx));
	case GO_WRITE:
	case GO_READ:
		return go_begins(ctx, what == GO_WRITE);
	case GO_RETURN:
		return go_ends(ctx);
	case GO_CLIENT:
	case GO_SERVER:
		return opens(GO_ARG1(ctx), role_of(what), true);
	case GO_CLOSE:
		return closes(GO_ARG1(ctx));
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
