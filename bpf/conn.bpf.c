// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TCP connections, as their sockets know them: when they open, fail and close,
 * and how they fare meanwhile. What a socket counts by itself is read from it
 * when a row is made; what it does not keep, when it began and who ended it, is
 * in a table beside it. So a packet costs nothing here, only a change of state.
 */
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lib/maps.h"
#include "lib/sock.h"

#define SOCK_DONE 1 /* bit of sk_flags: a FIN came; enum sock_flags */
#define CHRONO_RWND 2 /* enum tcp_chrono: the peer's window is what it waits for */
#define EINPROGRESS 115

/* Whether the exit of tcp_v4_connect() and tcp_v6_connect() is watched. */
volatile bool have_connect_exit = false;

/*
 * Connections and listeners that are open. key: address of the socket; value:
 * what it does not know itself; deleted when it closes. What does not fit is
 * told when it closes, without its beginning.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, __u64);
	__type(value, struct conn);
} conns SEC(".maps");

/* Rows of connections that opened, failed or closed; read by Go. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} conn_events SEC(".maps");

static __always_inline int changed(struct sock *sk, int from, int to, const bool btf);
static __always_inline int reset(const struct sock *sk, __u8 flag);
static __always_inline int connected(struct sock *sk, const struct sockaddr *to, int err);

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int from, int to)
{
	return changed(sk, from, to, true);
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_send_reset, struct sock *sk)
{
	return reset(sk, CONN_RST_OUT);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_receive_reset, struct sock *sk)
{
	return reset(sk, CONN_RST_IN);
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(raw_inet_sock_set_state, struct sock *sk, int from, int to)
{
	return changed(sk, from, to, false);
}

SEC("raw_tp/tcp_send_reset")
int BPF_PROG(raw_tcp_send_reset, struct sock *sk)
{
	return reset(sk, CONN_RST_OUT);
}

SEC("raw_tp/tcp_receive_reset")
int BPF_PROG(raw_tcp_receive_reset, struct sock *sk)
{
	return reset(sk, CONN_RST_IN);
}

/* Why a connect failed before anything was sent, where functions can be watched. */
SEC("fexit/tcp_v4_connect")
int BPF_PROG(tcp_v4_connect, struct sock *sk, struct sockaddr *to, int len, int ret)
{
	return connected(sk, to, ret);
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(tcp_v6_connect, struct sock *sk, struct sockaddr *to, int len, int ret)
{
	return connected(sk, to, ret);
}

SEC("iter/bpf_map_elem")
int open_conns(struct bpf_iter__bpf_map_elem *ctx);

SEC("iter/task_file")
int find_conns(struct bpf_iter__task_file *ctx);

static __always_inline __u32 netns_of(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/*
 * How long ago a listener answered SYNs with cookies: jiffies, 0 if it never did.
 * The kernel notes that at most once a second (tcp_synq_overflow()), of listeners
 * that share a port in what they share.
 */
static __always_inline __u32 since_cookies(const struct sock *sk)
{
	const struct tcp_sock *tp = (const void *)sk;
	const struct sock_reuseport *group = BPF_CORE_READ(sk, sk_reuseport_cb);
	__u32 then = group ? BPF_CORE_READ(group, synq_overflow_ts) :
			     BPF_CORE_READ(tp, rx_opt.ts_recent_stamp);
	__u32 ago = (__u32)bpf_jiffies64() - then;

	return then ? ago ?: 1 : 0;
}

/* The socket's own side of a row. */
static __always_inline void fill(struct conn_event *e, const struct sock *sk)
{
	const struct tcp_sock *tp = (const void *)sk;
	const struct inet_connection_sock *icsk = (const void *)sk;
	__u32 acked;

	e->time = bpf_ktime_get_ns();
	e->err = BPF_CORE_READ(sk, sk_err);
	if (e->conn.role == CONN_LISTENER) {
		e->backlog = BPF_CORE_READ(sk, sk_ack_backlog);
		e->backlog_max = BPF_CORE_READ(sk, sk_max_ack_backlog);
		e->overflows = BPF_CORE_READ(sk, sk_drops.counter);
		e->window = BPF_CORE_READ(icsk, icsk_accept_queue.qlen.counter);
		e->rwnd_limited = since_cookies(sk);
		return;
	}
	e->bytes_in = BPF_CORE_READ(tp, bytes_received);
	e->bytes_out = BPF_CORE_READ(tp, bytes_acked);
	e->srtt = BPF_CORE_READ(tp, srtt_us);
	e->rttvar = BPF_CORE_READ(tp, mdev_us);
	e->rtt_min = BPF_CORE_READ(tp, rtt_min.s[0].v);
	e->segs_in = BPF_CORE_READ(tp, segs_in);
	e->segs_out = BPF_CORE_READ(tp, segs_out);
	e->retrans = BPF_CORE_READ(tp, total_retrans);
	if (bpf_core_field_exists(tp->rcv_ooopack))
		e->out_of_order = BPF_CORE_READ(tp, rcv_ooopack);
	e->window = BPF_CORE_READ(tp, snd_wnd);
	e->rwnd_limited = BPF_CORE_READ(tp, chrono_stat[CHRONO_RWND - 1]);
	if (BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type) == CHRONO_RWND)
		e->rwnd_limited += (__u32)bpf_jiffies64() - BPF_CORE_READ(tp, chrono_start);
	acked = BPF_CORE_READ(tp, snd_una);
	if (acked == BPF_CORE_READ(tp, write_seq))
		e->conn.flags |= CONN_ALL_ACKED;
	if (BPF_CORE_READ(sk, __sk_common.skc_flags) & (1 << SOCK_DONE))
		e->conn.flags |= CONN_FIN_IN;
}

/* Tells what became of a connection: c, as it was kept, or NULL. */
static __always_inline void tell(struct sock *sk, const struct conn *c, __u8 what, __u8 state,
				 const bool btf)
{
	struct conn_event *e = bpf_ringbuf_reserve(&conn_events, sizeof(*e), 0);
	struct owner *owner;

	if (!e) {
		count_error(SITE_CONN_RING, 1);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	if (c)
		e->conn = *c;
	else
		e->conn.flags = CONN_OLDER;
	tuple_of(sk, BPF_CORE_READ(sk, __sk_common.skc_family), &e->conn.tuple);
	/* What was bound automatically is given back before the state changes. */
	e->conn.tuple.sport = be16(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	e->conn.netns = netns_of(sk);
	owner = btf ? owner_of(sk) : NULL;
	if (owner)
		e->conn.owner = *owner;
	e->what = what;
	e->state = state;
	fill(e, sk);
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* Keeps a connection that begins, and returns it; NULL if there is no room. */
static __always_inline struct conn *keep(struct sock *sk, __u8 role, const bool btf)
{
	__u64 key = (__u64)sk;
	struct owner *owner = btf ? owner_of(sk) : NULL;
	struct conn c = { .role = role };

	c.start = bpf_ktime_get_ns();
	if (role == CONN_SERVER)
		c.established = c.start;
	c.netns = netns_of(sk);
	if (owner)
		c.owner = *owner;
	tuple_of(sk, BPF_CORE_READ(sk, __sk_common.skc_family), &c.tuple);
	if (bpf_map_update_elem(&conns, &key, &c, BPF_ANY)) {
		count_error(SITE_CONN, 1);
		return NULL;
	}
	return bpf_map_lookup_elem(&conns, &key);
}

static __always_inline int established(struct sock *sk, struct conn *c, int from, const bool btf)
{
	if (c && c->role == CONN_CLIENT && !c->established) {
		c->established = bpf_ktime_get_ns();
		tuple_of(sk, BPF_CORE_READ(sk, __sk_common.skc_family), &c->tuple);
	} else {
		c = keep(sk, from == TCP_SYN_SENT ? CONN_CLIENT : CONN_SERVER, btf);
	}
	tell(sk, c, CONN_OPENED, from, btf);
	return 0;
}

/* A connect that never sent anything: its function tells why, if it is watched. */
static __always_inline bool never_sent(const struct sock *sk, int from)
{
	return from == TCP_SYN_SENT && !BPF_CORE_READ((const struct tcp_sock *)sk, segs_out);
}

static __always_inline int changed(struct sock *sk, int from, int to, const bool btf)
{
	__u64 key = (__u64)sk;
	struct conn *c;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT) {
		keep(sk, CONN_CLIENT, btf);
		return 0;
	}
	if (to == TCP_LISTEN) {
		keep(sk, CONN_LISTENER, btf);
		return 0;
	}
	c = bpf_map_lookup_elem(&conns, &key);
	if (to == TCP_ESTABLISHED)
		return established(sk, c, from, btf);
	if (to == TCP_CLOSE) {
		if (from != TCP_LISTEN && !(have_connect_exit && never_sent(sk, from)))
			tell(sk, c,
			     from == TCP_SYN_SENT || from == TCP_SYN_RECV ? CONN_FAILED :
									    CONN_CLOSED,
			     from, btf);
		bpf_map_delete_elem(&conns, &key);
		return 0;
	}
	if (!c)
		return 0;
	switch (to) {
	case TCP_FIN_WAIT1:
		c->flags |= CONN_FIN_OUT;
		c->end = CONN_END_LOCAL;
		break;
	case TCP_CLOSE_WAIT:
		c->end = CONN_END_PEER;
		break;
	case TCP_LAST_ACK:
		c->flags |= CONN_FIN_OUT;
		break;
	case TCP_CLOSING:
		c->end = CONN_END_BOTH;
		break;
	}
	return 0;
}

static __always_inline int reset(const struct sock *sk, __u8 flag)
{
	__u64 key = (__u64)sk;
	/* None for a segment that found no socket; a listener sends them for others. */
	struct conn *c = bpf_map_lookup_elem(&conns, &key);

	if (c && c->role != CONN_LISTENER)
		c->flags |= flag;
	return 0;
}

/* The address that a connect was for; false if it is none of IP. */
static __always_inline bool target(const struct sockaddr *to, struct tuple *t)
{
	const struct sockaddr_in6 *six = (const void *)to;
	const struct sockaddr_in *four = (const void *)to;
	__u16 family = BPF_CORE_READ(to, sa_family);

	if (family == AF_INET) {
		t->eth_proto = ETH_P_IP;
		map_v4(t->daddr, BPF_CORE_READ(four, sin_addr.s_addr));
		t->dport = be16(BPF_CORE_READ(four, sin_port));
		return true;
	}
	if (family != AF_INET6)
		return false;
	t->eth_proto = ETH_P_IPV6;
	BPF_CORE_READ_INTO(&t->daddr, six, sin6_addr);
	t->dport = be16(BPF_CORE_READ(six, sin6_port));
	return !is_mapped(t->daddr); /* then it was handed on to tcp_v4_connect() */
}

static __always_inline int connected(struct sock *sk, const struct sockaddr *to, int err)
{
	struct conn_event *e;
	struct owner *owner;

	if (!err || err == -EINPROGRESS)
		return 0;
	e = bpf_ringbuf_reserve(&conn_events, sizeof(*e), 0);
	if (!e) {
		count_error(SITE_CONN_RING, 1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	tuple_of(sk, BPF_CORE_READ(sk, __sk_common.skc_family), &e->conn.tuple);
	if (!target(to, &e->conn.tuple)) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return 0;
	}
	owner = owner_of(sk);
	if (owner)
		e->conn.owner = *owner;
	e->conn.role = CONN_CLIENT;
	e->conn.netns = netns_of(sk);
	e->time = e->conn.start = bpf_ktime_get_ns();
	e->what = CONN_FAILED;
	e->state = TCP_SYN_SENT;
	e->err = -err;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/* How each connection that is open fares. */
int open_conns(struct bpf_iter__bpf_map_elem *ctx)
{
	struct conn *c = ctx->value;
	__u64 *key = ctx->key;
	struct conn_event e = {};
	const struct sock *sk;

	if (!key || !c)
		return 0;
	sk = (const void *)*key;
	e.conn = *c;
	tuple_of(sk, BPF_CORE_READ(sk, __sk_common.skc_family), &e.conn.tuple);
	e.what = CONN_OPEN;
	e.state = e.conn.tuple.flags;
	/* One that closes just now, or whose memory is another's already. */
	if (e.state == TCP_CLOSE || e.conn.tuple.dport != c->tuple.dport ||
	    (c->tuple.sport && e.conn.tuple.sport != c->tuple.sport))
		return 0;
	fill(&e, sk);
	bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
	return 0;
}

/*
 * Which side of an older connection its socket is. All that was sent and is not
 * on its way was acknowledged; a client's SYN as well, and it is not in bytes_sent.
 */
static __always_inline __u8 role_of(const struct sock *sk, __u8 state)
{
	const struct tcp_sock *tp = (const void *)sk;
	__u64 sent, acked;

	if (state == TCP_LISTEN)
		return CONN_LISTENER;
	if (state == TCP_SYN_SENT)
		return CONN_CLIENT;
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		return 0; /* a FIN may count as well */
	sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	acked = BPF_CORE_READ(tp, bytes_acked) +
		(__u32)(BPF_CORE_READ(tp, snd_nxt) - BPF_CORE_READ(tp, snd_una));
	if (acked == sent + 1)
		return CONN_CLIENT;
	return acked == sent ? CONN_SERVER : 0;
}

/*
 * Connections and listeners that some process has open: keeps those that are
 * older than netfate, and tells how all of them fare.
 */
int find_conns(struct bpf_iter__task_file *ctx)
{
	struct conn_event e = { .what = CONN_OPEN };
	struct conn *c = &e.conn, *kept;
	struct file *file = ctx->file;
	struct owner *owner;
	struct sock *sk;
	__u16 family;
	__u64 key;

	if (!ctx->task || !file)
		return 0;
	sk = sock_of(file);
	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) ||
	    BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	tuple_of(sk, family, &c->tuple);
	e.state = c->tuple.flags;
	if (e.state == TCP_CLOSE)
		return 0;
	key = (__u64)sk;
	kept = bpf_map_lookup_elem(&conns, &key);
	if (kept) {
		*c = *kept;
		tuple_of(sk, family, &c->tuple);
	} else {
		c->flags = CONN_OLDER;
		c->role = role_of(sk, e.state);
		c->start = bpf_ktime_get_ns();
		c->netns = netns_of(sk);
		owner = owner_of(sk);
		if (owner)
			c->owner = *owner;
		if (bpf_map_update_elem(&conns, &key, c, BPF_NOEXIST) &&
		    !bpf_map_lookup_elem(&conns, &key))
			count_error(SITE_CONN, 1);
	}
	fill(&e, sk);
	bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
