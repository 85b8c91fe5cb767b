package ledger

import (
	"slices"

	"github.com/netfate/netfate/internal/record"
)

// stack balances what the devices of the namespace handed to the stack: it
// went to IP, to a bridge, or to another protocol.
func (b *book) stack() *desk {
	d := newDesk(ingress, record.In, record.IngressLayer, buffers)
	var all, foreign, ports int64
	for name, p := range b.links {
		all += int64(p.inBuffers)
		if b.isPort(name) {
			ports += int64(p.inBuffers)
		} else {
			foreign += int64(p.foreignIn)
		}
	}
	d.came(fromBefore, all)
	for _, l := range b.of(ingress, record.In, "") {
		switch n := int64(l.number()); {
		case b.isPort(l.ifname):
			ports -= n
		case l.most != nil && !isIP(l.most.Proto):
			foreign -= min(n, foreign)
		}
		d.lost(b, l)
	}
	d.went(record.Passed, "to a bridge", ports)
	d.went(record.Taken, "other protocols", foreign)
	d.went(record.Passed, "to IP", b.get("IpInReceives", "Ip6InReceives"), "IpInReceives", "Ip6InReceives")
	b.hooked(d)
	return d.close()
}

// hooked moves drops of netfilter from IP to the ingress hook, where the
// namespace has rules: the sensor does not tell one from the other, but what
// they dropped is missing before IP.
func (b *book) hooked(d *desk) {
	rules := false
	for i := range b.NFT.Rules {
		rules = rules || b.NFT.Rules[i].Family == "netdev"
	}
	for i := range b.NFT.Policies {
		rules = rules || b.NFT.Policies[i].Family == "netdev"
	}
	if !rules || d.rest <= 0 {
		return
	}
	for _, l := range b.of(ip, record.In, "") {
		if l.what == "NETFILTER_DROP" {
			moved := *l
			moved.station, moved.seen = ingress, min(l.seen, uint64(d.rest))
			l.seen -= moved.seen
			d.lost(b, &moved)
		}
	}
}

// network balances what IP received.
func (b *book) network() *desk {
	d := newDesk(ip, record.In, record.RoutingLayer, buffers)
	d.came(fromBefore, b.get("IpInReceives", "Ip6InReceives"), "IpInReceives", "Ip6InReceives")
	var fragments int64
	for _, l := range b.of(ip, record.In, "") {
		if hasPrefix(l.what, "FRAG_", "DUP_FRAG") {
			fragments += int64(l.number())
		}
		d.lost(b, l)
	}
	pieces := b.get("IpReasmReqds", "Ip6ReasmReqds") - b.get("IpReasmOKs", "Ip6ReasmOKs")
	if pieces != 0 {
		d.went(record.Merged, "fragments", pieces-fragments, "IpReasmReqds", "Ip6ReasmReqds", "-IpReasmOKs", "-Ip6ReasmOKs")
	}
	d.went(record.Forwarded, "forwarded", b.get("IpForwDatagrams", "Ip6OutForwDatagrams"), "IpForwDatagrams", "Ip6OutForwDatagrams")
	d.went(record.Passed, "to transport", b.get("IpInDelivers", "Ip6InDelivers"), "IpInDelivers", "Ip6InDelivers")
	return d.close()
}

