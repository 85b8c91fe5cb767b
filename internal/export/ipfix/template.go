package ipfix

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/record"
)

// Element is one information element as a template has it.
type Element struct {
	ID         uint16
	Enterprise uint32 // 0 is IANA's
	Length     uint16 // in bytes, or Variable
	Name       string // of ours, a field of the record; else IANA's
}

const (
	// Variable is the length of strings, each of which has its own before it (RFC 7011,
	// section 7).
	Variable = 65535
	// reverse is the enterprise of elements of the other direction (RFC 5103, section 6.1).
	reverse = 29305
	// DefaultEnterprise is the number for documentation (RFC 5612), since netfate has none of
	// its own. Who needs another one configures it.
	DefaultEnterprise = 32473
)

// Template is what the records of one set hold.
type Template struct {
	Set      uint16
	Elements []Element
}

// Elements of ours, by their numbers, which never change.
func ours() []Element {
	return []Element{
		{1, 0, Variable, "comm"},
		{2, 0, 4, "pid"},
		{3, 0, Variable, "container"},
		{4, 0, Variable, "container_name"},
		{5, 0, Variable, "pod"},
		{6, 0, Variable, "pod_namespace"},
		{7, 0, Variable, "netns_name"},
		{8, 0, 4, "netns"},
		{9, 0, Variable, "name"},
		{10, 0, 8, "retransmits"},
		{11, 0, 4, "rtt_us"},
		{12, 0, 8, "host_packets"},
		{13, 0, 8, "host_bytes"},
		{14, 0, Variable, "reason"},
		{15, 0, Variable, "verdict"},
		{16, 0, Variable, "location"},
		{17, 0, Variable, "cgroup"},
	}
}

// Sets, which are templates and those they describe (RFC 7011, section 3.3.2).
const (
	templateSet = 2
	flowsV4     = 256
	flowsV6     = 257
	dropsV4     = 258
	dropsV6     = 259
)

// Templates returns all templates, with our elements under an enterprise's number.
func Templates(enterprise uint32) []Template {
	own := func(names ...string) (all []Element) {
		for _, name := range names {
			for _, e := range ours() {
				if e.Name == name {
					e.Enterprise = enterprise
					all = append(all, e)
				}
			}
		}
		return all
	}
	ends := func(v6 bool) []Element {
		src, dst := Element{8, 0, 4, "sourceIPv4Address"}, Element{12, 0, 4, "destinationIPv4Address"}
		if v6 {
			src, dst = Element{27, 0, 16, "sourceIPv6Address"}, Element{28, 0, 16, "destinationIPv6Address"}
		}
		return append([]Element{
			{152, 0, 8, "flowStartMilliseconds"}, {153, 0, 8, "flowEndMilliseconds"}, src, dst,
			{7, 0, 2, "sourceTransportPort"}, {11, 0, 2, "destinationTransportPort"}, {4, 0, 1, "protocolIdentifier"},
			{82, 0, Variable, "interfaceName"},
		}, own("netns", "netns_name", "pid", "comm", "cgroup", "container", "container_name", "pod", "pod_namespace", "name")...)
	}
	flows := append([]Element{
		{61, 0, 1, "flowDirection"}, {239, 0, 1, "biflowDirection"}, {6, 0, 2, "tcpControlBits"},
		{2, 0, 8, "packetDeltaCount"}, {1, 0, 8, "octetDeltaCount"},
		{2, reverse, 8, "reversePacketDeltaCount"}, {1, reverse, 8, "reverseOctetDeltaCount"},
		{133, 0, 8, "droppedPacketDeltaCount"},
	}, own("retransmits", "rtt_us", "host_packets", "host_bytes")...)
	drops := append([]Element{
		{61, 0, 1, "flowDirection"}, {6, 0, 2, "tcpControlBits"}, {89, 0, 1, "forwardingStatus"},
		{133, 0, 8, "droppedPacketDeltaCount"}, {132, 0, 8, "droppedOctetDeltaCount"},
	}, own("reason", "verdict", "location")...)
	return []Template{
		{flowsV4, append(ends(false), flows...)}, {flowsV6, append(ends(true), flows...)},
		{dropsV4, append(ends(false), drops...)}, {dropsV6, append(ends(true), drops...)},
	}
}

// appendTemplates appends a set of all templates, which has that number.
func appendTemplates(b []byte, set uint16, all []Template) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(set)<<16)
	for _, t := range all {
		b = binary.BigEndian.AppendUint16(b, t.Set)
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.Elements)))
		for _, e := range t.Elements {
			if e.Enterprise == 0 {
				b = binary.BigEndian.AppendUint16(b, e.ID)
				b = binary.BigEndian.AppendUint16(b, e.Length)
				continue
			}
			b = binary.BigEndian.AppendUint16(b, e.ID|1<<15)
			b = binary.BigEndian.AppendUint16(b, e.Length)
			b = binary.BigEndian.AppendUint32(b, e.Enterprise)
		}
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

// maxString is how long a string may be in a record, in bytes; all of them together
// fit a message then.
const maxString = 96

// appendString appends a string of variable length.
func appendString(b []byte, text string) []byte {
	if len(text) > maxString {
		text = text[:maxString]
	}
	text = strings.ToValidUTF8(text, "?")
	b = append(b, byte(len(text)))
	return append(b, text...)
}

