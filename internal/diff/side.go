// Package diff compares two stretches of time, as batches tell of them: which
// places lose packets that did not, or no more, which lose more or less than
// chance explains, and whose traffic grew or shrank.
//
// A [Side] is fed with the batches of one stretch, from a recording or from
// elsewhere; [Compare] takes two. Views and commands import it. docs/diff.md
// explains what counts as a change.
package diff

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Bounds on what a side keeps apart; some 20 MB.
const (
	maxLosses = 10_000
	maxFlows  = 50_000
	maxOwners = 10_000
	maxNames  = 65_536 // names of namespaces
	maxLost   = 100    // kinds of losses of netfate's own; there are about twenty
)

// Side is one of the two stretches of time. It is for one goroutine; see NewSide.
type Side struct {
	cfg        Config
	Host       string
	Start, End time.Time
	Span       time.Duration // that was watched: gaps do not count
	Intervals  int

	losses *sums[lossKey]
	flows  *sums[flowKey]
	owners *sums[ownerKey]
	why    map[lossKey]record.Drop // one of each place, for its explanation
	netns  map[uint32]string       // the last name of each namespace
	names  map[flowKey]string      // of peers
	lost   []record.Lost

	at    [2]time.Time // the interval that is not over
	talks map[talk]traffic
}

// Config says what of two sides counts.
type Config struct {
	All bool // benign losses too
	// Selected says that not all records of a host are here, so that what the host
	// counts once may be in a record that is not.
	Selected bool
	// Rows is how many flows, and owners, are told; 0 is all.
	Rows int
	// Why explains a drop in one line; nil explains nothing.
	Why func(record.Drop) string
}

// lossKey is a place that loses packets.
type lossKey struct {
	verdict                     record.Verdict
	reason, subsystem, function string
	netns                       uint32
	ifname                      string
}

// flowKey is the traffic between two addresses with one port, that of the side
// that was asked.
type flowKey struct {
	proto    string
	src, dst netip.Addr
	port     uint16
}

// ownerKey is processes of one name, in one container.
type ownerKey struct{ comm, container string }

// talk is a conversation of one owner, who may have it on several interfaces.
type talk struct {
	ownerKey
	flowKey
	sport uint16
	other bool // the remainder of flows that had no room where they were counted
}

type traffic struct{ packets, bytes uint64 }

// NewSide returns a side that has seen nothing.
func NewSide(cfg Config) *Side {
	return &Side{
		cfg: cfg, losses: newSums[lossKey](maxLosses, false), flows: newSums[flowKey](maxFlows, true), owners: newSums[ownerKey](maxOwners, true),
		why: map[lossKey]record.Drop{}, netns: map[uint32]string{}, names: map[flowKey]string{}, talks: map[talk]traffic{},
	}
}

// Batch adds b, in which it changes nothing. An interval may come in several
// batches.
func (s *Side) Batch(b *record.Batch) error {
	if at := [2]time.Time{b.Start, b.End}; s.Intervals == 0 || at != s.at {
		s.roll()
		s.at = at
		s.Intervals++
		s.Span += max(b.End.Sub(b.Start), 0)
		if s.Intervals == 1 {
			s.Start = b.Start
		}
		s.End = b.End
	}
	for i := range b.Drops {
		s.drop(&b.Drops[i])
	}
	for i := range b.Flows {
		s.flow(&b.Flows[i])
	}
	for i := range b.Lost {
		s.lose(&b.Lost[i])
	}
	return nil
}

// Close ends the last interval.
func (s *Side) Close() error {
	s.roll()
	return nil
}

func (s *Side) drop(d *record.Drop) {
	if d.Verdict == record.Benign && !s.cfg.All {
		return
	}
	s.Host = cmp.Or(s.Host, d.Host)
	function, _, _ := strings.Cut(d.Location, "+")
	key := lossKey{
		verdict: d.Verdict, reason: d.Reason, subsystem: d.Subsystem, function: function, netns: d.NetNS, ifname: d.IfName,
	}
	if _, known := s.netns[d.NetNS]; d.NetNSName != "" && (known || len(s.netns) < maxNames) {
		s.netns[d.NetNS] = d.NetNSName
	}
	if _, known := s.why[key]; !known && len(s.why) < maxLosses {
		about := *d
		about.Stack, about.Packet = nil, nil
		s.why[key] = about
	}
	s.losses.add(key, d.Packets, d.Bytes)
}

func (s *Side) flow(f *record.Flow) {
	s.Host = cmp.Or(s.Host, f.Host)
	key := flowKey{f.Proto, f.SrcAddr, f.DstAddr, f.DstPort}
	if _, known := s.names[key]; f.Name != "" && (known || len(s.names) < maxFlows) {
		s.names[key] = f.Name
	}
	if !s.cfg.Selected && (f.HostPackets > 0 || f.HostBytes > 0) {
		s.carry(key, f.Other, f.HostPackets, f.HostBytes)
	}
	// What goes in and out is the same on each interface: the most that one saw.
	t := talk{ownerKey{f.Comm, cmp.Or(f.ContainerName, f.Container)}, key, f.SrcPort, f.Other}
	seen := s.talks[t]
	s.talks[t] = traffic{max(seen.packets, f.PacketsIn+f.PacketsOut), max(seen.bytes, f.BytesIn+f.BytesOut)}
}

// lose counts what netfate could not keep when the batches were made. The last kind
// takes what has no room.
func (s *Side) lose(l *record.Lost) {
	at := slices.IndexFunc(s.lost, func(have record.Lost) bool { return have.Place == l.Place && have.Reason == l.Reason })
	switch {
	case at >= 0:
		s.lost[at].Count += l.Count
	case len(s.lost) < maxLost:
		s.lost = append(s.lost, *l)
	default:
		s.lost[maxLost-1].Count += l.Count
	}
}

// carry counts traffic by flow.
func (s *Side) carry(key flowKey, other bool, packets, bytes uint64) {
	if other {
		s.flows.rest.join(&tally{packets: packets, bytes: bytes})
		return
	}
	s.flows.add(key, packets, bytes)
}

// roll ends the interval.
func (s *Side) roll() {
	for t, seen := range s.talks {
		if t.ownerKey != (ownerKey{}) {
			s.owners.add(t.ownerKey, seen.packets, seen.bytes)
		}
		if s.cfg.Selected {
			s.carry(t.flowKey, t.other, seen.packets, seen.bytes)
		}
	}
	clear(s.talks)
	s.losses.roll()
	s.flows.roll()
	s.owners.roll()
}

// netnsName is what a namespace is called in both sides, if they are to be
// compared: without the number of the process that may have named it.
func (s *Side) netnsName(inode uint32) string {
	name := s.netns[inode]
	if rest, ok := strings.CutPrefix(name, "pid "); ok {
		if _, comm, ok := strings.Cut(rest, " "); ok {
			return comm
		}
	}
	if name == "" && inode != 0 {
		return strconv.FormatUint(uint64(inode), 10)
	}
	return name
}

// Lost is what had no room on the side, and in the batches that it is made of.
func (s *Side) Lost() []record.Lost {
	lost := slices.Clone(s.lost)
	for _, l := range []struct {
		place string
		count uint64
	}{{"diff_losses", s.losses.folded}, {"diff_flows", s.flows.folded}, {"diff_owners", s.owners.folded}} {
		if l.count > 0 {
			lost = append(lost, record.Lost{
				Time: s.End, Place: l.place, Reason: "full", Count: l.count, Effect: "the smallest are counted as one, ~other",
			})
		}
	}
	return lost
}
