package table

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/netfate/netfate/internal/decode"
)

// pairNumber returns one of many pairs.
func pairNumber(n int) Pair {
	return Pair{local: side{port: uint16(n)}, netns: uint32(n >> 16), proto: protoUDP}
}

func TestMemoryIsBounded(t *testing.T) {
	f := func(limit, want int) {
		t.Helper()
		m := newMemory(limit)
		for n := range 10*want + 10 {
			m.put(pairNumber(n), fact{decided: true})
			if got := len(m.young) + len(m.old); got > want {
				t.Fatalf("limit %d: got %d facts, want %d at most", limit, got, want)
			}
		}
	}
	f(0, 2)
	f(1, 2)
	f(2, 2)
	f(10, 10)
	f(1000, 1000)
}

func TestMemoryKeepsWhatIsUsed(t *testing.T) {
	m := newMemory(20)
	used, idle := pairNumber(1), pairNumber(2)
	m.put(used, fact{localBegan: true})
	m.put(idle, fact{localBegan: true})
	for range 3 * generations {
		got, ok := m.get(used)
		if !ok || !got.localBegan {
			t.Fatal("forgot a pair that was used in each interval")
		}
		m.put(used, got)
		m.tick()
	}
	if _, ok := m.get(idle); ok {
		t.Error("remembers a pair that was used long ago")
	}
}

func TestMemoryForgetsByAge(t *testing.T) {
	m := newMemory(20)
	m.put(pairNumber(1), fact{decided: true})
	at := 0
	for ; at < 10*generations; at++ {
		if _, ok := m.get(pairNumber(1)); !ok {
			break
		}
		m.tick()
	}
	if at < generations || at > 2*generations {
		t.Errorf("forgot after %d intervals, want %d to %d", at, generations, 2*generations)
	}
}

// TestRemembersWhoBegan shows a connection over two intervals of which the
// second alone would be read the other way round.
func TestRemembersWhoBegan(t *testing.T) {
	there := tuple(protoTCP, 80, ephem) // the server's port is the one that connects
	f := NewFlows(10)
	first := send(there, 1, decode.FlowTX|decode.FlowBorn, nic(), 1)
	first.count.TCPFlags = tcpSYN
	fill(f, first)
	if rows := roll(f, nobody{}); !rows[0].LocalBegan {
		t.Fatal("who sent the SYN did not begin")
	}
	later := receive(there.Reversed(), 1, nic(), 1)
	later.count.TCPFlags = tcpACK
	fill(f, later)
	if rows := roll(f, nobody{}); !rows[0].LocalBegan {
		t.Error("forgot who sent the SYN")
	}
	alone := NewFlows(10)
	fill(alone, later)
	if rows := roll(alone, nobody{}); rows[0].LocalBegan {
		t.Error("knows who sent a SYN that it has not seen")
	}
}

func TestOwners(t *testing.T) {
	const born = decode.FlowTX | decode.FlowBorn
	there := tuple(protoUDP, ephem, 53)
	self := decode.OwnerRef{Start: 8, PID: 7, NetNS: netA}
	other := decode.OwnerRef{Start: 10, PID: 9, NetNS: netA}
	owned := send(there, 1, born, nic(), 1)
	owned.count.PID, owned.count.OwnerStart = self.PID, self.Start

	f := func(name string, want decode.OwnerRef, asks int, halves ...half) {
		t.Helper()
		flows := NewFlows(10)
		owners := &everybody{owner: other}
		fill(flows, halves...)
		for _, row := range roll(flows, owners) {
			if row.Owner != want {
				t.Errorf("%s: got %+v, want %+v", name, row.Owner, want)
			}
		}
		if len(owners.asked) != asks {
			t.Errorf("%s: asked for %d pairs, want %d", name, len(owners.asked), asks)
		}
	}
	f("the packet's own", self, 0, owned)
	f("the packet's own, of two halves", self, 0, owned, receive(there.Reversed(), 1, nic(), 1))
	f("asked for", other, 1, send(there, 1, born, nic(), 1))
	f("asked for what is received", other, 1, receive(there, 1, nic(), 1))
	f("never for what passes through", decode.OwnerRef{}, 0, send(there, 1, decode.FlowTX, nic(), 1))
	f("never for the remainder", decode.OwnerRef{}, 0, receive(there, 1, nic(), 1).other())

	// It is remembered, without another question.
	flows := NewFlows(10)
	fill(flows, owned)
	roll(flows, nobody{})
	owners := &everybody{owner: other}
	fill(flows, receive(there.Reversed(), 1, nic(), 1))
	if got := roll(flows, owners)[0].Owner; got != self || len(owners.asked) != 0 {
		t.Errorf("in the next interval: got %+v after %d questions, want %+v", got, len(owners.asked), self)
	}
	if got := flows.Known(PairOf(&there, netA, true, false)); got != self {
		t.Errorf("known: got %+v, want %+v", got, self)
	}
	if got := flows.Known(pairNumber(1)); got != (decode.OwnerRef{}) {
		t.Errorf("not known: got %+v, want none", got)
	}
}

