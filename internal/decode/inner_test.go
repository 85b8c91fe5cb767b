package decode

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// eventOf returns the event of a dropped Ethernet frame, cut as the program
// cuts it.
func eventOf(frame []byte) *Sample {
	e := &Sample{DropEvent: DropEvent{HasLink: 1, L3: 14}, Packet: frame[:min(len(frame), PacketLen)]}
	if len(frame) >= 14 {
		e.EthProto = uint16(frame[12])<<8 | uint16(frame[13])
	}
	return e
}

// packetOf serializes layers with right lengths and checksums.
func packetOf(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), b.Bytes()...)
}

func ethernet(of layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: of}
}

func outer4(of layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: of, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
}

func inner4(of layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: of, SrcIP: net.IP{172, 16, 0, 1}, DstIP: net.IP{172, 16, 0, 2}}
}

func ip6(of layers.IPProtocol, src, dst string) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: of, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func udp(src, dst uint16) *layers.UDP {
	return &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
}

func tcp(src, dst uint16) *layers.TCP {
	return &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), SYN: true, DataOffset: 5}
}

func vxlan() *layers.VXLAN { return &layers.VXLAN{ValidIDFlag: true, VNI: 7} }

// raw is bytes that no layer of gopacket serializes.
func raw(b ...byte) gopacket.Payload { return gopacket.Payload(b) }

// tuple4 and tuple6 are what should be found inside.
func tuple4(proto uint8, sport, dport uint16) Tuple {
	return Tuple{
		Src: netip.MustParseAddr("172.16.0.1").As16(), Dst: netip.MustParseAddr("172.16.0.2").As16(),
		SrcPort: sport, DstPort: dport, EthProto: etherIPv4, Proto: proto,
	}
}

func tuple6(proto uint8, sport, dport uint16) Tuple {
	return Tuple{
		Src: netip.MustParseAddr("fd00::1").As16(), Dst: netip.MustParseAddr("fd00::2").As16(),
		SrcPort: sport, DstPort: dport, EthProto: etherIPv6, Proto: proto,
	}
}

