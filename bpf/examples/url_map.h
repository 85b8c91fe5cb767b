/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts HTTP/1 requests by method, host and path, for programs of XDP and tc.
 *
 * A request is counted where a TCP segment begins with it: one that begins
 * within a segment, behind the end of another, is not seen, and neither is what
 * is encrypted. Its Host header counts if it begins within the first WINDOW
 * bytes. VLAN and QinQ tags, IP options, IPv6 extension headers and TCP options
 * are stepped over. What did not fit is cut, and counted in url_stats.
 *
 * Nothing is dropped or changed.
 */
#ifndef URL_MAP_H
#define URL_MAP_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define METHOD_LEN 8
#define HOST_LEN 64
#define PATH_LEN 128
#define WINDOW 512 /* bytes of a request that are looked at; a power of two */
#define MIN_REQUEST 16 /* GET / HTTP/1.1 and the end of the line */

/* Strings end with a NUL, and so does one that was cut. */
struct url_key {
	char method[METHOD_LEN];
	char host[HOST_LEN]; /* as the client spells it; empty without one */
	char path[PATH_LEN]; /* without the query */
};

/* A packet may pass both programs, so each has a count of its own. */
struct url_count {
	__u64 xdp;
	__u64 tc;
};

struct url_stats {
	__u64 requests; /* counted in url_map */
	__u64 path_cut; /* of these, with a path of PATH_LEN bytes or more */
	__u64 host_cut; /* of these, with a host of HOST_LEN bytes or more */
	__u64 no_host; /* of these, without a Host header in the window */
	__u64 map_full; /* not counted in url_map: it was full */
	__u64 unread; /* not counted: the packet could not be read */
};

/*
 * All maps are pinned by name: objects that are run with one pin directory
 * share them.
 */

/* key: request; value: how often each program has seen it; nobody deletes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct url_key);
	__type(value, struct url_count);
} url_map SEC(".maps");

/* key: 0; value: statistics, of each CPU; nobody deletes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct url_stats);
} url_stats SEC(".maps");

/* What is too large for the stack. A CPU runs XDP and tc one after the other. */
struct work {
	struct url_key key;
	__u32 len; /* bytes in data */
	__u32 unused;
	char data[WINDOW]; /* the request's first bytes */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct work);
} url_work SEC(".maps");

static __always_inline struct work *get_work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&url_work, &zero);
}

static __always_inline struct url_stats *get_stats(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&url_stats, &zero);
}

/* Byte i of the request, 0 behind its end. */
static __always_inline __u8 byte_at(const struct work *w, __u32 i)
{
	if (i >= w->len)
		return 0;
	return w->data[i & (WINDOW - 1)];
}

/* Whether c ends a word: blanks, ends of lines, what no URL has. */
static __always_inline bool ends_word(__u8 c)
{
	return c <= ' ' || c == 0x7f;
}

/*
 * What walks the request are global functions: the verifier looks at each for
 * itself, once, in place of every way that leads there. Kernels before 6.8 want
 * loops with one entry at the top and the test of their counter at the bottom,
 * so these have no breaks, and nothing but the counter as condition.
 */

/* Copies the path that begins at byte at; returns whether it was cut. */
__noinline int take_path(__u32 at)
{
	struct work *w = get_work();

	if (!w)
		return 0;
	for (__u32 i = 0; i < PATH_LEN - 1; i++) {
		__u8 c = byte_at(w, at + i);

		if (ends_word(c) || c == '?' || c == '#')
			return 0;
		w->key.path[i] = c;
	}
	return !ends_word(byte_at(w, at + PATH_LEN - 1));
}

/*
 * Whether the request line ends as those of HTTP/1 do. One that goes on behind
 * the window is given the benefit of the doubt.
 */
__noinline int is_http(__u32 at)
{
	struct work *w = get_work();
	__u64 last = 0;

	if (!w)
		return 0;
	for (__u32 i = 0; i < WINDOW; i++) {
		__u8 c = byte_at(w, at + i);

		if (!c)
			return at + i >= WINDOW;
		if (c == '\n' || c == '\r') /* HTTP/1. and a digit, which is the last byte so far */
			return (last & 0xffffffffffffff00) == 0x485454502f312e00;
		last = last << 8 | c;
	}
	return 0;
}

