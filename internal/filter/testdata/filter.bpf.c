// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The least program that calls a filter: it judges the bytes that user space wrote into a map and returns the answer.
 * Headers are spelled out so that the test needs clang and nothing else.
 */
typedef unsigned char __u8;
typedef unsigned int __u32;

#define SEC(name) __attribute__((section(name), used))
#define __noinline __attribute__((noinline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;

struct filter_buf {
	__u8 data[256];
};

struct question {
	struct filter_buf buf;
	__u32 caplen;
	__u32 wirelen;
	__u32 raw;
};

/* One question, written by user space before each run. */
struct {
	__uint(type, 2 /* BPF_MAP_TYPE_ARRAY */);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");

/*
 * Placeholders. The asm says that every argument and all memory is used and that the result can be anything, so that
 * clang does not use what it sees here.
 */
static __noinline int filter_match(struct filter_buf *buf, __u32 caplen, __u32 wirelen)
{
	int match = 1;

	asm volatile("" : "+r"(match) : "r"(buf), "r"(caplen), "r"(wirelen) : "memory");
	return match;
}

static __noinline int filter_match_raw(struct filter_buf *buf, __u32 caplen, __u32 wirelen)
{
	int match = 1;

	asm volatile("" : "+r"(match) : "r"(buf), "r"(caplen), "r"(wirelen) : "memory");
	return match;
}

SEC("socket")
int ask(void *ctx)
{
	__u32 zero = 0;
	struct question *q = bpf_map_lookup_elem(&questions, &zero);
	int match;

	if (!q)
		return -1;
	if (q->raw)
		match = filter_match_raw(&q->buf, q->caplen, q->wirelen);
	else
		match = filter_match(&q->buf, q->caplen, q->wirelen);
	return match;
}

char _license[] SEC("license") = "Dual BSD/GPL";
