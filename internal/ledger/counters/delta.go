package counters

import (
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Delta is what was counted between two samples; [Difference] makes it.
type Delta struct {
	From, To time.Time // Start of the samples
	Host     HostDelta
	// Namespaces are those of both samples, in the later one's order.
	Namespaces []NamespaceDelta
	// Came and Gone are namespaces of only the later or the earlier sample.
	Came, Gone []Place
	// Lost is of both samples.
	Lost []record.Lost
	// Skew is how far apart the ends of any two parts' intervals can be: what is
	// counted within so much of an end may be missing or too much in one of them.
	Skew time.Duration
}

// HostDelta is what the host counted meanwhile.
type HostDelta struct {
	// Host has differences where it has counters, and the later sample's
	// gauges, reads and gaps.
	Host
	Spans  []Span
	Resets []Reset
}

// NamespaceDelta is what a namespace counted meanwhile.
type NamespaceDelta struct {
	// Namespace has differences where it has counters, and the later sample's
	// gauges, reads and gaps. What only the later sample has (an interface,
	// qdisc, rule, socket) was made meanwhile, so its counters are whole; an
	// interface may also have moved here, see Came. A part that either sample
	// could not read is left out and a gap.
	Namespace
	Spans []Span
	Skew  time.Duration // as in Delta, of the parts of this namespace
	// Came are interfaces that only the later sample has, Gone those that only
	// the earlier one has, with what they had counted by then: what they counted
	// afterwards nobody knows.
	Came, Gone []Interface
	// SocketsGone are sockets with drops that were closed meanwhile, as they
	// were in the earlier sample. SocketSums have the differences of all others.
	SocketsGone []Socket
	Resets      []Reset
}

// Span is the interval in which a part's counters were compared.
type Span struct {
	Part Part
	// Start and End are the middles of the two reads, as times since the
	// earlier sample's Start; each may be wrong by half its read's length.
	Start, End         time.Duration
	StartRead, EndRead time.Duration // lengths of the reads
}

// Reset is a counter that went backwards.
type Reset struct {
	Part    Part
	Subject string // an interface, qdisc, rule …; empty if the part has one
	Counter string
	// Before and After are its values.
	Before, After uint64
	// Wrapped says that it was near its 32 bits' end and went on at zero: the
	// difference counts it right. Otherwise it began anew, because an interface
	// or rule was replaced, a module reloaded or a driver reset, and the
	// difference is After: what came before the reset is missing.
	Wrapped bool
}
