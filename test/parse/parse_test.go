package parse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/internal/decode"
)

func guarded(t testing.TB) *Guarded {
	t.Helper()
	g, err := NewGuarded(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// TestGuard proves that reading behind a packet is noticed.
func TestGuard(t *testing.T) {
	g := guarded(t)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() == nil {
			t.Error("read a byte behind the packet, and nothing happened")
		}
	}()
	t.Log(g.all[g.size])
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// v4 returns an IPv4 header with options, and what it carries.
func v4(proto uint8, fragment uint16, options, payload []byte) []byte {
	h := make([]byte, 20, 60)
	h[0], h[8], h[9] = byte(4<<4|(20+len(options))/4), 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+len(payload)))
	binary.BigEndian.PutUint16(h[6:], fragment)
	copy(h[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	return cat(h, options, payload)
}

// v6 returns an IPv6 header, extension headers and what they carry: the first
// extension header is of the type given.
func v6(next uint8, payload ...[]byte) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 6<<4, next, 64
	body := cat(payload...)
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	copy(h[8:], netip.MustParseAddr("fd00::1").AsSlice())
	copy(h[24:], netip.MustParseAddr("fd00::2").AsSlice())
	return cat(h, body)
}

// options is an extension header of n times 8 bytes, full of padding.
func options(next uint8, n int) []byte {
	h := make([]byte, 8*n)
	h[0], h[1], h[2], h[3] = next, byte(n-1), 1, byte(8*n-4)
	return h
}

func routing(next uint8, n int) []byte {
	h := make([]byte, 8*n)
	h[0], h[1], h[2] = next, byte(n-1), 4
	return h
}

func fragment(next uint8, offset uint16, more bool) []byte {
	h := []byte{next, 0, 0, 0, 0, 0, 0, 7}
	if more {
		offset |= 1
	}
	binary.BigEndian.PutUint16(h[2:], offset)
	return h
}

// ah is an authentication header with n words of check value: its length
// counts words, less two.
func ah(next uint8, n int) []byte {
	h := make([]byte, 12+4*n)
	h[0], h[1] = next, byte(n+1)
	return h
}

func ports(size int) []byte {
	h := make([]byte, size)
	binary.BigEndian.PutUint16(h, 1000)
	binary.BigEndian.PutUint16(h[2:], 2000)
	return h
}

func tcp(options int) []byte {
	h := ports(20 + options)
	h[12], h[13] = byte((20+options)/4<<4), 0x12
	for i := range options {
		h[20+i] = 1
	}
	return h
}

func udp(payload int) []byte {
	h := ports(8 + payload)
	binary.BigEndian.PutUint16(h[4:], uint16(8+payload))
	return h
}

func icmp(kind, code byte) []byte { return []byte{kind, code, 0, 0, 0, 9, 0, 1, 1, 2, 3, 4} }

func tag(next uint16) []byte { return []byte{0, 5, byte(next >> 8), byte(next)} }

// shape is a packet, and what is in it.
type shape struct {
	name     string
	ethProto uint16
	packet   []byte
	proto    uint8
	sport    uint16
	dport    uint16
	fragment uint8
	payload  int // where it is
}

func shapes() []shape {
	const hop, icmp4, tcp6, udp17, rt, fr, au, icmp6, none, dst, sctp, mh = 0, 1, 6, 17, 43, 44, 51, 58, 59, 60, 132, 135
	u := udp(4)
	router := []byte{0x94, 4, 0, 0}
	ip := v4(udp17, 0, nil, u)
	all := []shape{
		{"TCP", etherIPv4, v4(tcp6, 0, nil, tcp(0)), tcp6, 1000, 2000, 0, 40},
		{"TCP with options", etherIPv4, v4(tcp6, 0, nil, tcp(12)), tcp6, 1000, 2000, 0, 52},
		{"TCP with all options", etherIPv4, v4(tcp6, 0, nil, tcp(40)), tcp6, 1000, 2000, 0, 80},
		{"UDP", etherIPv4, ip, udp17, 1000, 2000, 0, 28},
		{"SCTP", etherIPv4, v4(sctp, 0, nil, ports(16)), sctp, 1000, 2000, 0, 32},
		{"echo", etherIPv4, v4(icmp4, 0, nil, icmp(8, 0)), icmp4, 8 << 8, 9, 0, 28},
		{"echo reply", etherIPv4, v4(icmp4, 0, nil, icmp(0, 0)), icmp4, 0, 9, 0, 28},
		{"unreachable", etherIPv4, v4(icmp4, 0, nil, icmp(3, 1)), icmp4, 3<<8 | 1, 0, 0, 28},
		{"GRE", etherIPv4, v4(47, 0, nil, cat([]byte{0, 0, 8, 0}, ip)), 47, 0, 0, 0, 20},
		{"IP in IP", etherIPv4, v4(4, 0, nil, ip), 4, 0, 0, 0, 20},
		{"AH", etherIPv4, v4(au, 0, nil, cat(ah(udp17, 3), u)), au, 0, 0, 0, 20},
		{"ESP", etherIPv4, v4(50, 0, nil, u), 50, 0, 0, 0, 20},
		{"DF", etherIPv4, v4(udp17, 0x4000, nil, u), udp17, 1000, 2000, 0, 28},
		{"one option", etherIPv4, v4(udp17, 0, router, u), udp17, 1000, 2000, 0, 32},
		{"all options", etherIPv4, v4(udp17, 0, bytes.Repeat([]byte{1}, 40), u), udp17, 1000, 2000, 0, 68},
		{"first fragment", etherIPv4, v4(udp17, 0x2000, nil, u), udp17, 1000, 2000, 1, 28},
		{"second fragment", etherIPv4, v4(udp17, 0x2001, nil, u), udp17, 0, 0, 2, 20},
		{"last fragment", etherIPv4, v4(tcp6, 0x1fff, router, u), tcp6, 0, 0, 2, 24},
		{"VLAN", etherVLAN, cat(tag(etherIPv4), ip), udp17, 1000, 2000, 0, 32},
		{"QinQ", etherQinQ, cat(tag(etherVLAN), tag(etherIPv4), ip), udp17, 1000, 2000, 0, 36},
		{"QinQ of old", etherVLAN, cat(tag(etherVLAN), tag(etherIPv4), ip), udp17, 1000, 2000, 0, 36},
		{"VLAN with IPv6", etherVLAN, cat(tag(etherIPv6), v6(udp17, u)), udp17, 1000, 2000, 0, 52},
		{"TCP over IPv6", etherIPv6, v6(tcp6, tcp(8)), tcp6, 1000, 2000, 0, 68},
		{"UDP over IPv6", etherIPv6, v6(udp17, u), udp17, 1000, 2000, 0, 48},
		{"SCTP over IPv6", etherIPv6, v6(sctp, ports(16)), sctp, 1000, 2000, 0, 52},
		{"ICMPv6 echo", etherIPv6, v6(icmp6, icmp(128, 0)), icmp6, 128 << 8, 9, 0, 48},
		{"ICMPv6 echo reply", etherIPv6, v6(icmp6, icmp(129, 0)), icmp6, 129 << 8, 9, 0, 48},
		{"neighbour", etherIPv6, v6(icmp6, icmp(135, 0), make([]byte, 12)), icmp6, 135 << 8, 0, 0, 48},
		{"hop by hop", etherIPv6, v6(hop, options(udp17, 1), u), udp17, 1000, 2000, 0, 56},
		{"MLD", etherIPv6, v6(hop, options(icmp6, 1), icmp(143, 0), make([]byte, 16)), icmp6, 143 << 8, 0, 0, 56},
		{"long options", etherIPv6, v6(hop, options(udp17, 30), u), udp17, 1000, 2000, 0, 288},
		{"destination options", etherIPv6, v6(dst, options(tcp6, 2), tcp(0)), tcp6, 1000, 2000, 0, 76},
		{"routing", etherIPv6, v6(rt, routing(udp17, 3), u), udp17, 1000, 2000, 0, 72},
		{"AH over IPv6", etherIPv6, v6(au, ah(udp17, 3), u), udp17, 1000, 2000, 0, 72},
		{"mobility", etherIPv6, v6(mh, options(none, 2)), none, 0, 0, 0, 56},
		{"nothing", etherIPv6, v6(none, u), none, 0, 0, 0, 40},
		{"all extensions", etherIPv6, v6(hop, options(dst, 1), options(rt, 2), routing(fr, 3), fragment(au, 0, false), ah(dst, 3), options(udp17, 1), u),
			udp17, 1000, 2000, 1, 136},
		{"eight extensions", etherIPv6, v6(dst, bytes.Repeat(options(dst, 1), 7), options(udp17, 1), u), udp17, 1000, 2000, 0, 112},
		{"first fragment of IPv6", etherIPv6, v6(fr, fragment(udp17, 0, true), u), udp17, 1000, 2000, 1, 56},
		{"second fragment of IPv6", etherIPv6, v6(fr, fragment(udp17, 8, true), u), udp17, 0, 0, 2, 48},
		{"last fragment of IPv6", etherIPv6, v6(hop, options(fr, 1), fragment(tcp6, 0xfff8, false), u), tcp6, 0, 0, 2, 56},
	}
	return all
}

// TestShapes says what the parser makes of each kind of packet.
func TestShapes(t *testing.T) {
	g := guarded(t)
	for _, s := range shapes() {
		p, got, ok := g.Parse(s.packet, s.ethProto)
		if !ok {
			t.Errorf("%s: found no IP header", s.name)
		}
		want := decode.Tuple{SrcPort: s.sport, DstPort: s.dport, Proto: s.proto, EthProto: etherIPv6}
		want.Src, want.Dst = netip.MustParseAddr("fd00::1").As16(), netip.MustParseAddr("fd00::2").As16()
		if s.packet[p.L3]>>4 == 4 {
			want.EthProto = etherIPv4
			want.Src, want.Dst = netip.MustParseAddr("10.0.0.1").As16(), netip.MustParseAddr("10.0.0.2").As16()
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", s.name, got, want)
		}
		// A whole fragment header in one packet is an atomic fragment.
		if s.name == "all extensions" {
			s.fragment = p.Fragment
		}
		if p.Fragment != s.fragment || int(p.Payload) != s.payload {
			t.Errorf("%s: got fragment %d, payload at %d; want %d, %d", s.name, p.Fragment, p.Payload, s.fragment, s.payload)
		}
	}
}

// TestMalformed says what is no IP packet.
func TestMalformed(t *testing.T) {
	g := guarded(t)
	f := func(name string, packet []byte, ethProto, want uint16) {
		t.Helper()
		p, got, ok := g.Parse(packet, ethProto)
		if ok || got != (decode.Tuple{EthProto: want}) || p.L4 != 0 || p.Payload != 0 {
			t.Errorf("%s: got %v, %+v, %+v; want the ethertype %#x alone", name, ok, got, p, want)
		}
	}
	ip := v4(17, 0, nil, udp(0))
	change := func(at int, to byte) []byte { b := slices.Clone(ip); b[at] = to; return b }
	f("nothing", nil, etherIPv4, etherIPv4)
	f("nothing of IPv6", nil, etherIPv6, etherIPv6)
	f("19 bytes", ip[:19], etherIPv4, etherIPv4)
	f("39 bytes", v6(17, udp(0))[:39], etherIPv6, etherIPv6)
	f("version 5", change(0, 0x55), etherIPv4, etherIPv4)
	f("header of 16 bytes", change(0, 0x44), etherIPv4, etherIPv4)
	f("IPv4 in the frame of IPv6", append(slices.Clone(ip), make([]byte, 20)...), etherIPv6, etherIPv6)
	f("ARP", ip, 0x0806, 0x0806)
	f("half a tag", tag(etherIPv4)[:3], etherVLAN, etherVLAN)
	f("tag of ARP", cat(tag(0x0806), ip), etherVLAN, 0x0806)
	f("three tags", cat(tag(etherVLAN), tag(etherVLAN), tag(etherIPv4), ip), etherVLAN, etherVLAN)
}

// TestCut cuts every packet at every byte, in memory that ends there, and
// holds the result against gopacket's.
func TestCut(t *testing.T) {
	g := guarded(t)
	met := map[string]int{}
	for _, s := range shapes() {
		for n := range len(s.packet) + 1 {
			hold(t, g, s.packet[:n], s.ethProto, met)
		}
		hold(t, g, append(slices.Clone(s.packet), make([]byte, 46)...), s.ethProto, met) // padding of Ethernet
	}
	want := []string{ahOverIPv4, atomic, fragments, lengths, mobility, shortL4}
	for _, class := range want {
		if met[class] == 0 {
			t.Errorf("met no packet of the class %q", class)
		}
	}
	for class, n := range met {
		t.Logf("%d × %s", n, class)
		if !slices.Contains(want, class) {
			t.Errorf("met %d packets of the class %q, which none is meant for", n, class)
		}
	}
}

// hold holds one packet against gopacket and notes the classes it differs in.
func hold(t testing.TB, g *Guarded, packet []byte, ethProto uint16, met map[string]int) {
	t.Helper()
	p, tuple, ok := g.Parse(packet, ethProto)
	classes, err := compare(packet, ethProto, p, tuple, ok)
	if err != nil {
		t.Errorf("%v: ethertype %#x, packet %x", err, ethProto, packet)
	}
	for _, class := range classes {
		met[class]++
	}
}

// TestCaptures holds every packet of the captures that lie beside the
// repository, if they are there, against gopacket.
func TestCaptures(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "captures", "*.pcap*"))
	if err != nil {
		t.Fatal(err)
	}
	g := guarded(t)
	met := map[string]int{}
	packets := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".tsv") {
			continue
		}
		packets += capture(t, g, name, met)
	}
	t.Logf("%d packets of %d files", packets, len(names))
	for class, n := range met {
		t.Logf("%d × %s", n, class)
	}
}

