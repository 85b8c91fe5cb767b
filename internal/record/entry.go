package record

import "time"

// Scope is what a book of the ledger is of.
type Scope string

// The scopes.
const (
	HostScope      Scope = "host"
	NetNSScope     Scope = "netns"
	InterfaceScope Scope = "interface"
)

// Line says what an [Entry] is of its layer. Those that are not In add up to
// those that are.
type Line string

// The lines.
const (
	Came      Line = "in"        // packets that the layer got
	Passed    Line = "passed"    // to the next layer
	Delivered Line = "delivered" // to whom they were for
	Forwarded Line = "forwarded" // to another interface
	Taken     Line = "taken"     // by what works beside the stack: a bridge, XDP, other protocols
	Merged    Line = "merged"    // into other buffers, by GRO or reassembly; negative where buffers were cut up
	Waiting   Line = "waiting"   // in a queue
	Ignored   Line = "ignored"   // and nobody misses them
	LostLine  Line = "lost"
	Remainder Line = "remainder" // what nothing explains: negative if more went than came
)

// Layer is where on its way through the kernel a packet is.
type Layer string

// The layers, in the order in which packets that come in pass them.
const (
	RingLayer      Layer = "ring"      // of the NIC, before there is a buffer
	DriverLayer    Layer = "driver"    // the device
	XDPLayer       Layer = "xdp"       // in the driver
	GROLayer       Layer = "gro"       // packets become buffers
	BacklogLayer   Layer = "backlog"   // of a CPU
	IngressLayer   Layer = "ingress"   // generic XDP, tc, and what protocol it is
	NetfilterLayer Layer = "netfilter" // hooks of IP
	RoutingLayer   Layer = "routing"   // IP: headers, routes, forwarding, reassembly
	TransportLayer Layer = "transport" // UDP, TCP, ICMP
	SocketLayer    Layer = "socket"
	QdiscLayer     Layer = "qdisc"
	BridgeLayer    Layer = "bridge"
	TotalLayer     Layer = "total" // all layers of a book
)

// Entry is one line of the ledger: packets that came to a layer, or where they
// went from it, in one interval, as the kernel's counters and the sensors say.
type Entry struct {
	Time          time.Time `rec:"time" role:"time" doc:"End of the interval."`
	Start         time.Time `rec:"start" doc:"Its beginning."`
	Host          string    `rec:"host" doc:"Name of the host." otel:"host.name"`
	Scope         Scope     `rec:"scope" doc:"Whose book it is: netns, interface, or host, which adds up those of all namespaces."`
	NetNS         uint32    `rec:"netns" doc:"Network namespace, as the inode number that ls -L /proc/PID/ns/net shows." otel:"linux.netns.inode"`
	NetNSName     string    `rec:"netns_name" doc:"Name of the namespace."`
	IfName        string    `rec:"ifname" doc:"Network interface, named as in its namespace." otel:"network.interface.name" ipfix:"interfaceName(82)"`
	Direction     Direction `rec:"direction" doc:"in is the way to sockets and to forwarding, out the way from there to devices."`
	Layer         Layer     `rec:"layer" doc:"ring, driver, xdp, gro, backlog, ingress, netfilter, routing, transport, socket, qdisc, bridge; total is all layers of the book."`
	Station       string    `rec:"station" doc:"Layers that are balanced together: device, ingress, ip, transport, bridge, queue; total. Lines that are not in add up to those that are."`
	Line          Line      `rec:"line" doc:"in, or where they went: passed (to the next station), delivered, forwarded, taken, merged, waiting, ignored, lost, remainder (nothing explains it)."`
	What          string    `rec:"what" doc:"Which packets: the reason of a loss, a protocol, the part of the kernel that took them."`
	Location      string    `rec:"location" doc:"Kernel function that freed most of them, where the drop sensor saw it."`
	Unit          string    `rec:"unit" doc:"packets of the wire, or buffers (sk_buff), which may hold many."`
	Packets       int64     `rec:"packets" role:"measure" doc:"How many, in that unit; of remainder and merged, possibly negative."`
	Counter       string    `rec:"counter" doc:"The kernel's counters that the number is from, as nstat or ip -s call them; null if it is from a sensor."`
	Counted       *uint64   `rec:"counted" doc:"What these say; null if there is none, or it was not read."`
	Seen          *uint64   `rec:"seen" doc:"What the drop sensor says of the same loss; null if it was not watched, or cannot see it."`
	Verdict       Verdict   `rec:"verdict" doc:"Of a loss, what it means: loss, resource, refused, policy, invalid or benign."`
	Why           string    `rec:"why" doc:"Of a loss, the meaning in a line."`
	PID           uint32    `rec:"pid" doc:"Process that lost most of them, if its socket was known." otel:"process.pid"`
	Comm          string    `rec:"comm" doc:"Its name." otel:"process.executable.name"`
	ContainerName string    `rec:"container_name" doc:"Its container." otel:"container.name"`
	Fact          string    `rec:"fact" doc:"Something read on this host that explains the loss: the rule, a limit, a full buffer."`
	Evidence      []string  `rec:"evidence" doc:"Live values of this host about the loss, as netfate explain reads them: name, value, what it means; read again each 10 s, so at most so old."`
	Command       string    `rec:"command" doc:"A command that confirms the loss, or mends it."`
	SkewMicros    uint64    `rec:"skew_us" unit:"us" doc:"How far apart the ends of what is compared can be: what passed in so long may be in the remainder."`
}
