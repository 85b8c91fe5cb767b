package scenario

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestRequestsOutOfOrder has a wire between client and server that overtakes and
// doubles one frame in three: netfate tells what the server noted.
func TestRequestsOutOfOrder(t *testing.T) {
	need.Root(t)
	lab := netlab.New(t)
	client, server := lab.NetNS("client"), lab.NetNS("server")
	left, right := client.Tap("eth0"), server.Tap("eth0")
	client.Addr("eth0", clientAddr+"/24")
	server.Addr("eth0", serverAddr+"/24")
	client.Neigh("eth0", serverAddr, server.MAC("eth0"))
	server.Neigh("eth0", clientAddr, client.MAC("eth0"))
	s := openShop(server, serverAddr+":8080")
	w, got := watchRequests(t, client, plainOnly()...)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { muddle(ctx, left, right, same) })
	wait.Go(func() { muddle(ctx, right, left, same) })
	for i := range 4 {
		k := &talker{conn: client.DialTCP(serverAddr + ":8080"), name: fmt.Sprintf("shop%d.example", i)}
		k.read = bufio.NewReader(k.conn)
		for range 25 {
			client.Must("ask", k.ask(8))
		}
		client.Must("close", k.conn.Close())
	}
	netlab.WaitFor(t, "netfate to tell all", func() bool { return got.wait(800) == nil })
	cancel()
	wait.Wait()
	w.stop()
	if diff := cmp.Diff(s.counts(), got.counts(t)); diff != "" {
		t.Errorf("requests (-server +netfate):\n%s", diff)
	}
}

// TestRequestsOfOneEnd has the server's end tell by itself, as if the client were on
// another host: the wire renumbers what both say, and it knows the server by another
// address. What comes to the server first is overtaken, or comes before the
// handshake's end, which listeners that wait for data get.
func TestRequestsOfOneEnd(t *testing.T) {
	need.Root(t)
	lab := netlab.New(t)
	client, server := lab.NetNS("client"), lab.NetNS("server")
	left, right := client.Tap("eth0"), server.Tap("eth0")
	client.Addr("eth0", clientAddr+"/24")
	server.Addr("eth0", serverAddr+"/24")
	client.Neigh("eth0", serverAddr, server.MAC("eth0"))
	server.Neigh("eth0", clientAddr, client.MAC("eth0"))
	client.Sysctl("net/ipv4/tcp_sack", "0") // it has numbers, too
	const service = "10.9.9.9"
	client.Route(service+"/32", serverAddr)
	server.Exec("nft", "add table ip nat; add chain ip nat in { type nat hook prerouting priority -100; }; "+
		"add rule ip nat in ip daddr "+service+" dnat to "+serverAddr)
	s := &shop{asked: map[asked]int{}}
	s.open(server, server.ListenTCP(serverAddr+":8080"))
	waits := server.ListenTCP(serverAddr + ":8081")
	s.open(server, waits)
	server.Do(func() error { return setDeferAccept(waits) })
	w, got := watchRequests(t, server, plainOnly()...)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	const shift = 1 << 30
	wait.Go(func() {
		muddle(ctx, left, right, func(frame []byte) { renumber(frame, tcpSeq, shift); renumber(frame, tcpAck, shift) })
	})
	wait.Go(func() {
		muddle(ctx, right, left, func(frame []byte) { renumber(frame, tcpSeq, -shift); renumber(frame, tcpAck, -shift) })
	})
	const conns, each = 32, 3
	for i := range conns {
		k := newTalker(client, fmt.Sprintf("%s:%d", service, 8080+i%2), fmt.Sprintf("shop%d.example", i%4))
		// The first request is in one segment: a second one that comes to a listener
		// before the first is not told, as docs/decisions.md says.
		k.number = i % 7
		for range each {
			client.Must("ask", k.ask(1))
		}
		client.Must("close", k.conn.Close())
	}
	netlab.WaitFor(t, "netfate to tell all", func() bool { return got.wait(conns*each) == nil })
	cancel()
	wait.Wait()
	w.stop()
	counts := map[asked]int{}
	for i := range got.rows {
		q := &got.rows[i]
		if q.Error != "" || q.LatencyMicros == 0 || q.Side != record.Server || q.Comm == "" || q.DstAddr.String() != serverAddr {
			t.Errorf("not a whole request of the server: %+v", *q)
		}
		counts[asked{q.Method, q.HostName, q.Path, q.Status, q.ResponseBytes}]++
	}
	if diff := cmp.Diff(s.counts(), counts); diff != "" {
		t.Errorf("requests (-server +netfate):\n%s", diff)
	}
}

