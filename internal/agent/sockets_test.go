package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/table"
)

// seen is how a connection with a local port of its own is at a moment.
func seen(port uint16, at uint64, what uint8, resent uint32) *decode.ConnEvent {
	e := connOf(7, 1, what)
	e.Conn.SrcPort, e.Time, e.Retrans, e.SRTT = port, at, resent, 8*100*uint32(at)
	return e
}

// interval has flows, each of a port, of so many packets; it ends with that batch.
func interval(s *sockets, over bool, ports ...uint16) (says []string) {
	b := &record.Batch{}
	for i, port := range ports {
		e := seen(port, 0, 0, 0)
		f := &table.Flow{Pair: table.PairOf(&e.Conn.Tuple, peersNetNS, true, false), IfIndex: uint32(i)}
		f.Out.Packets = uint64(i + 1)
		r := record.Flow{}
		s.tell(f, &r, len(b.Flows))
		b.Flows = append(b.Flows, r)
	}
	s.roll(b.Flows, over)
	for i := range b.Flows {
		says = append(says, fmt.Sprintf("%d: %d, %d us", ports[i], b.Flows[i].Retransmits, b.Flows[i].RTTMicros))
	}
	s.losses(b)
	for i := range b.Lost {
		says = append(says, fmt.Sprintf("lost %d", b.Lost[i].Count))
	}
	return says
}

func TestSocketsOfFlows(t *testing.T) {
	s := newSockets()
	step := func(what string, got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	step("nothing known", interval(s, false, 1), "1: 0, 0 us")
	s.take(seen(1, 1, decode.ConnOpened, 1))
	older := seen(2, 1, decode.ConnOpen, 50)
	older.Conn.Flags = decode.ConnOlder
	s.take(older)
	step("a new one, and one that is older", interval(s, false, 1, 2), "1: 1, 100 us", "2: 0, 100 us")
	step("nothing new", interval(s, false, 1, 2), "1: 0, 100 us", "2: 0, 100 us")
	s.take(seen(1, 2, decode.ConnOpen, 4))
	s.take(seen(2, 2, decode.ConnOpen, 52))
	step("on two interfaces", interval(s, false, 1, 1, 2), "1: 0, 200 us", "1: 3, 200 us", "2: 2, 200 us")
	s.take(seen(1, 4, decode.ConnOpen, 6))
	s.take(seen(1, 3, decode.ConnOpened, 1)) // told late
	step("no flow yet", interval(s, false))
	step("the flow comes", interval(s, false, 1), "1: 2, 400 us")
	s.take(seen(1, 5, decode.ConnClosed, 7))
	step("closed", interval(s, false, 1), "1: 1, 500 us")
	step("gone", interval(s, false, 1), "1: 0, 0 us")
	s.take(seen(3, 5, decode.ConnFailed, 2))
	s.take(seen(3, 6, decode.ConnFailed, 2))
	step("two of the same ports", interval(s, false, 3), "3: 4, 600 us")
	s.take(seen(4, 5, decode.ConnFailed, 2))
	for range maxWait {
		step("it waits", interval(s, false))
	}
	step("no flow ever", interval(s, false), "lost 2")
	s.take(seen(6, 5, decode.ConnClosed, 0))
	step("a flow that waits itself", interval(s, false))
	step("it comes", interval(s, false, 6), "6: 0, 500 us")
	s.take(seen(5, 5, decode.ConnOpened, 2))
	step("the end", interval(s, true), "lost 2")
	if len(s.of) != 0 {
		t.Errorf("got %d connections left, want none", len(s.of))
	}
}

// TestSocketsGoAway: what is not listed any more is closed, and what does not fit
// is counted.
func TestSocketsGoAway(t *testing.T) {
	s := newSockets()
	s.most = 2
	for port := range uint16(3) {
		s.take(seen(port+1, 1, decode.ConnOpened, 5))
	}
	if len(s.of) != 2 || s.lost != 5 {
		t.Errorf("got %d connections and %d lost, want 2 and 5", len(s.of), s.lost)
	}
	interval(s, false, 1, 2)
	for range maxRounds + 1 {
		s.list(time.Now())()
		s.take(seen(1, 2, decode.ConnOpen, 5))
		interval(s, false)
	}
	if len(s.of) != 1 {
		t.Errorf("got %d connections, want the one that is listed", len(s.of))
	}
	var none *sockets
	none.take(seen(1, 1, decode.ConnOpened, 1))
	if none.due(time.Now()) {
		t.Error("the list is due where nobody wants it")
	}
}

// TestSocketsAreListedSeldom where that takes long.
func TestSocketsAreListedSeldom(t *testing.T) {
	s := newSockets()
	now := time.Unix(100, 0)
	if !s.due(now) {
		t.Error("the first list is not due")
	}
	s.listed, s.took = now, 50*time.Millisecond
	if s.due(now.Add(scanShare*s.took - 1)) {
		t.Errorf("a list that takes %v is due again after less than %v", s.took, scanShare*s.took)
	}
	if !s.due(now.Add(scanShare * s.took)) {
		t.Errorf("a list that takes %v is not due after %v", s.took, scanShare*s.took)
	}
}
