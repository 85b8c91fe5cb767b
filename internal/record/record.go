// Package record holds the nouns netfate speaks of: drops and flows (later
// connections, requests and queries), and one table of metadata per noun.
//
// A field is declared once, as a Go struct field with its tags: the JSON and
// CSV encoders, the table columns, the SQL schema and the reference page all
// derive from [Fields]. The package knows no kernel, no sensor and no output
// device; everybody may import it and it imports only the standard library.
package record

import (
	"net/netip"
	"time"
)

// Verdict says what a drop means for the user.
type Verdict string

// The verdicts, most alarming first.
const (
	// Loss is a packet that should have arrived and did not.
	Loss Verdict = "loss"
	// Resource is a loss for want of room: a full queue, buffer or table.
	Resource Verdict = "resource"
	// Refused is a packet nobody wanted: a closed port, no such protocol.
	Refused Verdict = "refused"
	// Policy is a drop that a rule on this host asked for.
	Policy Verdict = "policy"
	// Invalid is a packet that was broken or forged.
	Invalid Verdict = "invalid"
	// Benign is a free that the kernel reports as a drop but that cost nobody
	// anything: teardown, duplicates, other hosts' frames.
	Benign Verdict = "benign"
)

// Verdicts lists every verdict, most alarming first.
func Verdicts() []Verdict {
	return []Verdict{Loss, Resource, Refused, Policy, Invalid, Benign}
}

// Direction tells how traffic crosses the host.
type Direction string

// The directions, as seen from the namespace that the record is of.
const (
	In      Direction = "in"
	Out     Direction = "out"
	Forward Direction = "forward"
)

// Endpoints are the fields that every record has: when, where, between whom,
// and whose it is. The zero value of a field means that it is not known or
// does not apply; JSON shows it as null.
type Endpoints struct {
	Time      time.Time  `rec:"time" role:"time" doc:"When the record was made; for an aggregate, the end of its interval."`
	Host      string     `rec:"host" doc:"Name of the host that saw it." otel:"host.name"`
	NetNS     uint32     `rec:"netns" doc:"Network namespace, as the inode number that ls -L /proc/PID/ns/net shows." otel:"linux.netns.inode"`
	NetNSName string     `rec:"netns_name" doc:"Name of the namespace: from /run/netns, else the container or process that holds it."`
	IfName    string     `rec:"ifname" doc:"Network interface, named as in its namespace." otel:"network.interface.name" ipfix:"interfaceName(82)"`
	Proto     string     `rec:"proto" doc:"Transport protocol (tcp, udp, icmp …), or the network protocol of what is not IP (arp …)." otel:"network.transport" ipfix:"protocolIdentifier(4)"`
	SrcAddr   netip.Addr `rec:"src_addr" doc:"Source address." otel:"source.address" ipfix:"sourceIPv4Address(8), sourceIPv6Address(27)"`
	SrcPort   uint16     `rec:"src_port" doc:"Source port; null where the protocol has none." otel:"source.port" ipfix:"sourceTransportPort(7)"`
	DstAddr   netip.Addr `rec:"dst_addr" doc:"Destination address." otel:"destination.address" ipfix:"destinationIPv4Address(12), destinationIPv6Address(28)"`
	DstPort   uint16     `rec:"dst_port" doc:"Destination port; null where the protocol has none." otel:"destination.port" ipfix:"destinationTransportPort(11)"`
	Owner
}

// Owner is the process, cgroup and container that a socket belongs to. The
// zero value says that there is none: forwarded traffic, the kernel's own.
type Owner struct {
	PID           uint32  `rec:"pid" doc:"Process that owns the socket, in the initial PID namespace." otel:"process.pid"`
	Comm          string  `rec:"comm" doc:"Name of the process, as in /proc/PID/comm." otel:"process.executable.name"`
	UID           *uint32 `rec:"uid" doc:"User id that owns the process." otel:"process.user.id"`
	Cgroup        string  `rec:"cgroup" doc:"Path of the process's cgroup below the cgroup root." otel:"linux.cgroup.path"`
	Container     string  `rec:"container" doc:"Container id, its first 12 digits." otel:"container.id"`
	ContainerName string  `rec:"container_name" doc:"Container name, from its runtime." otel:"container.name"`
	Pod           string  `rec:"pod" doc:"Kubernetes pod." otel:"k8s.pod.name"`
	PodNamespace  string  `rec:"pod_namespace" doc:"Kubernetes namespace of the pod." otel:"k8s.namespace.name"`
}

