package evidence

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routing opens a netlink handle in the thread's namespace.
func routing() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := h.SetSocketTimeout(askTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	return h, nil
}

// withLink calls f with the subject's interface.
func (c *collector) withLink(f func(*netlink.Handle, netlink.Link) ([]Fact, error)) ([]Fact, error) {
	if c.IfName == "" {
		return nil, errNoInterface
	}
	h, err := routing()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	link, err := h.LinkByName(c.IfName)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", c.IfName, err)
	}
	return f(h, link)
}

// linkFacts tells the state of the interface and the errors that it counted.
func linkFacts(c *collector) ([]Fact, error) {
	return c.withLink(func(h *netlink.Handle, link netlink.Link) ([]Fact, error) {
		a := link.Attrs()
		name := "interface " + c.IfName
		state := Fact{Name: name, Value: fmt.Sprintf("%s, %s, MTU %d, queue %d", link.Type(), a.OperState, a.MTU, a.TxQLen)}
		switch {
		case a.Flags&net.FlagUp == 0:
			state.Note = "it is down: ip link set " + c.IfName + " up"
		case a.OperState == netlink.OperDown || a.OperState == netlink.OperLowerLayerDown:
			state.Note = "it is up but has no carrier: cable, peer or lower device"
		case a.Promisc > 0:
			state.Note = "promiscuous: it also sees frames for other hosts"
		}
		facts := []Fact{state}
		if a.MasterIndex != 0 {
			if master, err := h.LinkByIndex(a.MasterIndex); err == nil {
				facts = append(facts, Fact{Name: name + " belongs to", Value: master.Attrs().Name, Note: master.Type()})
			}
		}
		if s := a.Statistics; s != nil {
			for _, n := range []struct {
				name  string
				value uint64
				note  string
			}{
				{"receive missed", s.RxMissedErrors, "the NIC had no free buffer: the host was too slow, or the ring is too small"},
				{"receive overruns", s.RxOverErrors + s.RxFifoErrors, "the NIC's own queue overflowed"},
				{"receive CRC errors", s.RxCrcErrors, "damage on the wire: cable, transceiver or port"},
				{"receive errors", s.RxErrors, "all kinds of receive errors together"},
				{"receive dropped", s.RxDropped, "dropped by the driver or the core before any protocol"},
				{"send dropped", s.TxDropped, "dropped on the way out, by the device or its queue"},
				{"send errors", s.TxErrors, "the device could not send"},
			} {
				if n.value > 0 {
					facts = append(facts, Fact{Name: name + ", " + n.name, Value: fmt.Sprint(n.value), Note: n.note})
				}
			}
		}
		return facts, nil
	})
}

