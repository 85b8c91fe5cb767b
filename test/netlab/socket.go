package netlab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// family returns the network's name with the address's family: without it a
// wildcard of IPv4 becomes a socket of IPv6.
func family(network, addr string) string {
	if netip.MustParseAddrPort(addr).Addr().Is4() {
		return network + "4"
	}
	return network + "6"
}

// ListenUDP opens a UDP socket in the namespace; the lab closes it if the
// caller has not.
func (n *NetNS) ListenUDP(addr string) *net.UDPConn {
	n.tb.Helper()
	var conn *net.UDPConn
	n.Do(func() (err error) {
		conn, err = net.ListenUDP(family("udp", addr), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	})
	n.tb.Cleanup(func() { conn.Close() })
	return conn
}

// DialUDP opens a connected UDP socket; from may be empty.
func (n *NetNS) DialUDP(from, to string) *net.UDPConn {
	n.tb.Helper()
	var local *net.UDPAddr
	if from != "" {
		local = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	var conn *net.UDPConn
	n.Do(func() (err error) {
		conn, err = net.DialUDP(family("udp", to), local, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		return err
	})
	n.tb.Cleanup(func() { conn.Close() })
	return conn
}

// Datagrams sends count datagrams of the size given from an unconnected
// socket, which it leaves open and returns. Errors are ignored: a rule may
// refuse a datagram, and that one is lost; errors that come back later never
// reach an unconnected socket.
func (n *NetNS) Datagrams(to string, count, size int) *net.UDPConn {
	n.tb.Helper()
	dst := netip.MustParseAddrPort(to)
	from := "0.0.0.0:0"
	if dst.Addr().Is6() {
		from = "[::]:0"
	}
	conn := n.ListenUDP(from)
	for range count {
		_, _ = conn.WriteToUDPAddrPort(make([]byte, size), dst)
	}
	return conn
}

// ListenTCP opens a listener in the namespace, of plain TCP.
func (n *NetNS) ListenTCP(addr string) *net.TCPListener {
	n.tb.Helper()
	return n.listen(addr, false)
}

// ListenMPTCP opens a listener as Go's net package does unless told otherwise:
// of multipath TCP, so that the TCP socket that listens is made by the kernel.
func (n *NetNS) ListenMPTCP(addr string) *net.TCPListener {
	n.tb.Helper()
	return n.listen(addr, true)
}

func (n *NetNS) listen(addr string, multipath bool) *net.TCPListener {
	n.tb.Helper()
	config := net.ListenConfig{}
	config.SetMultipathTCP(multipath)
	var listener net.Listener
	n.Do(func() (err error) {
		listener, err = config.Listen(context.Background(), family("tcp", addr), addr)
		return err
	})
	n.tb.Cleanup(func() { listener.Close() })
	return listener.(*net.TCPListener)
}

// TryDialTCP connects from the namespace within the time given.
func (n *NetNS) TryDialTCP(to string, atMost time.Duration) (*net.TCPConn, error) {
	var conn net.Conn
	err := n.Try(func() (err error) {
		conn, err = net.DialTimeout("tcp", to, atMost)
		return err
	})
	if err != nil {
		return nil, err
	}
	n.tb.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn), nil
}

// DialTCP is TryDialTCP for what must succeed.
func (n *NetNS) DialTCP(to string) *net.TCPConn {
	n.tb.Helper()
	conn, err := n.TryDialTCP(to, 20*time.Second)
	if err != nil {
		n.tb.Fatalf("connect from %s: %v", n.Short, err)
	}
	return conn
}

// ConnectTCP joins client and server: it listens on addr in the server,
// connects from the client, accepts and listens no longer.
func ConnectTCP(client, server *NetNS, addr string) (out, in *net.TCPConn) {
	client.tb.Helper()
	listener := server.ListenTCP(addr)
	out = client.DialTCP(addr)
	in, err := listener.AcceptTCP()
	if err != nil {
		client.tb.Fatalf("accept in %s: %v", server.Short, err)
	}
	client.tb.Cleanup(func() { in.Close() })
	listener.Close()
	return out, in
}

// Must calls Fatalf on an error: for the many calls of the net package.
func (n *NetNS) Must(what string, err error) {
	n.tb.Helper()
	if err != nil {
		n.tb.Fatalf("%s in %s: %v", what, n.Short, err)
	}
}

// Socket opens a socket of any kind in the namespace; the lab closes it.
func (n *NetNS) Socket(family, kind, proto int) *Socket {
	n.tb.Helper()
	s := &Socket{FD: -1, tb: n.tb}
	n.Do(func() (err error) {
		s.FD, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
		return err
	})
	n.tb.Cleanup(s.Close)
	return s
}

// Socket is a bare socket, for what the net package hides.
type Socket struct {
	FD int
	tb TB
}

// Close closes the socket; a second Close does nothing.
func (s *Socket) Close() {
	if s.FD >= 0 {
		unix.Close(s.FD)
	}
	s.FD = -1
}

// Packets opens an AF_PACKET socket bound to the interface. It sends frames,
// and receives those of the Ethernet type given: ETH_P_ALL is all, 0 none.
func (n *NetNS) Packets(ifname string, etherType uint16) *Socket {
	n.tb.Helper()
	s := n.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	s.check("bind packet socket", unix.Bind(s.FD, &unix.SockaddrLinklayer{
		Protocol: swap16(etherType), Ifindex: n.Index(ifname),
	}))
	return s
}

// Send sends one frame or datagram on a bound or connected socket.
func (s *Socket) Send(frame []byte) {
	s.tb.Helper()
	_, err := unix.Write(s.FD, frame)
	s.check("send", err)
}

// SetInt sets an integer socket option.
func (s *Socket) SetInt(level, option, value int) {
	s.tb.Helper()
	s.check(fmt.Sprintf("set socket option %d/%d", level, option), unix.SetsockoptInt(s.FD, level, option, value))
}

func (s *Socket) check(what string, err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatalf("%s: %v", what, err)
	}
}

// Capture counts the packets that an interface sends and receives, as an
// AF_PACKET socket sees them: a buffer that GSO or GRO made counts once, so
// switch offloads off where the wire's packets are wanted.
type Capture struct {
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64
	// Lost is what the socket's buffer had no room for: then the counts are
	// too low by that.
	Lost uint64

	socket *Socket
	stop   chan struct{}
	done   chan struct{}
}

// Capture starts counting on the interface, until Stop.
func (n *NetNS) Capture(ifname string) *Capture {
	n.tb.Helper()
	c := &Capture{socket: n.Packets(ifname, unix.ETH_P_ALL), stop: make(chan struct{}), done: make(chan struct{})}
	c.socket.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20)
	timeout := unix.NsecToTimeval(int64(20 * time.Millisecond))
	c.socket.check("set timeout", unix.SetsockoptTimeval(c.socket.FD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	go c.run()
	return c
}

func (c *Capture) run() {
	defer close(c.done)
	var head [64]byte
	for {
		// MSG_TRUNC returns the real length and needs no room for the packet.
		size, from, err := unix.Recvfrom(c.socket.FD, head[:], unix.MSG_TRUNC)
		if err != nil {
			select {
			case <-c.stop:
				return
			default:
				continue
			}
		}
		// The socket gives the tag of a VLAN frame apart; a tag is 4 bytes on the
		// wire, but the kernel's counters leave it out as well.
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			c.PacketsOut++
			c.BytesOut += uint64(size)
		} else {
			c.PacketsIn++
			c.BytesIn += uint64(size)
		}
	}
}

// Stop takes in what the socket still holds and ends the count; the numbers
// may be read from then on.
func (c *Capture) Stop() {
	c.socket.tb.Helper()
	close(c.stop)
	<-c.done
	stats, err := unix.GetsockoptTpacketStats(c.socket.FD, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	c.socket.check("read packet statistics", err)
	c.Lost = uint64(stats.Drops)
	c.socket.Close()
}

func swap16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
