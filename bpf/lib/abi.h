/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every struct that crosses between the kernel programs and Go, and nothing
 * else. Fixed width, biggest members first, padding spelled out, never packed.
 * internal/decode has the same structs; a test compares the two through BTF.
 */
#ifndef NETFATE_ABI_H
#define NETFATE_ABI_H

#define ADDR_LEN 16 /* IPv4 addresses are mapped: ::ffff:a.b.c.d */
#define COMM_LEN 16
#define PACKET_LEN 128 /* head of a sampled packet, unless more is asked for */
#define STACK_LEN 32   /* frames of a sampled stack */

/* A per-CPU cache has this many slots for each hook and generation. */
#define CACHE_BITS 8
#define CACHE_SLOTS (1 << CACHE_BITS)
#define CACHE_HOOKS 4

/* tuple.flags of a flow: where it was seen, and what it means for totals. */
enum flow_flag {
	FLOW_TX = 1, /* sent; else received */
	FLOW_BORN = 2, /* sent, and not received before: begins in this netns */
	FLOW_OTHER = 4, /* remainder of flows that did not fit: no addresses */
	FLOW_SOFT = 8, /* on a device that software feeds: veth, bridge, lo … */
};

/* tuple.flags of a drop: direction, and the remainder. */
enum drop_flag {
	DROP_IN = 1,
	DROP_OUT = 2,
	DROP_FORWARD = 3,
	DROP_DIRECTION = 3, /* mask */
	DROP_OTHER = 4,
};

/* Between whom. Ports and eth_proto in host order; zero where unknown. */
struct tuple {
	__u8 saddr[ADDR_LEN];
	__u8 daddr[ADDR_LEN];
	__u16 sport; /* ICMP: type << 8 | code */
	__u16 dport; /* ICMP echo: id */
	__u16 eth_proto;
	__u8 proto; /* 0 if not IP */
	__u8 flags; /* enum flow_flag or enum drop_flag */
};
_Static_assert(sizeof(struct tuple) == 40, "tuple");

/* A process, by what is never used twice. pid 0: unknown. */
struct owner {
	__u64 start; /* of its main thread, ns since boot */
	__u32 pid;   /* thread group, initial pid namespace */
	__u32 netns; /* inode of the netns that its socket was made in */
};
_Static_assert(sizeof(struct owner) == 16, "owner");

struct process_key {
	__u64 start;
	__u32 pid;
	__u32 pad;
};
_Static_assert(sizeof(struct process_key) == 16, "process_key");

struct process {
	__u64 cgroup;	      /* id in the cgroup2 hierarchy */
	__u8 comm[COMM_LEN]; /* at an offset of whole words */
	__u32 uid;
	__u32 pad;
};
_Static_assert(sizeof(struct process) == 32, "process");

/* A local address that a socket is bound to. */
struct bound_key {
	__u8 addr[ADDR_LEN]; /* zero: any address */
	__u32 netns;
	__u16 port; /* host order */
	__u8 proto;
	__u8 pad;
};
_Static_assert(sizeof(struct bound_key) == 24, "bound_key");

/* A socket that some process has open, as iter/task_file writes it. */
struct open_socket {
	struct tuple tuple; /* source is the local side; flags: TCP state */
	struct owner owner;
};
_Static_assert(sizeof(struct open_socket) == 56, "open_socket");

/* One way of a flow on one interface. */
struct flow_key {
	struct tuple tuple;
	__u32 netns; /* inode */
	__u32 ifindex;
};
_Static_assert(sizeof(struct flow_key) == 48, "flow_key");

/* first is CLOCK_MONOTONIC ns, last jiffies. No buffers: the slot is empty. */
struct flow_count {
	__u64 packets; /* wire */
	__u64 bytes;   /* wire, from Ethernet on */
	__u64 buffers;
	__u64 buffer_bytes; /* skb->len at the hook */
	__u64 first;
	__u64 last;
	__u64 owner_start;
	__u32 pid;
	__u8 tcp_flags;
	__u8 pad[3];
};
_Static_assert(sizeof(struct flow_count) == 64, "flow_count");

struct flow_slot {
	struct flow_key key;
	struct flow_count count;
};
_Static_assert(sizeof(struct flow_slot) == 112, "flow_slot");

struct drop_key {
	struct tuple tuple;
	__u64 location;
	__u32 reason;
	__u32 netns;
	__u32 ifindex;
	__u8 sk_state; /* enum tcp_state of the socket that lost it; 0 none */
	__u8 pad[3];
};
_Static_assert(sizeof(struct drop_key) == 64, "drop_key");

