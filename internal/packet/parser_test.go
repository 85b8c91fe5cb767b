package packet

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var at = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// frameOf serializes layers with right lengths.
func frameOf(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

func ethernet(of layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: of}
}

func tag(id uint16, of layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Priority: 5, Type: of}
}

func outer4(of layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: of, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
}

func inner4(of layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: of, SrcIP: net.IP{172, 16, 0, 1}, DstIP: net.IP{172, 16, 0, 2}}
}

func inner6(of layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: of, SrcIP: net.ParseIP("fd00::1"), DstIP: net.ParseIP("fd00::2")}
}

func udp(src, dst uint16) *layers.UDP {
	return &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
}

func tcp() *layers.TCP {
	return &layers.TCP{SrcPort: 1000, DstPort: 2000, Seq: 7, Ack: 9, PSH: true, ACK: true, Window: 500,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}}}
}

// raw is bytes that no layer of gopacket serializes.
func raw(b ...byte) gopacket.Payload { return gopacket.Payload(b) }

const (
	ip4, ip6, q   = layers.EthernetTypeIPv4, layers.EthernetTypeIPv6, layers.EthernetTypeDot1Q
	isTCP, isUDP  = layers.IPProtocolTCP, layers.IPProtocolUDP
	isGRE         = layers.IPProtocolGRE
	linkEthernet  = layers.LinkTypeEthernet
	vxlanPort     = 4789
	wrappedInIPv4 = layers.IPProtocolIPv4
)

// want4 and want6 are the packet that most frames carry.
func want4(proto uint8) Packet { return want("172.16.0.1", "172.16.0.2", proto) }
func want6(proto uint8) Packet { return want("fd00::1", "fd00::2", proto) }

func want(src, dst string, proto uint8) Packet {
	p := Packet{
		Time: at, Proto: proto, Payload: []byte("hello"),
		Src: netip.AddrPortFrom(netip.MustParseAddr(src), 1000), Dst: netip.AddrPortFrom(netip.MustParseAddr(dst), 2000),
	}
	if proto == 6 {
		p.Seq, p.Ack, p.Flags, p.Window = 7, 9, PSH|ACK, 500
	}
	return p
}

func (p Packet) tagged(ids ...uint16) Packet    { p.VLAN = ids; return p }
func (p Packet) through(names ...string) Packet { p.Tunnels = names; return p }

type frame struct {
	link  layers.LinkType
	bytes []byte
	want  Packet
}

