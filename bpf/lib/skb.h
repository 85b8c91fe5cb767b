/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an sk_buff carries on the wire, and how to read it. */
#ifndef NETFATE_SKB_H
#define NETFATE_SKB_H

#include "compat.h"
#include "parse.h"

#define MAC_UNSET 0xffff
#define MAX_LINK 64 /* longer link headers are taken for garbage */

/* The places in a buffer, as offsets from head, and its lengths. */
struct view {
	__u64 head;
	__u32 data, tail, end;
	__u32 len;
	__u16 mac;
	__u16 network;
	__be16 protocol;
};

static __always_inline void view_of(struct view *v, const struct sk_buff *skb, const bool btf)
{
	v->head = (__u64)LOAD(btf, skb, head);
	v->data = (__u64)LOAD(btf, skb, data) - v->head;
	v->tail = LOAD(btf, skb, tail);
	v->end = LOAD(btf, skb, end);
	v->len = LOAD(btf, skb, len);
	v->mac = LOAD(btf, skb, mac_header);
	v->network = LOAD(btf, skb, network_header);
	v->protocol = LOAD(btf, skb, protocol);
}

static __always_inline __u32 netns_of_dev(const struct net_device *dev, const bool btf)
{
	return btf ? dev->nd_net.net->ns.inum : BPF_CORE_READ(dev, nd_net.net, ns.inum);
}

static __always_inline __u32 netns_of_sk(const struct sock *sk, const bool btf)
{
	return btf ? sk->__sk_common.skc_net.net->ns.inum :
		     BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* Bytes of link header before l3, 0 if there is none. */
static __always_inline __u32 link_len(const struct view *v, __u32 l3)
{
	if (v->mac == MAC_UNSET || v->mac >= l3 || l3 - v->mac > MAX_LINK)
		return 0;
	return l3 - v->mac;
}

/*
 * Where the headers behind the Ethernet header begin. Packet sockets and
 * macvtap (dfed913e8b55) put the network header behind the VLAN tags that the
 * packet itself holds, though its protocol is that of the first tag.
 */
static __always_inline __u32 after_ethernet(const struct view *v, __u32 l3)
{
	__u16 proto = be16(v->protocol);

	if ((proto == ETH_P_8021Q || proto == ETH_P_8021AD) && link_len(v, l3) > 14)
		return v->mac + 14;
	return l3;
}

/*
 * The VLAN tag that a driver keeps beside the packet, as on the wire: TPID and
 * TCI in network order; 0 if there is none. It adds 4 bytes to each packet.
 */
static __always_inline __u32 offloaded_tag(const struct sk_buff *skb, const bool btf)
{
	/* 6.2 (354259fa73e2) dropped vlan_present for vlan_all. */
	if (bpf_core_field_exists(skb->vlan_all)) {
		if (!LOAD(btf, skb, vlan_all))
			return 0;
	} else {
		const struct sk_buff___vlan_present *old = (const void *)skb;

		if (!(btf ? BPF_CORE_READ_BITFIELD(old, vlan_present) :
			    BPF_CORE_READ_BITFIELD_PROBED(old, vlan_present)))
			return 0;
	}
	return LOAD(btf, skb, vlan_proto) | (__u32)be16(LOAD(btf, skb, vlan_tci)) << 16;
}

/* Wire packets and bytes. */
struct wire {
	__u64 packets;
	__u64 bytes;
};

/*
 * A GSO or GRO buffer is as many packets as segments, each with its headers:
 * header is the length of those, link header included; length that of the
 * buffer, link header included.
 */
static __always_inline void wire_of(struct wire *w, const struct view *v, __u32 length,
				    __u32 header)
{
	__u64 shinfo = v->head + v->end;
	__u32 size = LOAD_AS(struct skb_shared_info, shinfo, gso_size);
	__u32 segs;

	w->packets = 1;
	w->bytes = length;
	if (!size || length <= header)
		return;
	segs = LOAD_AS(struct skb_shared_info, shinfo, gso_segs);
	/* Guests and tun leave gso_segs to whoever segments: SKB_GSO_DODGY. */
	if (!segs)
		segs = (length - header + size - 1) / size;
	if (segs > 1) {
		w->packets = segs;
		w->bytes = length + (__u64)(segs - 1) * header;
	}
}
#endif
