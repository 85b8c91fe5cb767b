/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The user's pcap-filter expression, put in place of two stubs before load. */
#ifndef NETFATE_FILTER_H
#define NETFATE_FILTER_H

#include "skb.h"

#define FILTER_LEN 256 /* bytes of a packet that an expression can see */

/* Set when there is an expression: else the verifier prunes all of this. */
const volatile bool have_filter = false;

struct filter_buf {
	__u8 data[FILTER_LEN];
};

/* key: hook 0 or 1; value: the packet under the filter; nobody deletes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct filter_buf);
} filter_packet SEC(".maps");

/*
 * Stubs: internal/filter puts the compiled expression here, once for packets
 * that begin with an Ethernet header and once for those that begin with IP.
 */
static __noinline int filter_ethernet(struct filter_buf *buf, __u32 caplen, __u32 wirelen)
{
	int match = 1;

	/* Else the compiler knows the result and drops it at the calls. */
	asm volatile("" : "+r"(match) : "r"(buf), "r"(caplen), "r"(wirelen) : "memory");
	return match;
}

static __noinline int filter_raw(struct filter_buf *buf, __u32 caplen, __u32 wirelen)
{
	int match = 1;

	/* Else the compiler knows the result and drops it at the calls. */
	asm volatile("" : "+r"(match) : "r"(buf), "r"(caplen), "r"(wirelen) : "memory");
	return match;
}

/* Whether the packet, whose network header is at l3, is one to count. */
static __always_inline bool filter_match(const struct view *v, __u32 l3, __u32 tag, __u32 hook)
{
	struct filter_buf *buf;
	__u32 start, n, wirelen;
	__u32 link;

	if (!have_filter)
		return true;
	buf = bpf_map_lookup_elem(&filter_packet, &hook);
	if (!buf)
		return false;
	link = link_len(v, l3);
	start = l3 - link;
	n = v->tail > start ? v->tail - start : 0;
	wirelen = v->len + (v->data > start ? v->data - start : 0);
	if (tag && link == 14) {
		/* Put the tag back where it was on the wire. */
		if (n > FILTER_LEN - 4)
			n = FILTER_LEN - 4;
		if (n < 14 || bpf_probe_read_kernel(buf->data, 12, (void *)(v->head + start)))
			return false;
		n -= 12;
		asm volatile("" : "+r"(n));
		if (n > FILTER_LEN - 16 ||
		    bpf_probe_read_kernel(buf->data + 16, n, (void *)(v->head + start + 12)))
			return false;
		*(__u32 *)(buf->data + 12) = tag;
		return filter_ethernet(buf, n + 16, wirelen + 4);
	}
	if (n > FILTER_LEN)
		n = FILTER_LEN;
	if (bpf_probe_read_kernel(buf->data, n, (void *)(v->head + start)))
		return false;
	if (link)
		return filter_ethernet(buf, n, wirelen);
	return filter_raw(buf, n, wirelen);
}
#endif
