package table

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/netfate/netfate/internal/decode"
)

// nobody owns anything.
type nobody struct{}

func (nobody) Owner(*Pair) (decode.OwnerRef, bool) { return decode.OwnerRef{}, false }

// everybody is owned by one, and notes who was asked for.
type everybody struct {
	owner decode.OwnerRef
	asked []Pair
}

func (e *everybody) Owner(p *Pair) (decode.OwnerRef, bool) {
	e.asked = append(e.asked, *p)
	return e.owner, true
}

// nic is a network card, veth one end of a pair, bridge what hands on what it
// sends, lo what begins and ends here.
func nic() Device    { return Device{Known: true, Enters: true} }
func veth() Device   { return Device{Known: true, LinkHeaderIn: 14} }
func bridge() Device { return Device{Known: true, Stacked: true, NoLinkHeaderOut: 14} }
func lo() Device     { return Device{Known: true} }

// half is one way of a flow, as the sensor reads it.
type half struct {
	key   decode.FlowKey
	count decode.FlowCount
	dev   Device
}

func send(t decode.Tuple, ifindex uint32, flags uint8, dev Device, packets uint64) half {
	t.Flags = flags
	return half{
		decode.FlowKey{Tuple: t, NetNS: netA, IfIndex: ifindex},
		decode.FlowCount{Packets: packets, Bytes: 100 * packets, Buffers: packets, BufferBytes: 100 * packets, First: 1000, Last: 1000},
		dev,
	}
}

func receive(t decode.Tuple, ifindex uint32, dev Device, packets uint64) half {
	return send(t, ifindex, 0, dev, packets)
}

func (h half) soft() half { h.key.Flags |= decode.FlowSoft; return h }

func (h half) in(netns uint32) half { h.key.NetNS = netns; return h }

func fill(f *Flows, halves ...half) {
	for i := range halves {
		h := &halves[i]
		f.Add(&h.key, &h.count, h.count.Last, h.dev)
	}
}

// roll returns the rows of the interval, in the order of interfaces and ports.
func roll(f *Flows, owners Owners, drops ...PairDrops) (rows []Flow) {
	f.Roll(owners, drops, func(row *Flow) { rows = append(rows, *row) })
	slices.SortFunc(rows, func(a, b Flow) int { return strings.Compare(name(&a), name(&b)) })
	return rows
}

// name tells a row from all others.
func name(f *Flow) string {
	return fmt.Sprintf("%d %d %v %v", f.IfIndex, f.netns, f.Tuple(true), f.other)
}

func TestAddJoinsBothWays(t *testing.T) {
	there := tuple(protoTCP, ephem, 80)
	f := NewFlows(10)
	out, in := send(there, 1, decode.FlowTX|decode.FlowBorn, nic(), 3), receive(there.Reversed(), 1, nic(), 2)
	out.count.TCPFlags, in.count.TCPFlags = tcpSYN, tcpSYN|tcpACK
	in.count.First, in.count.Last = 2000, 3000
	fill(f, in, out)
	if f.Len() != 1 {
		t.Errorf("got %d rows, want 1", f.Len())
	}
	want := []Flow{{
		Pair: PairOf(&there, netA, true, false), IfIndex: 1,
		Out:  Way{Packets: 3, Bytes: 300, Buffers: 3, BufferBytes: 300, First: 1000, Last: 1000, TCPFlags: tcpSYN},
		In:   Way{Packets: 2, Bytes: 200, Buffers: 2, BufferBytes: 200, First: 2000, Last: 3000, TCPFlags: tcpSYN | tcpACK},
		Born: true, LocalBegan: true, HostPackets: 5, HostBytes: 500,
	}}
	got := roll(f, nobody{})
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Pair{}, Flow{}, side{})); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if f.Len() != 0 || len(roll(f, nobody{})) != 0 {
		t.Errorf("got %d rows after the interval, want none", f.Len())
	}
}

