package agent

import (
	"net/netip"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

// end is one end of a connection, where a socket of this host is.
type end struct {
	local, remote netip.AddrPort
	space         uint32
}

// holders are whose the ends of connections are.
type holders struct{ ends aging[end, origin] }

// silence is how long a connection may say nothing before its owner is forgotten:
// as long as it takes until the connection is.
const silence = 10 * time.Minute

func newHolders() holders { return holders{aging[end, origin]{patience: silence}} }

func (h *holders) turn(now time.Time) { h.ends.turn(now) }

// remember keeps whose the socket is that told of a packet.
func (h *holders) remember(e *decode.PacketEvent, p *packet.Packet) {
	here := end{p.Src, p.Dst, p.Space}
	if e.Dir&decode.PacketOut == 0 {
		here.local, here.remote = here.remote, here.local
	}
	if o, ok := h.ends.young[here]; ok && o.owner.PID != 0 {
		return
	}
	h.ends.put(here, origin{owner: e.Owner, netns: max(e.NetNS, e.Owner.NetNS), ifindex: e.IfIndex})
}

// origin finds the socket of this host that a request is of: the client's, if
// both are.
func (h *holders) origin(r *record.Request, space uint32) (origin, bool) {
	src, dst := netip.AddrPortFrom(r.SrcAddr, r.SrcPort), netip.AddrPortFrom(r.DstAddr, r.DstPort)
	if o, ok := h.ends.get(end{src, dst, space}); ok {
		o.side = record.Client
		return o, true
	}
	o, ok := h.ends.get(end{dst, src, space})
	o.side = record.Server
	return o, ok
}
