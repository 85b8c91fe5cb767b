package scenario

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// benignSockets are frees at the end of a socket's, a queue's or a
// connection's life, and traffic that loses nothing at all.
func benignSockets() []Recipe {
	return []Recipe{
		{
			Name: "ping", Reasons: []string{"NO_SOCKET", "SKB_CONSUMED"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, _ := pair(l)
				return client, func() int {
					client.Exec("ping", "-n", "-c", "3", "-i", "0.05", serverAddr)
					return 3
				}
			},
		},
		{
			Name: "udp_closed_with_data", Reasons: []string{"NOT_SPECIFIED", "SOCKET_CLOSE", "QUEUE_PURGE"}, Verdict: record.Benign,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9417", Placeless: true,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				return server, func() int {
					sink := server.ListenUDP("10.0.0.2:9417")
					client.Datagrams("10.0.0.2:9417", 5, 100)
					netlab.WaitFor(server.TB(), "5 datagrams", func() bool { return queued(server, sink) == 5 })
					sink.Close()
					return 5
				}
			},
		},
		{
			Name: "packet_socket_closed_with_data", Reasons: []string{"QUEUE_PURGE", "SOCKET_CLOSE", "NOT_SPECIFIED"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				server.ListenUDP("10.0.0.2:9000")
				return server, func() int {
					sniffer := server.Packets("eth0", unix.ETH_P_ALL)
					client.Datagrams("10.0.0.2:9000", 5, 100)
					netlab.WaitFor(server.TB(), "a packet", func() bool { return pollable(sniffer.FD) })
					sniffer.Close()
					return Some
				}
			},
		},
		{
			Name: "raw_socket_closed_with_data", Reasons: []string{"QUEUE_PURGE", "SOCKET_CLOSE", "NOT_SPECIFIED"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				server.ListenUDP("10.0.0.2:9000")
				return server, func() int {
					raw := server.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
					client.Datagrams("10.0.0.2:9000", 5, 100)
					netlab.WaitFor(server.TB(), "a packet", func() bool { return pollable(raw.FD) })
					raw.Close()
					return Some
				}
			},
		},
		closedUnix("unix_stream_closed_with_data", unix.SOCK_STREAM),
		closedUnix("unix_datagram_closed_with_data", unix.SOCK_DGRAM),
		{
			Name: "netlink_dump_abandoned", Reasons: []string{"NOT_SPECIFIED", "QUEUE_PURGE"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host := l.NetNS("host")
				return host, func() int {
					s := host.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
					request := make([]byte, 20) // struct nlmsghdr, struct rtgenmsg
					request[0], request[4], request[6], request[7] = 20, unix.RTM_GETLINK, unix.NLM_F_REQUEST, 3
					host.Must("ask for a dump", unix.Sendto(s.FD, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
					s.Close()
					return Some
				}
			},
		},
		{
			Name: "tap_closed_with_frames", Reasons: []string{"QUEUE_PURGE", "NOT_SPECIFIED", "SOCKET_CLOSE"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					host.Datagrams(clientAddr+":9000", 5, 100)
					tap.Close()
					return 5
				}
			},
		},
		{
			Name: "qdisc_rebuilt", Reasons: []string{"QUEUE_PURGE", "QDISC_DROP", "NOT_SPECIFIED"}, Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				server.ListenUDP("10.0.0.2:9000")
				return client, func() int {
					slow(client, 2000)
					client.Datagrams("10.0.0.2:9000", 4, 700) // two go at once, two wait
					waiting := queueLength(client)
					client.Must("delete tbf", client.Netlink().QdiscDel(&netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{
						LinkIndex: client.Index("eth0"), Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
					}, QdiscType: "tbf"}))
					return waiting
				}
			},
		},
		{
			Name: "tcp_closed_with_unread_data", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				return server, func() int {
					out, in := netlab.ConnectTCP(client, server, "10.0.0.2:9000")
					_, err := out.Write(make([]byte, 5000))
					client.Must("write", err)
					netlab.WaitFor(server.TB(), "data", func() bool { return connReadable(server, in) })
					in.Close() // resets
					_, err = out.Read(make([]byte, 1))
					if err == nil {
						client.TB().Fatalf("read from a reset connection succeeded")
					}
					return 0
				}
			},
		},
		{
			Name: "listener_closed_with_pending", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				return server, func() int {
					listener := server.ListenTCP("10.0.0.2:9000")
					conns := []*net.TCPConn{client.DialTCP("10.0.0.2:9000"), client.DialTCP("10.0.0.2:9000")}
					listener.Close()
					for _, conn := range conns {
						_, _ = conn.Read(make([]byte, 1)) // until the reset has come
					}
					return 0
				}
			},
		},
		{
			Name: "tcp_transfer", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				return server, func() int { transfer(client, server, "10.0.0.2:9000", 4<<20); return 0 }
			},
		},
		{
			Name: "tcp_short_connections", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, _, server := routed(l)
				return server, func() int {
					for i := range 20 {
						transfer(client, server, fmt.Sprintf("%s:%d", farServer, 9000+i), 1000)
					}
					return 0
				}
			},
		},
		{
			Name: "udp_echo", Verdict: record.Benign,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, _, server := routed(l)
				echo := server.ListenUDP(farServer + ":53")
				return server, func() int {
					conn := client.DialUDP("", farServer+":53")
					buffer := make([]byte, 512)
					for range 20 {
						_, err := conn.Write([]byte("question"))
						client.Must("ask", err)
						size, from, err := echo.ReadFromUDPAddrPort(buffer)
						server.Must("hear", err)
						_, err = echo.WriteToUDPAddrPort(buffer[:size], from)
						server.Must("answer", err)
						_, err = conn.Read(buffer)
						client.Must("read", err)
					}
					conn.Close()
					return 0
				}
			},
		},
	}
}

