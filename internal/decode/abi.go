// Package decode turns the bytes that sensors read from the kernel into
// records: fixed structs by a length check and a copy, then names for numbers.
//
// It is pure: no kernel, no clock, no cache. The structs mirror bpf/lib/abi.h,
// which a test holds against the BTF of the committed objects. Sensors and the
// agent import it.
package decode

import "unsafe"

// Sizes of what crosses; the same names as in bpf/lib/abi.h.
const (
	AddrLen    = 16
	CommLen    = 16
	PacketLen  = 128
	StackLen   = 32
	CacheSlots = 1 << 8
	CacheHooks = 4
)

// Flags of a flow's tuple.
const (
	FlowTX    = 1 // sent; else received
	FlowBorn  = 2 // sent, and not received before
	FlowOther = 4 // remainder of flows that did not fit
	FlowSoft  = 8 // on a device that software feeds
)

// Flags of a drop's tuple.
const (
	DropIn        = 1
	DropOut       = 2
	DropForward   = 3
	DropDirection = 3
	DropOther     = 4
)

// Tuple says between whom. Addresses are 16 bytes, IPv4 mapped; ports and
// EthProto are in host order. ICMP keeps type<<8|code in SrcPort and the echo
// id in DstPort.
type Tuple struct {
	Src, Dst         [AddrLen]byte
	SrcPort, DstPort uint16
	EthProto         uint16
	Proto, Flags     uint8
}

// OwnerRef is a process by what is never used twice, and the namespace that
// its socket was made in. PID 0 says that it is not known.
type OwnerRef struct {
	Start uint64 // of its main thread, ns since boot
	PID   uint32
	NetNS uint32
}

// ProcessKey is a process by what is never used twice.
type ProcessKey struct {
	Start uint64
	PID   uint32
	_     uint32
}

// Process is what the kernel side knows of one.
type Process struct {
	Cgroup uint64 // id in the cgroup2 hierarchy
	Comm   [CommLen]byte
	UID    uint32
	_      uint32
}

// BoundKey is a local address that a socket is bound to; a zero Addr is any.
type BoundKey struct {
	Addr  [AddrLen]byte
	NetNS uint32
	Port  uint16
	Proto uint8
	_     uint8
}

// OpenSocket is a socket that some process has open; the tuple's source is the
// local side, its Flags the TCP state.
type OpenSocket struct {
	Tuple
	Owner OwnerRef
}

// FlowKey is one way of a flow on one interface.
type FlowKey struct {
	Tuple
	NetNS, IfIndex uint32
}

// FlowCount is what was counted under a FlowKey. First is CLOCK_MONOTONIC ns,
// Last jiffies.
type FlowCount struct {
	Packets, Bytes       uint64 // wire
	Buffers, BufferBytes uint64 // as the device counts
	First, Last          uint64
	OwnerStart           uint64
	PID                  uint32
	TCPFlags             uint8
	_                    [3]uint8
}

// DropKey is what drops are told apart by.
type DropKey struct {
	Tuple
	Location       uint64
	Reason         uint32
	NetNS, IfIndex uint32
	SocketState    uint8
	_              [3]uint8
}

// DropCount is what was counted under a DropKey. First is CLOCK_MONOTONIC ns,
// Last jiffies.
type DropCount struct {
	Packets, Bytes uint64 // wire
	Buffers        uint64
	First, Last    uint64
	OwnerStart     uint64
	PID            uint32
	TCPFlags       uint8
	_              [3]uint8
}

// DropEvent is one dropped buffer; the head of its packet and the stack follow.
type DropEvent struct {
	Key        DropKey
	Time       uint64
	OwnerStart uint64
	PID        uint32
	Length     uint32
	Packets    uint32
	Bytes      uint32
	RcvBuf     int32
	RMem       int32
	Whole      uint32 // bytes of the buffer from the packet's first one on
	Tag        uint32 // VLAN tag beside the packet, as on the wire; 0: none
	PacketLen  uint16
	PacketRoom uint16
	L3         uint16
	EthProto   uint16
	TCPFlags   uint8
	HasLink    uint8
	Frames     uint8
	_          [5]uint8
}

// What a connection is to its socket.
const (
	ConnClient   = 1
	ConnServer   = 2
	ConnListener = 3
)

// Flags of a connection.
const (
	ConnOlder    = 1 // than netfate: its start is not known
	ConnRSTIn    = 2
	ConnRSTOut   = 4
	ConnFINOut   = 8 // a FIN was queued
	ConnFINIn    = 16
	ConnAllAcked = 32 // all that was queued is acknowledged
)

// Who began to close a connection.
const (
	ConnEndLocal = 1
	ConnEndPeer  = 2
	ConnEndBoth  = 3
)

