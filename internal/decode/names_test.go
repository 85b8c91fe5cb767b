package decode

import (
	"net/netip"
	"testing"
)

func TestProtocol(t *testing.T) {
	f := func(ethProto uint16, proto uint8, want string) {
		t.Helper()
		tuple := Tuple{EthProto: ethProto, Proto: proto, Src: [16]byte{1}}
		if got := tuple.Protocol(); got != want {
			t.Errorf("ethertype %#x, protocol %d: got %q, want %q", ethProto, proto, got, want)
		}
	}
	f(0, 0, "")
	f(etherARP, 0, "arp")
	f(4, 0, "llc")
	f(0x88cc, 0, "lldp")
	f(0x8847, 0, "mpls")
	f(0x8848, 0, "mpls")
	f(0x8863, 0, "pppoe")
	f(0x8864, 0, "pppoe")
	f(0x888e, 0, "eapol")
	f(0x8809, 0, "lacp")
	f(0x88b5, 0, "0x88b5")
	f(0x0060, 17, "0x60")
	f(etherIPv4, 0, "hopopt")
	f(etherIPv6, 0, "hopopt")
	f(etherIPv4, 1, "icmp")
	f(etherIPv4, 2, "igmp")
	f(etherIPv4, 4, "ipip")
	f(etherIPv4, 6, "tcp")
	f(etherIPv6, 17, "udp")
	f(etherIPv6, 33, "dccp")
	f(etherIPv4, 41, "ipv6-in-ip")
	f(etherIPv4, 47, "gre")
	f(etherIPv4, 50, "esp")
	f(etherIPv6, 51, "ah")
	f(etherIPv6, 58, "icmpv6")
	f(etherIPv6, 59, "no-next")
	f(etherIPv4, 89, "ospf")
	f(etherIPv4, 103, "pim")
	f(etherIPv4, 112, "vrrp")
	f(etherIPv4, 132, "sctp")
	f(etherIPv4, 136, "udplite")
	f(etherIPv4, 253, "ip-253")

	for ethProto, want := range map[uint16]string{etherIPv4: "ipv4", etherIPv6: "ipv6"} {
		broken := Tuple{EthProto: ethProto}
		if got := broken.Protocol(); got != want {
			t.Errorf("malformed %#x: got %q, want %q", ethProto, got, want)
		}
	}
}

func TestAddrs(t *testing.T) {
	f := func(ethProto uint16, src, dst, wantSrc, wantDst string) {
		t.Helper()
		tuple := Tuple{EthProto: ethProto, Proto: protoUDP, Src: as16(src), Dst: as16(dst)}
		if got := text(tuple.SrcAddr()); got != wantSrc {
			t.Errorf("source of %s, %s: got %q, want %q", src, dst, got, wantSrc)
		}
		if got := text(tuple.DstAddr()); got != wantDst {
			t.Errorf("destination of %s, %s: got %q, want %q", src, dst, got, wantDst)
		}
		if got, want := tuple.HasAddrs(), wantSrc+wantDst != ""; got != want {
			t.Errorf("%s, %s has addresses: got %v, want %v", src, dst, got, want)
		}
	}
	f(etherIPv4, "10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2")
	f(etherIPv4, "0.0.0.0", "255.255.255.255", "0.0.0.0", "255.255.255.255") // DHCP
	f(etherIPv6, "fe80::1", "ff02::1", "fe80::1", "ff02::1")
	f(etherIPv6, "::", "ff02::1", "::", "ff02::1") // duplicate address detection
	f(etherIPv6, "::", "::", "", "")               // nothing was parsed
	f(etherARP, "10.0.0.1", "10.0.0.2", "", "")
	f(0, "10.0.0.1", "10.0.0.2", "", "")
}