// qdiscFacts tells the queueing disciplines of the interface.
func qdiscFacts(c *collector) ([]Fact, error) {
	return c.withLink(func(h *netlink.Handle, link netlink.Link) ([]Fact, error) {
		qdiscs, err := h.QdiscList(link)
		if err != nil {
			return nil, fmt.Errorf("list qdiscs: %w", err)
		}
		var facts []Fact
		for _, q := range qdiscs {
			a := q.Attrs()
			f := Fact{Name: fmt.Sprintf("qdisc %s on %s", q.Type(), c.IfName), Value: qdiscLimit(q)}
			if a.Parent != netlink.HANDLE_ROOT {
				f.Name += " below " + netlink.HandleStr(a.Parent)
			}
			if s := a.Statistics; s != nil && s.Queue != nil {
				f.Value = join(f.Value, fmt.Sprintf("%d dropped, %d waiting, %d over limit", s.Queue.Drops, s.Queue.Qlen, s.Queue.Overlimits))
				if s.Queue.Drops > 0 {
					f.Note = "it dropped packets since it was made"
				}
			}
			if q.Type() == "noqueue" {
				f.Note = "no queue: packets go straight to the device"
			}
			if f.Value == "" {
				f.Value = "present"
			}
			facts = append(facts, f)
		}
		if len(facts) == 0 {
			facts = append(facts, Fact{Name: "send queue of " + c.IfName, Value: "no qdisc"})
		}
		return facts, nil
	})
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// qdiscLimit is the limit of the kinds that have one and that are common.
func qdiscLimit(q netlink.Qdisc) string {
	switch q := q.(type) {
	case *netlink.Tbf:
		return fmt.Sprintf("rate %d bit/s, limit %d bytes", q.Rate*8, q.Limit)
	case *netlink.FqCodel:
		return fmt.Sprintf("limit %d packets", q.Limit)
	case *netlink.Fq:
		return fmt.Sprintf("limit %d packets, %d a flow", q.PacketLimit, q.FlowPacketLimit)
	case *netlink.Netem:
		return fmt.Sprintf("limit %d packets, loss %.2f %%", q.Limit, float64(q.Loss)/float64(1<<32)*100)
	case *netlink.Htb:
		return fmt.Sprintf("default class %x", q.Defcls)
	}
	return ""
}

// mtuFacts compares the MTU of the interface with those of the routes.
func mtuFacts(c *collector) ([]Fact, error) {
	facts, err := c.withLink(func(_ *netlink.Handle, link netlink.Link) ([]Fact, error) {
		return []Fact{{Name: "MTU of " + c.IfName, Value: fmt.Sprint(link.Attrs().MTU)}}, nil
	})
	dst := c.Dst.Addr().Unmap()
	if !dst.IsValid() {
		return facts, err
	}
	h, err2 := routing()
	if err2 != nil {
		return facts, err2
	}
	defer h.Close()
	routes, err2 := h.RouteGet(dst.AsSlice())
	if err2 != nil || len(routes) == 0 {
		return facts, err
	}
	r := routes[0]
	out, err2 := h.LinkByIndex(r.LinkIndex)
	if err2 != nil {
		return facts, err
	}
	f := Fact{Name: "MTU towards " + dst.String(), Value: fmt.Sprint(out.Attrs().MTU), Note: "of " + out.Attrs().Name}
	if r.MTU != 0 {
		f.Value, f.Note = fmt.Sprint(r.MTU), "learnt from the path, or set on the route"
	}
	return append(facts, f), nil
}

// routeFacts tells the way to the destination and the way back to the source.
func routeFacts(c *collector) ([]Fact, error) {
	if !c.Dst.Addr().IsValid() && !c.Src.Addr().IsValid() {
		return nil, errNoAddress
	}
	h, err := routing()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var facts []Fact
	if dst := c.Dst.Addr().Unmap(); dst.IsValid() {
		f, _ := lookup(h, dst)
		f.Name = "route to " + dst.String()
		facts = append(facts, f)
	}
	if src := c.Src.Addr().Unmap(); src.IsValid() && !src.IsUnspecified() {
		f, out := lookup(h, src)
		f.Name = "route back to " + src.String()
		if out != "" && c.IfName != "" && out != c.IfName && out != "lo" {
			f.Note = "another interface than " + c.IfName + ": strict rp_filter drops what comes in there"
		}
		facts = append(facts, f)
	}
	return facts, nil
}

// lookup asks the kernel for the route to an address and returns it in the
// words of ip-route(8), with the name of the interface.
func lookup(h *netlink.Handle, addr netip.Addr) (Fact, string) {
	routes, err := h.RouteGet(addr.AsSlice())
	if err != nil || len(routes) == 0 {
		f := Fact{Value: "none"}
		if err != nil {
			f.Note = err.Error()
		}
		return f, ""
	}
	r := routes[0]
	var out string
	if link, err := h.LinkByIndex(r.LinkIndex); err == nil {
		out = link.Attrs().Name
	}
	words := []string{}
	if r.Type == unix.RTN_LOCAL {
		words = append(words, "local")
	}
	if r.Gw != nil {
		words = append(words, "via "+r.Gw.String())
	}
	words = append(words, "dev "+out)
	if r.Src != nil {
		words = append(words, "src "+r.Src.String())
	}
	return Fact{Value: strings.Join(words, " ")}, out
}

// neighFacts tells the state of the next hop and the size of the table.
func neighFacts(c *collector) ([]Fact, error) {
	h, err := routing()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var facts []Fact
	for _, family := range []struct {
		id   int
		name string
	}{{unix.AF_INET, "ARP"}, {unix.AF_INET6, "ND"}} {
		list, err := h.NeighList(0, family.id)
		if err != nil {
			return facts, fmt.Errorf("list neighbours: %w", err)
		}
		failed := 0
		for i := range list {
			if list[i].State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0 {
				failed++
			}
		}
		facts = append(facts, Fact{Name: family.name + " table", Value: fmt.Sprintf("%d entries, %d of them unresolved", len(list), failed)})
		if hop := nextHop(h, c.Dst.Addr().Unmap(), family.id); hop != nil {
			facts = append(facts, hopFact(list, hop))
		}
	}
	if !c.Dst.Addr().IsValid() {
		return facts, errNoAddress
	}
	return facts, nil
}

// nextHop is the neighbour that a packet to dst is handed to; nil if there is
// none in that family.
func nextHop(h *netlink.Handle, dst netip.Addr, family int) net.IP {
	if !dst.IsValid() || dst.Is4() != (family == unix.AF_INET) {
		return nil
	}
	routes, err := h.RouteGet(dst.AsSlice())
	if err != nil || len(routes) == 0 {
		return nil
	}
	if routes[0].Gw != nil {
		return routes[0].Gw
	}
	return dst.AsSlice()
}

func hopFact(list []netlink.Neigh, hop net.IP) Fact {
	f := Fact{Name: "next hop " + hop.String(), Value: "not in the table", Note: "nobody asked for it lately, or no answer came"}
	for i := range list {
		if !list[i].IP.Equal(hop) {
			continue
		}
		f.Value, f.Note = neighState(list[i].State)
		if list[i].HardwareAddr != nil && f.Value != "failed" {
			f.Value += " " + list[i].HardwareAddr.String()
		}
	}
	return f
}

func neighState(state int) (value, note string) {
	switch {
	case state&netlink.NUD_FAILED != 0:
		return "failed", "it did not answer: down, wrong address, or wrong VLAN"
	case state&netlink.NUD_INCOMPLETE != 0:
		return "incomplete", "asked, no answer yet"
	case state&netlink.NUD_REACHABLE != 0:
		return "reachable", "it answers"
	case state&netlink.NUD_PERMANENT != 0:
		return "permanent", "set by hand: is the address still right?"
	case state&netlink.NUD_NOARP != 0:
		return "noarp", "needs no resolution"
	case state&(netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE) != 0:
		return "stale", "known, not confirmed lately; that is normal"
	}
	return fmt.Sprintf("state %#x", state), ""
}