func (h half) other() half { h.key.Flags |= decode.FlowOther; return h }

// TestOtherIsNotRemembered keeps remainders, which all have one pair, from
// taking one another's owner.
func TestOtherIsNotRemembered(t *testing.T) {
	h := receive(decode.Tuple{EthProto: 0x0800, Proto: protoTCP}, 1, nic(), 1).other()
	h.count.PID = 7
	f := NewFlows(10)
	fill(f, h)
	roll(f, nobody{})
	h.count.PID = 0
	fill(f, h)
	rows := roll(f, nobody{})
	if len(rows) != 1 || !rows[0].Other() || rows[0].Owner.PID != 0 {
		t.Errorf("got %+v, want a remainder without owner", rows)
	}
}

// TestStormGivesItsMemoryBack bounds what is kept for the next interval.
func TestStormGivesItsMemoryBack(t *testing.T) {
	f := NewFlows(100)
	for n := range 3 * maxFree {
		h := receive(tuple(protoUDP, uint16(n), uint16(n>>16)), 1, nic(), 1)
		f.Add(&h.key, &h.count, 1, h.dev)
	}
	visited := 0
	f.Roll(nobody{}, nil, func(*Flow) { visited++ })
	if visited != 3*maxFree || len(f.rows) != 0 {
		t.Errorf("got %d rows, %d left; want %d, 0", visited, len(f.rows), 3*maxFree)
	}
	if len(f.free) > maxFree || cap(f.free) > maxFree*5/4 {
		t.Errorf("kept %d rows in room for %d, want %d at most", len(f.free), cap(f.free), maxFree)
	}
	if got := len(f.past.young) + len(f.past.old); got > 100 {
		t.Errorf("remembers %d pairs, want 100 at most", got)
	}
}

func TestDrops(t *testing.T) {
	key := decode.DropKey{Tuple: tuple(protoTCP, 1, 2), Location: 3, Reason: 4, NetNS: netA}
	d := NewDrops()
	d.Add(&key, &decode.DropCount{Packets: 2, Bytes: 200, Buffers: 1, First: 50, TCPFlags: 1}, 60)
	d.Add(&key, &decode.DropCount{Packets: 1, Bytes: 100, Buffers: 1, First: 40, TCPFlags: 2, PID: 7, OwnerStart: 8}, 55)
	d.Add(&key, &decode.DropCount{Packets: 1, Bytes: 100, Buffers: 1, First: 70, PID: 9}, 80)
	other := key
	other.Reason = 5
	d.Add(&other, &decode.DropCount{Packets: 1, Bytes: 1, Buffers: 1, First: 1}, 1)
	want := map[decode.DropKey]Drop{
		key: {Packets: 4, Bytes: 400, Buffers: 3, First: 40, Last: 80, TCPFlags: 3, Owner: decode.OwnerRef{Start: 8, PID: 7, NetNS: netA}},
		// Nobody is known: the namespace alone is no owner.
		other: {Packets: 1, Bytes: 1, Buffers: 1, First: 1, Last: 1, Owner: decode.OwnerRef{NetNS: netA}},
	}
	if d.Len() != 2 {
		t.Errorf("got %d rows, want 2", d.Len())
	}
	for _, visit := range []func(func(*decode.DropKey, *Drop)){d.Each, d.Roll} {
		got := map[decode.DropKey]Drop{}
		visit(func(k *decode.DropKey, row *Drop) { got[*k] = *row })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	}
	if d.Len() != 0 {
		t.Errorf("got %d rows after the interval, want none", d.Len())
	}
}