// frames returns one of each kind.
func frames(t testing.TB) map[string]frame {
	hello := raw([]byte("hello")...)
	of := func(all ...gopacket.SerializableLayer) []byte { return frameOf(t, all...) }
	eth := func(want Packet, all ...gopacket.SerializableLayer) frame {
		return frame{linkEthernet, of(all...), want}
	}
	tcp4, udp4 := of(inner4(isTCP), tcp(), hello), of(inner4(isUDP), udp(1000, 2000), hello)
	tcp6 := of(inner6(isTCP), tcp(), hello)
	udpFrame := of(ethernet(ip4), raw(udp4...))
	options := inner4(isTCP)
	options.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 1}}
	vxlan := func(inside ...byte) []gopacket.SerializableLayer {
		return []gopacket.SerializableLayer{ethernet(ip4), outer4(isUDP), udp(40000, vxlanPort), &layers.VXLAN{ValidIDFlag: true, VNI: 7}, raw(inside...)}
	}
	gre := func(header ...byte) []gopacket.SerializableLayer {
		return []gopacket.SerializableLayer{ethernet(ip4), outer4(isGRE), raw(header...)}
	}
	return map[string]frame{
		"TCP":                        eth(want4(6), ethernet(ip4), raw(tcp4...)),
		"UDP":                        eth(want4(17), ethernet(ip4), raw(udp4...)),
		"TCP over IPv6":              eth(want6(6), ethernet(ip6), raw(tcp6...)),
		"options of IPv4":            eth(want4(6), ethernet(ip4), options, tcp(), hello),
		"padding":                    eth(want4(17), ethernet(ip4), raw(udp4...), raw(make([]byte, 20)...)),
		"VLAN":                       eth(want4(6).tagged(5), ethernet(q), tag(5, ip4), raw(tcp4...)),
		"QinQ":                       eth(want4(6).tagged(5, 6), ethernet(layers.EthernetTypeQinQ), tag(5, q), tag(6, ip4), raw(tcp4...)),
		"SNAP":                       eth(want4(17), ethernet(layers.EthernetTypeLLC), raw(0xaa, 0xaa, 3, 0, 0, 0, 8, 0), raw(udp4...)),
		"cooked":                     {layers.LinkTypeLinuxSLL, append(append(make([]byte, 14), 8, 0), tcp4...), want4(6)},
		"cooked, version 2":          {layers.LinkTypeLinuxSLL2, append(append([]byte{8, 0}, make([]byte, 18)...), tcp4...), want4(6)},
		"raw":                        {layers.LinkTypeRaw, tcp6, want6(6)},
		"raw IPv4":                   {layers.LinkTypeIPv4, tcp4, want4(6)},
		"null, little end":           {layers.LinkTypeNull, append([]byte{2, 0, 0, 0}, tcp4...), want4(6)},
		"loop, big end":              {layers.LinkTypeLoop, append([]byte{0, 0, 0, 30}, tcp6...), want6(6)},
		"extension headers":          eth(want6(6), ethernet(ip6), inner6(0), raw(60, 0, 1, 4, 0, 0, 0, 0), raw(43, 0, 1, 4, 0, 0, 0, 0), raw(6, 0, 4, 0, 0, 0, 0, 0), raw(tcp6[40:]...)),
		"atomic fragment":            eth(want6(6), ethernet(ip6), inner6(44), raw(6, 0, 0, 0, 0, 0, 0, 1), raw(tcp6[40:]...)),
		"VXLAN":                      eth(want4(17).through("vxlan"), vxlan(udpFrame...)...),
		"VXLAN, tagged":              eth(want4(17).tagged(9).through("vxlan"), vxlan(of(ethernet(q), tag(9, ip4), raw(udp4...))...)...),
		"VXLAN, old port":            eth(want4(17).through("vxlan"), ethernet(ip4), outer4(isUDP), udp(40000, 8472), raw(8, 0, 0, 0, 0, 0, 7, 0), raw(udpFrame...)),
		"Geneve":                     eth(want4(17).through("geneve"), ethernet(ip4), outer4(isUDP), udp(40000, 6081), raw(2, 0, 0x65, 0x58, 0, 0, 7, 0, 0, 1, 0x80, 1, 1, 2, 3, 4), raw(udpFrame...)),
		"Geneve of IP":               eth(want4(17).through("geneve"), ethernet(ip4), outer4(isUDP), udp(40000, 6081), raw(0, 0, 8, 0, 0, 0, 7, 0), raw(udp4...)),
		"GRE":                        eth(want4(17).through("gre"), gre(append([]byte{0, 0, 8, 0}, udp4...)...)...),
		"GRE with all":               eth(want4(17).through("gre"), gre(append([]byte{0xb0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9}, udp4...)...)...),
		"GRE of Ethernet":            eth(want4(17).through("gre"), gre(append([]byte{0, 0, 0x65, 0x58}, udpFrame...)...)...),
		"ERSPAN, type I":             eth(want4(17).through("erspan"), gre(append([]byte{0, 0, 0x88, 0xbe}, udpFrame...)...)...),
		"ERSPAN, type II":            eth(want4(17).through("erspan"), gre(append([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 0, 0, 0, 0, 0}, udpFrame...)...)...),
		"ERSPAN, type III":           eth(want4(17).through("erspan"), gre(append([]byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8}, udpFrame...)...)...),
		"IP in IP":                   eth(want4(6).through("ipip"), ethernet(ip4), outer4(wrappedInIPv4), raw(tcp4...)),
		"IPv6 in IPv4":               eth(want6(6).through("6in4"), ethernet(ip4), outer4(layers.IPProtocolIPv6), raw(tcp6...)),
		"IPv4 in IPv6":               eth(want4(6).through("4in6"), ethernet(ip6), inner6(wrappedInIPv4), raw(tcp4...)),
		"GRE in VXLAN":               eth(want4(17).through("vxlan", "gre"), vxlan(of(append(gre(0, 0, 8, 0), raw(udp4...))...)...)...),
		"VXLAN of ARP":               eth(Packet{Time: at, Proto: 17, Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("10.0.0.2:4789"), Payload: append([]byte{8, 0, 0, 0, 0, 0, 7, 0}, of(ethernet(layers.EthernetTypeARP), raw(1, 2))...)}, vxlan(of(ethernet(layers.EthernetTypeARP), raw(1, 2))...)...),
		"from VXLAN's port":          eth(Packet{Time: at, Proto: 17, Src: netip.MustParseAddrPort("10.0.0.1:4789"), Dst: netip.MustParseAddrPort("10.0.0.2:40000"), Payload: []byte("hello")}, ethernet(ip4), outer4(isUDP), udp(4789, 40000), hello),
		"ICMP quotes, holds nothing": eth(Packet{Time: at, Proto: 1, Src: netip.MustParseAddrPort("10.0.0.1:0"), Dst: netip.MustParseAddrPort("10.0.0.2:0"), Payload: append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, udp4...)}, ethernet(ip4), outer4(1), raw(3, 3, 0, 0, 0, 0, 0, 0), raw(udp4...)),
	}
}