// tunnels returns frames that carry another packet, and what that is.
func tunnels(t testing.TB) map[string]struct {
	frame []byte
	want  Tuple
} {
	const ip4, gre = layers.EthernetTypeIPv4, layers.IPProtocolGRE
	packet := func(all ...gopacket.SerializableLayer) []byte { return packetOf(t, all...) }
	in4 := packet(inner4(layers.IPProtocolUDP), udp(1000, 2000), raw(1, 2, 3))
	frame4 := packet(ethernet(ip4), raw(in4...))
	return map[string]struct {
		frame []byte
		want  Tuple
	}{
		"VXLAN": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(), ethernet(ip4),
			inner4(layers.IPProtocolTCP), tcp(1000, 2000)), tuple4(protoTCP, 1000, 2000)},
		"VXLAN on the kernel's old port": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 8472), vxlan(), raw(frame4...)),
			tuple4(protoUDP, 1000, 2000)},
		"VXLAN over IPv6": {packet(ethernet(layers.EthernetTypeIPv6), ip6(layers.IPProtocolUDP, "fe80::1", "fe80::2"), udp(40000, 4789),
			vxlan(), raw(frame4...)), tuple4(protoUDP, 1000, 2000)},
		"VXLAN behind a VLAN tag": {packet(ethernet(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 5, Type: ip4},
			outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(), raw(frame4...)), tuple4(protoUDP, 1000, 2000)},
		"VXLAN with a tag inside": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(),
			ethernet(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 5, Type: ip4}, raw(in4...)), tuple4(protoUDP, 1000, 2000)},
		"VXLAN of IPv6": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(), ethernet(layers.EthernetTypeIPv6),
			ip6(layers.IPProtocolUDP, "fd00::1", "fd00::2"), udp(1000, 2000)), tuple6(protoUDP, 1000, 2000)},
		"VXLAN of SCTP": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(), ethernet(ip4),
			inner4(layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 1000, DstPort: 2000}), tuple4(protoSCTP, 1000, 2000)},
		"VXLAN of ICMP": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(), ethernet(ip4),
			inner4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: 8 << 8, Id: 9}), tuple4(protoICMP, 0, 0)},
		"VXLAN of a first fragment": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(), ethernet(ip4),
			&layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4MoreFragments, Protocol: layers.IPProtocolUDP,
				SrcIP: net.IP{172, 16, 0, 1}, DstIP: net.IP{172, 16, 0, 2}}, raw(make([]byte, 16)...)), tuple4(protoUDP, 0, 0)},
		"Geneve with options": {packet(ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 6081),
			raw(2, 0, 0x65, 0x58, 0, 0, 7, 0, 0, 1, 0x80, 1, 1, 2, 3, 4), raw(frame4...)), tuple4(protoUDP, 1000, 2000)},
		"GRE":               {packet(ethernet(ip4), outer4(gre), raw(0, 0, 8, 0), raw(in4...)), tuple4(protoUDP, 1000, 2000)},
		"GRE with key":      {packet(ethernet(ip4), outer4(gre), raw(0x20, 0, 8, 0, 0, 0, 0, 7), raw(in4...)), tuple4(protoUDP, 1000, 2000)},
		"GRE with checksum": {packet(ethernet(ip4), outer4(gre), raw(0x80, 0, 8, 0, 1, 2, 0, 0), raw(in4...)), tuple4(protoUDP, 1000, 2000)},
		"GRE with sequence": {packet(ethernet(ip4), outer4(gre), raw(0x10, 0, 8, 0, 0, 0, 0, 7), raw(in4...)), tuple4(protoUDP, 1000, 2000)},
		"GRE with all": {packet(ethernet(ip4), outer4(gre), raw(0xb0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9), raw(in4...)),
			tuple4(protoUDP, 1000, 2000)},
		"GRE of Ethernet": {packet(ethernet(ip4), outer4(gre), raw(0, 0, 0x65, 0x58), raw(frame4...)), tuple4(protoUDP, 1000, 2000)},
		"IP in IP":        {packet(ethernet(ip4), outer4(layers.IPProtocolIPv4), raw(in4...)), tuple4(protoUDP, 1000, 2000)},
		"IPv6 in IPv4": {packet(ethernet(ip4), outer4(layers.IPProtocolIPv6), ip6(layers.IPProtocolTCP, "fd00::1", "fd00::2"), tcp(1000, 2000)),
			tuple6(protoTCP, 1000, 2000)},
		"IPv4 in IPv6": {packet(ethernet(layers.EthernetTypeIPv6), ip6(layers.IPProtocolIPv4, "fe80::1", "fe80::2"), raw(in4...)),
			tuple4(protoUDP, 1000, 2000)},
		"one level of two": {packet(ethernet(ip4), outer4(layers.IPProtocolIPv4), inner4(layers.IPProtocolIPv4), outer4(layers.IPProtocolUDP),
			udp(1, 2)), tuple4(4, 0, 0)},
	}
}

