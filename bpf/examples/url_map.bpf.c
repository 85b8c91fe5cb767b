// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * HTTP/1 requests by method, host and path, seen by XDP and by tc ingress: two
 * programs and one map. What it counts, and what not, is said in url_map.h.
 *
 *	netfate run url_map.bpf.o --dev eth0 --pin
 *	netfate map watch url_map
 *	netfate stop url_map
 */
#include "url_map.h"

SEC("xdp")
int url_map_xdp(struct xdp_md *ctx)
{
	count_request(ctx, true);
	return XDP_PASS;
}

/*
 * The same for interfaces whose packets do not fit one page, such as those with
 * jumbo frames; since 5.18. Run by name in place of url_map_xdp.
 */
SEC("?xdp.frags")
int url_map_frags(struct xdp_md *ctx)
{
	count_request(ctx, true);
	return XDP_PASS;
}

SEC("tc/ingress")
int url_map_tc(struct __sk_buff *ctx)
{
	count_request(ctx, false);
	return TC_ACT_UNSPEC; /* the next program, or filter, goes on */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
