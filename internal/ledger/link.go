package ledger

import (
	"strings"
	"unicode"

	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/record"
)

// How a device counts what it receives, beside the buffers that the stack gets.
type rxUnit int

const (
	rxBuffers rxUnit = iota // the same buffers
	rxPackets               // packets of the wire, before GRO
	rxBetween               // buffers before GRO, which may hold several packets already
)

// unitOf returns how a device counts. See docs/ledger.md.
func unitOf(l *counters.Interface) rxUnit {
	switch l.Kind {
	case "":
		return rxPackets
	case "veth":
		// XDP has the peer send packets of the wire, and GRO join them.
		if l.XDP.Mode == counters.XDPNative || l.XDP.Mode == counters.XDPSeveral {
			return rxPackets
		}
	case "vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap", "ipip", "sit", "ip6tnl", "wireguard", "macsec", "amt", "bareudp", "gtp":
		return rxBetween // through gro_cells, or a NAPI of their own
	}
	return rxBuffers
}

// stacked reports whether a device gives what it gets to another without the
// tracepoints that the flow sensor counts at: there, the lower device has it.
func stacked(l *counters.Interface) bool {
	switch l.Kind {
	case "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "bond", "team", "vrf":
		return true
	}
	return false
}

// received balances what a device received: with what was lost before the
// stack, it is what the stack got. Nil where the flow sensor cannot see it.
func (b *book) received(l *counters.Interface) *desk {
	if stacked(l) {
		return nil
	}
	p := b.links[l.Name]
	unit, kind := buffers, unitOf(l)
	if kind == rxPackets {
		unit = packets
	}
	d := newDesk(device, record.In, record.DriverLayer, unit)
	losses := b.of(device, record.In, l.Name)
	what := "received"
	if l.Kind == "bridge" {
		what = fromBefore // its ports have it
	}
	came := int64(l.Stats.RxPackets)
	for _, x := range losses {
		if x.layer != record.XDPLayer { // what XDP takes the device has counted
			came += int64(amount(x, unit))
		}
	}
	d.came(what, came)
	for _, x := range losses {
		d.lost(b, x)
	}
	d.add(record.Taken, record.XDPLayer, "XDP", int64(driver(l, "xdp_redirect")+driver(l, "xdp_tx")), "xdp_redirect xdp_tx")
	switch kind {
	case rxPackets:
		d.add(record.Merged, record.GROLayer, "GRO", int64(p.inPackets-p.inBuffers))
	case rxBetween:
		room := int64(p.inPackets - p.inBuffers)
		d.add(record.Merged, record.GROLayer, "GRO", b.belief("GRO of "+l.Name).more(d.rest-int64(p.inBuffers), room))
	}
	d.went(record.Passed, "to the stack", int64(p.inBuffers))
	return d.close()
}

// amount is a loss in a desk's unit.
func amount(l *loss, unit string) uint64 {
	if l.counted == nil && unit == packets {
		return l.seenPackets
	}
	return l.number()
}

// sent balances what a device was given to send.
func (b *book) sent(l *counters.Interface) *desk {
	p := b.links[l.Name]
	d := newDesk(device, record.Out, record.DriverLayer, buffers)
	d.came(fromBefore, int64(p.outBuffers))
	if unitOf(l) == rxPackets && l.Kind == "" {
		d.add(record.Merged, record.DriverLayer, "GSO", -int64(p.outPackets-p.outBuffers))
	}
	for _, x := range b.of(device, record.Out, l.Name) {
		d.lost(b, x)
	}
	// XDP gives frames to devices past the tracepoint. Devices do not count them
	// apart, but what XDP redirected in this namespace is counted where it came.
	over := min(max(int64(l.Stats.TxPackets)-d.rest, 0), b.redirected)
	b.redirected -= over
	if over > 0 {
		d.came("redirected by XDP", over)
	}
	d.went(record.Delivered, "sent", int64(l.Stats.TxPackets), "tx_packets")
	return d.close()
}

// queued compares what the queueing discipline of a device let through with what
// the device was given, both in packets of the wire. Nil where there is none.
func (b *book) queued(l *counters.Interface) *desk {
	q := b.root(l.Index)
	if q == nil {
		return nil
	}
	d := newDesk(queue, record.Out, record.QdiscLayer, packets)
	drops, waiting := b.dropped(l), b.waiting(l.Index)
	d.came("for the queue", int64(q.Stats.Packets)+drops+waiting, q.Kind+" packets drops qlen")
	for _, x := range b.of(queue, record.Out, l.Name) {
		d.lost(b, x)
	}
	d.went(record.Waiting, q.Kind, waiting)
	d.went(record.Passed, "to the device", int64(b.links[l.Name].outPackets))
	return d.close()
}