// closedUnix queues data on a Unix socket of the kind given and closes it.
func closedUnix(name string, kind int) Recipe {
	return Recipe{
		Name: name, Reasons: []string{"SOCKET_CLOSE", "QUEUE_PURGE", "NOT_SPECIFIED", "UNIX_DISCONNECT"}, Verdict: record.Benign,
		Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
			host := l.NetNS("host")
			return host, func() int {
				var ends [2]int
				host.Do(func() (err error) {
					ends, err = unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
					return err
				})
				for range 3 {
					_, err := unix.Write(ends[0], []byte("never read"))
					host.Must("write", err)
				}
				unix.Close(ends[1])
				unix.Close(ends[0])
				return Some
			}
		},
	}
}

// transfer sends bytes over one connection and reads them, both ends closing
// in order.
func transfer(client, server *netlab.NetNS, addr string, size int64) {
	out, in := netlab.ConnectTCP(client, server, addr)
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(out, zeros{}, size)
		if err == nil {
			err = out.CloseWrite()
		}
		done <- err
	}()
	got, err := io.Copy(io.Discard, in)
	server.Must("read", err)
	client.Must("write", <-done)
	if got != size {
		server.TB().Fatalf("got %d bytes, want %d", got, size)
	}
	in.Close()
	_, err = out.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) {
		client.TB().Fatalf("got error %v at the end of a connection, want EOF", err)
	}
	out.Close()
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// connReadable reports whether a read would find something.
func connReadable(n *netlab.NetNS, conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	n.Must("open raw socket", err)
	yes := false
	n.Must("reach socket", raw.Control(func(fd uintptr) { yes = pollable(int(fd)) }))
	return yes
}

// pollable reports whether a read would not block.
func pollable(fd int) bool {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	count, err := unix.Poll(set, 0)
	return err == nil && count == 1
}

// queued returns how many datagrams wait in the socket, leaving them there: a
// peek offset of 0 makes every peek begin where the last one ended.
func queued(n *netlab.NetNS, conn *net.UDPConn) int {
	count := 0
	buffer := make([]byte, 2048)
	control(n, conn, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0); err != nil {
			return err
		}
		for {
			_, _, err := unix.Recvfrom(fd, buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				return nil
			}
			if err != nil {
				return err
			}
			count++
		}
	})
	return count
}
