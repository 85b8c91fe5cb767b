/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What differs between kernels, told apart at load so that the verifier prunes. */
#ifndef NETFATE_COMPAT_H
#define NETFATE_COMPAT_H

/*
 * Since 6.2 (a35b9af4ec2c) any address can be read as a struct by plain loads,
 * which the kernel guards with exception tables: half the cost of
 * bpf_probe_read_kernel for a few words.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/*
 * Copies n bytes, a constant, in the widest loads there are. struct in6_addr
 * serves as sixteen bytes that may be read at any width: the verifier lets an
 * array of integers be used so. Each load has a guard, so few are better.
 */
static __always_inline long read_kernel(void *dst, const __u32 n, const void *src)
{
	if (!bpf_rdonly_cast)
		return bpf_probe_read_kernel(dst, n, src);
#pragma unroll
	for (__u32 i = 0; i < n; i += 16) {
		const void *at = bpf_rdonly_cast(src + i, bpf_core_type_id_kernel(struct in6_addr));

#pragma unroll
		for (__u32 j = 0; j < 16 && i + j < n; j += 8) {
			const __u32 left = n - i - j;
			__u32 k = 0;

			if (left >= 8) {
				*(__u64 *)(dst + i + j) = *(const volatile __u64 *)(at + j);
				continue;
			}
			if (left >= 4) {
				*(__u32 *)(dst + i + j) = *(const volatile __u32 *)(at + j);
				k = 4;
			}
			if (left - k >= 2)
				*(__u16 *)(dst + i + j + k) = *(const volatile __u16 *)(at + j + k);
		}
	}
	return 0;
}

/* Loads a member directly where the verifier knows the type, else by a helper. */
#define LOAD(btf, ptr, member) ((btf) ? (ptr)->member : BPF_CORE_READ(ptr, member))

/* A member of an address that has no type for the verifier. */
#define LOAD_AS(type, addr, member)                                                                 \
	(bpf_rdonly_cast ?                                                                          \
		 ((type *)bpf_rdonly_cast((void *)(addr), bpf_core_type_id_kernel(type)))->member : \
		 BPF_CORE_READ((type *)(addr), member))

#endif
