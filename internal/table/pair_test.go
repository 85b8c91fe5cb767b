package table

import (
	"net/netip"
	"testing"

	"github.com/netfate/netfate/internal/decode"
)

const (
	netA = 4026531001
	netB = 4026531002

	tcpFIN = 1
	ephem  = 40000
)

func addr(s string) [16]byte { return netip.MustParseAddr(s).As16() }

// tuple is a packet between 10.0.0.1 and 10.0.0.2, with these ports.
func tuple(proto uint8, sport, dport uint16) decode.Tuple {
	return decode.Tuple{
		Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), SrcPort: sport, DstPort: dport, EthProto: 0x0800, Proto: proto,
	}
}

func TestPairOf(t *testing.T) {
	// A pair, as "local local-port remote remote-port".
	f := func(proto uint8, sport, dport uint16, sent bool, local string, lport uint16, remote string, rport uint16) {
		t.Helper()
		tup := tuple(proto, sport, dport)
		want := Pair{local: side{addr(local), lport}, remote: side{addr(remote), rport}, netns: netA, ethProto: 0x0800, proto: proto}
		if got := PairOf(&tup, netA, sent, false); got != want {
			t.Errorf("protocol %d, %d to %d, sent %v: got %+v, want %+v", proto, sport, dport, sent, got, want)
		}
	}
	f(protoTCP, 1, 2, true, "10.0.0.1", 1, "10.0.0.2", 2)
	f(protoTCP, 1, 2, false, "10.0.0.2", 2, "10.0.0.1", 1)
	f(protoUDP, 1, 2, true, "10.0.0.1", 1, "10.0.0.2", 2)
	f(protoUDP, 1, 2, false, "10.0.0.2", 2, "10.0.0.1", 1)
	f(47, 0, 0, false, "10.0.0.2", 0, "10.0.0.1", 0)
	f(protoICMP, 8<<8, 7, true, "10.0.0.1", 0, "10.0.0.2", 7)        // echo request
	f(protoICMP, 8<<8, 7, false, "10.0.0.2", 0, "10.0.0.1", 7)       // received
	f(protoICMP, 0, 7, true, "10.0.0.1", 0, "10.0.0.2", 7)           // reply
	f(protoICMP, 3<<8|1, 0, true, "10.0.0.1", 3<<8|1, "10.0.0.2", 0) // host unreachable
	f(protoICMP, 3<<8|1, 0, false, "10.0.0.2", 3<<8|1, "10.0.0.1", 0)
	f(protoICMPv6, 128<<8, 7, true, "10.0.0.1", 0, "10.0.0.2", 7)
	f(protoICMPv6, 129<<8, 7, false, "10.0.0.2", 0, "10.0.0.1", 7)
	f(protoICMPv6, 135<<8, 0, false, "10.0.0.2", 135<<8, "10.0.0.1", 0)
	f(protoICMPv6, 8<<8, 0, true, "10.0.0.1", 8<<8, "10.0.0.2", 0) // type 8 is ICMP's echo only
}

// TestPairOfBothWays says which packets belong to one pair.
func TestPairOfBothWays(t *testing.T) {
	f := func(proto uint8, sport, dport uint16) {
		t.Helper()
		there := tuple(proto, sport, dport)
		back := there.Reversed()
		if got, want := PairOf(&back, netA, false, false), PairOf(&there, netA, true, false); got != want {
			t.Errorf("protocol %d, %d to %d: the answer's pair is %+v, want %+v", proto, sport, dport, got, want)
		}
		if PairOf(&there, netA, true, false) == PairOf(&there, netA, false, false) {
			t.Errorf("protocol %d: both ends of lo have one pair", proto)
		}
		if PairOf(&there, netA, true, false) == PairOf(&there, netB, true, false) {
			t.Errorf("protocol %d: two namespaces have one pair", proto)
		}
		if PairOf(&there, netA, true, false) == PairOf(&there, netA, true, true) {
			t.Errorf("protocol %d: the remainder has a flow's pair", proto)
		}
	}
	f(protoTCP, 1, 2)
	f(protoUDP, 1, 2)
	f(132, 1, 2)
	f(47, 0, 0)
	f(protoICMP, 8<<8, 9)
	f(protoICMPv6, 128<<8, 9)
}

func TestPairTuple(t *testing.T) {
	there := tuple(protoTCP, 1, 2)
	p := PairOf(&there, netA, true, false)
	if got := p.Tuple(true); got != there {
		t.Errorf("out: got %+v, want %+v", got, there)
	}
	if got, want := p.Tuple(false), there.Reversed(); got != want {
		t.Errorf("in: got %+v, want %+v", got, want)
	}
	want := decode.BoundKey{Addr: addr("10.0.0.1"), NetNS: netA, Port: 1, Proto: protoTCP}
	if got := p.LocalBound(); got != want {
		t.Errorf("bound: got %+v, want %+v", got, want)
	}
	if p.NetNS() != netA || p.Other() {
		t.Errorf("got namespace %d, other %v; want %d, false", p.NetNS(), p.Other(), netA)
	}
}

