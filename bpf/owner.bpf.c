// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Whose a socket is: told once, when it is made or when its user changes, and
 * kept with the socket, so that whatever happens to its packets later, in
 * whatever context, finds the right process.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lib/maps.h"
#include "lib/owner.h"
#include "lib/parse.h"

#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define TCP_LISTEN 10

/*
 * Processes that own sockets. key: process; value: who it is; the oldest go
 * first when it is full, and Go forgets none that it has read.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, struct process);
} processes SEC(".maps");

/*
 * Local addresses that sockets are bound to: who a packet was for that found
 * no socket, or none of ours. key: address; value: owner; the oldest go first.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct bound_key);
	__type(value, struct owner);
} bound SEC(".maps");

static __always_inline int sent(struct sock *sk);

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx);

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *ctx);

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *ctx);

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk)
{
	return sent(sk);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk)
{
	return sent(sk);
}

SEC("iter/task_file")
int open_sockets(struct bpf_iter__task_file *ctx);

/* Keeps who a task's process is, under its key: anew if its name changed. */
static __always_inline void keep_process(struct task_struct *task, const struct owner *owner)
{
	struct process_key key = { .start = owner->start, .pid = owner->pid };
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct process *known = bpf_map_lookup_elem(&processes, &key);
	struct process p = {};

	bpf_probe_read_kernel_str(p.comm, sizeof(p.comm), &leader->comm);
	if (known && *(__u64 *)known->comm == *(__u64 *)p.comm &&
	    *(__u64 *)(known->comm + 8) == *(__u64 *)(p.comm + 8))
		return;
	p.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	p.uid = BPF_CORE_READ(task, real_cred, uid.val);
	if (bpf_map_update_elem(&processes, &key, &p, BPF_ANY))
		count_error(SITE_PROCESS, 1);
}

/* The owner that a socket of this task would have. */
static __always_inline void owner_of_task(struct task_struct *task, struct owner *owner)
{
	owner->start = BPF_CORE_READ(task, group_leader, start_boottime);
	owner->pid = BPF_CORE_READ(task, tgid);
	owner->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
}

int sock_create(struct bpf_sock *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct owner *owner, self = {};

	owner_of_task(task, &self);
	owner = bpf_sk_storage_get(&sk_owner, ctx, &self, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner)
		count_error(SITE_OWNER_CREATE, 1);
	keep_process(task, &self);
	return 1;
}

static __always_inline void keep_bound(const struct bound_key *key, const struct owner *owner)
{
	if (key->port && bpf_map_update_elem(&bound, key, owner, BPF_ANY))
		count_error(SITE_BOUND, 1);
}

/*
 * The owner of a socket that the current process binds: itself, if the socket
 * was made by the kernel on its behalf, as MPTCP's subflows are.
 */
static __always_inline struct owner *owner_of_bound(struct bpf_sock *ctx)
{
	struct owner *owner = bpf_sk_storage_get(&sk_owner, ctx, NULL, 0);
	struct owner self = {};

	if (owner)
		return owner;
	owner_of_task((void *)bpf_get_current_task(), &self);
	owner = bpf_sk_storage_get(&sk_owner, ctx, &self, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner)
		count_error(SITE_OWNER_CREATE, 1);
	return owner;
}

int post_bind4(struct bpf_sock *ctx)
{
	struct owner *owner = owner_of_bound(ctx);
	struct bound_key key = {};
	__u32 addr = ctx->src_ip4;

	if (!owner)
		return 1;
	if (addr)
		map_v4(key.addr, addr);
	key.netns = owner->netns;
	key.port = ctx->src_port;
	key.proto = ctx->protocol;
	keep_bound(&key, owner);
	return 1;
}

int post_bind6(struct bpf_sock *ctx)
{
	struct owner *owner = owner_of_bound(ctx);
	struct bound_key key = {};

	if (!owner)
		return 1;
	((__u32 *)key.addr)[0] = ctx->src_ip6[0];
	((__u32 *)key.addr)[1] = ctx->src_ip6[1];
	((__u32 *)key.addr)[2] = ctx->src_ip6[2];
	((__u32 *)key.addr)[3] = ctx->src_ip6[3];
	key.netns = owner->netns;
	key.port = ctx->src_port;
	key.proto = ctx->protocol;
	keep_bound(&key, owner);
	return 1;
}

/*
 * A socket that was accepted or inherited has the owner of the one that made
 * it; who sends or receives on it knows better.
 */
static __always_inline int sent(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;
	struct task_struct *task;
	struct owner *owner, self = {};

	if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
		return 0;
	owner = bpf_sk_storage_get(&sk_owner, sk, NULL, 0);
	if (owner && owner->pid == bpf_get_current_pid_tgid() >> 32)
		return 0;
	task = (void *)bpf_get_current_task();
	owner_of_task(task, &self);
	self.netns = sk->__sk_common.skc_net.net->ns.inum;
	keep_process(task, &self);
	if (owner)
		*owner = self;
	else if (!bpf_sk_storage_get(&sk_owner, sk, &self, BPF_SK_STORAGE_GET_F_CREATE))
		count_error(SITE_OWNER_CREATE, 1);
	return 0;
}

static __always_inline bool is_mapped(const __u8 *addr)
{
	return !*(const __u64 *)addr && *(const __u32 *)(addr + 8) == 0xffff0000;
}

/* Where a socket is and with whom it talks, local side first. */
static __always_inline void tuple_of(const struct sock *sk, struct tuple *t)
{
	t->proto = sk->sk_protocol;
	t->sport = sk->__sk_common.skc_num;
	t->dport = be16(sk->__sk_common.skc_dport);
	t->flags = sk->__sk_common.skc_state;
	if (sk->__sk_common.skc_family == AF_INET) {
		t->eth_proto = ETH_P_IP;
		if (sk->__sk_common.skc_rcv_saddr)
			map_v4(t->saddr, sk->__sk_common.skc_rcv_saddr);
		if (sk->__sk_common.skc_daddr)
			map_v4(t->daddr, sk->__sk_common.skc_daddr);
		return;
	}
	BPF_CORE_READ_INTO(&t->saddr, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&t->daddr, sk, __sk_common.skc_v6_daddr);
	/* An IPv6 socket may talk IPv4, and its packets then are IPv4. */
	t->eth_proto = is_mapped(t->saddr) || is_mapped(t->daddr) ? ETH_P_IP : ETH_P_IPV6;
}

/* Every socket that some process has open: those older than netfate too. */
int open_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct open_socket row = {};
	struct bound_key key = {};
	struct file *file = ctx->file;
	struct socket *sock;
	struct owner *owner;
	struct sock *sk;
	__u16 family;

	if (!task || !file)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
		return 0;
	owner_of_task(task, &row.owner);
	row.owner.netns = sk->__sk_common.skc_net.net->ns.inum;
	owner = bpf_sk_storage_get(&sk_owner, sk, &row.owner, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner) {
		count_error(SITE_OWNER_CREATE, 1);
		return 0;
	}
	if (owner->pid == row.owner.pid)
		keep_process(task, &row.owner);
	else
		row.owner = *owner; /* its user is known better than its holders */
	if (family == AF_PACKET)
		return 0;
	tuple_of(sk, &row.tuple);
	__builtin_memcpy(key.addr, row.tuple.saddr, ADDR_LEN);
	key.netns = row.owner.netns;
	key.port = row.tuple.sport;
	key.proto = row.tuple.proto;
	if (row.tuple.flags == TCP_LISTEN || row.tuple.proto == IPPROTO_UDP)
		keep_bound(&key, &row.owner);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