// TestSlotsOfOneKey adds what a sensor reads of one key in several pieces: the
// earliest and the latest count, whatever the order.
func TestSlotsOfOneKey(t *testing.T) {
	one, two := receive(tuple(protoUDP, 1, 2), 1, nic(), 1), receive(tuple(protoUDP, 1, 2), 1, nic(), 2)
	one.count.First, one.count.Last, one.count.TCPFlags = 10, 20, 1
	two.count.First, two.count.Last, two.count.TCPFlags = 5, 15, 2
	want := Way{Packets: 3, Bytes: 300, Buffers: 3, BufferBytes: 300, First: 5, Last: 20, TCPFlags: 3}
	for _, order := range [][]half{{one, two}, {two, one}} {
		f := NewFlows(10)
		fill(f, order...)
		rows := roll(f, nobody{})
		if len(rows) != 1 {
			t.Fatalf("got %d rows, want 1", len(rows))
		}
		if diff := cmp.Diff(want, rows[0].In); diff != "" {
			t.Errorf("in (-want +got):\n%s", diff)
		}
	}
}

// TestLinkHeaders counts bytes as each device does.
func TestLinkHeaders(t *testing.T) {
	f := func(dev Device, in, out uint64) {
		t.Helper()
		flows := NewFlows(10)
		there := tuple(protoUDP, 1, 2)
		fill(flows, send(there, 1, decode.FlowTX, dev, 10), receive(there.Reversed(), 1, dev, 10))
		row := roll(flows, nobody{})[0]
		if row.In.BufferBytes != in || row.Out.BufferBytes != out {
			t.Errorf("%+v: got %d in, %d out; want %d, %d", dev, row.In.BufferBytes, row.Out.BufferBytes, in, out)
		}
		if row.In.Bytes != 1000 || row.Out.Bytes != 1000 {
			t.Errorf("%+v: got %d and %d bytes on the wire, want 1000", dev, row.In.Bytes, row.Out.Bytes)
		}
	}
	f(Device{}, 1000, 1000)
	f(Device{LinkHeaderIn: 14}, 1140, 1000)
	f(Device{NoLinkHeaderOut: 14}, 1000, 860)
}

// TestRetry takes back what a busy driver refused: the sensor counts it once
// more, modulo 2^64.
func TestRetry(t *testing.T) {
	there := tuple(protoUDP, 1, 2)
	sent := send(there, 1, decode.FlowTX|decode.FlowBorn, nic(), 3)
	back := sent
	back.count.Packets, back.count.Bytes, back.count.Buffers, back.count.BufferBytes = -sent.count.Packets, -sent.count.Bytes, -sent.count.Buffers, -sent.count.BufferBytes
	if back.count.Empty() {
		t.Error("what is taken back counts as nothing")
	}
	f := NewFlows(10)
	fill(f, sent, back)
	if rows := roll(f, nobody{}); len(rows) != 0 {
		t.Errorf("got %+v of packets that were never sent", rows)
	}
	fill(f, sent, sent, back)
	rows := roll(f, nobody{})
	if len(rows) != 1 || rows[0].Out.Packets != 3 || rows[0].HostPackets != 3 || rows[0].HostBytes != 300 {
		t.Errorf("got %+v, want 3 packets", rows)
	}
}

// TestThrough tells what begins in a namespace from what passes through it.
func TestThrough(t *testing.T) {
	there := tuple(protoUDP, ephem, 53)
	f := func(born, through bool, halves ...half) {
		t.Helper()
		flows := NewFlows(10)
		fill(flows, halves...)
		row := roll(flows, nobody{})[0]
		if row.Born != born || row.Through != through {
			t.Errorf("got born %v, through %v; want %v, %v", row.Born, row.Through, born, through)
		}
	}
	f(true, false, send(there, 1, decode.FlowTX|decode.FlowBorn, nic(), 1))
	f(false, true, send(there, 1, decode.FlowTX, nic(), 1))
	f(true, true, send(there, 1, decode.FlowTX, nic(), 1), send(there, 1, decode.FlowTX|decode.FlowBorn, nic(), 1))
	f(false, false, receive(there, 1, nic(), 1))
}