// isV4 reports whether both ends of a record fit the template of IPv4. Those that are
// not known do.
func isV4(e *record.Endpoints) bool {
	fits := func(a netip.Addr) bool { return !a.IsValid() || a.Unmap().Is4() }
	return fits(e.SrcAddr) && fits(e.DstAddr)
}

func appendAddr(b []byte, a netip.Addr, v4 bool) []byte {
	switch {
	case v4 && !a.IsValid():
		return append(b, 0, 0, 0, 0)
	case v4:
		four := a.Unmap().As4()
		return append(b, four[:]...)
	case !a.IsValid():
		a = netip.IPv6Unspecified()
	}
	sixteen := a.As16()
	return append(b, sixteen[:]...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, uint64(max(t.UnixMilli(), 0)))
}

// appendEnds appends what all records begin with.
func (e *Exporter) appendEnds(b []byte, r *record.Endpoints, name string, start, end time.Time, v4 bool) []byte {
	b = appendTime(b, start)
	b = appendTime(b, end)
	b = appendAddr(b, r.SrcAddr, v4)
	b = appendAddr(b, r.DstAddr, v4)
	b = binary.BigEndian.AppendUint16(b, r.SrcPort)
	b = binary.BigEndian.AppendUint16(b, r.DstPort)
	b = append(b, e.protocol(r.Proto))
	b = appendString(b, r.IfName)
	b = binary.BigEndian.AppendUint32(b, r.NetNS)
	b = appendString(b, r.NetNSName)
	b = binary.BigEndian.AppendUint32(b, r.PID)
	for _, text := range []string{r.Comm, r.Cgroup, r.Container, r.ContainerName, r.Pod, r.PodNamespace, name} {
		b = appendString(b, text)
	}
	return b
}

// Values of flowDirection(61), biflowDirection(239) and forwardingStatus(89), whose
// two upper bits say what became of the packet, in IANA's registry.
const (
	ingress     = 0
	egress      = 1
	arbitrary   = 0
	initiator   = 1
	wasDropped  = 0b10 << 6
	wasConsumed = 0b11 << 6
)

// appendFlow appends a flow. Its forward direction is from the source, the side that
// began; of traffic that is only forwarded the record does not tell which way is which.
func (e *Exporter) appendFlow(b []byte, f *record.Flow) []byte {
	v4 := isV4(&f.Endpoints)
	b = e.appendEnds(b, &f.Endpoints, f.Name, f.Start, f.End, v4)
	packets, bytes, back, bytesBack := f.PacketsOut, f.BytesOut, f.PacketsIn, f.BytesIn
	direction, known := byte(egress), byte(initiator)
	switch f.Direction {
	case record.In:
		packets, bytes, back, bytesBack = back, bytesBack, packets, bytes
		direction = ingress
	case record.Forward:
		known = arbitrary
	}
	b = append(b, direction, known)
	b = binary.BigEndian.AppendUint16(b, tcpFlags(f.TCPFlags))
	for _, n := range []uint64{packets, bytes, back, bytesBack, f.Drops, f.Retransmits} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, f.RTTMicros)
	b = binary.BigEndian.AppendUint64(b, f.HostPackets)
	return binary.BigEndian.AppendUint64(b, f.HostBytes)
}

// fateOf returns which way lost packets went, and what became of them.
func fateOf(d *record.Drop) (direction, status byte) {
	direction, status = egress, wasDropped
	if d.Direction == record.In {
		direction = ingress
	}
	if d.Verdict == record.Benign {
		status = wasConsumed
	}
	return direction, status
}

// appendDrop appends lost packets; start is when their interval began.
func (e *Exporter) appendDrop(b []byte, d *record.Drop, start time.Time) []byte {
	b = e.appendEnds(b, &d.Endpoints, d.Name, start, d.Time, isV4(&d.Endpoints))
	direction, status := fateOf(d)
	b = append(b, direction)
	b = binary.BigEndian.AppendUint16(b, tcpFlags(d.TCPFlags))
	b = append(b, status)
	b = binary.BigEndian.AppendUint64(b, d.Packets)
	b = binary.BigEndian.AppendUint64(b, d.Bytes)
	for _, text := range []string{d.Reason, string(d.Verdict), d.Location} {
		b = appendString(b, text)
	}
	return b
}

// tcpFlags returns the bits of TCP's header for letters.
func tcpFlags(letters string) (bits uint16) {
	for _, l := range letters {
		if i := strings.IndexRune("FSRPAUEC", l); i >= 0 {
			bits |= 1 << i
		}
	}
	return bits
}

// noProtocol is what is not IP: a number that is reserved (IANA, Protocol Numbers).
const noProtocol = 255

// protocol returns the number of a transport protocol by the name that records have.
func (e *Exporter) protocol(name string) byte {
	if n, ok := e.protocols[name]; ok {
		return n
	}
	return noProtocol
}

// protocols returns the numbers of all names.
func protocols() map[string]byte {
	all := map[string]byte{"": 0}
	for n := 1; n < noProtocol; n++ {
		all[(&decode.Tuple{EthProto: unix.ETH_P_IP, Proto: uint8(n)}).Protocol()] = byte(n)
	}
	return all
}
