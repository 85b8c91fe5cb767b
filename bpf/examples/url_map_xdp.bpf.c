// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The XDP half of url_map, as an object of its own: started with the same --pin
 * directory as url_map_tc, both count in one map.
 *
 *	netfate run url_map_xdp.bpf.o --dev eth0 --pin /sys/fs/bpf/urls
 */
#include "url_map.h"

SEC("xdp")
int url_map_xdp(struct xdp_md *ctx)
{
	count_request(ctx, true);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