// Known reports whether the owner is known.
func (o *Owner) Known() bool { return o.PID != 0 || o.Comm != "" }

// Drop is packets that the kernel freed undelivered: an aggregate over one
// interval, or one event when Sample is true.
type Drop struct {
	Endpoints
	Reason       string     `rec:"reason" doc:"The kernel's drop reason, without SKB_DROP_REASON_; null before Linux 5.17." otel:"network.drop.reason"`
	Subsystem    string     `rec:"subsystem" doc:"Who defines the reason: core, mac80211_unusable, mac80211_monitor, openvswitch …"`
	Location     string     `rec:"location" doc:"Kernel function and offset that freed the packet; the bare address where symbols are hidden."`
	Verdict      Verdict    `rec:"verdict" doc:"What it means: loss, resource, refused, policy, invalid or benign."`
	Packets      uint64     `rec:"packets" role:"measure" unit:"packets" doc:"Wire packets: a GSO or GRO buffer counts as its segments." ipfix:"droppedPacketDeltaCount(133)"`
	Bytes        uint64     `rec:"bytes" role:"measure" unit:"bytes" doc:"Wire bytes of those packets, each with its headers from Ethernet on." ipfix:"droppedOctetDeltaCount(132)"`
	Buffers      uint64     `rec:"buffers" role:"measure" unit:"buffers" doc:"Socket buffers (sk_buff) freed: what the kernel's own counters count."`
	Length       uint32     `rec:"length" unit:"bytes" doc:"Length of the buffer, for one event."`
	TCPFlags     string     `rec:"tcp_flags" doc:"TCP flags seen, as letters: F S R P A U E C." ipfix:"tcpControlBits(6)"`
	Direction    Direction  `rec:"direction" doc:"in, out or forward."`
	SocketState  string     `rec:"socket_state" doc:"State of the socket that lost it: established, listen, time_wait …; null without one."`
	Stack        []string   `rec:"stack" doc:"Kernel stack, innermost first, when asked for."`
	Rule         string     `rec:"rule" doc:"Firewall rule that dropped it, where it can be told."`
	InnerProto   string     `rec:"inner_proto" doc:"Transport protocol inside a tunnel."`
	InnerSrcAddr netip.Addr `rec:"inner_src_addr" doc:"Source address inside a tunnel."`
	InnerSrcPort uint16     `rec:"inner_src_port" doc:"Source port inside a tunnel."`
	InnerDstAddr netip.Addr `rec:"inner_dst_addr" doc:"Destination address inside a tunnel."`
	InnerDstPort uint16     `rec:"inner_dst_port" doc:"Destination port inside a tunnel."`
	Name         string     `rec:"name" doc:"Name of the remote side, as the socket's owner was told it by DNS." otel:"server.address"`
	Sample       bool       `rec:"sample" doc:"True for one event, false for an aggregate."`
	// Packet is the head of a sampled packet, from the first header that the
	// buffer still had; it goes into recordings and captures, not into rows.
	Packet []byte `rec:"packet_hex" hidden:"true" doc:"First bytes of the packet, hexadecimal."`
	// PacketLink says what Packet begins with, PacketLength how long it was whole.
	PacketLink   string `rec:"packet_link" hidden:"true" doc:"What packet_hex begins with: ethernet, ip, or the Ethernet type of something else without a link header."`
	PacketLength uint32 `rec:"packet_length" hidden:"true" unit:"bytes" doc:"Length of the whole buffer from there on; a GSO or GRO buffer is one."`
}

