/*
 * What configure would find out about wasm32-wasi, by hand: the compiler half of libpcap needs little. `linux` stays
 * undefined on purpose, so that expressions about what is not in the packet (inbound, ifindex) are refused by libpcap
 * itself instead of being compiled to loads that only a packet socket answers.
 */
#define INET6 1
#define HAVE_STRLCPY 1
#define HAVE_STRLCAT 1
#define HAVE_STRTOK_R 1
#define HAVE_ASPRINTF 1
#define HAVE_VASPRINTF 1
#define HAVE_INTTYPES_H 1
#define HAVE_STDINT_H 1
#define HAVE_NETINET_IN_H 1
#define HAVE_ETHER_HOSTTON 1
#define HAVE_DECL_ETHER_HOSTTON 1
#define HAVE_STRUCT_ETHER_ADDR 1
#define NET_ETHERNET_H_DECLARES_ETHER_HOSTTON 1
#define SIZEOF_TIME_T 8
#define PACKAGE_NAME "pcap"
#define PACKAGE_VERSION "1.10.3"