// delivered balances what IP gave to the protocols above it.
func (b *book) delivered() *desk {
	d := newDesk(transport, record.In, record.TransportLayer, buffers)
	d.came(fromBefore, b.get("IpInDelivers", "Ip6InDelivers"), "IpInDelivers", "Ip6InDelivers")
	of := map[string]int64{} // losses behind each protocol's own count of what came
	for _, l := range b.of(transport, record.In, "") {
		d.lost(b, l)
		if l.most == nil {
			if l.what == "TCP_LISTEN_OVERFLOW" || hasPrefix(l.what, "TCP") || len(l.counters) > 0 && hasPrefix(l.counters[0], "Tcp") {
				of["tcp"] += int64(l.number())
			}
			if l.what == "ICMP_CSUM" {
				of["icmp"] += int64(l.number())
			}
			continue
		}
		switch proto := l.most.Proto; {
		case proto == "tcp":
			of["tcp"] += int64(l.number())
		case proto == "icmp", proto == "icmpv6":
			of["icmp"] += int64(l.number())
		case proto == "udp" && len(l.counters) == 0: // in what UDP had delivered: to a tunnel
			of["udp"] += int64(l.number())
		}
	}
	tcp := []string{"TcpInSegs"}
	udp := []string{"UdpInDatagrams", "Udp6InDatagrams", "UdpLiteInDatagrams", "UdpLite6InDatagrams"}
	icmp := []string{"IcmpInMsgs", "Icmp6InMsgs"}
	d.went(record.Ignored, "multicast for nobody", b.get("UdpIgnoredMulti", "Udp6IgnoredMulti"), "UdpIgnoredMulti", "Udp6IgnoredMulti")
	d.went(record.Delivered, "tcp", b.get(tcp...)-of["tcp"], tcp...)
	d.went(record.Delivered, "udp", b.get(udp...)-of["udp"], udp...)
	d.went(record.Delivered, "icmp", b.get(icmp...)-of["icmp"], icmp...)
	d.went(record.Delivered, "other protocols", max(b.others-b.othersLost(), 0))
	return d.close()
}

// othersLost is how much of what came of protocols that nothing counts was lost
// before it came to transport, or on the way out again: nobody wants the protocol, its
// header is broken, no route leads to it.
func (b *book) othersLost() (n int64) {
	through := slices.Concat(b.of(ip, record.Out, ""), b.of(queue, record.Out, ""))
	through = slices.DeleteFunc(through, func(l *loss) bool { return l.most == nil || l.most.Direction != record.Forward })
	for _, l := range slices.Concat(b.of(ingress, record.In, ""), b.of(ip, record.In, ""), through) {
		if m := l.most; m != nil && isIP(m.Proto) && !counted(m.Proto) {
			n += int64(l.number())
		}
	}
	return n
}

// bridged balances the bridges of a namespace: what their ports and this host
// gave them. Nil if there is none.
func (b *book) bridged(stack *desk) *desk {
	var up, own, out, groupIn, groupOut, drops int64
	bridges := false
	for name, p := range b.links {
		switch l := b.link(name); {
		case b.isPort(name):
			bridges = true
			out += int64(p.outBuffers)
			groupIn += int64(p.groupIn)
			groupOut += int64(p.groupOut)
			for _, x := range b.of(queue, record.Out, name) {
				out += int64(x.number())
			}
		case l != nil && l.Kind == "bridge":
			bridges = true
			up += int64(p.inBuffers)
			own += int64(p.outBuffers)
			groupIn += int64(p.groupOut)
			groupOut += int64(p.groupIn)
		}
	}
	if !bridges && len(b.of(bridge, record.In, "")) == 0 {
		return nil
	}
	d := newDesk(bridge, record.In, record.BridgeLayer, buffers)
	for i := range stack.lines {
		if e := &stack.lines[i]; e.What == "to a bridge" {
			d.came(fromBefore, e.Packets)
		}
	}
	d.came("from this host", own)
	for _, x := range b.of(bridge, record.In, "") {
		drops += int64(x.number())
		d.lost(b, x)
	}
	d.went(record.Merged, "copies for several ports", min(groupIn-groupOut, 0))
	d.went(record.Passed, "to this host", up)
	d.went(record.Forwarded, "bridged", out)
	return d.close()
}