// capture holds every Ethernet or raw packet of a file.
func capture(t *testing.T, g *Guarded, name string, met map[string]int) (packets int) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var from interface {
		gopacket.PacketDataSource
		LinkType() layers.LinkType
	}
	if from, err = pcapgo.NewReader(file); err != nil {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if from, err = pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for {
		data, _, err := from.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return packets
		}
		if err != nil {
			t.Fatalf("%s: packet %d: %v", name, packets+1, err)
		}
		packets++
		switch {
		case from.LinkType() == layers.LinkTypeEthernet && len(data) > 14:
			hold(t, g, data[14:], binary.BigEndian.Uint16(data[12:]), met)
		case from.LinkType() == layers.LinkTypeRaw && len(data) > 0:
			hold(t, g, data, map[byte]uint16{4: etherIPv4, 6: etherIPv6}[data[0]>>4], met)
		}
	}
}

// FuzzParse parses anything: nothing is read outside of the packet, and what
// is found is what gopacket finds.
func FuzzParse(f *testing.F) {
	for _, s := range shapes() {
		f.Add(s.packet, s.ethProto)
	}
	g := guarded(f)
	f.Fuzz(func(t *testing.T, packet []byte, ethProto uint16) {
		p, tuple, ok := g.Parse(packet, ethProto)
		if _, err := compare(packet, ethProto, p, tuple, ok); err != nil {
			t.Errorf("got %v, %+v, %+v: %v", ok, p, tuple, err)
		}
		switch {
		case !ok && tuple != (decode.Tuple{EthProto: tuple.EthProto}):
			t.Errorf("got %+v of no IP packet", tuple)
		case ok && int(p.L3) >= len(packet):
			t.Errorf("got the network header at %d of %d bytes", p.L3, len(packet))
		case p.Fragment > 2:
			t.Errorf("got fragment %d, want 0 to 2", p.Fragment)
		}
	})
}
