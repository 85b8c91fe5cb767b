package agent

import (
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/table"
)

// maxSockets bounds the connections whose flows are told how they fare, as many
// as the connection sensor keeps: 20 MB if all are there.
const maxSockets = 1 << 17

// maxRounds is how many times a connection may be missing among the open ones
// before it is taken to be closed.
const maxRounds = 3

// sockets tells flows what their TCP sockets know and packets do not say:
// round-trip times, and which segments were sent again. A nil one tells nothing.
// It belongs to the pump.
type sockets struct {
	of     map[table.Pair]*socket
	most   int    // maxSockets; less in tests
	round  uint64 // times that those open were listed
	listed time.Time
	took   time.Duration
	lost   uint64 // segments sent again that no flow was told of
}

// socket is what one says.
type socket struct {
	total   uint64 // segments sent again, as it counts
	pending uint64 // of those, how many its flow was not told
	rtt     uint32 // us, smoothed
	at      uint64 // when it said so, CLOCK_MONOTONIC ns
	round   uint64 // when it was listed last
	over    bool
	waited  int  // intervals, since it is over
	told    bool // its flow was told since it was taken in last
	row     int  // of the flow where most passes, in this interval; -1: none
	packets uint64
}

func newSockets() *sockets { return &sockets{of: map[table.Pair]*socket{}, most: maxSockets} }

// due reports whether those that are open are to be listed at an interval's end:
// each time, unless that takes too long a part of it.
func (s *sockets) due(now time.Time) bool {
	return s != nil && now.Sub(s.listed) >= scanShare*s.took
}

// list notes that those that are open are listed, and returns what ends that.
func (s *sockets) list(now time.Time) (end func()) {
	if s == nil {
		return func() {}
	}
	s.round++
	return func() { s.listed, s.took = now, time.Since(now) }
}

// take takes in how a connection is.
func (s *sockets) take(e *decode.ConnEvent) {
	if s == nil || e.Conn.Role == decode.ConnListener || e.Conn.SrcPort == 0 {
		return
	}
	pair := table.PairOf(&e.Conn.Tuple, e.Conn.NetNS, true, false)
	resent := uint64(e.Retrans)
	have := s.of[pair]
	switch {
	case have == nil && len(s.of) >= s.most:
		s.lost += resent
		return
	case have == nil:
		have = &socket{row: -1}
		s.of[pair] = have
		if e.Conn.Flags&decode.ConnOlder != 0 {
			have.total = resent // sent before netfate came
		}
	case e.Time < have.at:
		return // a change that the list overtook
	case have.over || resent < have.total:
		have.total, have.over, have.waited = 0, false, 0 // the ports are another's now
	}
	have.pending += resent - have.total
	have.total, have.at, have.round, have.told = resent, e.Time, s.round, false
	if rtt, _, _ := e.RTT(); rtt > 0 {
		have.rtt = rtt
	}
	have.over = e.What == decode.ConnClosed || e.What == decode.ConnFailed
}

// tell fills in what the socket of a flow says; the flow will be that row of the
// batch. What was sent again is told once, where most of the flow passes.
func (s *sockets) tell(f *table.Flow, r *record.Flow, row int) {
	if s == nil || f.Other() {
		return
	}
	have := s.of[f.Pair]
	if have == nil {
		return
	}
	r.RTTMicros = have.rtt
	if n := f.In.Packets + f.Out.Packets; have.row < 0 || n > have.packets {
		have.row, have.packets = row, n
	}
}

// roll ends the interval: flows get what was sent again. What is of a flow that
// was not seen waits for it as long as flows wait for their interfaces; with over,
// nothing waits.
func (s *sockets) roll(flows []record.Flow, over bool) {
	if s == nil {
		return
	}
	for pair, have := range s.of {
		if have.row >= 0 {
			flows[have.row].Retransmits += have.pending
			have.pending, have.row, have.packets, have.told = 0, -1, 0, true
		}
		have.over = have.over || s.round-have.round > maxRounds
		if have.over {
			have.waited++
		}
		if over || have.over && (have.told || have.waited > maxWait) {
			s.lost += have.pending
			delete(s.of, pair)
		}
	}
}

// losses adds what no flow was told.
func (s *sockets) losses(b *record.Batch) {
	if s == nil || s.lost == 0 {
		return
	}
	b.Lost = append(b.Lost, record.Lost{
		Time: b.End, Place: "retransmits of flows", Reason: "no flow to tell them of", Count: s.lost,
		Effect: "these segments sent again are in the records of connections only",
	})
	s.lost = 0
}
