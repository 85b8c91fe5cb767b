package faults

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/netfate/netfate/test/netlab"
)

const (
	clientAddr = "10.91.0.1"
	serverAddr = "10.91.0.2"
)

// pair is two namespaces that are joined and do not ask each other for addresses.
func pair(l *netlab.Lab) (client, server *netlab.NetNS) {
	client, server = l.NetNS("client"), l.NetNS("server")
	l.Veth(client, "eth0", server, "eth0")
	client.Addr("eth0", clientAddr+"/24")
	server.Addr("eth0", serverAddr+"/24")
	client.Neigh("eth0", serverAddr, server.MAC("eth0"))
	server.Neigh("eth0", clientAddr, client.MAC("eth0"))
	return client, server
}

// flood sends packets to closed ports from a packet socket, of as many flows as are
// given, one after the other.
func flood(client, server *netlab.NetNS, packets, flows int) {
	frame := netlab.Frame{
		SrcMAC: client.MAC("eth0"), DstMAC: server.MAC("eth0"),
		Src: netip.MustParseAddrPort(clientAddr + ":1"), Dst: netip.MustParseAddrPort(serverAddr + ":1"),
		Proto: netlab.ProtoUDP, Payload: make([]byte, 22),
	}.Bytes()
	at := netlab.TransportAt(frame)
	frame[at+6], frame[at+7] = 0, 0 // without a checksum nothing changes but the ports
	raw := client.Packets("eth0", 0)
	defer raw.Close()
	const sources = 50_000
	for i := range packets {
		flow := i % flows
		binary.BigEndian.PutUint16(frame[at:], uint16(1000+flow%sources))
		binary.BigEndian.PutUint16(frame[at+2:], uint16(20_000+flow/sources))
		raw.Send(frame)
	}
}

// ofFlood are the counts of floods between two namespaces since now: what the server's
// sockets and the client's device lost, and what the server's device received. A veth's
// packets that find its peer's queue full are lost in the peer's namespace.
func ofFlood(client, server *netlab.NetNS) []count {
	noPorts, refused, received := server.Counter("Udp", "NoPorts"), lostBy(client), receivedBy(server, "eth0")
	netns := fmt.Sprintf("netns=%d", server.Inode)
	return []count{
		{"packets for closed ports", "drops", "packets", []string{netns, "proto=udp"}, func() uint64 {
			return server.Counter("Udp", "NoPorts") - noPorts + lostBy(client) - refused
		}},
		{"packets received", "flows", "buffers_in", []string{netns, notLo, notFirst}, func() uint64 { return receivedBy(server, "eth0") - received }},
	}
}

// Conditions for every interface but lo, which has only its number where its name was not
// known in time.
const (
	notLo    = "ifname!=lo"
	notFirst = "ifname!=if1"
)

func lostBy(n *netlab.NetNS) uint64 { return n.Link("eth0").Attrs().Statistics.TxDropped }

func receivedBy(n *netlab.NetNS, ifname string) uint64 {
	return n.Link(ifname).Attrs().Statistics.RxPackets
}
