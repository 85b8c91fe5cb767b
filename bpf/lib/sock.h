/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a socket says of itself: between whom it is, and which file has it. */
#ifndef NETFATE_SOCK_H
#define NETFATE_SOCK_H

#include "owner.h"
#include "parse.h"

#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define SOCKFS_MAGIC 0x534f434b

/* enum in include/net/tcp_states.h without a name. */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};

/* The owner that a socket of this task would have. */
static __always_inline void owner_of_task(struct task_struct *task, struct owner *owner)
{
	owner->start = BPF_CORE_READ(task, group_leader, start_boottime);
	owner->pid = BPF_CORE_READ(task, tgid);
	owner->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
}

static __always_inline bool is_mapped(const __u8 *addr)
{
	return !*(const __u64 *)addr && *(const __u32 *)(addr + 8) == 0xffff0000;
}

/* Where a socket is and with whom it talks, local side first. */
static __always_inline void tuple_of(const struct sock *sk, __u16 family, struct tuple *t)
{
	__u32 saddr, daddr;

	t->proto = BPF_CORE_READ(sk, sk_protocol);
	t->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	t->dport = be16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	t->flags = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (family == AF_INET) {
		saddr = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		daddr = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		t->eth_proto = ETH_P_IP;
		if (saddr)
			map_v4(t->saddr, saddr);
		if (daddr)
			map_v4(t->daddr, daddr);
		return;
	}
	BPF_CORE_READ_INTO(&t->saddr, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&t->daddr, sk, __sk_common.skc_v6_daddr);
	/* An IPv6 socket may talk IPv4, and its packets then are IPv4. */
	t->eth_proto = is_mapped(t->saddr) || is_mapped(t->daddr) ? ETH_P_IP : ETH_P_IPV6;
}

/* The socket of a file that is being iterated over, or NULL. */
static __always_inline struct sock *sock_of(struct file *file)
{
	struct socket *sock;

	if (have_sk_storage) {
		sock = bpf_sock_from_file(file);
		return sock ? sock->sk : NULL;
	}
	/* Before 5.11, where sk_table takes any address. */
	if ((file->f_inode->i_mode & S_IFMT) != S_IFSOCK ||
	    file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
		return NULL;
	sock = file->private_data;
	return sock ? BPF_CORE_READ(sock, sk) : NULL;
}
#endif
