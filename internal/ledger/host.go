package ledger

import (
	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/record"
)

// host adds the books of all namespaces up, and has what is of none: a packet
// that crosses namespaces is in the book of each.
func (l *Ledger) host(i *Interval, d *counters.Delta, books []record.Entry, unplaced []*record.Drop) []record.Entry {
	var out []record.Entry
	for _, direction := range []record.Direction{record.In, record.Out} {
		one := &desk{}
		for k := range books {
			if e := &books[k]; e.Station == total && e.Direction == direction {
				one.lines = append(one.lines, *e)
			}
		}
		for _, e := range sumUp(direction, []*desk{one}) {
			e.NetNS, e.NetNSName = 0, ""
			out = append(out, e)
		}
	}
	b := l.newBook(i, &counters.NamespaceDelta{}, nil)
	b.drops(unplaced)
	b.share()
	for _, x := range b.losses {
		one := newDesk(elsewhere, x.direction, x.layer, buffers)
		one.came("of unknown namespaces", int64(x.number()))
		one.lost(b, x)
		out = append(out, one.close().lines...)
	}
	var dropped int64
	for k := range d.Host.Softnet {
		dropped += int64(d.Host.Softnet[k].Dropped)
	}
	if dropped > 0 {
		one := newDesk("softnet", record.In, record.BacklogLayer, buffers)
		one.came("for a full backlog", dropped, "softnet dropped")
		var seen int64
		for k := range books {
			if e := &books[k]; e.Scope == record.InterfaceScope && e.What == "CPU_BACKLOG" {
				seen += e.Packets
			}
		}
		one.went(record.Passed, "in the books of interfaces", seen)
		out = append(out, one.close().lines...)
	}
	for k := range out {
		out[k].Scope = record.HostScope
	}
	return out
}