/* Where the value of the Host header begins; 0 if there is none. */
__noinline int find_host(void)
{
	struct work *w = get_work();
	__u64 last = 0;

	if (!w)
		return 0;
	for (__u32 i = 0; i < WINDOW; i++) {
		__u8 c = byte_at(w, i);

		if (!c)
			return 0;
		last = last << 8 | c;
		if ((last & 0xffffff) == 0x0a0d0a) /* an empty line ends the headers */
			return 0;
		if ((last & 0xffdfdfdfdfff) == 0x0a484f53543a) /* \nHost: in either case */
			return i + 1;
	}
	return 0;
}

/* The first byte from at on that is no blank. */
__noinline int skip_blanks(__u32 at)
{
	struct work *w = get_work();

	if (!w)
		return 0;
	for (__u32 i = 0; i < 16; i++) {
		__u8 c = byte_at(w, at + i);

		if (c != ' ' && c != '\t')
			return at + i;
	}
	return at;
}

/* Copies the host that begins at byte at; returns whether it was cut. */
__noinline int take_host(__u32 at)
{
	struct work *w = get_work();

	if (!w)
		return 0;
	for (__u32 i = 0; i < HOST_LEN - 1; i++) {
		__u8 c = byte_at(w, at + i);

		if (ends_word(c))
			return 0;
		w->key.host[i] = c;
	}
	return !ends_word(byte_at(w, at + HOST_LEN - 1));
}

/*
 * What follows is for both kinds of program: xdp is a constant wherever it is
 * inlined, and tells what ctx is.
 *
 * bpf_xdp_load_bytes is there since 5.18. Before, an XDP program reads what it
 * is given as it lies in memory: packets of several fragments were not given to
 * any.
 */
#define HAVE_XDP_LOAD_BYTES bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_xdp_load_bytes)
#define MAX_HEADERS 4096 /* a request begins before that many bytes; a power of two */

/* Copies n bytes at off, a small constant number; 0 if they are there. */
static __always_inline long load(void *ctx, const bool xdp, __u32 off, void *to, const __u32 n)
{
	struct xdp_md *frame = ctx;
	void *from;

	if (!xdp)
		return bpf_skb_load_bytes(ctx, off, to, n);
	if (HAVE_XDP_LOAD_BYTES)
		return bpf_xdp_load_bytes(ctx, off, to, n);
	if (off >= MAX_HEADERS)
		return -1;
	from = (void *)(long)frame->data + off;
	if (from + n > (void *)(long)frame->data_end)
		return -1;
	__builtin_memcpy(to, from, n);
	return 0;
}

/*
 * The n bytes at off, for XDP before 5.18; returns whether they are all there. A
 * mask, since load() has been there and the verifier does not know it.
 */
__noinline int take_linear(struct xdp_md *ctx, __u32 off, __u32 n)
{
	void *end = (void *)(long)ctx->data_end;
	struct work *w = get_work();
	__u8 *from = (void *)(long)ctx->data + (off & (MAX_HEADERS - 1));

	if (!w)
		return 0;
	for (__u32 i = 0; i < WINDOW; i++) {
		if (i >= n)
			return 1;
		if ((void *)(from + i + 1) > end)
			return 0;
		w->data[i] = from[i];
	}
	return 1;
}

/* Copies the n bytes at off, n of 1 to WINDOW, to the CPU's work. */
static __always_inline bool take_request(void *ctx, const bool xdp, struct work *w, __u32 off,
					 __u64 n)
{
	w->len = n;
	if (!xdp)
		return !bpf_skb_load_bytes(ctx, off, w->data, n);
	if (HAVE_XDP_LOAD_BYTES)
		return !bpf_xdp_load_bytes(ctx, off, w->data, n);
	return take_linear(ctx, off, n);
}

static __always_inline __u32 frame_len(void *ctx, const bool xdp)
{
	struct xdp_md *frame = ctx;

	if (!xdp)
		return ((struct __sk_buff *)ctx)->len;
	if (HAVE_XDP_LOAD_BYTES)
		return bpf_xdp_get_buff_len(ctx);
	return frame->data_end - frame->data;
}

/* Where in the frame a TCP segment's data is; empty if there is none. */
struct payload {
	__u32 begin, end;
};