// TestHostTotals sends a packet over all that a host can put in its way: the
// host's total counts it once.
func TestHostTotals(t *testing.T) {
	const born = decode.FlowTX | decode.FlowBorn
	request := tuple(protoUDP, ephem, 53)
	f := func(name string, want uint64, halves ...half) {
		t.Helper()
		flows := NewFlows(100)
		fill(flows, halves...)
		var packets, bytes, seen uint64
		for _, row := range roll(flows, nobody{}) {
			packets, bytes = packets+row.HostPackets, bytes+row.HostBytes
			seen += row.In.Packets + row.Out.Packets
		}
		if packets != want || bytes != 100*want {
			t.Errorf("%s: got %d packets, %d bytes; want %d", name, packets, bytes, want)
		}
		if seen != uint64(len(halves))*want {
			t.Errorf("%s: by interface %d packets, want %d", name, seen, uint64(len(halves))*want)
		}
	}
	f("out by the card", 3, send(request, 2, born, nic(), 3))
	f("in by the card", 3, receive(request, 2, nic(), 3))
	f("lo", 3, send(request, 1, born, lo(), 3), receive(request, 1, lo(), 3))
	f("routed", 3, receive(request, 2, nic(), 3), send(request, 3, decode.FlowTX, nic(), 3))
	f("by a bridge", 3, send(request, 4, born, bridge(), 3), send(request, 2, born, nic(), 3))
	f("container, veth, bridge, card", 3,
		send(request, 2, born, veth(), 3).in(netB), receive(request, 5, veth(), 3),
		receive(request, 4, bridge(), 3), send(request, 2, decode.FlowTX, nic(), 3))
	f("card, bridge, veth, container", 3,
		receive(request, 2, nic(), 3), send(request, 4, decode.FlowTX, bridge(), 3),
		send(request, 5, decode.FlowTX, veth(), 3), receive(request, 2, veth(), 3).in(netB))
	f("container, veth, bridge, veth, container", 3,
		send(request, 2, born, veth(), 3).in(netB), receive(request, 5, veth(), 3),
		send(request, 6, decode.FlowTX, veth(), 3), receive(request, 2, veth(), 3).in(netA+5))
	// Interfaces that are gone before they were looked up: the kernel side
	// says which of them software feeds.
	unknown := Device{}
	f("in by an unknown card", 3, receive(request, 2, unknown, 3))
	f("over unknown veths", 3,
		send(request, 2, born, unknown, 3).soft().in(netB), receive(request, 5, unknown, 3).soft(),
		send(request, 6, decode.FlowTX, unknown, 3).soft(), receive(request, 2, unknown, 3).soft().in(netA+5))
	f("unknown lo", 3, send(request, 1, born, unknown, 3).soft(), receive(request, 1, unknown, 3).soft())
	f("a known tun, which a program feeds", 3, receive(request, 5, nic(), 3).soft())
	f("host, bridge, veth, container", 3,
		send(request, 4, born, bridge(), 3), send(request, 5, born, veth(), 3), receive(request, 2, veth(), 3).in(netB))
}

