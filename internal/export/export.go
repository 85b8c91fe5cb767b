// Package export says what every exporter owes, in which words: the exporters
// themselves are below it, each a sink of the agent with bounds of its own. The
// commands and the API know what an exporter tells of itself by this package only. It
// does nothing by itself.
package export

import "github.com/netfate/netfate/internal/record"

// Exporter tells somebody else what batches hold.
type Exporter interface {
	// Batch takes b, which it may keep but not change. It never waits for whoever is
	// told: what has no room is counted as lost. An error ends the exporter.
	Batch(b *record.Batch) error
	// Close sends what waits, for a bounded time, and counts the rest as lost. It is
	// called once, after the last Batch.
	Close() error
	// Status may be called at any time, also after Close.
	Status() Status
}

// Status is how an exporter fares. For each one, rows taken = rows sent + rows
// lost + rows that wait.
type Status struct {
	Name   string // as in the configuration: prometheus, ipfix …
	Target string // where to: an address, a path
	// Waiting is rows that are neither sent nor lost yet.
	Waiting uint64
	// Sent is rows that were told since the start.
	Sent uint64
	// Lost is rows that were not, or not in full, since the start, by reason.
	Lost []record.Lost
	// Fault is why nothing can be sent at the moment; empty if all is well.
	Fault string
}

// Rows returns how many rows of a batch an exporter may tell of: all but samples,
// which are counted in drops, and lost, which are no traffic.
func Rows(b *record.Batch) uint64 {
	return uint64(len(b.Drops) + len(b.Flows) + len(b.Conns) + len(b.Requests) + len(b.RequestCounts) + len(b.Queries) + len(b.Ledger))
}
