package agent

import (
	"testing"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
)

// TestMono converts jiffies of 4 ms, given one moment on both clocks.
func TestMono(t *testing.T) {
	const tick, ns, jiffies = 4_000_000, 1_000_000_000, 5000
	f := func(now, first, last, want uint64) {
		t.Helper()
		l := &live{tick: tick, clock: kernel.Clock{Mono: now}}
		if got := l.mono(first, last, ns, jiffies); got != want {
			t.Errorf("now %d, first %d, last jiffy %d: got %d, want %d", now, first, last, got, want)
		}
	}
	f(2*ns, ns, jiffies, ns)
	f(2*ns, ns, jiffies+10, ns+10*tick)
	f(2*ns, ns-100*tick, jiffies-10, ns-10*tick) // before the moment
	f(2*ns, ns+1, jiffies, ns+1)                 // a jiffy begins before the packet in it
	f(ns+tick, ns, jiffies+10, ns+tick)          // never later than now
	f(ns, ns+tick, jiffies, ns+tick)             // nor before the first, though that is after now
}

func TestDirection(t *testing.T) {
	f := func(flags uint8, function string, want record.Direction) {
		t.Helper()
		if got := direction(flags, function); got != want {
			t.Errorf("flags %d in %q: got %q, want %q", flags, function, got, want)
		}
	}
	f(decode.DropIn, "udp_queue_rcv_skb", record.In)
	f(decode.DropOut, "ip_finish_output", record.Out)
	f(decode.DropForward, "nft_do_chain", record.Forward)
	f(decode.DropIn, "ip_forward", record.Forward)
	f(decode.DropIn, "ip6_forward_finish", record.Forward)
	f(decode.DropOut|decode.DropOther, "", record.Out)
	f(0, "", record.In)
}

// TestTakeKnown: rows wait for their interface, but not for ever, nor at the end.
func TestTakeKnown(t *testing.T) {
	row := func(ifindex uint32, waited int) flowRow {
		return flowRow{key: decode.FlowKey{IfIndex: ifindex}, waited: waited}
	}
	known := func(r *flowRow) bool { return r.key.IfIndex == 1 }
	rows := func() []flowRow { return []flowRow{row(1, 0), row(2, 0), row(3, maxWait), row(1, 1)} }
	take, left := takeKnown(rows(), false, known)
	if len(take) != 3 || len(left) != 1 || left[0].key.IfIndex != 2 || left[0].waited != 1 {
		t.Errorf("got %d rows taken and %+v left, want 3, and the second after one interval", len(take), left)
	}
	if take, left = takeKnown(rows(), true, known); len(take) != 4 || len(left) != 0 {
		t.Errorf("at the end: got %d rows taken and %d left, want all taken", len(take), len(left))
	}
	many := make([]flowRow, maxIdleRows+5)
	if take, left = takeKnown(many, false, known); len(take) != 5 || len(left) != maxIdleRows {
		t.Errorf("got %d rows taken and %d left, want no more than %d to wait", len(take), len(left), maxIdleRows)
	}
}
