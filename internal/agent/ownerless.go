package agent

import (
	"os"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/enrich/container"
	"github.com/netfate/netfate/internal/table"
)

// ownerless finds the owners of packets that did not tell theirs: what a host
// only receives, and what was lost before it found its socket. It keeps the
// sockets that were open at the last scan, and the addresses that were bound
// when this interval first needed them.
type ownerless struct {
	open    map[table.Pair]decode.OwnerRef
	scanned time.Time
	took    time.Duration
	missed  bool // somebody asked for one that was not there

	bound map[decode.BoundKey]decode.OwnerRef // nil: not read in this interval
}

// maxAsked bounds the processes that the kernel side is asked about in one
// interval, some 10 ms.
const maxAsked = 8192

// scanShare bounds the time that scans take: one in this many.
const scanShare = 100

// Owner implements [table.Owners].
func (n *names) Owner(p *table.Pair) (decode.OwnerRef, bool) {
	if n.owners == nil {
		return decode.OwnerRef{}, false
	}
	if o, ok := n.open[*p]; ok {
		return o, true
	}
	key := p.LocalBound()
	if key.Port == 0 {
		return decode.OwnerRef{}, false
	}
	n.readBound()
	o, ok := n.bound[key]
	if !ok {
		key.Addr = [decode.AddrLen]byte{}
		o, ok = n.bound[key]
	}
	n.missed = n.missed || !ok
	return o, ok
}

// readBound reads the bound addresses once an interval, all at once: a flood
// to closed ports asks for thousands that are not there.
func (n *names) readBound() {
	if n.bound != nil {
		return
	}
	n.bound = map[decode.BoundKey]decode.OwnerRef{}
	if err := n.owners.Bound(func(k decode.BoundKey, o decode.OwnerRef) { n.bound[k] = o }); err != nil {
		n.failed++
	}
}

// rescan reads all open sockets again if some owner was missed, and if the last
// time was long enough ago for its cost.
func (n *names) rescan(now time.Time) error {
	wait := max(5*time.Second, scanShare*n.took)
	if n.owners == nil || !n.missed || now.Sub(n.scanned) < wait {
		return nil
	}
	return n.scan(now)
}

func (n *names) scan(now time.Time) error {
	open := map[table.Pair]decode.OwnerRef{}
	err := n.owners.Scan(func(s *decode.OpenSocket) {
		if len(open) < maxOpen {
			open[table.PairOf(&s.Tuple, s.Owner.NetNS, true, false)] = s.Owner
		}
	})
	n.open, n.scanned, n.took, n.missed = open, now, time.Since(now), false
	return err
}

// maxOpen bounds the sockets kept from a scan: some 8 MB.
const maxOpen = 1 << 16

// legacyCgroups reports whether version 1 hierarchies are mounted.
func legacyCgroups() bool {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	h, err := container.FindHierarchies(string(text))
	return err == nil && h.Legacy
}
