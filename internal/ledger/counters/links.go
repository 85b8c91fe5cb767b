package counters

import (
	"encoding/binary"
	"errors"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/ethtool"
)

// links reads the interfaces with their statistics.
func (r *reading) links(n *Namespace) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	var over uint64
	err := r.list(request{protocol: unix.NETLINK_ROUTE, kind: unix.RTM_GETLINK, body: body},
		func() { n.Interfaces, over = nil, 0 },
		func(b []byte) {
			link, ok := parseLink(b, &r.texts)
			switch {
			case !ok:
			case len(n.Interfaces) == maxInterfaces:
				over++
			default:
				n.Interfaces = append(n.Interfaces, link)
			}
		})
	if err != nil {
		n.Interfaces = nil
		return err
	}
	r.lost.add("interfaces", over)
	return nil
}

// Attributes of links that package unix does not have.
const (
	iflaXDPAttached = 2 // IFLA_XDP_ATTACHED
	iflaXDPID       = 4 // IFLA_XDP_PROG_ID
	iflaXDPDriver   = 5 // IFLA_XDP_DRV_PROG_ID
)

// parseLink reads an RTM_NEWLINK message: struct ifinfomsg and attributes.
func parseLink(b []byte, text *texts) (Interface, bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return Interface{}, false
	}
	link := Interface{Index: u32(b, 4), Flags: u32(b, 8), LinkNSID: -1}
	for kind, value := range attributes(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			link.Name = text.of(value)
		case unix.IFLA_MTU:
			link.MTU = u32(value, 0)
		case unix.IFLA_MASTER:
			link.Master = u32(value, 0)
		case unix.IFLA_LINK:
			link.Link = u32(value, 0)
		case unix.IFLA_LINK_NETNSID:
			link.LinkNSID = int32(u32(value, 0))
		case unix.IFLA_TXQLEN:
			link.TxQueueLen = u32(value, 0)
		case unix.IFLA_LINKINFO:
			link.Kind = text.of(attribute(value, unix.IFLA_INFO_KIND))
		case unix.IFLA_STATS64:
			for i, to := range link.Stats.counters() {
				*to = u64(value, 8*i)
			}
		case unix.IFLA_XDP:
			link.XDP = parseXDP(value)
		}
	}
	if binary.NativeEndian.Uint16(b[2:]) == unix.ARPHRD_LOOPBACK {
		link.Kind = "lo"
	}
	return link, true
}

func parseXDP(b []byte) XDP {
	var x XDP
	var driver uint32
	for kind, value := range attributes(b) {
		switch kind {
		case iflaXDPAttached:
			if len(value) == 1 {
				x.Mode = XDPMode(value[0])
			}
		case iflaXDPID:
			x.Program.ID = u32(value, 0)
		case iflaXDPDriver:
			driver = u32(value, 0)
		}
	}
	if x.Mode == XDPSeveral {
		x.Program.ID = driver
	}
	return x
}

// counters returns the fields in the kernel's order.
func (s *LinkStats) counters() [25]*uint64 {
	return [25]*uint64{
		&s.RxPackets, &s.TxPackets, &s.RxBytes, &s.TxBytes, &s.RxErrors, &s.TxErrors, &s.RxDropped, &s.TxDropped,
		&s.Multicast, &s.Collisions, &s.RxLengthErrors, &s.RxOverErrors, &s.RxCRCErrors, &s.RxFrameErrors, &s.RxFIFOErrors,
		&s.RxMissedErrors, &s.TxAbortedErrors, &s.TxCarrierErrors, &s.TxFIFOErrors, &s.TxHeartbeatErrors, &s.TxWindowErrors,
		&s.RxCompressed, &s.TxCompressed, &s.RxNoHandler, &s.RxOtherhostDropped,
	}
}

// linkStatsNames are the names of LinkStats' counters, in the same order, as
// the kernel has them.
var linkStatsNames = [25]string{
	"rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
	"multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors",
	"rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_window_errors",
	"rx_compressed", "tx_compressed", "rx_nohandler", "rx_otherhost_dropped",
}

// drivers reads what drivers count by themselves: of hardware, and of devices
// with XDP, whose drops are nowhere else.
func (r *reading) drivers(n *Namespace) error {
	for i := range n.Interfaces {
		link := &n.Interfaces[i]
		if link.Kind != "" && link.XDP.Mode == XDPNone {
			continue
		}
		names, values, err := r.driver.Read(r.source.ethtool, link.Name)
		switch {
		case errors.Is(err, ethtool.ErrNone):
		case err != nil:
			r.gap(PartEthtool, link.Name, err)
		default:
			link.Driver = Counters{Names: names, Values: values}
		}
		rings, err := ethtool.ReadRings(r.source.ethtool, link.Name)
		switch {
		case errors.Is(err, ethtool.ErrNone):
		case err != nil:
			r.gap(PartEthtool, link.Name, err)
		default:
			link.Rings = &Rings{Rx: rings.Rx, RxMax: rings.RxMax, Tx: rings.Tx, TxMax: rings.TxMax}
		}
	}
	return nil
}

// attached reads which programs are attached by tcx. Kernels before 6.6 have
// none, so nothing is missing there.
func (r *reading) attached(n *Namespace) error {
	if r.noTCX {
		return nil
	}
	var over uint64
	for _, way := range []struct {
		name   string
		attach ebpf.AttachType
	}{{"ingress", ebpf.AttachTCXIngress}, {"egress", ebpf.AttachTCXEgress}} {
		for i := range n.Interfaces {
			ids, err := r.tcx(n.Interfaces[i].Index, way.attach)
			if errors.Is(err, errNoTCX) {
				r.noTCX = true
				return nil
			}
			if err != nil {
				r.gap(PartTCX, n.Interfaces[i].Name, err)
				continue
			}
			for _, id := range ids {
				if len(n.TCX) == maxQueues {
					over++
					continue
				}
				t := TCX{Index: n.Interfaces[i].Index, Direction: way.name, Program: Program{ID: id}}
				r.name(&t.Program)
				n.TCX = append(n.TCX, t)
			}
		}
	}
	r.lost.add("programs", over)
	return nil
}