func as16(s string) [16]byte { return netip.MustParseAddr(s).As16() }

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func TestPorts(t *testing.T) {
	f := func(proto uint8, want bool) {
		t.Helper()
		tuple := Tuple{Proto: proto, SrcPort: 1, DstPort: 2}
		src, dst := tuple.Ports()
		if got := src == 1 && dst == 2; got != want || !want && (src != 0 || dst != 0) {
			t.Errorf("protocol %d: got ports %d, %d; want any: %v", proto, src, dst, want)
		}
	}
	f(protoTCP, true)
	f(protoUDP, true)
	f(protoSCTP, true)
	f(protoICMP, false) // type and id are kept where others have ports
	f(protoICMPv6, false)
	f(47, false)
}

func TestReversed(t *testing.T) {
	f := func(proto uint8, sport, dport, wantSport, wantDport uint16) {
		t.Helper()
		tuple := Tuple{Src: [16]byte{1}, Dst: [16]byte{2}, SrcPort: sport, DstPort: dport, EthProto: 3, Proto: proto, Flags: 4}
		want := Tuple{Src: [16]byte{2}, Dst: [16]byte{1}, SrcPort: wantSport, DstPort: wantDport, EthProto: 3, Proto: proto, Flags: 4}
		if got := tuple.Reversed(); got != want {
			t.Errorf("%+v: got %+v, want %+v", tuple, got, want)
		}
		if got := tuple.Reversed().Reversed(); got != tuple {
			t.Errorf("%+v: twice reversed it is %+v", tuple, got)
		}
	}
	f(protoTCP, 1, 2, 2, 1)
	f(protoUDP, 1, 2, 2, 1)
	f(protoSCTP, 1, 2, 2, 1)
	f(47, 0, 0, 0, 0)
	f(protoICMP, 8<<8, 9, 0, 9)
	f(protoICMP, 0, 9, 8<<8, 9)
	f(protoICMP, 3<<8|1, 0, 3<<8|1, 0) // unreachable: has no answer
	f(protoICMPv6, 128<<8, 9, 129<<8, 9)
	f(protoICMPv6, 129<<8, 9, 128<<8, 9)
	f(protoICMPv6, 135<<8, 0, 135<<8, 0)
}

func TestTCPFlags(t *testing.T) {
	f := func(bits uint8, want string) {
		t.Helper()
		if got := TCPFlags(bits); got != want {
			t.Errorf("%#x: got %q, want %q", bits, got, want)
		}
	}
	f(0, "")
	f(0x02, "S")
	f(0x12, "SA")
	f(0x11, "FA")
	f(0x04, "R")
	f(0x18, "PA")
	f(0xff, "FSRPAUEC")
}

func TestSocketState(t *testing.T) {
	f := func(state uint8, want string) {
		t.Helper()
		if got := SocketState(state); got != want {
			t.Errorf("%d: got %q, want %q", state, got, want)
		}
	}
	// include/net/tcp_states.h
	f(0, "")
	f(1, "established")
	f(2, "syn_sent")
	f(3, "syn_recv")
	f(6, "time_wait")
	f(7, "close")
	f(10, "listen")
	f(12, "new_syn_recv")
	f(13, "bound_inactive")
	f(14, "state_14")
	f(255, "state_255")
}

func TestComm(t *testing.T) {
	f := func(b, want string) {
		t.Helper()
		var field [CommLen]byte
		copy(field[:], b)
		if got := Comm(field); got != want {
			t.Errorf("%q: got %q, want %q", b, got, want)
		}
	}
	f("", "")
	f("sshd", "sshd")
	f("sshd\x00rubbish", "sshd")
	f("0123456789abcdef", "0123456789abcdef")
}

func TestEmpty(t *testing.T) {
	if !(FlowCount{Packets: 1}).Empty() || (FlowCount{Buffers: 1}).Empty() || (FlowCount{Buffers: ^uint64(0)}).Empty() {
		t.Error("a flow is empty without buffers, and only then")
	}
	if !(DropCount{Packets: 1}).Empty() || (DropCount{Buffers: 1}).Empty() {
		t.Error("a drop is empty without buffers, and only then")
	}
}