struct drop_count {
	__u64 packets;
	__u64 bytes;
	__u64 buffers;
	__u64 first;
	__u64 last;
	__u64 owner_start;
	__u32 pid;
	__u8 tcp_flags;
	__u8 pad[3];
};
_Static_assert(sizeof(struct drop_count) == 56, "drop_count");

struct drop_slot {
	struct drop_key key;
	struct drop_count count;
};
_Static_assert(sizeof(struct drop_slot) == 120, "drop_slot");

/*
 * One dropped buffer. The head of its packet follows the struct, in as many bytes as
 * it says, and then the stack, if asked for.
 */
struct drop_event {
	struct drop_key key;
	__u64 time;	    /* CLOCK_MONOTONIC ns */
	__u64 owner_start;
	__u32 pid;
	__u32 length; /* skb->len */
	__u32 packets;
	__u32 bytes;
	__s32 sk_rcvbuf;	 /* limit of the receive buffer; 0 without a socket */
	__s32 sk_rmem;   /* bytes in it */
	__u32 whole; /* bytes of the buffer from the packet's first one on */
	__u32 tag; /* VLAN tag beside the packet, as on the wire; 0: none */
	__u16 packet_len; /* valid bytes of the packet */
	__u16 packet_room; /* bytes up to the stack */
	__u16 l3;	  /* where in it the network header is */
	__u16 eth_proto;	 /* of what is there: a VLAN tag may come first */
	__u8 tcp_flags;
	__u8 has_link; /* packet begins with a link header */
	__u8 frames;   /* of the stack that follows */
	__u8 pad[5];
};
_Static_assert(sizeof(struct drop_event) == 128, "drop_event");

/* What a connection is to its socket, and what has happened to it. */
enum conn_role {
	CONN_CLIENT = 1,
	CONN_SERVER,
	CONN_LISTENER,
};

enum conn_flag {
	CONN_OLDER = 1, /* than netfate: its start is not known */
	CONN_RST_IN = 2,
	CONN_RST_OUT = 4,
	CONN_FIN_OUT = 8, /* a FIN was queued; acknowledged if CONN_ALL_ACKED too */
	CONN_FIN_IN = 16,
	CONN_ALL_ACKED = 32,
};

/* Who began to close; 0: nobody. */
enum conn_end {
	CONN_END_LOCAL = 1,
	CONN_END_PEER,
	CONN_END_BOTH,
};

/* What a row tells of a connection. */
enum conn_what {
	CONN_OPENED = 1,
	CONN_FAILED,
	CONN_CLOSED,
	CONN_OPEN, /* of the iterator: it goes on */
};

/* What is kept of a connection beside its socket, under the socket's address. */
struct conn {
	struct tuple tuple; /* source is the local side; flags: TCP state at the last change */
	struct owner owner;
	__u64 start;    /* SYN sent; of a server's, established; CLOCK_MONOTONIC ns */
	__u64 established; /* 0: not yet */
	__u32 netns;
	__u8 role;  /* enum conn_role; 0: not known */
	__u8 flags; /* enum conn_flag */
	__u8 end;	  /* enum conn_end */
	__u8 pad;
};
_Static_assert(sizeof(struct conn) == 80, "conn");

/* One row: a change of a connection, or how it is. Numbers are the socket's. */
struct conn_event {
	struct conn conn;
	__u64 time;   /* CLOCK_MONOTONIC ns */
	__u64 bytes_in; /* tp->bytes_received: FIN counts */
	__u64 bytes_out;	 /* tp->bytes_acked: SYN and FIN count */
	__u32 rwnd_limited; /* jiffies; of a listener, since it sent SYN cookies, 0: never */
	__u32 srtt;   /* us, times 8 */
	__u32 rttvar;   /* us, times 4 */
	__u32 rtt_min;   /* us; all ones: none */
	__u32 segs_in;
	__u32 segs_out;
	__u32 retrans;
	__u32 out_of_order;
	__u32 window; /* of the peer, bytes; of a listener, requests that wait for their ACK */
	__u32 backlog; /* of a listener: connections that wait to be accepted */
	__u32 backlog_max;
	__u32 overflows; /* of a listener: SYNs and ACKs dropped for want of room */
	__s32 err;  /* errno, positive */
	__u8 what;  /* enum conn_what */
	__u8 state;  /* TCP state; before the change, for a failed or closed one */
	__u8 pad[2];
};
_Static_assert(sizeof(struct conn_event) == 160, "conn_event");

