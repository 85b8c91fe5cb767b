// Package scenario holds recipes: each builds a small network of namespaces
// and makes the kernel lose packets in one known way, in a known number, or
// makes it free packets in a way that looks like loss and is none. The tests
// beside them ask netfate what happened and compare.
//
// Recipes use ordinary means: sockets, nft, ip, tc, crafted frames. They know
// the kernel's names for what they provoke and nothing of netfate's insides.
package scenario

import (
	"slices"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// Owner says whose a lost packet has to be.
type Owner int

// The owners that a recipe can ask for.
const (
	AnyOwner Owner = iota
	// Self is the process that runs the recipe: it holds the socket.
	Self
	// Child is a process that the recipe started, and that may be gone.
	Child
	// Nobody is forwarded traffic, closed ports, the kernel's own.
	Nobody
)

// Recipe is one way to lose packets, or, if Verdict is benign, to seem to.
type Recipe struct {
	Name string
	// Reasons are the kernel's names for it, any of which will do; they are
	// looked up in the running kernel. A benign recipe without reasons is one
	// that frees nothing at all.
	Reasons []string
	// Since is a reason that came with the release in which the kernel began to
	// give Reasons for this; where it is not known, neither is the recipe's. Empty
	// if any of Reasons tells by itself.
	Since string
	// Capability is one of netfate doctor's that Setup cannot do without.
	Capability string
	// Places narrow NOT_SPECIFIED down: the functions that may free it.
	Places  []string
	Verdict record.Verdict
	Proto   string
	// Src and Dst are an address, or an address and a port; empty is any.
	Src, Dst  string
	Direction record.Direction
	Owner     Owner
	// Placeless packets have lost their namespace by the time they are freed:
	// rows without one are the recipe's if protocol, Src and Dst are.
	Placeless bool
	// Setup builds the network and sets it up to where one step is missing. It
	// returns the namespace that will lose the packets and that step, which
	// returns how many they were. A benign recipe's step returns how many the
	// kernel freed for the reasons, or Some.
	Setup func(l *netlab.Lab) (at *netlab.NetNS, provoke func() int)
}

// Some is what a benign recipe's step returns when the number is the
// kernel's to choose: at least one.
const Some = -1

// Recipes returns every recipe, losses first.
func Recipes() []Recipe {
	return slices.Concat(ruleLosses(), ipLosses(), linkLosses(), queueLosses(), socketLosses(), tcpLosses(), benignSockets(), benignWire())
}

// The addresses of the small topologies below.
const (
	clientAddr = "10.0.0.1"
	serverAddr = "10.0.0.2"
	farClient  = "10.1.0.2"
	farServer  = "10.2.0.2"
)

// pair joins client and server by a veth, eth0 at both ends, neighbours known.
func pair(l *netlab.Lab) (client, server *netlab.NetNS) {
	client, server = l.NetNS("client"), l.NetNS("server")
	l.Veth(client, "eth0", server, "eth0")
	client.Addr("eth0", clientAddr+"/24")
	server.Addr("eth0", serverAddr+"/24")
	client.Neigh("eth0", serverAddr, server.MAC("eth0"))
	server.Neigh("eth0", clientAddr, client.MAC("eth0"))
	return client, server
}

// routed puts a router between client and server: left and right are its
// interfaces. It forwards.
func routed(l *netlab.Lab) (client, router, server *netlab.NetNS) {
	client, router, server = l.NetNS("client"), l.NetNS("router"), l.NetNS("server")
	l.Veth(client, "eth0", router, "left")
	l.Veth(server, "eth0", router, "right")
	client.Addr("eth0", farClient+"/24")
	server.Addr("eth0", farServer+"/24")
	router.Addr("left", "10.1.0.1/24")
	router.Addr("right", "10.2.0.1/24")
	client.Route("default", "10.1.0.1")
	server.Route("default", "10.2.0.1")
	client.Neigh("eth0", "10.1.0.1", router.MAC("left"))
	server.Neigh("eth0", "10.2.0.1", router.MAC("right"))
	router.Neigh("left", farClient, client.MAC("eth0"))
	router.Neigh("right", farServer, server.MAC("eth0"))
	router.Forwarding()
	return client, router, server
}

// wired is a host on a tap: the recipe plays the rest of the world, as
// clientAddr.
func wired(l *netlab.Lab) (host *netlab.NetNS, tap *netlab.Tap) {
	host = l.NetNS("host")
	tap = host.Tap("eth0")
	host.Addr("eth0", serverAddr+"/24")
	host.Neigh("eth0", clientAddr, tap.PeerMAC)
	return host, tap
}

// wired6 is wired with IPv6: the host is fd00::2, the recipe fd00::1.
func wired6(l *netlab.Lab) (host *netlab.NetNS, tap *netlab.Tap) {
	host = l.NetNS("host")
	host.IPv6()
	tap = host.Tap("eth0")
	host.Addr("eth0", "fd00::2/64")
	host.Neigh("eth0", "fd00::1", tap.PeerMAC)
	return host, tap
}
