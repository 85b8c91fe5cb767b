package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/netlab"
)

// role is one process of the play.
type role struct {
	where string // office, server, branch or router
	play  func() error
}

// roles returns every role by its name, which becomes the name of its process:
// fifteen letters at most.
func roles() map[string]role {
	return map[string]role{
		// Those who serve.
		"resolver":   {"server", resolver},
		"web-server": {"server", webServer},
		"store":      {"server", store},
		"player":     {"server", player},
		"replica":    {"branch", replica},
		// Those who talk.
		"dns-client": {"office", every(100*time.Millisecond, func() error { return question("udp", serverAddr+":53") })},
		"browser":    {"office", every(200*time.Millisecond, func() error { return question("tcp", serverAddr+":80") })},
		"backup":     {"office", backup},
		// Those who lose.
		"camera":      {"office", sender(serverAddr+":5004", 10*time.Millisecond, 1000)},    // SOCKET_RCVBUFF: the player is slow
		"logger":      {"office", sender(serverAddr+":514", 200*time.Millisecond, 120)},     // NO_SOCKET: nobody listens
		"phone":       {"office", every(time.Second, func() error { return knock(23) })},    // NO_SOCKET, TCP
		"file-share":  {"office", every(2*time.Second, func() error { return knock(445) })}, // NETFILTER_DROP
		"discovery":   {"office", sender(serverAddr+":1900", 500*time.Millisecond, 90)},     // NETFILTER_DROP
		"lost-route":  {"office", sender("203.0.113.9:123", 500*time.Millisecond, 48)},      // IP_INNOROUTES
		"dead-host":   {"office", sender("10.1.0.77:161", 300*time.Millisecond, 60)},        // NEIGH_FAILED
		"replication": {"server", sender(branchAddr+":3306", 10*time.Millisecond, 1000)},    // QDISC_DROP: the line is narrow
		"tunnel":      {"server", tooBig},                                                   // PKT_TOO_BIG
		"tracer":      {"office", shortLived},                                               // IP_INHDR: the TTL runs out
		"spoofer":     {"office", spoofer},                                                  // IP_RPFILTER, UDP_CSUM, IP_NOPROTO
	}
}

// act plays a role until standard input closes, and returns the exit code.
func act(name string, r role) int {
	go func() {
		// The end of the demo, however it ended.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := r.play(); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %s: %v\n", name, err)
		return 1
	}
	return 0
}

// every returns a role that does something again and again. What fails is part
// of the play.
func every(pause time.Duration, do func() error) func() error {
	return func() error {
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		for ; ; <-ticker.C {
			_ = do()
		}
	}
}

// question asks a server one line and reads the answer.
func question(network, addr string) error {
	conn, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 4096))
	return err
}

// knock tries to connect to a port of the server that refuses or is filtered.
func knock(port int) error {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", serverAddr, port), 1500*time.Millisecond)
	if err == nil {
		conn.Close()
	}
	return err
}

// sender sends datagrams of one size at one pace.
func sender(to string, pause time.Duration, size int) func() error {
	return func() error {
		conn, err := net.ListenPacket("udp4", "0.0.0.0:0")
		if err != nil {
			return err
		}
		addr, err := net.ResolveUDPAddr("udp4", to)
		if err != nil {
			return err
		}
		return every(pause, func() error {
			_, err := conn.WriteTo(make([]byte, size), addr)
			return err
		})()
	}
}

// tooBig sends what the line to the branch cannot carry and may not be cut.
func tooBig() error {
	return optioned(branchAddr+":4500", unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, 1400)
}

// shortLived sends datagrams that may cross no router.
func shortLived() error { return optioned(serverAddr+":33434", unix.IP_TTL, 1, 60) }

// optioned sends two datagrams a second with one IP option of the socket set.
func optioned(to string, option, value, size int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, option, value); err != nil {
		return err
	}
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return err
	}
	return every(500*time.Millisecond, func() error {
		return unix.Sendto(fd, make([]byte, size), 0, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())})
	})()
}

// spoofer sends from raw IP what no socket would: a forged source, a bad
// checksum, a protocol that nobody speaks.
func spoofer() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	good := netlab.Frame{
		SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6),
		Src: netip.MustParseAddrPort(officeAddr + ":4000"), Dst: netip.MustParseAddrPort(serverAddr + ":53"), Proto: netlab.ProtoUDP, Payload: make([]byte, 40),
	}
	forged, strange := good, good
	forged.Src = netip.MustParseAddrPort("198.51.100.66:4000")
	strange.Proto = 253 // for experiments, RFC 3692
	corrupt := good.Bytes()
	corrupt[netlab.TransportAt(corrupt)+6] ^= 0xff
	packets := [][]byte{forged.Bytes(), strange.Bytes(), corrupt}
	return every(500*time.Millisecond, func() error {
		for _, p := range packets {
			ip := p[netlab.NetworkAt(p):]
			if err := unix.Sendto(fd, ip, 0, &unix.SockaddrInet4{Addr: [4]byte(ip[16:20])}); err != nil {
				return err
			}
		}
		return nil
	})()
}

// resolver answers every datagram on port 53.
func resolver() error {
	conn, err := net.ListenPacket("udp4", serverAddr+":53")
	if err != nil {
		return err
	}
	buffer := make([]byte, 2048)
	for {
		size, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		// An answer that cannot be sent is the client's to miss.
		_, _ = conn.WriteTo(buffer[:size], from)
	}
}

// webServer answers one request a connection.
func webServer() error {
	return serve(serverAddr+":80", func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n%3000s", "")
	})
}

// store takes what the backup sends.
func store() error {
	return serve(serverAddr+":5201", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
}

func serve(addr string, answer func(net.Conn)) error {
	listener, err := net.Listen("tcp4", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			answer(conn)
		}()
	}
}

// backup sends about 2.5 MB a second over one connection.
func backup() error {
	block := make([]byte, 64<<10)
	return every(time.Second, func() error {
		conn, err := net.DialTimeout("tcp4", serverAddr+":5201", time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		ticker := time.NewTicker(25 * time.Millisecond)
		defer ticker.Stop()
		for range ticker.C {
			if _, err := conn.Write(block); err != nil {
				return err
			}
		}
		return nil
	})()
}

// replica takes what of the replication gets through.
func replica() error {
	conn, err := net.ListenPacket("udp4", branchAddr+":3306")
	if err != nil {
		return err
	}
	buffer := make([]byte, 2048)
	for {
		if _, _, err := conn.ReadFrom(buffer); err != nil {
			return err
		}
	}
}

// player reads half of what the camera sends, from a small buffer.
func player() error {
	addr, err := net.ResolveUDPAddr("udp4", serverAddr+":5004")
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp4", addr)
	if err != nil {
		return err
	}
	if err := conn.SetReadBuffer(8192); err != nil {
		return err
	}
	buffer := make([]byte, 2048)
	return every(20*time.Millisecond, func() error {
		_, err := conn.Read(buffer)
		return err
	})()
}
