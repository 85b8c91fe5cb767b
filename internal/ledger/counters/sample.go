package counters

import (
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Place is a network namespace to read.
type Place struct {
	// Inode is the namespace's number, as record's netns field has it. If Path
	// leads to another by now, the namespace is a gap. 0 takes any; a sample has
	// the number then.
	Inode uint32
	// Name is what users call it; only passed on.
	Name string
	// Path is a file to enter it by, such as /run/netns/NAME or
	// /proc/PID/ns/net; empty is the namespace of this process.
	Path string
}

// Sample is what the kernel had counted. Reading takes time, so each part has
// its own: see [Namespace.Reads]. It belongs to whoever asked for it and is not
// changed any more.
type Sample struct {
	// Start is when the reading began, with the monotonic clock's reading.
	Start time.Time
	// Took is how long it took, CPU what it cost the thread that read, in user
	// and system time.
	Took, CPU time.Duration

	Host Host
	// Namespaces are those asked for, in that order.
	Namespaces []Namespace
	// Lost tells the bounds of this package that left something out.
	Lost []record.Lost
}

// Part is a part of a sample that is read by itself.
type Part string

// The parts of a sample. Softnet is of the host, the others of a namespace.
const (
	PartSoftnet   Part = "softnet"   // /proc/net/softnet_stat
	PartNamespace Part = "namespace" // entering it
	PartLinks     Part = "links"     // rtnetlink RTM_GETLINK
	PartEthtool   Part = "ethtool"   // ioctl SIOCETHTOOL
	PartQdiscs    Part = "qdiscs"    // rtnetlink RTM_GETQDISC
	PartClasses   Part = "classes"   // rtnetlink RTM_GETTCLASS
	PartFilters   Part = "filters"   // rtnetlink RTM_GETTFILTER
	PartTCX       Part = "tcx"       // bpf(2) BPF_PROG_QUERY
	PartSNMP      Part = "snmp"      // /proc/net/snmp
	PartSNMP6     Part = "snmp6"     // /proc/net/snmp6
	PartNetstat   Part = "netstat"   // /proc/net/netstat
	PartXfrm      Part = "xfrm"      // /proc/net/xfrm_stat
	PartSockstat  Part = "sockstat"  // /proc/net/sockstat, sockstat6
	PartUDP       Part = "udp"       // sock_diag
	PartPacket    Part = "packet"    // sock_diag of AF_PACKET
	PartRaw       Part = "raw"       // /proc/net/raw, raw6
	PartNetlink   Part = "netlink"   // /proc/net/netlink
	PartListeners Part = "listeners" // sock_diag of TCP in state LISTEN
	PartConntrack Part = "conntrack" // ctnetlink and net.netfilter.nf_conntrack_*
	PartNFT       Part = "nft"       // nftables over nfnetlink
)

// Read says when a part was read, since the sample's Start.
type Read struct {
	Part       Part
	Start, End time.Duration
}

// Gap is what could not be read.
type Gap struct {
	Part Part
	// Subject is what of the part is missing: an interface, a rule; empty if
	// it is all of it.
	Subject string
	// Why is one sentence.
	Why string
}

// Host is what is counted for the whole host, whatever the namespace.
type Host struct {
	// Softnet is a row for each CPU that is online.
	Softnet []Softnet
	Reads   []Read
	Gaps    []Gap
}

// Softnet is a CPU's line of /proc/net/softnet_stat (softnet_seq_show in
// net/core/net-procfs.c). The counters are 32 bits wide and wrap.
type Softnet struct {
	CPU       uint32
	Processed uint32 // buffers that the CPU took from its backlog or a driver handed up
	Dropped   uint32 // buffers for which the backlog was full (netdev_max_backlog)
	Squeezed  uint32 // times that it stopped early (netdev_budget), with work left
	RPS       uint32 // times that another CPU woke it for received packets
	FlowLimit uint32 // buffers that a flow was denied (flow_limit_cpu_bitmap)
	Backlog   uint32 // buffers that wait in the backlog now; a gauge
}

// Namespace is what one network namespace counts.
type Namespace struct {
	Place

	Interfaces []Interface
	Qdiscs     []Qdisc
	Classes    []Class
	Filters    []Filter
	TCX        []TCX

	// SNMP, SNMP6, Netstat and Xfrm are the counters of the files of these
	// names, called as nstat(8) does: IpInReceives, Udp6NoPorts,
	// TcpExtListenDrops, XfrmInNoPols. What is no counter there is left out.
	SNMP, SNMP6, Netstat, Xfrm Counters

	Sockstat Sockstat
	// Sockets are those that dropped something, most first.
	Sockets []Socket
	// SocketSums has a row for each protocol of Sockets that was read.
	SocketSums []SocketSum
	Listeners  []Listener

	// Conntrack is nil where connections are not tracked.
	Conntrack *Conntrack
	NFT       NFT

	// Reads says when each part was read, Gaps what could not be. A part of
	// which all is missing is empty; a part without a Gap that is empty has
	// nothing to count.
	Reads []Read
	Gaps  []Gap
}

// Counter looks a counter of SNMP, SNMP6, Netstat or Xfrm up by its name;
// false if this kernel or namespace does not have it, or it was not read.
func (n *Namespace) Counter(name string) (uint64, bool) {
	for _, c := range []*Counters{&n.SNMP, &n.Netstat, &n.SNMP6, &n.Xfrm} {
		if v, ok := c.Get(name); ok {
			return v, true
		}
	}
	return 0, false
}

// Interface returns the interface with an index; nil if there is none.
func (n *Namespace) Interface(index uint32) *Interface {
	for i := range n.Interfaces {
		if n.Interfaces[i].Index == index {
			return &n.Interfaces[i]
		}
	}
	return nil
}

// Gap returns why a part is missing or not whole; false if it is not.
func (n *Namespace) Gap(part Part) (Gap, bool) {
	for _, g := range n.Gaps {
		if g.Part == part {
			return g, true
		}
	}
	return Gap{}, false
}

// Counters are named 64-bit counters, in the kernel's order.
type Counters struct {
	// Names may be shared with other samples: do not change them.
	Names  []string
	Values []uint64 // as many as Names
}

// Get looks a counter up; false if there is none of that name.
func (c *Counters) Get(name string) (uint64, bool) {
	for i, n := range c.Names {
		if n == name {
			return c.Values[i], true
		}
	}
	return 0, false
}

// Sockstat is how many sockets the namespace has, from /proc/net/sockstat and
// sockstat6. All are gauges.
type Sockstat struct {
	TCP, UDP, UDPLite, RAW     uint64 // IPv4
	TCP6, UDP6, UDPLite6, RAW6 uint64 // IPv6, dual-stack sockets included
}
