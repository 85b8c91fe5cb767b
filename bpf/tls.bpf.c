// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What programs say through TLS before it is encrypted, and what they are told
 * after it was decrypted, where their libraries' functions are called. Only
 * HTTP is copied: bodies in part, HTTP/2 whole.
 *
 * A read or write is two hits: its beginning, which has the arguments, and its
 * end, which knows how many bytes it came to.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lib/maps.h"
#include "lib/regs.h"
#include "lib/sock.h"
#include "tls/call.h"
#include "tls/go.h"

/* What a place means: as tlslib.What. */
enum what {
	C_WRITE,
	C_READ,
	C_WRITE_EX,
	C_READ_EX,
	C_CLIENT,
	C_SERVER,
	C_HANDSHAKE,
	C_CONNECT,
	C_ACCEPT,
	C_FREE,
	GO_WRITE,
	GO_READ,
	GO_RETURN,
	GO_CLIENT,
	GO_SERVER,
	GO_CLOSE,
};

static __always_inline int c_ends(struct regs *ctx);
static __always_inline int any(struct regs *ctx, __u64 what);

/* All places of a file but returns of C, where one link can have them all. */
SEC("uprobe.multi")
int begins_or_ends(struct regs *ctx)
{
	return any(ctx, bpf_get_attach_cookie(ctx));
}

/* OpenSSL's SSL_write and GnuTLS's send: int f(object, buffer, size, …). */
SEC("uprobe")
int c_write(struct regs *ctx)
{
	return any(ctx, C_WRITE);
}

SEC("uprobe")
int c_read(struct regs *ctx)
{
	return any(ctx, C_READ);
}

/* SSL_write_ex: int f(object, buffer, size, size_t *done). */
SEC("uprobe")
int c_write_ex(struct regs *ctx)
{
	return any(ctx, C_WRITE_EX);
}

SEC("uprobe")
int c_read_ex(struct regs *ctx)
{
	return any(ctx, C_READ_EX);
}

/* The return of all of them. */
SEC("uretprobe")
int c_return(struct regs *ctx)
{
	return c_ends(ctx);
}

/* SSL_set_connect_state and SSL_set_accept_state: the handshake is to begin. */
SEC("uprobe")
int c_client(struct regs *ctx)
{
	return any(ctx, C_CLIENT);
}

SEC("uprobe")
int c_server(struct regs *ctx)
{
	return any(ctx, C_SERVER);
}

/* gnutls_handshake, which is called until it is done, and again for new keys. */
SEC("uprobe")
int c_handshake(struct regs *ctx)
{
	return any(ctx, C_HANDSHAKE);
}

/* SSL_connect and SSL_accept, of BoringSSL, likewise. */
SEC("uprobe")
int c_connect(struct regs *ctx)
{
	return any(ctx, C_CONNECT);
}

SEC("uprobe")
int c_accept(struct regs *ctx)
{
	return any(ctx, C_ACCEPT);
}

/* SSL_free, gnutls_deinit. */
SEC("uprobe")
int c_free(struct regs *ctx)
{
	return any(ctx, C_FREE);
}

/* Go's crypto/tls: (*Conn).Write and Read, each of their RETs, … */
SEC("uprobe")
int go_write(struct regs *ctx)
{
	return any(ctx, GO_WRITE);
}

SEC("uprobe")
int go_read(struct regs *ctx)
{
	return any(ctx, GO_READ);
}

SEC("uprobe")
int go_return(struct regs *ctx)
{
	return any(ctx, GO_RETURN);
}

/* … clientHandshake and serverHandshake, and Close. */
SEC("uprobe")
int go_client(struct regs *ctx)
{
	return any(ctx, GO_CLIENT);
}

SEC("uprobe")
int go_server(struct regs *ctx)
{
	return any(ctx, GO_SERVER);
}

SEC("uprobe")
int go_close(struct regs *ctx)
{
	return any(ctx, GO_CLOSE);
}

/* The socket of a call of C is the one that its thread uses meanwhile. */
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

static __always_inline int c_begins(struct regs *ctx, bool out, bool tells)
{
	struct call_key key = { .who = bpf_get_current_pid_tgid(), .level = OUTER };
	struct call call = { .out = out };

	key.pid = key.who >> 32;
	call.object = C_ARG1(ctx);
	call.buffer = C_ARG2(ctx);
	call.done = tells ? C_ARG4(ctx) : 0;
	call.depth = ~USER_SP(ctx);
	return call_begins(&key, &call);
}

static __always_inline int c_ends(struct regs *ctx)
{
	struct call_key key = { .who = bpf_get_current_pid_tgid(), .level = OUTER };
	__s32 n = C_RESULT(ctx);
	struct call *call;

	key.pid = key.who >> 32;
	call = call_ends(&key, ~C_RETURNED_SP(ctx), n);
	if (!call)
		return 0;
	if (call->done && n > 0)
		n = user_word(call->done);
	return call_brought(&key, call, call->buffer, n);
}

/* What the process is, whose handshake begins. */
static __always_inline __u8 role_of(__u64 what)
{
	switch (what) {
	case C_CLIENT:
	case C_CONNECT:
	case GO_CLIENT:
		return PACKET_CLIENT;
	case C_SERVER:
	case C_ACCEPT:
	case GO_SERVER:
		return PACKET_SERVER;
	}
	return 0;
}

static __always_inline int any(struct regs *ctx, __u64 what)
{
	switch (what) {
	case C_WRITE:
	case C_READ:
	case C_WRITE_EX:
	case C_READ_EX:
		return c_begins(ctx, what == C_WRITE || what == C_WRITE_EX, what >= C_WRITE_EX);
	case C_CLIENT:
	case C_SERVER:
		return opens(C_ARG1(ctx), role_of(what), true);
	case C_HANDSHAKE:
	case C_CONNECT:
	case C_ACCEPT:
		return opens(C_ARG1(ctx), role_of(what), false);
	case C_FREE:
		return closes(C_ARG1(ctx));
	case GO_WRITE:
	case GO_READ:
		return go_begins(ctx, what == GO_WRITE);
	case GO_RETURN:
		return go_ends(ctx);
	case GO_CLIENT:
	case GO_SERVER:
		return opens(GO_ARG1(ctx), role_of(what), true);
	case GO_CLOSE:
		return closes(GO_ARG1(ctx));
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
