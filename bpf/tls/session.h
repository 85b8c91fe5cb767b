/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections inside TLS, and the rows that tell of them. */
#ifndef NETFATE_TLS_SESSION_H
#define NETFATE_TLS_SESSION_H

#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "lib/maps.h"
#include "lib/sock.h"

#define SMALL 512	  /* most heads */
#define LARGE 4096  /* most buffers of programs */
#define HUGE 16384  /* a record of TLS, RFC 8446 5.1 */
#define IPPROTO_MPTCP 262

#define SYN 2
#define FIN 1

/* What a connection carries, as far as it is known. */
enum kind {
	UNKNOWN,
	HTTP1, /* or what begins like it */
	HTTP2,
	OTHER, /* nothing for us, and so for good */
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

#endif