// Flow is the traffic between two endpoints on one interface over one
// interval, both ways. The source is the side that began, as far as is known.
type Flow struct {
	Endpoints
	Start          time.Time `rec:"start" doc:"First packet of the interval." ipfix:"flowStartMilliseconds(152)"`
	End            time.Time `rec:"end" doc:"Last packet of the interval." ipfix:"flowEndMilliseconds(153)"`
	Direction      Direction `rec:"direction" doc:"Who began: out, this namespace; in, the other side; forward, neither; null in captures." ipfix:"flowDirection(61)"`
	PacketsIn      uint64    `rec:"packets_in" role:"measure" unit:"packets" doc:"Wire packets received; in captures, sent by the destination."`
	BytesIn        uint64    `rec:"bytes_in" role:"measure" unit:"bytes" doc:"Wire bytes received, headers from Ethernet on."`
	PacketsOut     uint64    `rec:"packets_out" role:"measure" unit:"packets" doc:"Wire packets sent; in captures, by the source."`
	BytesOut       uint64    `rec:"bytes_out" role:"measure" unit:"bytes" doc:"Wire bytes sent, headers from Ethernet on."`
	BuffersIn      uint64    `rec:"buffers_in" role:"measure" unit:"buffers" doc:"Packets received as the device counts them."`
	BufferBytesIn  uint64    `rec:"buffer_bytes_in" role:"measure" unit:"bytes" doc:"Bytes received as the device counts them."`
	BuffersOut     uint64    `rec:"buffers_out" role:"measure" unit:"buffers" doc:"Packets sent as the device counts them."`
	BufferBytesOut uint64    `rec:"buffer_bytes_out" role:"measure" unit:"bytes" doc:"Bytes sent as the device counts them."`
	HostPackets    uint64    `rec:"host_packets" role:"measure" unit:"packets" doc:"Of these packets, the ones that the host's totals count here: each packet once, where it is born or enters."`
	HostBytes      uint64    `rec:"host_bytes" role:"measure" unit:"bytes" doc:"Bytes of host_packets."`
	TCPFlags       string    `rec:"tcp_flags" doc:"TCP flags seen, as letters: F S R P A U E C." ipfix:"tcpControlBits(6)"`
	Drops          uint64    `rec:"drops" role:"measure" unit:"packets" doc:"Packets of this flow that were lost (benign ones left out)."`
	Retransmits    uint64    `rec:"retransmits" role:"measure" unit:"packets" doc:"TCP segments that this host's socket sent again; 0 where connections are not watched too."`
	RTTMicros      uint32    `rec:"rtt_us" unit:"us" doc:"Smoothed round-trip time, as this host's TCP socket last knew it; null where connections are not watched too."`
	Name           string    `rec:"name" doc:"Name of the remote side, as the socket's owner was told it by DNS before the flow began." otel:"server.address"`
	Other          bool      `rec:"other" doc:"True for the counted remainder of flows that did not fit the table, and of frames that cannot be read."`
}

// Frame is a packet where it passed an interface: what captures hold. It is in no
// batch and no row; of Endpoints it has all but the ends.
type Frame struct {
	Endpoints
	Direction Direction // In or Out
	Packet    []byte    // from its first header on
	Link      string    // what Packet begins with, as Drop.PacketLink
	Length    uint32    // of the whole
	Segments  uint32    // that a GSO or GRO buffer stands for; 0: it is one packet
}

// Lost is one count of what netfate itself could not keep: the number that
// spoils the others, by place and reason. Never silent.
type Lost struct {
	Time   time.Time `rec:"time" role:"time" doc:"End of the interval."`
	Place  string    `rec:"place" doc:"Where it was lost: drop_ring, flow_table, queue …"`
	Reason string    `rec:"reason" doc:"Why: full, misses, evicted …"`
	Count  uint64    `rec:"count" role:"measure" doc:"How many since the last interval."`
	Effect string    `rec:"effect" doc:"What the loss spoils, in words."`
}

// Batch is what one interval brought. It is frozen: nobody changes it after
// the table has handed it out, so it may be shared between sinks.
type Batch struct {
	Start, End time.Time
	// Drops are exact aggregates (Sample false); Samples single events.
	Drops, Samples []Drop
	Flows          []Flow
	Conns          []Conn
	Requests       []Request
	// RequestCounts are requests that were counted in the kernel, by method, host
	// and path; nothing else is known of them.
	RequestCounts []RequestSum
	Queries       []Query
	// Ledger is the books of the interval, by scope and direction, each in the
	// order in which packets pass its layers.
	Ledger []Entry
	Lost   []Lost
}
