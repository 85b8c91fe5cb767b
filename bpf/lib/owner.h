/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose a socket is. Filled by owner.bpf.c, read by every sensor. */
#ifndef NETFATE_OWNER_H
#define NETFATE_OWNER_H

#include "abi.h"

/* False before 5.11: tracing programs can't use socket storage there. */
const volatile bool have_sk_storage = true;

/* key: socket; value: its owner, 16 bytes; the kernel deletes it with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} sk_owner SEC(".maps");

/* The owner of sk, or NULL. Safe on request and time-wait sockets: no owner. */
static __always_inline struct owner *owner_of(struct sock *sk)
{
	if (!have_sk_storage || !sk)
		return NULL;
	return bpf_sk_storage_get(&sk_owner, sk, NULL, 0);
}
#endif
