// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A map of each type that the tests read, and global data. No programs: the
 * tests are those. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef __u32 __be32;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

struct flow {
	__be32 saddr;
	__u16 port;
	__u16 zone;
};

struct count {
	__u64 packets;
	__u64 bytes;
	__u32 sizes[2];
	char comm[16];
};

struct prefix {
	__u32 prefixlen;
	__be32 addr;
};

#define MAP(name, kind, entries, flags, k, v)                                  \
	struct {                                                               \
		__uint(type, kind);                                            \
		__uint(max_entries, entries);                                  \
		__uint(map_flags, flags);                                      \
		__type(key, k);                                                \
		__type(value, v);                                              \
	} name SEC(".maps")

MAP(flows, 1, 1000, 0, struct flow, struct count);
MAP(slots, 2, 4, 0, __u32, __u64);
MAP(cpu_flows, 5, 100, 0, struct flow, struct count);
MAP(cpu_slots, 6, 2, 0, __u32, __u64);
MAP(recent, 9, 100, 0, __u32, int);
MAP(routes, 11, 100, 1, struct prefix, __u32);

struct {
	__uint(type, 22);
	__uint(max_entries, 8);
	__type(value, __u32);
} waiting SEC(".maps");

struct {
	__uint(type, 30);
	__uint(max_entries, 100);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, 3);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} tails SEC(".maps");

struct inner {
	__uint(type, 2);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, 13);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps");

int my_pid = 0;
__u64 seen_count = 0;
const volatile __u32 limit = 7;
