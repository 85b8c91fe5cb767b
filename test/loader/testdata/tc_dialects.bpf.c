// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What other loaders call tc programs, all of which libbpf 1.0 refuses but the first. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <linux/pkt_cls.h>

#define PROGRAM(section, name)          \
	SEC(section)                    \
	int name(struct __sk_buff *skb) \
	{                               \
		return TC_ACT_UNSPEC;   \
	}

PROGRAM("classifier", plain)
PROGRAM("classifier/ingress", slash_in)
PROGRAM("classifier/egress", slash_out)
PROGRAM("tc_in", short_in)
PROGRAM("tc_egress", long_out)
PROGRAM("ingress", bare_in)
PROGRAM("egress", bare_out)
PROGRAM("cls_main", undecided)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
