/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What vmlinux.h and libbpf give the parser in the kernel. */
#ifndef NETFATE_NATIVE_H
#define NETFATE_NATIVE_H

#include <stdbool.h>

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#undef __noinline
#define __noinline __attribute__((noinline))

#define PARSE_NATIVE
#include "../../bpf/lib/parse.h"
#endif
