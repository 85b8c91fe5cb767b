/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Registers of a probed program: how C and Go pass arguments and results. The
 * layouts are part of the kernel's promise to user space (ptrace).
 */
#ifndef NETFATE_REGS_H
#define NETFATE_REGS_H

#if defined(__TARGET_ARCH_x86)

struct regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	__u64 orig_ax, ip, cs, flags, sp, ss;
};

/* System V ABI. A return has taken its address off the stack. */
#define C_ARG1(r) ((r)->di)
#define C_ARG2(r) ((r)->si)
#define C_ARG4(r) ((r)->cx)
#define C_RESULT(r) ((r)->ax)
#define C_RETURNED_SP(r) ((r)->sp - 8)

/* Go's internal ABI since 1.17: cmd/compile/abi-internal.md. */
#define GO_ARG1(r) ((r)->ax)
#define GO_ARG2(r) ((r)->bx)
#define GO_RESULT(r) ((r)->ax)
#define GO_G(r) ((r)->r14)

#define USER_SP(r) ((r)->sp)

#elif defined(__TARGET_ARCH_arm64)

struct regs {
	__u64 x[31], sp, pc, pstate;
};

#define C_ARG1(r) ((r)->x[0])
#define C_ARG2(r) ((r)->x[1])
#define C_ARG4(r) ((r)->x[3])
#define C_RESULT(r) ((r)->x[0])
#define C_RETURNED_SP(r) ((r)->sp)

#define GO_ARG1(r) ((r)->x[0])
#define GO_ARG2(r) ((r)->x[1])
#define GO_RESULT(r) ((r)->x[0])
#define GO_G(r) ((r)->x[28])

#define USER_SP(r) ((r)->sp)

#endif
#endif
