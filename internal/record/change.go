package record

import (
	"net/netip"
	"time"
)

// Values of Change.What.
const (
	ChangedLoss  = "loss"
	ChangedFlow  = "flow"
	ChangedOwner = "owner"
)

// Values of Change.Change.
const (
	ChangeNew  = "new"
	ChangeGone = "gone"
	ChangeMore = "more"
	ChangeLess = "less"
)

// Change is one line of `netfate diff`: what differs between two stretches of
// time, before and after. Since they differ in length, what counts is packets, or
// bytes, by time.
type Change struct {
	Time          time.Time  `rec:"time" role:"time" doc:"End of the stretch after."`
	Host          string     `rec:"host" doc:"Name of the host that saw it, after if both did." otel:"host.name"`
	What          string     `rec:"what" doc:"What changed: loss (packets lost at one place), flow (traffic with one peer and port) or owner (traffic of processes of one name)."`
	Change        string     `rec:"change" doc:"How: new, gone, more or less, by time."`
	Chance        bool       `rec:"chance" doc:"True if a loss is new or gone, and so few packets were lost that chance alone may explain it."`
	Verdict       Verdict    `rec:"verdict" doc:"What a loss means: loss, resource, refused, policy, invalid or benign."`
	Reason        string     `rec:"reason" doc:"The kernel's drop reason, without SKB_DROP_REASON_; ~other for what had no room." otel:"network.drop.reason"`
	Subsystem     string     `rec:"subsystem" doc:"Who defines the reason: core, mac80211_unusable, openvswitch …"`
	Location      string     `rec:"location" doc:"Kernel function that freed the packets, without offset."`
	NetNSName     string     `rec:"netns_name" doc:"Name of the loss's network namespace: of a process if that is all there is, without its number; else the inode number."`
	IfName        string     `rec:"ifname" doc:"Network interface of the loss, named as in its namespace." otel:"network.interface.name"`
	Proto         string     `rec:"proto" doc:"Transport protocol of the flow." otel:"network.transport"`
	SrcAddr       netip.Addr `rec:"src_addr" doc:"Source of the flow: the side that began." otel:"source.address"`
	DstAddr       netip.Addr `rec:"dst_addr" doc:"Its destination." otel:"destination.address"`
	DstPort       uint16     `rec:"dst_port" doc:"Destination port." otel:"destination.port"`
	Name          string     `rec:"name" doc:"Name of the remote side, as the socket's owner was told it by DNS." otel:"server.address"`
	Comm          string     `rec:"comm" doc:"Name of the owner's process." otel:"process.executable.name"`
	Container     string     `rec:"container" doc:"Its container: name, or id without one." otel:"container.name"`
	Other         bool       `rec:"other" doc:"True for the counted remainder of flows or owners that did not fit."`
	PacketsBefore uint64     `rec:"packets_before" role:"measure" unit:"packets" doc:"Packets before: lost ones, or those of the flow or owner."`
	BytesBefore   uint64     `rec:"bytes_before" role:"measure" unit:"bytes" doc:"Bytes of these."`
	BeforeMicros  uint64     `rec:"before_us" unit:"us" doc:"Length of the stretch before."`
	PacketsAfter  uint64     `rec:"packets_after" role:"measure" unit:"packets" doc:"Packets after."`
	BytesAfter    uint64     `rec:"bytes_after" role:"measure" unit:"bytes" doc:"Bytes of these."`
	AfterMicros   uint64     `rec:"after_us" unit:"us" doc:"Length of the stretch after."`
	Why           string     `rec:"why" doc:"What a loss means, in one line."`
}