func TestPairOfDrop(t *testing.T) {
	f := func(flags uint8, sent, other bool) {
		t.Helper()
		k := decode.DropKey{Tuple: tuple(protoUDP, 1, 2), NetNS: netA}
		k.Flags = flags
		if got, want := PairOfDrop(&k), PairOf(&k.Tuple, netA, sent, other); got != want {
			t.Errorf("flags %d: got %+v, want %+v", flags, got, want)
		}
	}
	f(decode.DropIn, false, false)
	f(decode.DropOut, true, false)
	// What is forwarded is known by the interface that it came in by: it may
	// never have got to another.
	f(decode.DropForward, false, false)
	f(decode.DropIn|decode.DropOther, false, true)
	f(decode.DropOut|decode.DropOther, true, true)
}

func TestLocalBegan(t *testing.T) {
	const (
		syn, synack, ack = tcpSYN, tcpSYN | tcpACK, tcpACK
		client, server   = true, false
	)
	// What went out and came in: when the first packet, and which TCP flags.
	f := func(name string, proto uint8, lport, rport uint16, outFirst uint64, outFlags uint8, inFirst uint64, inFlags uint8, want bool) {
		t.Helper()
		row := Flow{
			Pair: Pair{proto: proto, local: side{port: lport}, remote: side{port: rport}},
			Out:  Way{First: outFirst, TCPFlags: outFlags}, In: Way{First: inFirst, TCPFlags: inFlags},
		}
		if got := localBegan(&row); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	f("SYN out, nothing back", protoTCP, ephem, 80, 1, syn, 0, 0, client)
	f("SYN in, nothing back", protoTCP, 80, ephem, 0, 0, 1, syn, server)
	f("SYN out, SYN-ACK in", protoTCP, ephem, 80, 1, syn, 2, synack, client)
	f("SYN out, RST in", protoTCP, ephem, 80, 1, syn, 2, ack|4, client)
	f("SYN in, SYN-ACK out", protoTCP, 80, ephem, 2, synack, 1, syn, server)
	f("whole connection, client", protoTCP, ephem, 80, 1, syn|ack|tcpFIN, 2, synack|tcpFIN, client)
	f("whole connection, server", protoTCP, 80, ephem, 2, synack|tcpFIN, 1, syn|ack|tcpFIN, server)
	f("whole connection, both ports of clients", protoTCP, ephem, ephem+1, 1, syn|ack, 2, synack, client)
	f("whole connection, both ports of clients, server", protoTCP, ephem, ephem+1, 2, synack, 1, syn|ack, server)
	f("SYN-ACK in only", protoTCP, ephem, 80, 0, 0, 1, synack, client)
	f("SYN-ACK out only", protoTCP, 80, ephem, 1, synack, 0, 0, server)
	f("SYN-ACK out, then ACK in", protoTCP, 80, ephem, 1, synack, 2, ack, server)
	f("SYN-ACK in, then ACK out", protoTCP, ephem, 80, 2, ack, 1, synack, client)
	f("SYN and ACK out, answers come by another interface", protoTCP, ephem, 80, 1, syn|ack, 0, 0, client)
	f("SYN-ACK in, both ports of clients", protoTCP, ephem, ephem+1, 2, ack, 1, synack, client)
	f("SYN-ACK out, both ports of clients", protoTCP, ephem, ephem+1, 1, synack, 2, ack, server)
	f("running, client's port", protoTCP, ephem, 80, 2, ack, 1, ack, client)
	f("running, server's port", protoTCP, 80, ephem, 1, ack, 2, ack, server)
	f("running, high server's port", protoTCP, ephem, 8080, 2, ack, 1, ack, client)
	f("running, nothing to tell by", protoTCP, ephem, ephem+1, 1, ack, 2, ack, client)
	f("running, nothing to tell by, heard first", protoTCP, ephem, ephem+1, 2, ack, 1, ack, server)
	f("UDP client", protoUDP, ephem, 53, 1, 0, 2, 0, client)
	f("UDP server", protoUDP, 53, ephem, 2, 0, 1, 0, server)
	f("UDP client, answer seen only", protoUDP, ephem, 53, 0, 0, 1, 0, client)
	f("UDP on one port", protoUDP, 123, 123, 1, 0, 2, 0, client)
	f("UDP on one port, heard first", protoUDP, 123, 123, 2, 0, 1, 0, server)
	f("UDP client of a low port of its own", protoUDP, 1000, 5000, 1, 0, 2, 0, server) // wrong, and not to be told
	f("ping out", protoICMP, 0, 7, 1, 0, 2, 0, client)
	f("ping in", protoICMP, 0, 7, 2, 0, 1, 0, server)
	f("at once", protoICMP, 0, 7, 1, 0, 1, 0, client)
	f("in only", 47, 0, 0, 0, 0, 1, 0, server)
}
