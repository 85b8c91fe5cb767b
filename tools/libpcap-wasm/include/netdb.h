/* The part of <netdb.h> that libpcap's compiler uses; shim.c implements it without a resolver. */
#ifndef SHIM_NETDB_H
#define SHIM_NETDB_H

#include <netinet/in.h>
#include <sys/socket.h>

struct addrinfo {
	int ai_flags;
	int ai_family;
	int ai_socktype;
	int ai_protocol;
	socklen_t ai_addrlen;
	struct sockaddr *ai_addr;
	char *ai_canonname;
	struct addrinfo *ai_next;
};

struct hostent {
	char *h_name;
	char **h_addr_list;
};
#define h_addr h_addr_list[0]

struct netent {
	uint32_t n_net;
};

struct protoent {
	int p_proto;
};

#ifndef PF_UNSPEC
#define PF_UNSPEC 0
#endif

#define AI_NUMERICHOST 0x04
#define EAI_NONAME -2
#define EAI_SERVICE -8
#define EAI_MEMORY -10

int getaddrinfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);
void freeaddrinfo(struct addrinfo *);
struct hostent *gethostbyname(const char *);
struct netent *getnetbyname(const char *);
struct protoent *getprotobyname(const char *);

#endif