func TestInner(t *testing.T) {
	for name, c := range tunnels(t) {
		got, ok := Inner(eventOf(c.frame))
		if !ok {
			t.Errorf("%s: found no tunnel", name)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestInnerWithoutLink reads a packet that begins with IP, as one that is lost
// on the way out does.
func TestInnerWithoutLink(t *testing.T) {
	for name, c := range tunnels(t) {
		e := eventOf(c.frame)
		b := eventOf(c.frame[14:])
		b.EthProto, b.L3, b.HasLink = e.EthProto, 0, 0
		if got, ok := Inner(b); !ok || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, ok, c.want)
		}
	}
}

func TestInnerNoTunnel(t *testing.T) {
	const ip4 = layers.EthernetTypeIPv4
	quoted := packetOf(t, inner4(layers.IPProtocolUDP), udp(1000, 2000))
	quoted6 := packetOf(t, ip6(layers.IPProtocolUDP, "fd00::1", "fd00::2"), udp(1000, 2000))
	no := func(name string, all ...gopacket.SerializableLayer) {
		t.Helper()
		if got, ok := Inner(eventOf(packetOf(t, all...))); ok {
			t.Errorf("%s: got a tunnel of %+v", name, got)
		}
	}
	no("UDP", ethernet(ip4), outer4(layers.IPProtocolUDP), udp(1, 2), raw(quoted...))
	no("TCP", ethernet(ip4), outer4(layers.IPProtocolTCP), tcp(1, 2), raw(quoted...))
	no("ICMP error", ethernet(ip4), outer4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: 3<<8 | 3}, raw(quoted...))
	no("ICMPv6 error", ethernet(layers.EthernetTypeIPv6), ip6(layers.IPProtocolICMPv6, "fe80::1", "fe80::2"), raw(1, 4, 0, 0, 0, 0, 0, 0), raw(quoted6...))
	no("ICMPv6 too big", ethernet(layers.EthernetTypeIPv6), ip6(layers.IPProtocolICMPv6, "fe80::1", "fe80::2"), raw(2, 0, 0, 0, 0, 0, 5, 0), raw(quoted6...))
	no("ARP", ethernet(layers.EthernetTypeARP), raw(make([]byte, 28)...))
	no("unknown type", ethernet(0x88b5), raw(quoted...))
	no("second fragment of IP in IP", ethernet(ip4), &layers.IPv4{Version: 4, TTL: 64, FragOffset: 5, Protocol: layers.IPProtocolIPv4,
		SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}, raw(quoted...))
	no("VXLAN of ARP", ethernet(ip4), outer4(layers.IPProtocolUDP), udp(40000, 4789), vxlan(), ethernet(layers.EthernetTypeARP), raw(make([]byte, 28)...))
	// A client may have any port of its own: a tunnel is known by where it goes.
	no("UDP from VXLAN's port", ethernet(ip4), outer4(layers.IPProtocolUDP), udp(4789, 40000), vxlan(), ethernet(ip4), raw(quoted...))
	no("UDP from Geneve's port", ethernet(ip4), outer4(layers.IPProtocolUDP), udp(6081, 40000), raw(0, 0, 0x65, 0x58, 0, 0, 7, 0), ethernet(ip4), raw(quoted...))
	if got, ok := Inner(&Sample{}); ok {
		t.Errorf("nothing sampled: got a tunnel of %+v", got)
	}
}

// TestInnerTruncated cuts every tunnel at every byte. What is found must be
// part of what is there: the addresses or nothing, the ports or none.
func TestInnerTruncated(t *testing.T) {
	for name, c := range tunnels(t) {
		found := false
		for n := range len(c.frame) + 1 {
			e := eventOf(c.frame[:n])
			got, ok := Inner(e)
			want := c.want
			if got.SrcPort == 0 && got.DstPort == 0 {
				want.SrcPort, want.DstPort = 0, 0
			}
			if ok && got != want {
				t.Errorf("%s, %d of %d bytes: got %+v, want %+v", name, n, len(c.frame), got, c.want)
			}
			if found && !ok {
				t.Errorf("%s, %d of %d bytes: found nothing, though less sufficed", name, n, len(c.frame))
			}
			found = ok
		}
	}
}

func TestInnerBadOffsets(t *testing.T) {
	for name, c := range tunnels(t) {
		for _, l3 := range []uint16{PacketLen - 1, PacketLen, PacketLen + 1, 0xffff} {
			e := eventOf(c.frame)
			e.L3 = l3
			if got, ok := Inner(e); ok {
				t.Errorf("%s, network header at %d: got %+v", name, l3, got)
			}
		}
	}
}

func FuzzInner(f *testing.F) {
	for _, c := range tunnels(f) {
		f.Add(c.frame, uint16(14), uint16(len(c.frame)), uint16(c.frame[12])<<8|uint16(c.frame[13]))
	}
	f.Fuzz(func(t *testing.T, packet []byte, l3, length, ethProto uint16) {
		e := &Sample{DropEvent: DropEvent{L3: l3, EthProto: ethProto}, Packet: packet[:min(int(length), len(packet))]}
		got, ok := Inner(e)
		if !ok && got != (Tuple{}) {
			t.Errorf("got %+v of no tunnel", got)
		}
		if ok && got.EthProto != etherIPv4 && got.EthProto != etherIPv6 {
			t.Errorf("got a tunnel of ethertype %#x", got.EthProto)
		}
	})
}