// leaving balances what IP sent.
func (b *book) leaving() *desk {
	d := newDesk(ip, record.Out, record.RoutingLayer, buffers)
	forwarded := b.get("IpForwDatagrams", "Ip6OutForwDatagrams")
	requests := b.get("IpOutRequests", "Ip6OutRequests")
	if !b.apart() {
		requests -= b.get("IpForwDatagrams")
		for _, l := range b.of(ip, record.Out, "") {
			if l.layer == record.NetfilterLayer {
				requests += int64(l.number()) // dropped before it was counted
			}
		}
	}
	noRoute := b.get("IpOutNoRoutes", "Ip6OutNoRoutes")
	d.came("from sockets", requests+noRoute, "IpOutRequests", "Ip6OutRequests", "IpOutNoRoutes", "Ip6OutNoRoutes")
	d.came("forwarded", forwarded, "IpForwDatagrams", "Ip6OutForwDatagrams")
	if pieces := b.get("IpFragCreates", "Ip6FragCreates") - b.get("IpFragOKs", "Ip6FragOKs"); pieces != 0 {
		d.went(record.Merged, "fragments", -pieces, "-IpFragCreates", "-Ip6FragCreates", "IpFragOKs", "Ip6FragOKs")
	}
	var foreign int64
	for name, p := range b.links {
		if !b.isPort(name) {
			foreign += int64(p.foreignOut)
		}
		if l := b.link(name); l != nil && stacked(l) && l.LinkNSID < 0 {
			foreign -= int64(p.foreignOut) // its lower device is here and has them too
		}
	}
	d.came("other protocols", foreign)
	for _, l := range b.of(ip, record.Out, "") {
		d.lost(b, l)
	}
	on := b.given()
	d.add(record.Merged, record.RoutingLayer, "GSO", -b.belief("GSO").more(on-d.rest, b.cut(requests)))
	d.went(record.Passed, "to queues", on)
	return d.close()
}

// apart reports whether the kernel counts what sockets send apart from what IP
// sends, as since 6.6: before, IpOutRequests was that, what is forwarded included,
// and IpForwDatagrams came behind the hook.
func (b *book) apart() bool {
	_, ok := b.Counter("IpOutTransmits")
	return ok
}

// cut is how many more buffers software may have made of those of TCP, negative if
// it is still to come: what TCP counts are segments, of which the devices got some in buffers of several.
func (b *book) cut(requests int64) int64 {
	segments := b.get("TcpOutSegs", "TcpRetransSegs")
	made := requests - b.get("UdpOutDatagrams", "Udp6OutDatagrams", "UdpLiteOutDatagrams", "IcmpOutMsgs", "Icmp6OutMsgs")
	for _, p := range b.links {
		segments -= int64(p.tcpOutPackets - p.tcpOut)
	}
	return segments - made
}

// given is what IP and its like gave to queues: what devices got that no bridge
// and no device above them had before, what queues dropped, and what waits.
func (b *book) given() (n int64) {
	for name, p := range b.links {
		l := b.link(name)
		if !b.isPort(name) {
			n += int64(p.outBuffers)
			if l != nil {
				n += b.dropped(l) + b.waiting(l.Index)
			}
		}
		if l != nil && stacked(l) && l.LinkNSID < 0 {
			n -= int64(p.outBuffers)
		}
	}
	return n
}

// queues balances the queueing disciplines of a namespace.
func (b *book) queues() *desk {
	d := newDesk(queue, record.Out, record.QdiscLayer, buffers)
	d.came(fromBefore, b.given())
	var all, drops, waiting int64
	for name, p := range b.links {
		all += int64(p.outBuffers)
		if l := b.link(name); l != nil && b.isPort(name) {
			drops += b.dropped(l)
			waiting += b.waiting(l.Index)
		}
	}
	var own int64
	for i := range b.Interfaces {
		own += b.waiting(b.Interfaces[i].Index)
	}
	lost := b.of(queue, record.Out, "")
	var gone int64
	for _, l := range lost {
		gone += int64(l.number())
	}
	// What bridges and stacked devices send has been there before.
	d.came("from bridges and stacked devices", all+gone+own-b.given())
	for _, l := range lost {
		d.lost(b, l)
	}
	d.went(record.Waiting, "in queues", own)
	d.went(record.Passed, "to devices", all)
	return d.close()
}
