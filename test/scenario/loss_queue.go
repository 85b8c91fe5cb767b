package scenario

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// queueLosses are packets for which there was no room.
func queueLosses() []Recipe {
	return []Recipe{
		{
			Name: "udp_buffer_full", Reasons: []string{"SOCKET_RCVBUFF"}, Verdict: record.Resource,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				sink := server.ListenUDP("10.0.0.2:9000")
				server.Must("shrink buffer", sink.SetReadBuffer(2048))
				return server, func() int {
					client.Datagrams("10.0.0.2:9000", 20, 1000)
					lost := func() int { return int(server.Counter("Udp", "RcvbufErrors")) }
					got := 0
					netlab.WaitFor(server.TB(), "20 datagrams to arrive or be lost", func() bool {
						got += received(server, sink)
						return got+lost() >= 20
					})
					return lost()
				}
			},
		},
		{
			Name: "tap_ring_full", Reasons: []string{"FULL_RING"}, Verdict: record.Resource,
			Proto: "udp", Src: serverAddr, Dst: clientAddr + ":9000", Direction: record.Out,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, _ := wired(l)
				host.Must("set queue length", host.Netlink().LinkSetTxQLen(host.Link("eth0"), 5))
				return host, func() int {
					host.Datagrams(clientAddr+":9000", 20, 100)
					return int(host.Link("eth0").Attrs().Statistics.TxDropped)
				}
			},
		},
		{
			Name: "tbf_overflow", Reasons: []string{"QDISC_DROP", "QDISC_OVERLIMIT"}, Verdict: record.Resource,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.Out, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				server.ListenUDP("10.0.0.2:9000")
				slow(client, 100_000)
				return client, func() int {
					client.Datagrams("10.0.0.2:9000", 20, 1000)
					return qdiscDrops(client)
				}
			},
		},
		{
			// Of a type that nobody else takes: else the buffer is shared, and what
			// the packet socket refuses is not freed.
			Name: "packet_socket_full", Reasons: []string{"PACKET_SOCK_ERROR"}, Verdict: record.Resource,
			Direction: record.In, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				sniffer := host.Packets("eth0", 0x88b5)
				sniffer.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 2048)
				return host, func() int {
					f := netlab.Frame{EtherType: 0x88b5, Payload: make([]byte, 1000)}
					repeat(tap, 20, tap.Address(f).Bytes())
					stats, err := unix.GetsockoptTpacketStats(sniffer.FD, unix.SOL_PACKET, unix.PACKET_STATISTICS)
					host.Must("read packet statistics", err)
					return int(stats.Drops)
				}
			},
		},
	}
}

// received reads what the socket holds by now and returns the number of
// datagrams.
func received(n *netlab.NetNS, conn *net.UDPConn) int {
	count := 0
	var buffer [1]byte
	control(n, conn, func(fd int) error {
		for {
			switch _, _, err := unix.Recvfrom(fd, buffer[:], unix.MSG_DONTWAIT); err {
			case nil:
				count++
			case unix.EAGAIN:
				return nil
			default:
				return err
			}
		}
	})
	return count
}

// slow puts a token bucket with room for 3 kB before eth0: 1,600 bytes go at
// once, the rest at the rate, in bit/s.
func slow(n *netlab.NetNS, rate uint64) {
	n.Must("add tbf", n.Netlink().QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: n.Index("eth0"), Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate / 8, Buffer: netlink.Xmittime(rate/8, 1600), Limit: 3000,
	}))
}

// qdiscDrops returns what the root qdisc of eth0 has dropped.
func qdiscDrops(n *netlab.NetNS) int { return int(qdiscQueue(n).Drops) }

// queueLength returns what waits in the root qdisc of eth0.
func queueLength(n *netlab.NetNS) int { return int(qdiscQueue(n).Qlen) }

func qdiscQueue(n *netlab.NetNS) netlink.GnetStatsQueue {
	list, err := n.Netlink().QdiscList(n.Link("eth0"))
	n.Must("list qdiscs", err)
	for _, qdisc := range list {
		if a := qdisc.Attrs(); a.Parent == netlink.HANDLE_ROOT && a.Statistics != nil && a.Statistics.Queue != nil {
			return *a.Statistics.Queue
		}
	}
	n.TB().Fatalf("no statistics of eth0's qdisc in %s", n.Short)
	return netlink.GnetStatsQueue{}
}