// root returns the queueing discipline at a device's root; nil if packets pass
// none.
func (b *book) root(index uint32) *counters.Qdisc {
	for i := range b.Qdiscs {
		if q := &b.Qdiscs[i]; q.Index == index && q.Parent == 0xffffffff && q.Kind != "noqueue" && q.Kind != "clsact" && q.Kind != "ingress" {
			return q
		}
	}
	return nil
}

// waiting is how many more packets wait in a device's queue than at the start.
func (b *book) waiting(index uint32) int64 {
	q := b.root(index)
	if q == nil {
		return 0
	}
	n := int64(q.Stats.Qlen)
	if b.before != nil {
		for i := range b.before.Qdiscs {
			if o := &b.before.Qdiscs[i]; o.Index == index && o.Parent == q.Parent && o.Handle == q.Handle && o.Kind == q.Kind {
				n -= int64(o.Stats.Qlen)
			}
		}
	}
	return n
}

// dropped adds up what a device's queue lost.
func (b *book) dropped(l *counters.Interface) (n int64) {
	for _, x := range b.of(queue, record.Out, l.Name) {
		n += int64(x.number())
	}
	return n
}

// countLink puts the counters of a device and its queues to its losses.
func (b *book) countLink(l *counters.Interface) {
	tell := func(c cause, n uint64, names ...string) {
		c.perLink = true
		b.tell(b.loss(c, l.Name), names, n)
	}
	if l.Kind == "" { // hardware; see struct rtnl_link_stats64
		tell(cause{station: device, direction: record.In, layer: record.RingLayer, what: "RING"}, l.Stats.RxMissedErrors, "rx_missed_errors")
		tell(cause{station: device, direction: record.In, layer: record.DriverLayer, what: "RX_ERRORS"}, l.Stats.RxErrors, "rx_errors")
	}
	if n := driver(l, "xdp_drop"); n > 0 || l.XDP.Mode != counters.XDPNone && l.XDP.Mode != counters.XDPGeneric {
		tell(cause{station: device, direction: record.In, layer: record.XDPLayer, what: "XDP"}, n, "xdp_drops")
	}
	if q := b.root(l.Index); q != nil {
		tell(cause{station: queue, direction: record.Out, layer: record.QdiscLayer, what: "QDISC_DROP"}, uint64(q.Stats.Drops), q.Kind+" drops")
	}
	for i := range b.Qdiscs {
		q := &b.Qdiscs[i]
		if q.Index != l.Index || q.Kind != "clsact" && q.Kind != "ingress" || q.Stats.Drops == 0 {
			continue
		}
		c := cause{station: ingress, direction: record.In, layer: record.IngressLayer, what: "TC_INGRESS", partial: true}
		// It counts both ways.
		sent := b.bareOn(l.Name, "__dev_queue_xmit", "sch_handle_egress")
		if n := uint64(q.Stats.Drops); b.seen("TC_EGRESS") == 0 && n > sent {
			tell(c, n-sent, q.Kind+" drops")
		}
	}
	if full := b.seenOn("FULL_RING", l.Name); l.Stats.TxDropped > 0 || full > 0 {
		tell(cause{station: device, direction: record.Out, layer: record.DriverLayer, what: "FULL_RING"}, l.Stats.TxDropped, "tx_dropped")
	}
}

func (b *book) seen(what string) (n uint64) {
	for _, l := range b.losses {
		if l.what == what {
			n += l.seen
		}
	}
	return n
}

// bareOn is how many buffers of an interface were freed without a reason in
// functions that begin so.
func (b *book) bareOn(ifname string, places ...string) (n uint64) {
	for _, d := range b.bare {
		if d.IfName == ifname && hasPrefix(placeOf(d), places...) {
			n += d.Buffers
		}
	}
	return n
}

func (b *book) seenOn(what, ifname string) (n uint64) {
	for _, l := range b.losses {
		if l.what == what && l.ifname == ifname {
			n += l.seen
		}
	}
	return n
}

// driver adds up a statistic of ethtool for received packets: the one for all
// queues where there is one, else those of each queue.
func driver(l *counters.Interface, word string) (sum uint64) {
	for i, name := range l.Driver.Names {
		if !strings.HasPrefix(name, "rx") || !strings.HasSuffix(strings.TrimSuffix(name, "s"), word) {
			continue
		}
		if !strings.ContainsFunc(name, unicode.IsDigit) {
			return l.Driver.Values[i]
		}
		sum += l.Driver.Values[i]
	}
	return sum
}
