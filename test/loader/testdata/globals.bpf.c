// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Variables of every section, width and kind. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

enum level {
	LOW = 1,
	HIGH = 7,
};

struct limits {
	__u32 soft;
	__u64 hard;
};

const volatile bool verbose = false;
const volatile __u64 min_duration_ns = 1000000;
const volatile char name[16] = "netfate";
const volatile enum level level = LOW;
static const volatile __u32 hidden_limit = 10;

__s8 small = -1;
__u16 port = 80;
__u32 numbers[4] = { 1, 2, 3, 4 };
struct limits limits = { .soft = 1, .hard = 1ULL << 40 };
static volatile __s64 hidden = -5;

int my_pid = 0;
__u64 total = 0;
bool seen = false;
char last_comm[16] = {};

SEC("tp/syscalls/sys_enter_getpid")
int count(void *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != my_pid)
		return 0;
	if (verbose)
		bpf_printk("%s: level %d", (char *)name, level);
	bpf_get_current_comm(last_comm, sizeof(last_comm));
	total += min_duration_ns + hidden_limit + hidden + small + port + numbers[3] + limits.soft +
		 limits.hard;
	seen = true;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