func TestDropsJoinFlows(t *testing.T) {
	there := tuple(protoUDP, ephem, 53)
	key := decode.DropKey{Tuple: there, NetNS: netA}
	key.Flags = decode.DropIn
	in := PairDrops{PairOfDrop(&key), 4}
	key.Flags = decode.DropForward
	forward := PairDrops{PairOfDrop(&key), 2}
	key.Flags = decode.DropOut
	out := PairDrops{PairOfDrop(&key), 1}
	key.NetNS = netB
	elsewhere := PairDrops{PairOfDrop(&key), 8}

	// The drops of each row, in the order of interfaces.
	f := func(name string, halves []half, drops []PairDrops, want ...uint64) {
		t.Helper()
		flows := NewFlows(10)
		fill(flows, halves...)
		var got []uint64
		for _, row := range roll(flows, nobody{}, drops...) {
			got = append(got, row.Drops)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	received := receive(there, 2, nic(), 5)
	sent := send(there, 3, decode.FlowTX|decode.FlowBorn, nic(), 5)
	f("in", []half{received}, []PairDrops{in}, 4)
	f("in, twice", []half{received}, []PairDrops{in, in}, 8)
	f("out", []half{sent}, []PairDrops{out}, 1)
	f("one of each", []half{received, sent}, []PairDrops{in, out}, 4, 1)
	f("forwarded: where it came in", []half{received, send(there, 3, decode.FlowTX, nic(), 3)}, []PairDrops{forward}, 2, 0)
	f("another namespace", []half{sent}, []PairDrops{elsewhere}, 0)
	f("no such flow", []half{receive(there, 2, nic(), 5)}, []PairDrops{out}, 0)
	f("by the interface with most of it", []half{receive(there, 2, nic(), 5), receive(there, 3, nic(), 6)}, []PairDrops{in}, 0, 4)
	f("by the first of equals", []half{receive(there, 3, nic(), 5), receive(there, 2, nic(), 5)}, []PairDrops{in}, 4, 0)
}

// TestRowsAreNew reuses the memory of the last interval's rows: nothing of it
// may shine through.
func TestRowsAreNew(t *testing.T) {
	f := NewFlows(0)
	there := tuple(protoTCP, ephem, 80)
	h := send(there, 1, decode.FlowTX|decode.FlowBorn, nic(), 5)
	h.count.PID, h.count.OwnerStart = 7, 8
	fill(f, h)
	roll(f, nobody{}, PairDrops{PairOf(&there, netA, true, false), 3})
	other := tuple(protoUDP, 5, 6)
	fill(f, receive(other, 2, veth(), 1))
	got := roll(f, nobody{})
	fresh := NewFlows(0)
	fill(fresh, receive(other, 2, veth(), 1))
	if diff := cmp.Diff(roll(fresh, nobody{}), got, cmp.AllowUnexported(Pair{}, side{})); diff != "" {
		t.Errorf("a row that was used before (-want +got):\n%s", diff)
	}
}

// TestSums adds halves in random order: whatever the order, no packet, byte or
// buffer is lost, and the rows are the same.
func TestSums(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 0))
		halves := make([]half, 1+r.IntN(400))
		var want Way
		for i := range halves {
			halves[i] = randomHalf(r)
			c := &halves[i].count
			want.add(c, c.Last)
		}
		var first []Flow
		for range 3 {
			r.Shuffle(len(halves), func(i, j int) { halves[i], halves[j] = halves[j], halves[i] })
			f := NewFlows(1 << r.IntN(10))
			fill(f, halves...)
			rows := roll(f, nobody{})
			var got Way
			for i, row := range rows {
				// Of a pair on several interfaces the first row to be visited
				// decides who began.
				rows[i].LocalBegan = false
				for _, w := range []Way{row.In, row.Out} {
					got.add(&decode.FlowCount{
						Packets: w.Packets, Bytes: w.Bytes, Buffers: w.Buffers, BufferBytes: w.BufferBytes, First: w.First, TCPFlags: w.TCPFlags,
					}, w.Last)
				}
			}
			// An empty way has no first packet.
			got.First = want.First
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: sums (-added +rows):\n%s", seed, diff)
			}
			if first == nil {
				first = rows
			}
			if diff := cmp.Diff(first, rows, cmp.AllowUnexported(Pair{}, side{})); diff != "" {
				t.Fatalf("seed %d: rows in another order (-one +other):\n%s", seed, diff)
			}
		}
	}
}

func randomHalf(r *rand.Rand) half {
	protos := []uint8{protoTCP, protoUDP, protoICMP, 47}
	t := tuple(protos[r.IntN(len(protos))], uint16(r.IntN(4)), uint16(r.IntN(4)))
	if r.IntN(2) == 0 {
		t.Src, t.Dst = t.Dst, t.Src
	}
	t.Flags = uint8(r.IntN(16))
	n := uint64(1 + r.IntN(100))
	return half{
		decode.FlowKey{Tuple: t, NetNS: netA + uint32(r.IntN(2)), IfIndex: uint32(r.IntN(3))},
		decode.FlowCount{
			Packets: n, Bytes: n * 60, Buffers: 1 + n/2, BufferBytes: n * 50, First: 1 + r.Uint64N(1000), Last: 1000 + r.Uint64N(1000),
			TCPFlags: uint8(1 << r.IntN(8)),
		},
		Device{Known: r.IntN(2) == 0, Enters: r.IntN(2) == 0, Stacked: r.IntN(2) == 0},
	}
}
