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
#include "lib/sock.h"

#define AF_PACKET 17

/*
 * Which sockets sk_table may hold: those whose end something watches. Set by Go
 * once it does, so that no owner is found for who got the address after them.
 */
volatile bool table_inet = false;
volatile bool table_packet = false;

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

static __noinline int used(struct sock *sk);
static __always_inline int forget(__u64 address);

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx);

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *ctx);

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *ctx);

/* Who uses a socket: after it was used, by tracepoints that 6.3 has … */
SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk)
{
	return used(sk);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk)
{
	return used(sk);
}

/*
 * … or before, where functions can be watched. Not fexit: these sleep, and
 * kernels without e21aa341785c (5.12) crash if it is taken off meanwhile.
 */
SEC("fentry/inet_sendmsg")
int BPF_PROG(inet_sendmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/inet6_sendmsg")
int BPF_PROG(inet6_sendmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/packet_sendmsg")
int BPF_PROG(packet_sendmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/inet_recvmsg")
int BPF_PROG(inet_recvmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/inet6_recvmsg")
int BPF_PROG(inet6_recvmsg, struct socket *sock)
{
	return used(sock->sk);
}

SEC("fentry/packet_recvmsg")
int BPF_PROG(packet_recvmsg, struct socket *sock)
{
	return used(sock->sk);
}

/* The end of a socket in sk_table: where its memory is freed … */
SEC("fentry/inet_sock_destruct")
int BPF_PROG(inet_sock_destruct, struct sock *sk)
{
	return forget((__u64)sk);
}

SEC("fentry/packet_sock_destruct")
int BPF_PROG(packet_sock_destruct, struct sock *sk)
{
	return forget((__u64)sk);
}

/* … or where its protocol is done with it, before its last packets are. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroy_sock, struct sock *sk)
{
	return forget((__u64)sk);
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx);

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

static __always_inline int forget(__u64 address)
{
	/* Most were never kept: the kernel's own, and children nobody used. */
	bpf_map_delete_elem(&sk_table, &address);
	return 0;
}

/* The owner that sk_table has for a socket, self if it had none; NULL if full. */
static __always_inline struct owner *table_owner(__u64 address, const struct owner *self)
{
	struct owner *owner = bpf_map_lookup_elem(&sk_table, &address);

	if (owner)
		return owner;
	bpf_map_update_elem(&sk_table, &address, self, BPF_NOEXIST);
	return bpf_map_lookup_elem(&sk_table, &address);
}

/*
 * The socket's address: the context of these programs is the socket itself,
 * but the verifier lets nobody use it as a number, unless it was stored.
 */
static __always_inline __u64 address_of(struct bpf_sock *ctx)
{
	struct bpf_sock *volatile stored = ctx;
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), (const void *)&stored);
	return address;
}

/* Whether a socket is one of those that have owners here. */
static __always_inline bool is_kept(__u16 family)
{
	if (family == AF_INET || family == AF_INET6)
		return have_sk_storage || table_inet;
	return family == AF_PACKET && (have_sk_storage || table_packet);
}

int sock_create(struct bpf_sock *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct owner self = {};
	__u64 address;
	bool kept;

	owner_of_task(task, &self);
	if (have_sk_storage) {
		kept = bpf_sk_storage_get(&sk_owner, ctx, &self, BPF_SK_STORAGE_GET_F_CREATE);
	} else {
		address = address_of(ctx);
		kept = !table_inet || !bpf_map_update_elem(&sk_table, &address, &self, BPF_ANY);
	}
	if (!kept)
		count_error(SITE_OWNER_CREATE, 1);
	keep_process(task, &self);
	return 1;
}

int sock_release(struct bpf_sock *ctx)
{
	/* A closed connection has packets to send, and its own end. */
	if (ctx->protocol != IPPROTO_TCP)
		forget(address_of(ctx));
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
static __always_inline void owner_of_bound(struct bpf_sock *ctx, struct owner *owner)
{
	struct owner *kept;

	owner_of_task((void *)bpf_get_current_task(), owner);
	if (have_sk_storage)
		kept = bpf_sk_storage_get(&sk_owner, ctx, owner, BPF_SK_STORAGE_GET_F_CREATE);
	else if (table_inet)
		kept = table_owner(address_of(ctx), owner);
	else
		return;
	if (kept)
		*owner = *kept;
	else
		count_error(SITE_OWNER_CREATE, 1);
}

int post_bind4(struct bpf_sock *ctx)
{
	struct bound_key key = {};
	struct owner owner = {};
	__u32 addr = ctx->src_ip4;

	owner_of_bound(ctx, &owner);
	if (addr)
		map_v4(key.addr, addr);
	key.netns = owner.netns;
	key.port = ctx->src_port;
	key.proto = ctx->protocol;
	keep_bound(&key, &owner);
	return 1;
}

int post_bind6(struct bpf_sock *ctx)
{
	struct bound_key key = {};
	struct owner owner = {};

	owner_of_bound(ctx, &owner);
	((__u32 *)key.addr)[0] = ctx->src_ip6[0];
	((__u32 *)key.addr)[1] = ctx->src_ip6[1];
	((__u32 *)key.addr)[2] = ctx->src_ip6[2];
	((__u32 *)key.addr)[3] = ctx->src_ip6[3];
	key.netns = owner.netns;
	key.port = ctx->src_port;
	key.proto = ctx->protocol;
	keep_bound(&key, &owner);
	return 1;
}

/* The owner of a socket, self if it had none; NULL if it could not be kept. */
static __always_inline struct owner *owner_or(struct sock *sk, struct owner *self)
{
	struct owner *owner;

	if (have_sk_storage)
		owner = bpf_sk_storage_get(&sk_owner, sk, self, BPF_SK_STORAGE_GET_F_CREATE);
	else
		owner = table_owner((__u64)sk, self);
	if (!owner)
		count_error(SITE_OWNER_CREATE, 1);
	return owner;
}

/*
 * A socket that was accepted or inherited has the owner of the one that made
 * it; who sends or receives on it knows better.
 */
static __noinline int used(struct sock *sk)
{
	struct task_struct *task;
	struct owner *owner, self = {};

	if (!sk || !is_kept(sk->__sk_common.skc_family))
		return 0;
	owner = owner_of(sk);
	if (owner && owner->pid == bpf_get_current_pid_tgid() >> 32)
		return 0;
	task = (void *)bpf_get_current_task();
	owner_of_task(task, &self);
	self.netns = sk->__sk_common.skc_net.net->ns.inum;
	keep_process(task, &self);
	if (owner)
		*owner = self;
	else
		owner_or(sk, &self);
	return 0;
}

/* Every socket that some process has open: those older than netfate too. */
int open_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct open_socket row = {};
	struct bound_key key = {};
	struct file *file = ctx->file;
	struct owner *owner;
	struct sock *sk;
	__u16 family;

	if (!task || !file)
		return 0;
	sk = sock_of(file);
	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
		return 0;
	owner_of_task(task, &row.owner);
	row.owner.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (is_kept(family)) {
		owner = owner_or(sk, &row.owner);
		if (!owner)
			return 0;
		if (owner->pid == row.owner.pid)
			keep_process(task, &row.owner);
		else
			row.owner = *owner; /* its user is known better than its holders */
	} else {
		keep_process(task, &row.owner);
	}
	if (family == AF_PACKET)
		return 0;
	tuple_of(sk, family, &row.tuple);
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
