/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose a socket is. Filled by owner.bpf.c, read by every sensor. */
#ifndef NETFATE_OWNER_H
#define NETFATE_OWNER_H

#include "abi.h"

/*
 * Where owners are: in socket storage, or before 5.11, where tracing programs
 * can't use that, in a table by the socket's address.
 */
const volatile bool have_sk_storage = true;
const volatile bool have_sk_table = false;

/* key: socket; value: its owner, 16 bytes; the kernel deletes it with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} sk_owner SEC(".maps");

/*
 * key: address of a socket; value: its owner; owner.bpf.c deletes it with the
 * socket. What does not fit is counted, and tried again when it is used.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set before load, where it is needed */
	__type(key, __u64);
	__type(value, struct owner);
} sk_table SEC(".maps");

/* A function of its own, so that kernels with socket storage never look at it. */
static __noinline struct owner *owner_in_table(struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (!have_sk_table)
		return NULL;
	return bpf_map_lookup_elem(&sk_table, &address);
}

/* The owner of sk, or NULL. Safe on request and time-wait sockets: no owner. */
static __always_inline struct owner *owner_of(struct sock *sk)
{
	if (!have_sk_storage)
		return owner_in_table(sk);
	if (!sk)
		return NULL;
	return bpf_sk_storage_get(&sk_owner, sk, NULL, 0);
}
#endif
