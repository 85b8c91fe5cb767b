package ipfix

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// NetFlow version 9 (RFC 3954) is for collectors that know no IPFIX. It has neither
// elements of enterprises nor strings of any length, so it does not tell whose traffic it
// was; and each direction of a flow is a record of its own.
const (
	version9      = 9
	header9Length = 20
	template9Set  = 0
	// ifname9 is how many bytes an interface's name has: as many as the kernel's, with
	// its end.
	ifname9 = 16
)

// Templates9 returns all templates of NetFlow version 9.
func Templates9() []Template {
	ends := func(v6 bool) []Element {
		src, dst := Element{8, 0, 4, "IPV4_SRC_ADDR"}, Element{12, 0, 4, "IPV4_DST_ADDR"}
		if v6 {
			src, dst = Element{27, 0, 16, "IPV6_SRC_ADDR"}, Element{28, 0, 16, "IPV6_DST_ADDR"}
		}
		return []Element{
			// Times since the start of netfate (21 and 22) would go wrong after 49 days.
			{152, 0, 8, "flowStartMilliseconds"}, {153, 0, 8, "flowEndMilliseconds"}, src, dst,
			{7, 0, 2, "L4_SRC_PORT"}, {11, 0, 2, "L4_DST_PORT"}, {4, 0, 1, "PROTOCOL"}, {6, 0, 1, "TCP_FLAGS"},
			{61, 0, 1, "DIRECTION"}, {82, 0, ifname9, "IF_NAME"},
		}
	}
	flows := []Element{{2, 0, 8, "IN_PKTS"}, {1, 0, 8, "IN_BYTES"}, {133, 0, 8, "droppedPacketDeltaCount"}}
	drops := []Element{{89, 0, 1, "FORWARDING_STATUS"}, {133, 0, 8, "droppedPacketDeltaCount"}, {132, 0, 8, "droppedOctetDeltaCount"}}
	return []Template{
		{flowsV4, append(ends(false), flows...)}, {flowsV6, append(ends(true), flows...)},
		{dropsV4, append(ends(false), drops...)}, {dropsV6, append(ends(true), drops...)},
	}
}

// packTemplates9 returns a message of the templates.
func packTemplates9() []byte {
	all := Templates9()
	b := appendTemplates(make([]byte, header9Length), template9Set, all)
	binary.BigEndian.PutUint16(b[2:], uint16(len(all)))
	return b
}

// end9 is one end of a record.
type end9 struct {
	addr netip.Addr
	port uint16
}

func (e *Exporter) appendEnds9(b []byte, r *record.Endpoints, src, dst end9, start, end time.Time, flags string, direction byte, v4 bool) []byte {
	b = appendTime(b, start)
	b = appendTime(b, end)
	b = appendAddr(b, src.addr, v4)
	b = appendAddr(b, dst.addr, v4)
	b = binary.BigEndian.AppendUint16(b, src.port)
	b = binary.BigEndian.AppendUint16(b, dst.port)
	b = append(b, e.protocol(r.Proto), byte(tcpFlags(flags)), direction)
	var name [ifname9]byte
	copy(name[:ifname9-1], strings.ToValidUTF8(r.IfName, "?"))
	return append(b, name[:]...)
}

// addFlow9 adds a record for each direction that had packets, and one at least.
func (e *Exporter) addFlow9(w *writer, f *record.Flow, v4 bool) {
	src, dst := end9{f.SrcAddr, f.SrcPort}, end9{f.DstAddr, f.DstPort}
	packets, bytes, back, bytesBack := f.PacketsOut, f.BytesOut, f.PacketsIn, f.BytesIn
	there, here := byte(egress), byte(ingress)
	if f.Direction == record.In {
		packets, bytes, back, bytesBack = back, bytesBack, packets, bytes
		there, here = here, there
	}
	add := func(src, dst end9, direction byte, packets, bytes, drops, rows uint64) {
		b := e.appendEnds9(w.scratch[:0], &f.Endpoints, src, dst, f.Start, f.End, f.TCPFlags, direction, v4)
		for _, n := range []uint64{packets, bytes, drops} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		w.add(setOf(flowsV4, v4), b, rows)
	}
	if packets > 0 || back == 0 {
		add(src, dst, there, packets, bytes, f.Drops, 1)
		if back > 0 {
			add(dst, src, here, back, bytesBack, 0, 0)
		}
		return
	}
	add(dst, src, here, back, bytesBack, f.Drops, 1)
}

// appendDrop9 appends lost packets; start is when their interval began.
func (e *Exporter) appendDrop9(b []byte, d *record.Drop, start time.Time, v4 bool) []byte {
	direction, status := fateOf(d)
	b = e.appendEnds9(b, &d.Endpoints, end9{d.SrcAddr, d.SrcPort}, end9{d.DstAddr, d.DstPort}, start, d.Time, d.TCPFlags, direction, v4)
	b = append(b, status)
	b = binary.BigEndian.AppendUint64(b, d.Packets)
	return binary.BigEndian.AppendUint64(b, d.Bytes)
}

// stamp9 writes a message's header but for the number of its records; its own is that of
// the messages before it.
func (e *Exporter) stamp9(message []byte) []byte {
	now := time.Now()
	binary.BigEndian.PutUint16(message, version9)
	binary.BigEndian.PutUint32(message[4:], uint32(now.Sub(e.begun).Milliseconds()))
	binary.BigEndian.PutUint32(message[8:], uint32(now.Unix()))
	binary.BigEndian.PutUint32(message[12:], e.sequence)
	binary.BigEndian.PutUint32(message[16:], e.cfg.Domain)
	e.sequence++
	return message
}
