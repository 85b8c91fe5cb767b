package counters

// Interface is a network device and what it counts (RTM_NEWLINK).
type Interface struct {
	Index uint32
	Name  string
	// Kind is the driver's name for a virtual device: veth, bridge, vlan,
	// vxlan, tun, netkit; lo for loopback, empty for hardware and for what the
	// kernel does not name.
	Kind string
	// Master is the index of the bridge, bond or VRF that it belongs to, Link
	// that of its lower device or of a veth's peer, in the namespace LinkNSID
	// (−1: this one). 0 is none.
	Master, Link uint32
	LinkNSID     int32
	MTU          uint32
	Flags        uint32 // IFF_* of linux/if.h
	TxQueueLen   uint32
	XDP          XDP
	// Stats are in the device's own unit: veth, bridge and lo count buffers,
	// of which one can be many packets, hardware counts packets.
	Stats LinkStats
	// Driver are the statistics of ethtool -S, of hardware and of devices with
	// an XDP program.
	Driver Counters
	// Rings is nil for devices that have none.
	Rings *Rings
}

// XDPMode is how an XDP program is attached (XDP_ATTACHED_* in linux/if_link.h).
type XDPMode uint8

// The ways to attach an XDP program.
const (
	XDPNone XDPMode = iota
	XDPNative
	XDPGeneric
	XDPOffloaded
	XDPSeveral
)

// String returns the mode in a word; empty for none.
func (m XDPMode) String() string {
	switch m {
	case XDPNative:
		return "native"
	case XDPGeneric:
		return "generic"
	case XDPOffloaded:
		return "offloaded"
	case XDPSeveral:
		return "several"
	}
	return ""
}

// XDP is the XDP program of a device.
type XDP struct {
	Mode XDPMode
	// Program is the one in force; of several, the native one.
	Program Program
}

// Program is a BPF program that is attached. Name is empty if it could not be
// read.
type Program struct {
	ID   uint32
	Name string
}

// LinkStats is struct rtnl_link_stats64 of linux/if_link.h, whose comments say
// what belongs where. Counters of the device since it was made.
type LinkStats struct {
	RxPackets, TxPackets uint64
	RxBytes, TxBytes     uint64
	RxErrors, TxErrors   uint64
	RxDropped, TxDropped uint64
	Multicast            uint64
	Collisions           uint64
	// In detail, part of RxErrors and, of some drivers, RxDropped.
	RxLengthErrors, RxOverErrors, RxCRCErrors, RxFrameErrors, RxFIFOErrors uint64
	RxMissedErrors                                                         uint64
	// In detail, part of TxErrors.
	TxAbortedErrors, TxCarrierErrors, TxFIFOErrors, TxHeartbeatErrors, TxWindowErrors uint64

	RxCompressed, TxCompressed uint64
	// RxNoHandler are those that an inactive port of a bond or bridge received.
	RxNoHandler uint64
	// RxOtherhostDropped are frames for another MAC address (5.19).
	RxOtherhostDropped uint64
}

// Rings are a NIC's descriptor rings, in descriptors (ETHTOOL_GRINGPARAM).
type Rings struct {
	Rx, RxMax, Tx, TxMax uint32
}
