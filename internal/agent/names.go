package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/enrich/container"
	"github.com/netfate/netfate/internal/enrich/identity"
	"github.com/netfate/netfate/internal/enrich/iface"
	"github.com/netfate/netfate/internal/enrich/netns"
	"github.com/netfate/netfate/internal/enrich/process"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/sensor/owner"
	"github.com/netfate/netfate/internal/table"
	"github.com/netfate/netfate/internal/verdict"
)

// names puts names to numbers: the caches of all enrichers, and what the
// kernel calls its own. It belongs to the pump.
type names struct {
	host      string
	netns     *netns.Names
	ifaces    *iface.Table
	cgroups   *container.Cgroups
	processes *process.Table
	symbols   *kernel.Symbols // nil until everything is attached
	reasons   *kernel.Reasons
	book      *verdict.Book
	owners    *owner.Sensor
	learned   map[decode.ProcessKey]struct{} // asked about in this interval
	links     linkNames                      // of this interval's sample of counters, if there is one
	failed    uint64                         // refreshes that could not look up everything

	ownerless // sockets of owners that packets did not tell
}

// newNames returns caches that know nothing yet. Containers have the names that
// called has, and their ids only if it is nil.
func newNames(host string, called *identity.Table, reasons *kernel.Reasons, book *verdict.Book) *names {
	n := &names{host: host, reasons: reasons, book: book,
		learned: map[decode.ProcessKey]struct{}{}}
	n.cgroups = container.New(container.Config{Namer: Namer(called)})
	n.netns = netns.New(netns.Config{Container: func(cgroup string) (id, name string) {
		var o record.Owner
		n.cgroups.Describe(cgroup, &o)
		return o.Container, o.ContainerName
	}})
	n.ifaces = iface.New(n.netns.Path)
	n.processes = process.New(process.Config{
		Cgroup: n.cgroups.Path, Describe: n.cgroups.Describe, Legacy: legacyCgroups(),
	})
	return n
}

// Namer has containers named by a table; nil for none.
func Namer(called *identity.Table) container.Namer {
	if called == nil {
		return nil
	}
	return func(i container.Info) (container.Names, bool) {
		n, final := called.Name(i.FullID, i.PodUID)
		return container.Names(n), final
	}
}

// nameContainers keeps names up to date until the function that it returns is called.
func nameContainers(ctx context.Context, called *identity.Table) (stop func()) {
	if called == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { called.Run(ctx) })
	return func() {
		cancel()
		all.Wait()
	}
}

// refreshTime bounds how long one interval waits for names of each kind; what
// is not known by then is filled in from the next interval on.
const refreshTime = 500 * time.Millisecond

// refresh looks up what was asked for and not known. A name that cannot be had
// is no error: the record shows the number.
func (n *names) refresh(ctx context.Context) {
	n.bound = nil
	clear(n.learned)
	// Each in turn: a namespace's path is what its interfaces are read by, and
	// a cgroup's path is what its processes are described by. Each with time of
	// its own, so that a slow one does not keep the others from ever ending.
	for _, refresh := range []func(context.Context) error{
		n.netns.Refresh, n.ifaces.Refresh, n.cgroups.Refresh, n.processes.Refresh,
	} {
		n.within(ctx, refresh)
	}
}

func (n *names) within(ctx context.Context, refresh func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	if err := refresh(ctx); err != nil {
		n.failed++
	}
}

// want notes what a row will need to be named.
func (n *names) want(netns, ifindex uint32, o decode.OwnerRef) {
	if netns != 0 {
		n.netns.Name(netns)
	}
	if ifindex != 0 {
		n.ifaces.Lookup(netns, ifindex)
	}
	n.owner(o)
}

// owner returns what is known of a process. Once in an interval it asks the
// kernel side, which knows those that have exited, and new names after exec.
func (n *names) owner(ref decode.OwnerRef) record.Owner {
	if ref.PID == 0 {
		return record.Owner{}
	}
	key := decode.ProcessKey{Start: ref.Start, PID: ref.PID}
	if _, asked := n.learned[key]; !asked && len(n.learned) < maxAsked {
		n.learned[key] = struct{}{}
		if p, ok := n.owners.Process(key); ok {
			n.processes.Learn(process.Fact{Start: ref.Start, PID: ref.PID, CgroupID: p.Cgroup, UID: p.UID, Comm: p.Comm})
		}
	}
	if o, ok := n.processes.Owner(ref.PID, ref.Start); ok {
		return o
	}
	return record.Owner{PID: ref.PID}
}

// device returns how to count on an interface.
func (n *names) device(netns, ifindex uint32) table.Device {
	i, ok := n.ifaces.Lookup(netns, ifindex)
	if !ok {
		return table.Device{}
	}
	d := table.Device{Known: true, Enters: i.Outside, Stacked: i.Stacked}
	if i.CountsLinkHeaderIn {
		d.LinkHeaderIn = uint32(i.HeaderLen)
	}
	if !i.CountsLinkHeaderOut {
		d.NoLinkHeaderOut = uint32(i.HeaderLen)
	}
	return d
}

// endpoints fills what all records share.
func (n *names) endpoints(e *record.Endpoints, at time.Time, t *decode.Tuple, netns, ifindex uint32) {
	e.Time, e.Host = at, n.host
	n.where(e, netns, ifindex)
	e.Proto = t.Protocol()
	e.SrcAddr, e.DstAddr = t.SrcAddr(), t.DstAddr()
	e.SrcPort, e.DstPort = t.Ports()
}

// where fills in the namespace and the interface; 0 is none.
func (n *names) where(e *record.Endpoints, netns, ifindex uint32) {
	e.NetNS = netns
	if netns != 0 {
		e.NetNSName = n.netns.Name(netns)
	}
	if ifindex != 0 {
		if name := n.links[linkKey{netns, ifindex}]; name != "" {
			e.IfName = name
		} else if i, ok := n.ifaces.Lookup(netns, ifindex); ok {
			e.IfName = i.Name
		} else {
			e.IfName = fmt.Sprintf("if%d", ifindex)
		}
	}
}

// place returns the function that an address is in, and it with the offset.
func (n *names) place(addr uint64) (function, location string) {
	name, offset, _, ok := n.symbols.Lookup(addr)
	if !ok {
		return "", fmt.Sprintf("0x%x", addr)
	}
	return name, fmt.Sprintf("%s+0x%x", name, offset)
}

// direction corrects what the buffer itself could not tell by the function
// that freed it.
func direction(flags uint8, function string) record.Direction {
	switch {
	case strings.HasPrefix(function, "ip_forward"), strings.HasPrefix(function, "ip6_forward"):
		return record.Forward
	case strings.Contains(function, "xdp_rcv"), strings.HasPrefix(function, "do_xdp_generic"):
		return record.In // XDP sees only what comes in
	}
	switch flags & decode.DropDirection {
	case decode.DropOut:
		return record.Out
	case decode.DropForward:
		return record.Forward
	}
	return record.In
}

// Group reports whether an address is of many hosts: multicast, or IPv4's
// limited broadcast (RFC 919).
func Group(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// judge fills in what a drop means.
func (n *names) judge(d *record.Drop, function string) {
	d.Verdict = n.book.Judge(verdict.Case{
		Reason: d.Reason, Subsystem: d.Subsystem, Place: function, Proto: d.Proto, SocketState: d.SocketState,
		Direction: d.Direction, Multicast: Group(d.DstAddr),
	}).Verdict
}
