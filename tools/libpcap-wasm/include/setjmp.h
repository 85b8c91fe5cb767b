/*
 * libpcap uses setjmp and longjmp only to give up: it writes a message into the pcap_t, jumps, frees its memory and
 * returns an error. WebAssembly has no jump out of a function, so here giving up ends the call: the host's function
 * `fail` does not return, and the host reads the message and throws the instance away, memory and all.
 */
#ifndef SHIM_SETJMP_H
#define SHIM_SETJMP_H

typedef int jmp_buf[1];

_Noreturn void shim_fail(void) __attribute__((import_module("env"), import_name("fail")));

#define setjmp(env) ((void)(env), 0)
#define longjmp(env, val) ((void)(env), (void)(val), shim_fail())

#endif
