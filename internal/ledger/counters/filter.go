package counters

import "github.com/netfate/netfate/internal/nft"

// Conntrack is the connection tracking of a namespace.
type Conntrack struct {
	Count, Max uint32 // entries now, and at most in the host; gauges
	CPUs       []ConntrackCPU
}

// ConntrackCPU is what connection tracking counted on one CPU (CTA_STATS_*).
// The counters are 32 bits wide and wrap.
type ConntrackCPU struct {
	CPU           uint32
	Found         uint32 // entries found by others than the packet path
	Invalid       uint32 // packets that cannot be tracked
	Insert        uint32
	InsertFailed  uint32 // entries that clashed; the packet is dropped
	Drop          uint32 // packets dropped for want of memory or room
	EarlyDrop     uint32 // entries thrown out to make room
	Error         uint32 // packets that failed a check of ICMP or ICMPv6
	SearchRestart uint32
	ClashResolve  uint32 // clashes that cost no packet
	ChainTooLong  uint32 // entries refused since their chain is too long
}

// NFT is what nftables, iptables-nft included, counts.
type NFT struct {
	// Rules are those that drop or reject, by their verdict or their target.
	Rules []NFTRule
	// Policies are base chains that drop what no rule decides; without counter.
	Policies []NFTPolicy
	// Counters are named counters.
	Counters []NFTCounter
}

// NFTRule is a rule that drops or rejects.
type NFTRule struct {
	Family       string // ip, ip6, inet, arp, bridge, netdev
	Table, Chain string
	Handle       uint64
	Verdict      string // drop or reject
	Text         string // the rule in words, near to nft(8)'s
	// Conditions are for nft.Excludes. They may be shared with other samples.
	Conditions []nft.Condition
	// Counted says that the rule has a counter of its own, ahead of its
	// verdict: only then Packets and Bytes mean something.
	Counted        bool
	Packets, Bytes uint64
	Counter        string // the named counter that it refers to, if any
}

// NFTPolicy is a base chain with policy drop.
type NFTPolicy struct {
	Family, Table, Chain string
	Handle               uint64
	Hook                 uint32 // NF_INET_* or NF_NETDEV_*
}

// NFTCounter is a named counter.
type NFTCounter struct {
	Family, Table, Name string
	Handle              uint64
	Packets, Bytes      uint64
}
