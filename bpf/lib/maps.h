/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How counts are kept so that none is lost between reading and clearing.
 *
 * There are two generations of every table. Programs count in the one that
 * generation names when they begin; Go flips it, waits for the programs that
 * had begun before (an RCU grace period), and then has the other one for
 * itself: to read it, and to clear it.
 *
 * In front of the shared table each CPU has a small cache, indexed by a hash of
 * the key. A hit costs no helper, no lock and no atomic; a slot that another
 * key needs is added to the shared table first. A program does not nest on a
 * CPU (the kernel skips it and counts a recursion miss), and each hook has
 * slots of its own, so a slot has one writer.
 */
#ifndef NETFATE_MAPS_H
#define NETFATE_MAPS_H

#include "abi.h"

/* The generation that programs count in: 0 or 1. Flipped by Go. */
volatile __u32 generation = 0;

/*
 * One moment on both clocks: the exact one costs 40 ns to read, jiffies
 * nothing, so a slot's last packet is noted in jiffies and converted by Go.
 */
volatile __u64 moment_ns = 0;
volatile __u64 moment_jiffies = 0;

/* The exact time, for the first packet of a slot; renews the moment. */
static __always_inline __u64 exact_now(void)
{
	__u64 now = bpf_ktime_get_ns();

	moment_ns = now;
	moment_jiffies = bpf_jiffies64();
	return now;
}

/* key: enum site; value: count since load; nobody deletes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SITE_MAX);
	__type(key, __u32);
	__type(value, __u64);
} errors SEC(".maps");

/* Counts n of what was lost at a site. */
static __always_inline void count_error(__u32 site, __u64 n)
{
	__u64 *count = bpf_map_lookup_elem(&errors, &site);

	if (count)
		__sync_fetch_and_add(count, n);
}

/* The cache slot of a CPU for one of CACHE_HOOKS hooks. */
static __always_inline __u32 cache_index(__u32 hook, __u32 gen, __u32 slot)
{
	return (((bpf_get_smp_processor_id() * CACHE_HOOKS + hook) * 2 + gen) << CACHE_BITS) | slot;
}

/*
 * A map of one T for each hook of an object, where its programs keep what they
 * find out about a packet. It is not for want of stack: the verifier follows
 * each value on the stack and in registers, and goes on once for every
 * combination of them. What lies in a map it takes for unknown, so that paths
 * meet again. Before 6.2 (be2ef8161572) it did so for every value of a program
 * that has functions: kfree_skb took 826,000 instructions there, and takes
 * 4,000. Each hook has a slot of its own, since an interrupt may bring another
 * program to the same CPU, but never the same.
 */
#define SCRATCH(name, T)                                 \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, CACHE_HOOKS);        \
		__uint(key_size, sizeof(__u32));         \
		__uint(value_size, sizeof(T));           \
	} name SEC(".maps")

/* Fibonacci hashing: the top bits of a product with 2^64 / phi. */
static __always_inline __u32 cache_hash(__u64 mixed)
{
	return (mixed * 0x9e3779b97f4a7c15ULL) >> (64 - CACHE_BITS);
}
#endif
