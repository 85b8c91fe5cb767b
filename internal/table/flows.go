// Package table aggregates: what sensors read goes in, frozen rows come out,
// one interval at a time. It has no clock, no goroutine and no lock; whoever
// owns a table hands it the time. The agent's pump is that owner.
package table

import (
	"github.com/netfate/netfate/internal/decode"
)

// side is one end of a flow.
type side struct {
	addr [decode.AddrLen]byte
	port uint16
}

// Pair is a flow without regard to interfaces: the local end, the remote end.
// What is received has its destination local, what is sent its source; on lo
// both ends are, and each has a row of its own.
type Pair struct {
	local, remote side
	netns         uint32
	ethProto      uint16
	proto         uint8
	other         bool
}

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	tcpSYN      = 1 << 1
)

// PairOf returns the pair of a tuple that was sent or received in netns. ICMP
// echo requests and replies of one id make one pair.
func PairOf(t *decode.Tuple, netns uint32, sent, other bool) Pair {
	p := Pair{netns: netns, ethProto: t.EthProto, proto: t.Proto, other: other}
	p.local, p.remote = side{t.Dst, t.DstPort}, side{t.Src, t.SrcPort}
	if sent {
		p.local, p.remote = p.remote, p.local
	}
	if t.Proto == protoICMP || t.Proto == protoICMPv6 {
		p.local.port, p.remote.port = t.SrcPort, t.DstPort
		if isEcho(t) {
			p.local.port = 0
		}
	}
	return p
}

func isEcho(t *decode.Tuple) bool {
	kind := t.SrcPort >> 8
	if t.Proto == protoICMP {
		return kind == 8 || kind == 0
	}
	return kind == 128 || kind == 129
}

// LocalBound returns the local address as one that a socket could be bound to.
func (p *Pair) LocalBound() decode.BoundKey {
	return decode.BoundKey{Addr: p.local.addr, NetNS: p.netns, Port: p.local.port, Proto: p.proto}
}

// Tuple returns the pair as a tuple: the local side is the source if out.
func (p *Pair) Tuple(out bool) decode.Tuple {
	src, dst := p.local, p.remote
	if !out {
		src, dst = dst, src
	}
	return decode.Tuple{
		Src: src.addr, Dst: dst.addr, SrcPort: src.port, DstPort: dst.port, EthProto: p.ethProto, Proto: p.proto,
	}
}

// Way is what went one way. Times are CLOCK_MONOTONIC ns; First is 0 if
// nothing did.
type Way struct {
	Packets, Bytes       uint64
	Buffers, BufferBytes uint64
	First, Last          uint64
	TCPFlags             uint8
}

func (w *Way) add(c *decode.FlowCount, last uint64) {
	w.Packets += c.Packets
	w.Bytes += c.Bytes
	w.Buffers += c.Buffers
	w.BufferBytes += c.BufferBytes
	w.TCPFlags |= c.TCPFlags
	if w.First == 0 || c.First < w.First {
		w.First = c.First
	}
	w.Last = max(w.Last, last)
}

// Flow is a pair on one interface in one interval.
type Flow struct {
	Pair
	IfIndex uint32
	In, Out Way
	// Born and Through tell what was sent: packets that began in this
	// namespace, and packets that passed through it.
	Born, Through bool
	Owner         decode.OwnerRef
	// LocalBegan says that the local side began it.
	LocalBegan bool
	// HostPackets and HostBytes are those that the host's totals count here.
	HostPackets, HostBytes uint64
	// Drops are packets that were lost; see AddDrops.
	Drops uint64
}

// Device is what a table must know of an interface to count as it does.
type Device struct {
	// Known is false for an interface that could not be looked up: then it
	// counts as a card of hardware does, or one that software feeds.
	Known bool
	// Enters: what it receives comes from outside of this host.
	Enters bool
	// Stacked: it hands what it sends to another device of this host.
	Stacked bool
	// LinkHeaderIn is how many bytes its own statistics add to each
	// received buffer for the link header that is gone by then.
	LinkHeaderIn uint32
	// NoLinkHeaderOut is how many bytes its own statistics leave out of each
	// sent buffer for the link header that it still has.
	NoLinkHeaderOut uint32
}

