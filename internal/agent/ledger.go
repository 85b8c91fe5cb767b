package agent

import (
	"context"
	"time"

	"github.com/netfate/netfate/internal/ledger"
	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/record"
)

// books are the ledger's part of the feed: the kernel's counters at both ends of
// each interval. Its reader is nil if not asked for.
type books struct {
	reader *counters.Reader
	ledger *ledger.Ledger
	only   uint32 // the namespace that is asked about; 0 is all
	from   *counters.Sample
	to     *counters.Sample // taken, and not balanced yet
	skew   time.Duration    // between the reading of sensors and counters, the larger at either end
	last   time.Duration
	proofs proofs
}

// linkNames are the names of interfaces, as a sample has them: those of the other
// cache may be of an earlier namespace whose number was used again.
type linkNames map[linkKey]string

type linkKey struct{ netns, ifindex uint32 }

func namesOf(s *counters.Sample) linkNames {
	names := linkNames{}
	for i := range s.Namespaces {
		n := &s.Namespaces[i]
		for k := range n.Interfaces {
			names[linkKey{n.Inode, n.Interfaces[k].Index}] = n.Interfaces[k].Name
		}
	}
	return names
}

// sampleTime bounds how long one sample may take; what is not read by then is a
// gap.
const sampleTime = 2 * time.Second

// begin finds the namespaces and reads the counters for the first time.
func (b *books) begin(ctx context.Context, n *names) {
	n.within(ctx, n.netns.Refresh)
	b.proofs.home = ownNamespace()
	b.from, b.last = b.read(ctx, n), 0
}

func (b *books) read(ctx context.Context, n *names) *counters.Sample {
	var places []counters.Place
	for _, s := range n.netns.Spaces() {
		if b.only == 0 || b.only == s.Inode {
			places = append(places, counters.Place{Inode: s.Inode, Name: s.Name, Path: s.Path})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	return b.reader.Sample(ctx, places)
}

// end reads the counters at the end of an interval, began being when the sensors
// were read.
func (b *books) end(ctx context.Context, n *names, began time.Time) {
	if b.reader == nil || b.to != nil {
		return
	}
	b.to = b.read(ctx, n)
	n.links = namesOf(b.to)
	took := time.Since(began)
	b.skew, b.last = max(b.last, took), took
}

// roll balances the interval.
func (b *books) roll(ctx context.Context, to *record.Batch, n *names, watched bool) {
	if b.reader == nil || b.to == nil {
		return
	}
	to.Ledger = b.ledger.Balance(&ledger.Interval{
		Host: n.host, From: b.from, To: b.to, Drops: to.Drops, Flows: to.Flows, Watched: watched, Skew: b.skew, Look: b.proofs.begin(ctx, to.End, n.netns.Path), Home: b.proofs.home,
	})
	to.Lost = append(to.Lost, b.to.Lost...)
	gaps := map[counters.Part]*record.Lost{}
	var order []counters.Part
	for i := range b.to.Namespaces {
		for _, g := range b.to.Namespaces[i].Gaps {
			if g.Subject != "" || optional(g.Part) {
				continue
			}
			if gaps[g.Part] == nil {
				gaps[g.Part] = &record.Lost{Time: to.End, Place: "ledger_" + string(g.Part), Reason: g.Why, Effect: "the ledger is without these counters of so many namespaces"}
				order = append(order, g.Part)
			}
			gaps[g.Part].Count++
		}
	}
	for _, p := range order {
		to.Lost = append(to.Lost, *gaps[p])
	}
	b.from, b.to = b.to, nil
}

// optional reports whether no balance misses a part of a sample: what it tells
// are facts beside the counts, or kernels are built without it.
func optional(p counters.Part) bool {
	switch p {
	case counters.PartXfrm, counters.PartTCX, counters.PartNetlink, counters.PartPacket, counters.PartRaw, counters.PartClasses, counters.PartFilters, counters.PartConntrack,
		counters.PartEthtool, counters.PartNFT, counters.PartSockstat, counters.PartListeners, counters.PartSNMP6:
		return true
	}
	return false
}
