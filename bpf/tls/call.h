/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Calls of libraries that are under way, from the hit at their beginning to the one at their end. */
#ifndef NETFATE_TLS_CALL_H
#define NETFATE_TLS_CALL_H

#include "tls/text.h"

#define THREADS 4096 /* 2 ^ n */

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
	__u64 done; /* where the number of bytes will be; 0: it is returned */
	__u64 depth; /* of the stack; a return of another depth is of another call */
	__u8 out;
	__u8 on_stack; /* buffer is below the top */
	__u8 returns; /* more of the same frame, before the last one */
	__u8 pad[5];
};

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

#endif
