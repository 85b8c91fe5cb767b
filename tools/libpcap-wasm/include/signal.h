/* WebAssembly has no signals; libpcap's pcap_t only wants the type. */
#ifndef SHIM_SIGNAL_H
#define SHIM_SIGNAL_H

typedef int sig_atomic_t;

#endif
