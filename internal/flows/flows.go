// Package flows counts packets by who talks to whom: every frame of a capture is
// in just one flow, so that flows add up to the capture. Live, sensors count in the
// kernel; the table of both is package table's.
//
// It is pure: time is that of the packets. The commands import it.
package flows

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/table"
)

// remember is for how many flows is known who began when a later batch does not
// show it: some 6 MB.
const remember = 1 << 16

// Tracker is a capture.Counter. A packet inside a tunnel counts once, as what is
// inside, with the bytes of the whole frame; a fragment counts to the flow of its
// packet once the packet's beginning has come, before without ports. It holds no
// more rows than a batch has packets, and is for one goroutine.
type Tracker struct {
	rows   *table.Flows
	ifaces []string // of this batch; a row's IfIndex counts from 1
	index  map[string]uint32
}

// New returns a tracker that has counted nothing.
func New() *Tracker {
	return &Tracker{rows: table.NewFlows(remember), index: map[string]uint32{}}
}

// Packet counts p.
func (t *Tracker) Packet(p *packet.Packet) { t.count(p) }

// Rest counts a frame of which p tells what it is, as far as it can be told:
// another protocol than IP, a fragment, or the remainder.
func (t *Tracker) Rest(p *packet.Packet) { t.count(p) }

func (t *Tracker) count(p *packet.Packet) {
	k := decode.FlowKey{Tuple: tupleOf(p), IfIndex: t.iface(p.Interface)}
	if k.EthProto == 0 {
		k.Flags |= decode.FlowOther
	}
	// A capture is nobody's side. The table wants one, and whichever it is, it
	// tells both ways apart.
	if !p.Src.IsValid() || p.Src.Compare(p.Dst) <= 0 {
		k.Flags |= decode.FlowTX | decode.FlowBorn
	}
	at, length := moment(p.Time), uint64(p.Length)
	c := decode.FlowCount{Packets: 1, Bytes: length, Buffers: 1, BufferBytes: length, First: at, TCPFlags: p.Flags}
	t.rows.Add(&k, &c, at, table.Device{Known: true, Enters: true})
}

// moment is a time as the table has it, where 0 is none.
func moment(at time.Time) uint64 { return uint64(max(at.UnixNano(), 1)) }

func (t *Tracker) iface(name string) uint32 {
	if name == "" {
		return 0
	}
	n, ok := t.index[name]
	if !ok {
		t.ifaces = append(t.ifaces, name)
		n = uint32(len(t.ifaces))
		t.index[name] = n
	}
	return n
}

// Ethernet types begin here: below are lengths, and what Linux calls frames that
// have one (ETH_P_802_2).
const (
	etherTypes = 0x600
	etherLLC   = 0x0004
)

// tupleOf puts a packet as the kernel's side does. ICMP between two hosts is one
// flow, of whatever types.
func tupleOf(p *packet.Packet) decode.Tuple {
	t := decode.Tuple{EthProto: p.EtherType, Proto: p.Proto, SrcPort: p.Src.Port(), DstPort: p.Dst.Port()}
	if t.EthProto > 0 && t.EthProto < etherTypes {
		t.EthProto = etherLLC
	}
	if p.Src.IsValid() {
		t.Src, t.Dst = p.Src.Addr().As16(), p.Dst.Addr().As16()
	}
	return t
}

// unowned says that packets of a capture are nobody's.
type unowned struct{}

func (unowned) Owner(*table.Pair) (o decode.OwnerRef, ok bool) { return o, false }

// Roll adds the flows since the last call to b, in the order of their first
// packets.
func (t *Tracker) Roll(now time.Time, _ bool, b *record.Batch) {
	from := len(b.Flows)
	t.rows.Roll(unowned{}, nil, func(f *table.Flow) { b.Flows = append(b.Flows, t.record(f, now)) })
	slices.SortFunc(b.Flows[from:], func(x, y record.Flow) int {
		return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.IfName, y.IfName), cmp.Compare(x.Proto, y.Proto),
			ends(&x, true).Compare(ends(&y, true)), ends(&x, false).Compare(ends(&y, false)))
	})
	t.ifaces = t.ifaces[:0]
	clear(t.index)
}

func ends(f *record.Flow, src bool) netip.AddrPort {
	if src {
		return netip.AddrPortFrom(f.SrcAddr, f.SrcPort)
	}
	return netip.AddrPortFrom(f.DstAddr, f.DstPort)
}

// record makes the record of a flow: out is what its source sent, the side that
// began.
func (t *Tracker) record(f *table.Flow, now time.Time) record.Flow {
	out, in := &f.Out, &f.In
	if !f.LocalBegan {
		out, in = in, out
	}
	r := record.Flow{
		PacketsIn: in.Packets, BytesIn: in.Bytes, PacketsOut: out.Packets, BytesOut: out.Bytes,
		BuffersIn: in.Buffers, BufferBytesIn: in.BufferBytes, BuffersOut: out.Buffers, BufferBytesOut: out.BufferBytes,
		HostPackets: f.HostPackets, HostBytes: f.HostBytes,
		TCPFlags: decode.TCPFlags(in.TCPFlags | out.TCPFlags), Other: f.Other(),
	}
	first := out.First
	if first == 0 || in.First != 0 && in.First < first {
		first = in.First
	}
	r.Time, r.Start, r.End = now, time.Unix(0, int64(first)), time.Unix(0, int64(max(in.Last, out.Last)))
	if f.IfIndex > 0 {
		r.IfName = t.ifaces[f.IfIndex-1]
	}
	ends := f.Tuple(f.LocalBegan)
	r.Proto, r.SrcAddr, r.DstAddr = ends.Protocol(), ends.SrcAddr(), ends.DstAddr()
	r.SrcPort, r.DstPort = ends.Ports()
	return r
}