// What a row tells of a connection.
const (
	ConnOpened = 1
	ConnFailed = 2
	ConnClosed = 3
	ConnOpen   = 4 // it goes on
)

// Conn is what is kept of a connection beside its socket. The tuple's source
// is the local side. Times are CLOCK_MONOTONIC ns, 0 if not known.
type Conn struct {
	Tuple
	Owner              OwnerRef
	Start, Established uint64
	NetNS              uint32
	Role               uint8
	Flags              uint8
	End                uint8
	_                  uint8
}

// ConnEvent is one row: a change of a connection, or how it is. Its numbers
// are the socket's own: ConnEvent's methods give them their usual meaning.
type ConnEvent struct {
	Conn        Conn
	Time        uint64 // CLOCK_MONOTONIC ns
	BytesIn     uint64 // a FIN counts
	BytesOut    uint64 // a SYN and a FIN count
	RwndLimited uint32 // jiffies; of a listener, since it sent SYN cookies, 0: never
	SRTT        uint32 // us, times 8
	RTTVar      uint32 // us, times 4
	RTTMin      uint32 // us; all ones: none
	SegsIn      uint32
	SegsOut     uint32
	Retrans     uint32
	OutOfOrder  uint32
	Window      uint32 // of the peer, bytes; of a listener, requests that wait for their ACK
	Backlog     uint32 // of a listener
	BacklogMax  uint32
	Overflows   uint32
	Err         int32 // errno, positive
	What        uint8
	State       uint8
	_           [2]uint8
}

// What PacketEvent.Dir says.
const (
	PacketOut   = 1 // sent by the socket, and not received
	PacketPlain = 2 // not yet encrypted, or decrypted: of no packet; Seq counts such bytes from 0
	// Of plain ones, where it is known: the owner is the client, or the server.
	PacketClient = 4
	PacketServer = 8
)

// PacketEvent is a packet at a socket, or a part of one; Captured bytes of its
// payload follow. The tuple is that of the wire.
type PacketEvent struct {
	Tuple
	Owner    OwnerRef
	Time     uint64 // CLOCK_MONOTONIC ns
	Conn     uint64 // of no other connection that is open; 0: not told
	Seq, Ack uint32 // Seq of the first byte here; in a datagram its place, from 0, and Ack its length
	IfIndex  uint32
	Missing  uint32 // bytes of the payload behind these that no row has
	Skipped  uint32 // bytes right before these that nobody wanted to have
	OneIn    uint32 // stands for so many, where not all are copied; 0: for itself
	NetNS    uint32 // of the socket; 0: not told
	Captured uint16
	Window   uint16
	TCPFlags uint8
	Dir      uint8
	_        [6]uint8
}

// FrameEvent is a packet where it passes a device; Captured bytes of it follow.
type FrameEvent struct {
	Owner    OwnerRef // of the socket that it was sent by
	Time     uint64   // CLOCK_MONOTONIC ns
	NetNS    uint32
	IfIndex  uint32
	Whole    uint32 // bytes of the buffer from the packet's first one on
	Tag      uint32 // VLAN tag beside the packet, as on the wire; 0: none
	Captured uint32
	L3       uint16 // where in the bytes the network header is
	EthProto uint16 // of what is there
	Segments uint16 // that a GSO or GRO buffer stands for; 0: it is one packet
	Out      uint8  // sent; else received
	_        [5]uint8
}

// DeviceKey is a device in its namespace.
type DeviceKey struct{ NetNS, IfIndex uint32 }

// Lengths of the texts of a URLKey.
const (
	MethodLen = 16
	HostLen   = 64
	PathLen   = 144
)

// URLKey is what was asked for over HTTP/1; its texts end with a NUL. Other says
// that it is the remainder, of which only the method is known, or not even that.
type URLKey struct {
	Method [MethodLen]byte
	Host   [HostLen]byte // lower case
	Path   [PathLen]byte // without the query
	Other  uint32
	_      uint32
}

// URLCount is how often.
type URLCount struct{ Requests uint64 }

// pod reads a struct without pointers from the front of b; false if b is too
// short. The kernel and this process share byte order and alignment rules.
func pod[T any](b []byte, to *T) bool {
	n := int(unsafe.Sizeof(*to))
	if len(b) < n {
		return false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(to)), n), b)
	return true
}

// Empty reports whether nothing was counted.
func (c FlowCount) Empty() bool { return c.Buffers == 0 }

// Empty reports whether nothing was counted.
func (c URLCount) Empty() bool { return c.Requests == 0 }

// Empty reports whether nothing was counted.
func (c DropCount) Empty() bool { return c.Buffers == 0 }
