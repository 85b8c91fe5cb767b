package counters

import "net/netip"

// Socket is a socket that dropped what was for it.
type Socket struct {
	Protocol      string // udp, udplite, raw, packet, netlink
	Local, Remote netip.AddrPort
	Index         uint32 // of the interface that it is bound to; 0 is none
	UID           uint32
	Inode         uint32 // as /proc/PID/fd/* has it; 0 if it is closing
	Cookie        uint64 // unique since boot; of netlink and raw sockets unknown, 0
	// Drops are buffers that it could not take, or that its filter refused
	// (sk_drops), since it was made. 32 bits wide, wraps. What found the ring of
	// a packet socket full is told to its owner only (PACKET_STATISTICS).
	Drops uint32
	// Queued are bytes that wait, with their overhead, Buffer the most that may
	// (SO_RCVBUF, as the kernel doubles it; of netlink and raw sockets unknown, 0).
	// Gauges.
	Queued, Buffer uint32
}

// SocketSum adds up all sockets of a protocol, those in Sockets included.
type SocketSum struct {
	Protocol string
	Sockets  uint64 // gauge
	Drops    uint64 // of those that are open now: it falls when one closes
	// RestSockets and RestDrops are of those that dropped something and found
	// no room in Sockets.
	RestSockets, RestDrops uint64
}

// Listener is a TCP socket in state LISTEN.
type Listener struct {
	Local  netip.AddrPort
	Index  uint32 // of the interface that it is bound to; 0 is none
	UID    uint32
	Inode  uint32
	Cookie uint64
	// Waiting are connections that wait for accept(2), Max the backlog of
	// listen(2); one more than Max fits. Gauges.
	Waiting, Max uint32
	// Drops are SYNs and final ACKs that it refused (sk_drops), since it was
	// made. 32 bits wide, wraps.
	Drops uint32
}
