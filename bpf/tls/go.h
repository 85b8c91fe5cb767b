/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Calls of Go's crypto/tls: goroutines with stacks that move, and connections that know their file. */
#ifndef NETFATE_TLS_GO_H
#define NETFATE_TLS_GO_H

#include "lib/regs.h"
#include "tls/call.h"

#define WRAPPED 3 /* connections of Go inside each other */
#define MAX_FDS (1 << 20)

/* The socket of an open file of the current process, or NULL. */
static __noinline const struct sock *sock_of_fd(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;
	struct inode *inode;
	struct socket *sock;

	if (fd >= MAX_FDS || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK ||
	    BPF_CORE_READ(inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	sock = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(sock, sk);
}

/* As much of Go's net.netFD as is read; pfd.Sysfd, family and sotype. */
#define NETFD_SYSFD 16
#define NETFD_FAMILY 56
#define NETFD_SOTYPE 64
#define GO_STREAM 1

/*
 * The socket of Go's tls.Conn: its first member is a net.Conn, which is an
 * interface and so a table and a pointer: to a net.TCPConn, whose only member
 * is a *netFD, or to a struct that again has a net.Conn as its first member.
 */
static __always_inline const struct sock *sock_of_go(__u64 conn)
{
	__u64 at = user_word(conn + 8), fd;

#pragma unroll
	for (int i = 0; i < WRAPPED; i++) {
		__u64 family, kind;

		fd = user_word(at);
		family = user_word(fd + NETFD_FAMILY);
		kind = user_word(fd + NETFD_SOTYPE);
		if ((family == AF_INET || family == AF_INET6) && kind == GO_STREAM)
			return sock_of_fd(user_word(fd + NETFD_SYSFD));
		at = user_word(at + 8);
	}
	return NULL;
}

/* A goroutine's stack: struct g begins with it. */
struct go_stack {
	__u64 low, high;
};

static __always_inline bool go_call(struct regs *ctx, struct call_key *key, struct go_stack *stack)
{
	key->who = GO_G(ctx);
	key->pid = current_pid();
	key->level = GO + OUTER;
	return !bpf_probe_read_user(stack, sizeof(*stack), (const void *)key->who);
}

static __always_inline int go_begins(struct regs *ctx, bool out)
{
	struct call call = { .out = out };
	struct call_key key = {};
	struct go_stack stack;
	struct tls_key id = {};
	const struct sock *sk;
	struct tls *t;

	if (!go_call(ctx, &key, &stack))
		return 0;
	call.object = id.object = GO_ARG1(ctx);
	call.buffer = GO_ARG2(ctx);
	call.depth = stack.high - USER_SP(ctx);
	call.on_stack = stack.low <= call.buffer && call.buffer < stack.high;
	if (call.on_stack)
		call.buffer = stack.high - call.buffer;
	call_begins(&key, &call);
	id.pid = key.pid;
	sk = sock_of_go(id.object);
	if (!sk)
		return 0;
	t = tls_of(&id);
	if (t)
		use_sock(t, sk, &id);
	return 0;
}

static __always_inline int go_ends(struct regs *ctx)
{
	struct call_key key = {};
	struct go_stack stack;
	__s64 n = GO_RESULT(ctx);
	struct call *call;

	if (!go_call(ctx, &key, &stack))
		return 0;
	call = call_ends(&key, stack.high - USER_SP(ctx), n);
	if (!call)
		return 0;
	return call_brought(&key, call, call->on_stack ? stack.high - call->buffer : call->buffer,
			    n);
}

#endif