func TestParse(t *testing.T) {
	p := NewParser()
	for name, c := range frames(t) {
		var got Packet
		if !p.Parse(c.link, at, c.bytes, len(c.bytes), &got) {
			t.Errorf("%s: got no packet", name)
			continue
		}
		c.want.Length, c.want.EtherType = uint32(len(c.bytes)), uint16(ip6)
		if c.want.Src.Addr().Is4() {
			c.want.EtherType = uint16(ip4)
		}
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestParseCut cuts every frame at every byte. What is told is a beginning of
// what the whole frame tells, and what is missing is counted.
func TestParseCut(t *testing.T) {
	p := NewParser()
	for name, c := range frames(t) {
		var whole, got Packet
		p.Parse(c.link, at, c.bytes, len(c.bytes), &whole)
		for n := range len(c.bytes) {
			ok := p.Parse(c.link, at, c.bytes[:n:n], len(c.bytes), &got)
			if !ok || got.Dst.Port() == 0 || len(got.Tunnels) < len(whole.Tunnels) || got.Proto == 6 && got.Flags == 0 {
				continue // a header is cut
			}
			if got.Dst != whole.Dst {
				t.Errorf("%s, %d of %d bytes: got a packet to %v, want %v", name, n, len(c.bytes), got.Dst, whole.Dst)
			}
			if got.Payload != nil && len(got.Payload)+got.Missing != len(whole.Payload) {
				t.Errorf("%s, %d of %d bytes: got %d bytes of payload and %d missing, want %d in all",
					name, n, len(c.bytes), len(got.Payload), got.Missing, len(whole.Payload))
			}
			if !bytes.HasPrefix(whole.Payload, got.Payload) {
				t.Errorf("%s, %d of %d bytes: got payload %q", name, n, len(c.bytes), got.Payload)
			}
		}
	}
}

func TestParseNothing(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		is    layers.EthernetType
	}{
		"ARP":          {frameOf(t, ethernet(layers.EthernetTypeARP), raw(make([]byte, 28)...)), layers.EthernetTypeARP},
		"tagged ARP":   {frameOf(t, ethernet(q), tag(5, layers.EthernetTypeARP), raw(make([]byte, 28)...)), layers.EthernetTypeARP},
		"version 5":    {frameOf(t, ethernet(ip4), raw(append([]byte{0x55}, make([]byte, 40)...)...)), ip4},
		"short header": {frameOf(t, ethernet(ip4), raw(append([]byte{0x42}, make([]byte, 40)...)...)), ip4},
		"empty":        {nil, 0},
	} {
		var got Packet
		if NewParser().Parse(linkEthernet, at, c.frame, len(c.frame), &got) {
			t.Errorf("%s: got %+v, want nothing", name, got)
		}
		if got.EtherType != uint16(c.is) || int(got.Length) != len(c.frame) || got.Src.IsValid() {
			t.Errorf("%s: got type %#x, %d bytes, from %v; want %#x, %d, from nobody", name, got.EtherType, got.Length, got.Src, uint16(c.is), len(c.frame))
		}
	}
}

// TestParseDeep wraps a packet more often than anybody does.
func TestParseDeep(t *testing.T) {
	b := frameOf(t, inner4(isUDP), udp(1000, 2000))
	for range 1000 {
		b = frameOf(t, outer4(wrappedInIPv4), raw(b...))
	}
	var got Packet
	if !NewParser().Parse(layers.LinkTypeRaw, at, b, len(b), &got) || len(got.Tunnels) != maxDepth-1 {
		t.Errorf("got %d tunnels, want %d", len(got.Tunnels), maxDepth-1)
	}
}

// TestParseAllocatesNothing holds what makes a file as fast as the disk.
func TestParseAllocatesNothing(t *testing.T) {
	p, all := NewParser(), frames(t)
	var to Packet
	for _, name := range []string{"TCP", "TCP over IPv6", "QinQ", "UDP", "VXLAN", "extension headers"} {
		f := all[name]
		if n := testing.AllocsPerRun(100, func() { p.Parse(f.link, at, f.bytes, len(f.bytes), &to) }); n != 0 {
			t.Errorf("%s: got %v allocations, want none", name, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	p, all := NewParser(), frames(b)
	for _, name := range []string{"TCP", "TCP over IPv6", "VXLAN"} {
		f := all[name]
		b.Run(name, func(b *testing.B) {
			var to Packet
			for b.Loop() {
				p.Parse(f.link, at, f.bytes, len(f.bytes), &to)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range frames(f) {
		f.Add(uint16(c.link), c.bytes, c.bytes, 0)
	}
	f.Fuzz(func(t *testing.T, link uint16, one, two []byte, cut int) {
		p := NewParser()
		var got Packet
		for i, b := range [][]byte{one, two, one} {
			length := len(b) + min(max(cut, 0), 1<<16)
			if !p.Parse(layers.LinkType(link), at.Add(time.Duration(i)*time.Second), b, length, &got) {
				continue
			}
			if !got.Src.Addr().IsValid() || !got.Dst.Addr().IsValid() {
				t.Errorf("got a packet without addresses: %+v", got)
			}
			if got.Missing < 0 {
				t.Errorf("got %d bytes missing", got.Missing)
			}
		}
		if p.frags.bytes < 0 || p.frags.bytes > maxFragmentBytes {
			t.Errorf("got %d bytes of fragments held", p.frags.bytes)
		}
	})
}
