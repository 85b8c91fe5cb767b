// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tc half of url_map, as an object of its own: started with the same --pin
 * directory as url_map_xdp, both count in one map.
 *
 *	netfate run url_map_tc.bpf.o --dev eth0 --pin /sys/fs/bpf/urls
 */
#include "url_map.h"

SEC("tc/ingress")
int url_map_tc(struct __sk_buff *ctx)
{
	count_request(ctx, false);
	return TC_ACT_UNSPEC; /* the next program, or filter, goes on */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