// TestRequestsTranslated asks an address that netfilter makes another one of on the
// way out, as for services of clusters: a request has the address that was asked for,
// and is told once.
func TestRequestsTranslated(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	const service, serviceSix, serverSix = "10.9.9.9", "fd00:9::9", "fd00::2"
	client.Route(service+"/32", serverAddr)
	for n, addr := range map[*netlab.NetNS]string{client: "fd00::1/64", server: serverSix + "/64"} {
		n.IPv6()
		n.Addr("eth0", addr)
	}
	client.Route(serviceSix+"/128", serverSix)
	client.Exec("nft", "add table inet nat; add chain inet nat out { type nat hook output priority -100; }; "+
		"add chain inet nat post { type nat hook postrouting priority 100; }; "+
		"add rule inet nat out ip daddr "+service+" tcp dport 80 dnat ip to "+serverAddr+":8080; "+
		"add rule inet nat out ip6 daddr "+serviceSix+" tcp dport 80 dnat ip6 to ["+serverSix+"]:8080; "+
		"add rule inet nat post masquerade")
	s := openShop(server, serverAddr+":8080", "["+serverSix+"]:8080")
	w, got := watchRequests(t, client, plainOnly()...)
	other, none := watchRequests(t, server, plainOnly()...)
	for _, addr := range []string{service + ":80", "[" + serviceSix + "]:80"} {
		k := newTalker(client, addr, "service.example")
		for range 2 {
			client.Must("ask", k.ask(8))
		}
		client.Must("close", k.conn.Close())
	}
	w.stop()
	other.stop()
	if diff := cmp.Diff(s.counts(), got.counts(t)); diff != "" {
		t.Errorf("requests (-server +netfate):\n%s", diff)
	}
	if n := len(none.rows); n != 0 {
		t.Errorf("got %d requests of the server's end as well", n)
	}
	for i := range got.rows {
		q := &got.rows[i]
		if a := q.DstAddr.String(); a != service && a != serviceSix || q.DstPort != 80 {
			t.Errorf("got %s port %d, want the address that was asked", a, q.DstPort)
		}
	}
}

// setDeferAccept has a listener take connections when their first data comes.
func setDeferAccept(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 10) })
	return errors.Join(err, set)
}

// same changes nothing of a frame.
func same([]byte) {}

// Places in a frame of IPv4 without options.
const (
	tcpAt    = 14 + 20
	tcpSeq   = tcpAt + 4
	tcpAck   = tcpAt + 8
	tcpFlags = tcpAt + 13
	tcpSum   = tcpAt + 16
)

// renumber adds to one of the numbers of a TCP segment, and mends its checksum.
func renumber(frame []byte, at int, by int32) {
	if len(frame) < tcpAt+20 || frame[12] != 8 || frame[23] != unix.IPPROTO_TCP || at == tcpAck && frame[tcpFlags]&0x10 == 0 {
		return
	}
	sum := uint32(^binary.BigEndian.Uint16(frame[tcpSum:]))
	add := func(b []byte, sign uint16) {
		sum += uint32(binary.BigEndian.Uint16(b)^sign) + uint32(binary.BigEndian.Uint16(b[2:])^sign)
	}
	number := frame[at : at+4]
	add(number, 0xffff)
	binary.BigEndian.PutUint32(number, binary.BigEndian.Uint32(number)+uint32(by))
	add(number, 0)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(frame[tcpSum:], ^uint16(sum))
}

// muddle changes frames and passes them on: of each three the first comes behind the
// second, and the third twice.
func muddle(ctx context.Context, from, to *netlab.Tap, change func(frame []byte)) {
	var held []byte
	for n := 0; ctx.Err() == nil; n++ {
		frame := from.Read(20 * time.Millisecond)
		change(frame)
		switch {
		case frame == nil:
			if held != nil {
				to.Send(held)
			}
			held = nil
		case held != nil:
			to.Send(frame)
			to.Send(held)
			held = nil
		case n%3 == 0:
			held = frame
		case n%3 == 2:
			to.Send(frame)
			to.Send(frame)
		default:
			to.Send(frame)
		}
	}
}