#define MAX_VLAN 2
#define MAX_EXT 8 /* IPv6 extension headers in a row */
#define IP_OFFSET 0x1fff
#define IP6_OFFSET 0xfff8

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* Steps over extension headers; returns where TCP begins, 0 if it does not. */
static __always_inline __u32 skip_ext(void *ctx, const bool xdp, __u32 off, __u8 next)
{
	struct fragment_header h;

	for (int i = 0; i < MAX_EXT && next != IPPROTO_TCP; i++) {
		if (load(ctx, xdp, off, &h, sizeof(h)))
			return 0;
		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			off += (h.reserved + 1) * 8;
			break;
		case IPPROTO_AH:
			off += (h.reserved + 2) * 4;
			break;
		case IPPROTO_FRAGMENT:
			if (h.offset & bpf_htons(IP6_OFFSET))
				return 0;
			off += sizeof(h);
			break;
		default:
			return 0;
		}
		next = h.next;
	}
	return next == IPPROTO_TCP ? off : 0;
}

static __always_inline struct payload find_payload(void *ctx, const bool xdp)
{
	const struct payload none = {};
	__u32 off = ETH_HLEN, length, tcp_at;
	struct payload p;
	struct tcphdr tcp;
	__be16 proto;

	p.end = frame_len(ctx, xdp);
	if (load(ctx, xdp, off - 2, &proto, 2))
		return none;
	for (int i = 0; i < MAX_VLAN; i++) {
		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if (load(ctx, xdp, off + 2, &proto, 2))
			return none;
		off += 4;
	}
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (load(ctx, xdp, off, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 ||
		    ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(IP_OFFSET))
			return none;
		length = bpf_ntohs(ip.tot_len);
		tcp_at = off + ip.ihl * 4;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (load(ctx, xdp, off, &ip, sizeof(ip)) || ip.version != 6)
			return none;
		length = bpf_ntohs(ip.payload_len);
		if (length)
			length += sizeof(ip);
		tcp_at = skip_ext(ctx, xdp, off + sizeof(ip), ip.nexthdr);
		if (!tcp_at)
			return none;
	} else {
		return none;
	}
	/* Behind a short packet is padding. One too large for its field has 0 there. */
	if (length && off + length < p.end)
		p.end = off + length;
	if (load(ctx, xdp, tcp_at, &tcp, sizeof(tcp)) || tcp.doff < 5)
		return none;
	p.begin = tcp_at + tcp.doff * 4;
	return p;
}

/* How many bytes of m are a method and the blank behind it; 0 if none are. */
static __always_inline __u32 method_len(const char *m)
{
#define IS(text)                                          \
	if (!__builtin_memcmp(m, text " ", sizeof(text))) \
		return sizeof(text);
	IS("GET")
	IS("HEAD")
	IS("POST")
	IS("PUT")
	IS("DELETE")
	IS("OPTIONS")
	IS("PATCH")
	IS("CONNECT")
	IS("TRACE")
#undef IS
	return 0;
}

static __always_inline struct url_count *count_of(const struct url_key *key)
{
	struct url_count *n = bpf_map_lookup_elem(&url_map, key), none = {};

	if (n)
		return n;
	/* Another CPU may be faster: then its entry stays. */
	bpf_map_update_elem(&url_map, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&url_map, key);
}

/* Counts the request that the packet begins, if it begins one. */
static __always_inline void count_request(void *ctx, const bool xdp)
{
	char method[METHOD_LEN] __attribute__((aligned(8)));
	struct payload p = find_payload(ctx, xdp);
	struct url_stats *stats = get_stats();
	struct work *w = get_work();
	struct url_count *n;
	__u32 at, host, path_cut, host_cut = 0;
	__u64 len;

	if (!stats || !w || p.end < p.begin + MIN_REQUEST)
		return;
	if (!p.begin || load(ctx, xdp, p.begin, method, sizeof(method)))
		return;
	at = method_len(method);
	if (!at)
		return;
	len = p.end - p.begin;
	if (len < MIN_REQUEST)
		return;
	if (len > WINDOW)
		len = WINDOW;
	if (!take_request(ctx, xdp, w, p.begin, len)) {
		stats->unread++;
		return;
	}
	if (!is_http(at))
		return;

	__builtin_memset(&w->key, 0, sizeof(w->key));
	for (__u32 i = 0; i < METHOD_LEN - 1; i++)
		w->key.method[i] = i + 1 < at ? method[i] : 0;
	path_cut = take_path(at);
	host = find_host();
	if (host)
		host_cut = take_host(skip_blanks(host));
	n = count_of(&w->key);
	if (!n) {
		stats->map_full++;
		return;
	}
	stats->requests++;
	stats->path_cut += path_cut;
	stats->host_cut += host_cut;
	stats->no_host += !host;
	__sync_fetch_and_add(xdp ? &n->xdp : &n->tc, 1);
}

#endif
