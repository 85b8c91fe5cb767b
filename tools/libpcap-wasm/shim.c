/*
 * The edges of libpcap's filter compiler as a WebAssembly module: what the host calls, what it asks of the host, and
 * stand-ins for the parts of libpcap and libc that reach outside. It imports four functions and no WASI.
 *
 * License: Apache-2.0, as the rest of netfate. The libpcap it is linked with has its own, beside the built module.
 */
#include <config.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <wasi/api.h>

#include "pcap-int.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(name)))

/* The host's tables of names: a number, or -1 for a name they do not have. */
IMPORT("service") int shim_service(const char *name, int name_len, int udp);
IMPORT("protocol") int shim_protocol(const char *name, int name_len);

/* Asks the host whether to go on; does not return if not. */
IMPORT("tick") void shim_tick(void);

static pcap_t handle;
static struct bpf_program program;

/* Memory for the host to write an expression into; the host must end it with a zero byte. */
EXPORT("alloc") void *shim_alloc(size_t size)
{
	return malloc(size);
}

/* Compiles expr; returns the number of instructions, or -1. The message is at errbuf() then, and if fail() was called. */
EXPORT("compile") int shim_compile(const char *expr, int linktype, int snaplen)
{
	memset(&handle, 0, sizeof(handle));
	handle.activated = 1;
	handle.linktype = linktype;
	handle.snapshot = snaplen;
	if (pcap_compile(&handle, &program, expr, 1, PCAP_NETMASK_UNKNOWN) != 0)
		return -1;
	return (int)program.bf_len;
}

/* The instructions of the last compile, struct bpf_insn each: code u16, jt u8, jf u8, k u32, little endian. */
EXPORT("insns") struct bpf_insn *shim_insns(void)
{
	return program.bf_insns;
}

EXPORT("errbuf") char *shim_errbuf(void)
{
	return handle.errbuf;
}

/* What the optimiser calls for memset (build.sh). */
void *shim_memset(void *s, int c, size_t n)
{
	shim_tick();
	return memset(s, c, n);
}

/* Parts of pcap.c. */

int pcap_snapshot(pcap_t *p)
{
	return p->snapshot;
}

int pcap_datalink(pcap_t *p)
{
	return p->linktype;
}

int pcap_strcasecmp(const char *s1, const char *s2)
{
	return strcasecmp(s1, s2);
}

const char *pcap_datalink_val_to_description_or_dlt(int dlt)
{
	static char unknown[40];

	switch (dlt) {
	case DLT_EN10MB:
		return "Ethernet";
	case DLT_RAW:
		return "Raw IP";
	}
	snprintf(unknown, sizeof(unknown), "DLT %d", dlt);
	return unknown;
}

void pcap_fmt_errmsg_for_errno(char *buf, size_t size, int err, const char *fmt, ...)
{
	(void)err;
	snprintf(buf, size, "%s", fmt);
}

/* Names. An address is parsed; a host, network or Ethernet name is unknown, since asking a resolver is not ours to do. */

struct answer {
	struct addrinfo ai;
	union {
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} addr;
};

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	struct answer *a;
	int port;

	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return EAI_MEMORY;
	a->ai.ai_addr = (struct sockaddr *)&a->addr;
	a->ai.ai_family = AF_INET;
	a->ai.ai_addrlen = sizeof(a->addr.v4);
	*res = &a->ai;

	if (node == NULL) {
		port = shim_service(service, (int)strlen(service), hints->ai_protocol == IPPROTO_UDP);
		if (port < 0) {
			free(a);
			return EAI_SERVICE;
		}
		a->addr.v4.sin_family = AF_INET;
		a->addr.v4.sin_port = htons((uint16_t)port);
		return 0;
	}
	if (inet_pton(AF_INET, node, &a->addr.v4.sin_addr) == 1) {
		a->addr.v4.sin_family = AF_INET;
		return 0;
	}
	if (inet_pton(AF_INET6, node, &a->addr.v6.sin6_addr) == 1) {
		a->addr.v6.sin6_family = AF_INET6;
		a->ai.ai_family = AF_INET6;
		a->ai.ai_addrlen = sizeof(a->addr.v6);
		return 0;
	}
	free(a);
	return EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *ai)
{
	free(ai);
}

struct hostent *gethostbyname(const char *name)
{
	(void)name;
	return NULL;
}

struct netent *getnetbyname(const char *name)
{
	(void)name;
	return NULL;
}

struct protoent *getprotobyname(const char *name)
{
	static struct protoent found;

	found.p_proto = shim_protocol(name, (int)strlen(name));
	return found.p_proto < 0 ? NULL : &found;
}

int ether_hostton(const char *name, struct ether_addr *addr)
{
	(void)name;
	(void)addr;
	return -1;
}

/*
 * The C library's way out. The scanner's error paths refer to stdin and stderr, which keeps stdio in the module; there
 * are no files here, and exiting is giving up.
 */

__wasi_errno_t __wasi_fd_close(__wasi_fd_t fd)
{
	(void)fd;
	return __WASI_ERRNO_NOSYS;
}

__wasi_errno_t __wasi_fd_fdstat_get(__wasi_fd_t fd, __wasi_fdstat_t *stat)
{
	(void)fd;
	(void)stat;
	return __WASI_ERRNO_NOSYS;
}

__wasi_errno_t __wasi_fd_read(__wasi_fd_t fd, const __wasi_iovec_t *iovs, size_t iovs_len, __wasi_size_t *size)
{
	(void)fd;
	(void)iovs;
	(void)iovs_len;
	(void)size;
	return __WASI_ERRNO_NOSYS;
}

__wasi_errno_t __wasi_fd_write(__wasi_fd_t fd, const __wasi_ciovec_t *iovs, size_t iovs_len, __wasi_size_t *size)
{
	(void)fd;
	(void)iovs;
	(void)iovs_len;
	(void)size;
	return __WASI_ERRNO_NOSYS;
}

__wasi_errno_t __wasi_fd_seek(__wasi_fd_t fd, __wasi_filedelta_t offset, __wasi_whence_t whence, __wasi_filesize_t *size)
{
	(void)fd;
	(void)offset;
	(void)whence;
	(void)size;
	return __WASI_ERRNO_NOSYS;
}

_Noreturn void __wasi_proc_exit(__wasi_exitcode_t code)
{
	(void)code;
	__builtin_trap();
}