/* packet_event.dir */
enum packet_flag {
	PACKET_OUT = 1, /* sent by the socket; else received */
	PACKET_PLAIN =
		2, /* not yet encrypted, or decrypted: of no packet; seq counts such bytes from 0 */
	PACKET_CLIENT = 4, /* of plain ones, where it is known: the owner is the client … */
	PACKET_SERVER = 8, /* … or the server */
};

/*
 * A packet at a socket, and behind the struct as many bytes of its payload as
 * it says. What does not fit into one row goes on in the next.
 */
struct packet_event {
	struct tuple tuple; /* as on the wire */
	struct owner owner; /* of the socket */
	__u64 time; /* CLOCK_MONOTONIC ns */
	__u64 conn; /* of no other connection that is open; 0: not told */
	__u32 seq; /* of the first byte here; in a datagram its place, from 0 */
	__u32 ack; /* of a datagram: its whole length */
	__u32 ifindex;
	__u32 missing; /* bytes of the payload behind these that no row has */
	__u32 skipped; /* bytes right before these that nobody wanted to have */
	__u32 one_in; /* stands for so many, where not all are copied; 0: for itself */
	__u32 netns; /* of the socket; inode, 0: not told */
	__u16 captured; /* bytes that follow */
	__u16 window;
	__u8 tcp_flags;
	__u8 dir; /* enum packet_flag */
	__u8 pad[6];
};
_Static_assert(sizeof(struct packet_event) == 112, "packet_event");

/*
 * A packet where it passes a device. As many bytes of it as are said to be captured
 * follow the struct: in pages or not, it lies there in one piece.
 */
struct frame_event {
	struct owner owner; /* of the socket that it was sent by */
	__u64 time; /* CLOCK_MONOTONIC ns */
	__u32 netns;
	__u32 ifindex;
	__u32 whole; /* bytes of the buffer from the packet's first one on */
	__u32 tag; /* VLAN tag beside the packet, as on the wire; 0: none */
	__u32 captured; /* bytes that follow */
	__u16 l3; /* where in them the network header is */
	__u16 eth_proto; /* of what is there */
	__u16 segments; /* that a GSO or GRO buffer stands for; 0: it is one packet */
	__u8 out; /* sent; else received */
	__u8 pad[5];
};
_Static_assert(sizeof(struct frame_event) == 56, "frame_event");

/* A device in its namespace. */
struct device_key {
	__u32 netns;
	__u32 ifindex;
};
_Static_assert(sizeof(struct device_key) == 8, "device_key");

#define METHOD_LEN 16
#define HOST_LEN 64
#define PATH_LEN 144 /* without the query */

/* What was asked for. Texts end with a NUL; what is longer is in the remainder. */
struct url_key {
	__u8 method[METHOD_LEN]; /* empty if it was in pieces */
	__u8 host[HOST_LEN]; /* lower case; empty without one */
	__u8 path[PATH_LEN];
	__u32 other; /* 1: the remainder, without host and path */
	__u32 pad;
};
_Static_assert(sizeof(struct url_key) == 232, "url_key");

struct url_count {
	__u64 requests;
};
_Static_assert(sizeof(struct url_count) == 8, "url_count");

/* What a program could not keep, by place; an index into the errors map. */
enum site {
	SITE_TABLE_FULL, /* buffers counted in the remainder */
	SITE_LOST, /* packets counted nowhere else */
	SITE_RING_FULL, /* samples that found no room in the ring */
	SITE_READ, /* headers that could not be read */
	SITE_OWNER_CREATE, /* sockets whose owner could not be kept */
	SITE_PROCESS, /* processes that could not be kept */
	SITE_BOUND, /* bound addresses that could not be kept */
	SITE_STACK, /* stacks that could not be taken */
	SITE_CACHE, /* CPUs beyond the cache: a bug of ours */
	SITE_CONN, /* connections that the table had no room for */
	SITE_CONN_RING, /* changes of connections that the ring had no room for */
	SITE_PACKETS, /* copied packets that the ring had no room for */
	SITE_TALK, /* connections that socket storage had no room for */
	SITE_PLAIN, /* calls of TLS libraries whose bytes could not be read */
	SITE_CALL, /* calls of TLS libraries that had begun before, or whose beginning found no room */
	SITE_URL_FULL, /* requests counted in the remainder: the table was full */
	SITE_URL_CUT, /* requests counted there: in pieces, or too long to tell */
	SITE_URL_LOST, /* requests counted nowhere */
	SITE_URL_MANY, /* packets with more in them than is looked at */
	SITE_URL_ORDER, /* packets too far out of order to be looked at */
	SITE_URL_TWICE, /* connections that both ends may count */
	SITE_FRAME, /* packets that the ring had no room for */
	SITE_MAX,
};
#endif
