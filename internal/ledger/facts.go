package ledger

import (
	"fmt"
	"strings"

	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/record"
)

// fact returns something of this host, read with the counters, that explains a
// loss; empty if there is nothing.
func (b *book) fact(l *loss) string {
	switch l.what {
	case "NETFILTER_DROP":
		return b.ruleFact(l)
	case "SOCKET_RCVBUFF":
		if l.station == taps {
			return b.socketFact("raw")
		}
		return b.socketFact("udp")
	case "PACKET_SOCK_ERROR":
		return b.socketFact("packet")
	case "TCP_LISTEN_OVERFLOW":
		return b.listenFact()
	case "QDISC_DROP":
		return b.queueFact(l.ifname)
	case "XDP":
		if link := b.link(l.ifname); link != nil && link.XDP.Mode != counters.XDPNone {
			return fmt.Sprintf("XDP program %s (%s)", program(link.XDP.Program), link.XDP.Mode)
		}
	case "TC_INGRESS":
		return b.filterFact("ingress")
	case "TC_EGRESS":
		return b.filterFact("egress")
	case "RING":
		if link := b.link(l.ifname); link != nil && link.Rings != nil {
			return fmt.Sprintf("the ring has %d of at most %d descriptors", link.Rings.Rx, link.Rings.RxMax)
		}
	case "PKT_TOO_BIG":
		return b.mtuFact()
	case "early_drop":
		return fmt.Sprintf("%d of %d entries", b.Conntrack.Count, b.Conntrack.Max)
	}
	return ""
}

func program(p counters.Program) string {
	if p.Name != "" {
		return p.Name
	}
	return fmt.Sprintf("number %d", p.ID)
}

// fullest returns the socket that dropped most, of protocols that begin so; nil if
// none did.
func (b *book) fullest(protocol string) (most *counters.Socket) {
	for i := range b.Sockets {
		if s := &b.Sockets[i]; strings.HasPrefix(s.Protocol, protocol) && s.Drops > 0 && (most == nil || s.Drops > most.Drops) {
			most = s
		}
	}
	return most
}

func (b *book) socketFact(protocol string) string {
	most := b.fullest(protocol)
	if most == nil {
		return ""
	}
	name := most.Protocol + " socket"
	if most.Local.IsValid() {
		name = most.Protocol + " " + most.Local.String()
	}
	if most.Buffer == 0 {
		return fmt.Sprintf("%s: %d bytes wait, %d dropped", name, most.Queued, most.Drops)
	}
	return fmt.Sprintf("%s: %d of %d bytes wait, %d dropped", name, most.Queued, most.Buffer, most.Drops)
}

func (b *book) listenFact() string {
	most := b.longest()
	if most == nil {
		return ""
	}
	return fmt.Sprintf("%s: %d connections wait for accept, backlog %d", most.Local, most.Waiting, most.Max)
}

func (b *book) queueFact(ifname string) string {
	l := b.link(ifname)
	if l == nil {
		return ""
	}
	q := b.root(l.Index)
	if q == nil {
		return ""
	}
	s := fmt.Sprintf("%s on %s", q.Kind, ifname)
	if q.Limit.Value > 0 {
		s += fmt.Sprintf(", limit %d %s", q.Limit.Value, q.Limit.Unit)
	}
	if q.Rate > 0 {
		s += fmt.Sprintf(", rate %d bytes/s", q.Rate)
	}
	return s
}

func (b *book) filterFact(direction string) string {
	for i := range b.Filters {
		if f := &b.Filters[i]; f.Direction == direction {
			return strings.TrimSpace(fmt.Sprintf("tc filter %s %s %s", f.Kind, f.Name, f.Program.Name))
		}
	}
	for i := range b.TCX {
		if t := &b.TCX[i]; t.Direction == direction {
			return "tcx program " + program(t.Program)
		}
	}
	return ""
}

func (b *book) mtuFact() string {
	var least *counters.Interface
	for i := range b.Interfaces {
		if l := &b.Interfaces[i]; least == nil || l.MTU < least.MTU {
			least = l
		}
	}
	if least == nil {
		return ""
	}
	return fmt.Sprintf("smallest MTU: %s, %d", least.Name, least.MTU)
}

// rest are the losses that no balance has, each for itself.
func (b *book) rest() (list []*desk) {
	for _, station := range []string{taps, elsewhere} {
		for _, direction := range []record.Direction{record.In, record.Out, record.Forward} {
			for _, l := range b.of(station, direction, "") {
				d := newDesk(station, direction, l.layer, buffers)
				d.came("lost", int64(l.number()))
				d.lost(b, l)
				list = append(list, d.close())
			}
		}
	}
	return append(list, b.tracked())
}

// tracked tells what connection tracking threw out to make room: entries, not
// packets. Nil if there is nothing to tell.
func (b *book) tracked() *desk {
	if b.Conntrack == nil {
		return nil
	}
	var early int64
	for i := range b.Conntrack.CPUs {
		early += int64(b.Conntrack.CPUs[i].EarlyDrop)
	}
	if early == 0 {
		return nil
	}
	d := newDesk("conntrack", record.In, record.NetfilterLayer, "entries")
	d.came("entries", early)
	e := d.add(record.LostLine, record.NetfilterLayer, "early_drop", early, "early_drop")
	b.describe(e, &loss{cause: cause{station: d.station, direction: d.direction, layer: d.layer, what: e.What}})
	return d.close()
}