// Flows joins what the flow sensor read into rows of both ways. It belongs to
// one goroutine. The zero value is not ready; see NewFlows.
type Flows struct {
	rows  map[flowID]*Flow
	free  []*Flow
	past  memory
	began map[Pair]*Flow // in Roll: where a new pair was seen first
}

type flowID struct {
	Pair
	ifindex uint32
}

// NewFlows returns an empty table that remembers who began and who owns up to
// remember pairs from one interval to the next.
func NewFlows(remember int) *Flows {
	return &Flows{rows: map[flowID]*Flow{}, past: newMemory(remember), began: map[Pair]*Flow{}}
}

// Len returns the number of rows so far in this interval.
func (t *Flows) Len() int { return len(t.rows) }

// Add adds one way of a flow. last is the time of its last packet on the
// monotonic clock.
func (t *Flows) Add(k *decode.FlowKey, c *decode.FlowCount, last uint64, dev Device) {
	sent := k.Flags&decode.FlowTX != 0
	id := flowID{PairOf(&k.Tuple, k.NetNS, sent, k.Flags&decode.FlowOther != 0), k.IfIndex}
	row := t.rows[id]
	if row == nil {
		row = t.take()
		row.Pair, row.IfIndex = id.Pair, k.IfIndex
		t.rows[id] = row
	}
	counted := dev.Enters || !dev.Known && k.Flags&decode.FlowSoft == 0
	if sent {
		row.Out.add(c, last)
		row.Out.BufferBytes -= c.Buffers * uint64(dev.NoLinkHeaderOut)
		born := k.Flags&decode.FlowBorn != 0
		row.Born = row.Born || born
		row.Through = row.Through || !born
		counted = born && !dev.Stacked
	} else {
		row.In.add(c, last)
		row.In.BufferBytes += c.Buffers * uint64(dev.LinkHeaderIn)
	}
	if counted {
		row.HostPackets += c.Packets
		row.HostBytes += c.Bytes
	}
	if row.Owner.PID == 0 && c.PID != 0 {
		row.Owner = decode.OwnerRef{Start: c.OwnerStart, PID: c.PID, NetNS: k.NetNS}
	}
}

func (t *Flows) take() *Flow {
	if n := len(t.free); n > 0 {
		row := t.free[n-1]
		t.free = t.free[:n-1]
		*row = Flow{}
		return row
	}
	return &Flow{}
}

// AddDrops adds lost packets to a row of the pair, if there is one in this
// interval, and reports whether there was.
func (t *Flows) addDrops(index map[Pair]*Flow, p Pair, packets uint64) bool {
	row := index[p]
	if row == nil {
		return false
	}
	row.Drops += packets
	return true
}

// Owners answers who owns a local address or socket when the packets
// themselves did not tell.
type Owners interface {
	// Owner returns the owner of the pair's local side, false if it is not
	// known.
	Owner(p *Pair) (decode.OwnerRef, bool)
}

// Roll ends the interval: it visits every row and empties the table. drops are
// the interval's real losses, which are added to the flows that they hit. The
// row is good until visit returns.
func (t *Flows) Roll(owners Owners, drops []PairDrops, visit func(*Flow)) {
	t.join(drops)
	t.findFirst()
	for id, row := range t.rows {
		if row.In.Buffers == 0 && row.Out.Buffers == 0 {
			// A busy driver gave back all that was counted.
			t.free = append(t.free, row)
			continue
		}
		t.settle(owners, row)
		visit(row)
		delete(t.rows, id)
		t.free = append(t.free, row)
	}
	clear(t.rows)
	clear(t.began)
	if len(t.free) > maxFree {
		t.free = append([]*Flow(nil), t.free[:maxFree]...)
	}
	t.past.tick()
}

// maxFree bounds the rows kept for the next interval, so that a storm does not
// hold its memory for ever.
const maxFree = 1 << 14

// PairDrops is how many packets of a pair were lost.
type PairDrops struct {
	Pair
	Packets uint64
}

