/* The part of <net/ethernet.h> that libpcap's compiler uses. */
#ifndef SHIM_NET_ETHERNET_H
#define SHIM_NET_ETHERNET_H

#include <stdint.h>

struct ether_addr {
	uint8_t ether_addr_octet[6];
};

int ether_hostton(const char *, struct ether_addr *);

#endif
