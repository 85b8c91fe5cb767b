package netlab

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Ethernet types and protocol numbers that frames are built of.
const (
	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherVLAN = 0x8100
	EtherIPv6 = 0x86dd

	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

// TCP flags, RFC 9293 section 3.1.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Frame describes one Ethernet frame. The zero value of a field means the
// usual: the type by the addresses, TTL 64, a whole packet.
type Frame struct {
	SrcMAC, DstMAC net.HardwareAddr
	// EtherType other than IP makes a frame of just Payload.
	EtherType uint16
	// VLAN puts one 802.1Q tag before the type.
	VLAN uint16

	Src, Dst netip.AddrPort
	Proto    uint8
	TTL      uint8
	ID       uint16
	DF, More bool
	// Offset is the fragment offset in bytes, a multiple of 8. A frame with
	// Offset or More carries Payload as it is, without a transport header.
	Offset uint16
	// Options are IPv4 options, a multiple of 4 bytes.
	Options []byte

	Seq, Ack   uint32
	Flags      uint8
	Window     uint16
	TCPOptions []byte // a multiple of 4 bytes

	// Payload is what follows the transport header; of a protocol other than
	// TCP and UDP all of it. ICMP messages get their checksum at bytes 2 and 3.
	Payload []byte
}

// Bytes returns the frame as the wire has it, with correct lengths and
// checksums: break them afterwards, with [NetworkAt] and [TransportAt].
func (f Frame) Bytes() []byte {
	b := append(append(make([]byte, 0, 128+len(f.Payload)), f.DstMAC...), f.SrcMAC...)
	if f.VLAN != 0 {
		b = binary.BigEndian.AppendUint16(b, EtherVLAN)
		b = binary.BigEndian.AppendUint16(b, f.VLAN)
	}
	switch {
	case f.EtherType != 0 && f.EtherType != EtherIPv4 && f.EtherType != EtherIPv6:
		return append(binary.BigEndian.AppendUint16(b, f.EtherType), f.Payload...)
	case f.Src.Addr().Is4():
		b = binary.BigEndian.AppendUint16(b, EtherIPv4)
		return f.appendIPv4(b, f.transport())
	default:
		b = binary.BigEndian.AppendUint16(b, EtherIPv6)
		return f.appendIPv6(b, f.transport())
	}
}

func (f Frame) ttl() uint8 {
	if f.TTL == 0 {
		return 64
	}
	return f.TTL
}

func (f Frame) appendIPv4(b, payload []byte) []byte {
	at, size := len(b), 20+len(f.Options)
	fragment := f.Offset / 8
	if f.DF {
		fragment |= 0x4000
	}
	if f.More {
		fragment |= 0x2000
	}
	b = append(b, byte(4<<4|size/4), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(size+len(payload)))
	b = binary.BigEndian.AppendUint16(b, f.ID)
	b = binary.BigEndian.AppendUint16(b, fragment)
	b = append(b, f.ttl(), f.Proto, 0, 0)
	b = append(append(b, f.Src.Addr().AsSlice()...), f.Dst.Addr().AsSlice()...)
	b = append(b, f.Options...)
	binary.BigEndian.PutUint16(b[at+10:], Checksum(b[at:]))
	return append(b, payload...)
}

func (f Frame) appendIPv6(b, payload []byte) []byte {
	next := f.Proto
	if f.Offset != 0 || f.More {
		word := f.Offset &^ 7
		if f.More {
			word |= 1
		}
		header := []byte{f.Proto, 0}
		header = binary.BigEndian.AppendUint16(header, word)
		header = binary.BigEndian.AppendUint32(header, uint32(f.ID))
		payload = append(header, payload...)
		next = 44
	}
	b = append(b, 6<<4, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, next, f.ttl())
	b = append(append(b, f.Src.Addr().AsSlice()...), f.Dst.Addr().AsSlice()...)
	return append(b, payload...)
}

// transport returns what follows the network header.
func (f Frame) transport() []byte {
	if f.Offset != 0 || f.More {
		return f.Payload
	}
	var t []byte
	sum := -1
	switch f.Proto {
	case ProtoUDP:
		t = binary.BigEndian.AppendUint16(t, f.Src.Port())
		t = binary.BigEndian.AppendUint16(t, f.Dst.Port())
		t = binary.BigEndian.AppendUint16(t, uint16(8+len(f.Payload)))
		t, sum = append(t, 0, 0), 6
	case ProtoTCP:
		t = binary.BigEndian.AppendUint16(t, f.Src.Port())
		t = binary.BigEndian.AppendUint16(t, f.Dst.Port())
		t = binary.BigEndian.AppendUint32(t, f.Seq)
		t = binary.BigEndian.AppendUint32(t, f.Ack)
		window := f.Window
		if window == 0 {
			window = 65000
		}
		t = append(t, byte((20+len(f.TCPOptions))/4<<4), f.Flags)
		t = binary.BigEndian.AppendUint16(t, window)
		t, sum = append(t, 0, 0, 0, 0), 16
		t = append(t, f.TCPOptions...)
	case ProtoICMP, ProtoICMPv6:
		sum = 2
	}
	t = append(t, f.Payload...)
	if sum < 0 {
		return t
	}
	t[sum], t[sum+1] = 0, 0
	var value uint16
	if f.Proto == ProtoICMP {
		value = Checksum(t)
	} else {
		value = Checksum(append(f.pseudo(len(t)), t...))
	}
	binary.BigEndian.PutUint16(t[sum:], value)
	return t
}

// pseudo returns the pseudo header that the transport checksum covers.
func (f Frame) pseudo(length int) []byte {
	p := append(f.Src.Addr().AsSlice(), f.Dst.Addr().AsSlice()...)
	p = binary.BigEndian.AppendUint32(p, uint32(length))
	return append(p, 0, 0, 0, f.Proto)
}

// Checksum is the Internet checksum, RFC 1071.
func Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// NetworkAt returns where the network header of a frame begins.
func NetworkAt(frame []byte) int {
	if binary.BigEndian.Uint16(frame[12:]) == EtherVLAN {
		return 18
	}
	return 14
}

// TransportAt returns where the transport header of a frame begins; IPv6
// extension headers count as transport.
func TransportAt(frame []byte) int {
	at := NetworkAt(frame)
	if frame[at]>>4 == 4 {
		return at + int(frame[at]&15)*4
	}
	return at + 40
}

// Resum computes an IPv4 header's checksum again, after a test changed the
// header.
func Resum(frame []byte) []byte {
	at, end := NetworkAt(frame), TransportAt(frame)
	frame[at+10], frame[at+11] = 0, 0
	binary.BigEndian.PutUint16(frame[at+10:], Checksum(frame[at:end]))
	return frame
}

// ParseFrame reads the addresses, and of TCP and UDP the ports, sequence
// numbers and payload, of a frame as kernels send it, without IPv6 extension
// headers. It reports false for anything else.
func ParseFrame(b []byte) (Frame, bool) {
	var f Frame
	if len(b) < 34 {
		return f, false
	}
	f.DstMAC, f.SrcMAC = net.HardwareAddr(b[:6]), net.HardwareAddr(b[6:12])
	f.EtherType = binary.BigEndian.Uint16(b[NetworkAt(b)-2:])
	ip := b[NetworkAt(b):]
	var src, dst netip.Addr
	switch {
	case f.EtherType == EtherIPv4 && len(ip) >= 20:
		f.TTL, f.Proto = ip[8], ip[9]
		src, _ = netip.AddrFromSlice(ip[12:16])
		dst, _ = netip.AddrFromSlice(ip[16:20])
		ip = ip[:min(len(ip), int(binary.BigEndian.Uint16(ip[2:])))]
	case f.EtherType == EtherIPv6 && len(ip) >= 40:
		f.TTL, f.Proto = ip[7], ip[6]
		src, _ = netip.AddrFromSlice(ip[8:24])
		dst, _ = netip.AddrFromSlice(ip[24:40])
		ip = ip[:min(len(ip), 40+int(binary.BigEndian.Uint16(ip[4:])))]
	default:
		return f, false
	}
	header := TransportAt(b) - NetworkAt(b)
	if header > len(ip) {
		return f, false
	}
	t := ip[header:]
	var sport, dport uint16
	switch {
	case f.Proto == ProtoTCP && len(t) >= 20 && len(t) >= int(t[12]>>4)*4:
		sport, dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
		f.Seq, f.Ack = binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
		f.Flags, f.Window = t[13], binary.BigEndian.Uint16(t[14:])
		f.TCPOptions, f.Payload = t[20:int(t[12]>>4)*4], t[int(t[12]>>4)*4:]
	case f.Proto == ProtoUDP && len(t) >= 8:
		sport, dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
		f.Payload = t[8:]
	default:
		f.Payload = t
	}
	f.Src, f.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return f, true
}
