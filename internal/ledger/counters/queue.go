package counters

// QueueStats is what a qdisc, class or action counts (TCA_STATS2, or TCA_STATS
// without the first three). Drops, Overlimits and Requeues are 32 bits wide and
// wrap.
type QueueStats struct {
	Packets, Bytes uint64 // let through; packets as segments, bytes with headers
	Drops          uint32
	Overlimits     uint32 // times that a rate or limit held something back
	Requeues       uint32
	Qlen           uint32 // packets that wait now; a gauge
	Backlog        uint32 // bytes that wait now; a gauge
}

// Limit is the most that a queue holds. The zero value is unknown.
type Limit struct {
	Value uint64
	Unit  string // packets or bytes
}

// Qdisc is a queueing discipline of an interface. One with others below it
// counts what they drop as well: whoever adds up takes the roots, and clsact.
type Qdisc struct {
	Index          uint32 // of the interface
	Handle, Parent uint32 // major<<16 | minor; Parent 0xffffffff is the root
	Kind           string
	Limit          Limit
	Rate           uint64 // bytes a second; 0 where there is none
	Stats          QueueStats
	Offloaded      bool // the NIC does the queueing, and may count by itself
}

// Class is a class of a classful qdisc.
type Class struct {
	Index          uint32 // of the interface
	Handle, Parent uint32
	Kind           string
	Stats          QueueStats
}

// Filter is a filter of tc.
type Filter struct {
	Index  uint32 // of the interface
	Parent uint32 // of the qdisc; see Direction
	// Direction is ingress or egress of clsact or ingress, else queue: it
	// chooses a class.
	Direction string
	Kind      string // bpf, flower, matchall, u32 …
	Priority  uint16
	Protocol  uint16 // Ethernet type
	Handle    uint32
	// Name is the section or name that a bpf filter was given, Program what it
	// runs. It counts nothing by itself.
	Name    string
	Program Program
	// Actions are what is done with what matches, and count.
	Actions []Action
}

// Action is an action of a tc filter (TCA_ACT_*).
type Action struct {
	Kind  string // gact, police, mirred …
	Index uint32
	Drops bool // its verdict is to drop (TC_ACT_SHOT)
	Stats QueueStats
}

// TCX is a program attached to an interface by tcx or netkit (6.6 and later).
// It counts nothing by itself.
type TCX struct {
	Index     uint32 // of the interface
	Direction string // ingress or egress
	Program   Program
}