func (t *Flows) join(drops []PairDrops) {
	if len(drops) == 0 {
		return
	}
	index := make(map[Pair]*Flow, len(t.rows))
	for id, row := range t.rows {
		// The interface where most of it passes shows its losses.
		if have := index[id.Pair]; have == nil || row.In.Packets+row.Out.Packets > have.In.Packets+have.Out.Packets ||
			row.In.Packets+row.Out.Packets == have.In.Packets+have.Out.Packets && row.IfIndex < have.IfIndex {
			index[id.Pair] = row
		}
	}
	for _, d := range drops {
		t.addDrops(index, d.Pair, d.Packets)
	}
}

// findFirst finds, for each pair that is not remembered, the interface that saw
// it first: the others may have seen the answer first.
func (t *Flows) findFirst() {
	clear(t.began)
	for id, row := range t.rows {
		if known, ok := t.past.get(id.Pair); ok && known.decided {
			continue
		}
		have := t.began[id.Pair]
		if have == nil || row.First() < have.First() || row.First() == have.First() && row.IfIndex < have.IfIndex {
			t.began[id.Pair] = row
		}
	}
}

// First is when the first packet of the interval passed, on the monotonic clock.
func (f *Flow) First() uint64 {
	if f.In.First == 0 || f.Out.First != 0 && f.Out.First < f.In.First {
		return f.Out.First
	}
	return f.In.First
}

// settle decides who began and who owns a row, by what is seen now, by what
// was remembered, or by what others know.
func (t *Flows) settle(owners Owners, row *Flow) {
	known, ok := t.past.get(row.Pair)
	if row.Owner.PID == 0 && ok {
		row.Owner = known.owner
	}
	local := row.Born || !row.Through
	if row.Owner.PID == 0 && local && !row.other {
		if o, found := owners.Owner(&row.Pair); found {
			row.Owner = o
		}
	}
	if ok && known.decided {
		row.LocalBegan = known.localBegan
	} else {
		first := t.began[row.Pair]
		if first == nil { // it was remembered a moment ago
			first = row
		}
		row.LocalBegan = localBegan(first)
	}
	if !row.other {
		t.past.put(row.Pair, fact{owner: row.Owner, localBegan: row.LocalBegan, decided: true})
	}
}

// localBegan guesses who began: whoever sent a SYN that is no answer; else the
// one with the port of a client; else whoever got the answer to a SYN; else
// whoever was heard first. The flags are those of all packets of a way: SYN and
// ACK may be of one packet or of two.
func localBegan(f *Flow) bool {
	outFirst := f.Out.First != 0 && (f.In.First == 0 || f.Out.First <= f.In.First)
	var out, in uint8
	if f.proto == protoTCP {
		out, in = f.Out.TCPFlags&(tcpSYN|tcpACK), f.In.TCPFlags&(tcpSYN|tcpACK)
	}
	switch {
	case out&in&tcpSYN != 0:
		return outFirst
	case out == tcpSYN, in == tcpSYN:
		return out == tcpSYN
	}
	if f.proto == protoTCP || f.proto == protoUDP {
		const wellKnown, ephemeral = 1024, 32768 // RFC 6335, and Linux's ip_local_port_range
		l, r := f.local.port, f.remote.port
		switch {
		case r < wellKnown && l >= wellKnown, r < ephemeral && l >= ephemeral:
			return true
		case l < wellKnown && r >= wellKnown, l < ephemeral && r >= ephemeral:
			return false
		}
	}
	if (out|in)&tcpSYN != 0 {
		return in&tcpSYN != 0
	}
	return outFirst
}

const tcpACK = 1 << 4

// Known returns the owner that is remembered of a pair; the zero value if none
// is.
func (t *Flows) Known(p Pair) decode.OwnerRef {
	f, _ := t.past.get(p)
	return f.owner
}

// Other reports whether this is the remainder of pairs that did not fit.
func (p *Pair) Other() bool { return p.other }

// NetNS returns the inode of the namespace.
func (p *Pair) NetNS() uint32 { return p.netns }
