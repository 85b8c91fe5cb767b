package iface

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// do runs f on a thread in the namespace. Sockets and devices that f opens
// stay there.
func (s space) do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		handle, err := netns.GetFromName(s.name)
		if err == nil {
			defer handle.Close()
			err = netns.Set(handle)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

type counters struct{ Bytes, Packets uint64 }

// counters reads what ip -s link shows.
func (s space) counters(t *testing.T, name string) (in, out counters) {
	t.Helper()
	text, err := exec.Command("ip", "-n", s.name, "-s", "-j", "link", "show", "dev", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	var links []struct {
		Stats64 struct{ RX, TX counters }
	}
	if err := json.Unmarshal(text, &links); err != nil || len(links) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	return links[0].Stats64.RX, links[0].Stats64.TX
}

// quietSpace is a namespace that sends nothing of its own accord.
func quietSpace(t *testing.T, name string) space {
	s := newSpace(t, name)
	s.do(t, func() error {
		for _, which := range []string{"all", "default"} {
			file := "/proc/sys/net/ipv6/conf/" + which + "/disable_ipv6"
			if err := os.WriteFile(file, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		return nil
	})
	return s
}

const (
	payload = 100
	ipBytes = payload + 8 + 20
)

// send sends UDP from one namespace to a bound socket in another until it has
// arrived there.
func send(t *testing.T, from, to space, addr string, arrived func() bool) {
	t.Helper()
	to.do(t, func() error {
		conn, err := net.ListenPacket("udp4", addr)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	})
	var conn net.Conn
	from.do(t, func() (err error) { conn, err = net.Dial("udp4", addr); return err })
	defer conn.Close()
	for deadline := time.Now().Add(10 * time.Second); !arrived(); {
		if time.Now().After(deadline) {
			t.Fatalf("nothing arrives at %s", addr)
		}
		for range 10 { // a port may take a while to forward
			_, _ = conn.Write(make([]byte, payload))
		}
	}
}

// wantCounters compares what the kernel counts a packet with what the class
// says.
func wantCounters(t *testing.T, what string, got counters, link Iface, header bool) {
	t.Helper()
	want := uint64(ipBytes)
	if header {
		want += uint64(link.HeaderLen)
	}
	if got.Packets == 0 || got.Bytes != want*got.Packets {
		t.Errorf("%s: got %d bytes in %d packets, want %d a packet", what, got.Bytes, got.Packets, want)
	}
}

// The byte counters of every kind that can be made here hold the link-layer
// header exactly where its class says so.
func TestCountersAreAsTheClassSays(t *testing.T) {
	a, b := quietSpace(t, "ca"), quietSpace(t, "cb")
	a.ip(t, `link set lo up
link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02 netns `+b.name+`
link add w0 address 02:00:00:00:00:03 type veth peer name w1 address 02:00:00:00:00:04 netns `+b.name+`
link set v0 up
link add br0 address 02:00:00:00:00:05 type bridge mcast_snooping 0
link set w0 master br0
link set w0 up
link set br0 up
link add mv0 link v0 address 02:00:00:00:00:06 type macvlan mode bridge
link set mv0 up
link add vx0 address 02:00:00:00:00:07 type vxlan id 7 dstport 4789 local 10.9.1.1 remote 10.9.1.2 noudpcsum
link set vx0 up
addr add 10.9.1.1/24 dev v0
addr add 10.9.2.1/24 dev br0
addr add 10.9.3.1/24 dev mv0
addr add 10.9.4.1/24 dev vx0
neigh replace 10.9.1.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent
neigh replace 10.9.2.2 lladdr 02:00:00:00:00:15 dev br0 nud permanent
neigh replace 10.9.3.2 lladdr 02:00:00:00:00:16 dev mv0 nud permanent
neigh replace 10.9.4.2 lladdr 02:00:00:00:00:17 dev vx0 nud permanent
`)
	b.ip(t, `link set v1 up
link add br1 address 02:00:00:00:00:15 type bridge mcast_snooping 0
link set w1 master br1
link set w1 up
link set br1 up
link add mv1 link v1 address 02:00:00:00:00:16 type macvlan mode bridge
link set mv1 up
link add vx1 address 02:00:00:00:00:17 type vxlan id 7 dstport 4789 local 10.9.1.2 remote 10.9.1.1 noudpcsum
link set vx1 up
addr add 10.9.1.2/24 dev v1
addr add 10.9.2.2/24 dev br1
addr add 10.9.3.2/24 dev mv1
addr add 10.9.4.2/24 dev vx1
`)
	// The veth first: afterwards it carries the packets of the others.
	for _, tt := range []struct {
		from, to    space
		out, in, ip string
	}{
		{a, b, "v0", "v1", "10.9.1.2"},
		{a, b, "br0", "br1", "10.9.2.2"},
		{a, b, "mv0", "mv1", "10.9.3.2"},
		{a, b, "vx0", "vx1", "10.9.4.2"},
		{a, a, "lo", "lo", "127.0.0.1"},
	} {
		send(t, tt.from, tt.to, tt.ip+":9", func() bool { in, _ := tt.to.counters(t, tt.in); return in.Packets > 0 })
		_, out := tt.from.find(t, tt.out)
		_, in := tt.to.find(t, tt.in)
		_, sent := tt.from.counters(t, tt.out)
		received, _ := tt.to.counters(t, tt.in)
		wantCounters(t, tt.out+" out", sent, out, out.CountsLinkHeaderOut)
		wantCounters(t, tt.in+" in", received, in, in.CountsLinkHeaderIn)
	}
}

// A veth polled through NAPI counts differently; the comment at
// CountsLinkHeaderIn says so.
func TestVethWithGROCountsNoHeader(t *testing.T) {
	a, b := quietSpace(t, "ga"), quietSpace(t, "gb")
	a.ip(t, `link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02 netns `+b.name+`
link set v0 up
addr add 10.9.1.1/24 dev v0
neigh replace 10.9.1.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent
`)
	b.ip(t, "link set v1 up\naddr add 10.9.1.2/24 dev v1\n")
	run(t, "nsenter", "--net=/run/netns/"+b.name, "ethtool", "-K", "v1", "gro", "on")
	run(t, "nsenter", "--net=/run/netns/"+a.name, "ethtool", "-K", "v0", "tso", "off")
	send(t, a, b, "10.9.1.2:9", func() bool { in, _ := b.counters(t, "v1"); return in.Packets > 0 })
	_, link := b.find(t, "v1")
	in, _ := b.counters(t, "v1")
	_, out := a.counters(t, "v0")
	wantCounters(t, "in", in, link, false)
	wantCounters(t, "its peer's out", out, link, false)
}

// A tap counts the Ethernet header, a tun has none.
func TestTunCounters(t *testing.T) {
	a := quietSpace(t, "tun")
	ip := []byte{0x45, 0, 0, ipBytes, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	ip = append(ip, make([]byte, ipBytes-len(ip))...)
	for _, tt := range []struct {
		name   string
		flags  uint16
		packet []byte
	}{
		{"tap0", unix.IFF_TAP, append([]byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0}, ip...)},
		{"tun0", unix.IFF_TUN, ip},
	} {
		var fd int
		a.do(t, func() (err error) {
			fd, err = openTun(tt.name, tt.flags)
			return err
		})
		t.Cleanup(func() { unix.Close(fd) })
		a.ip(t, "link set "+tt.name+" up\n")
		if _, err := unix.Write(fd, tt.packet); err != nil {
			t.Fatal(err)
		}
		_, link := a.find(t, tt.name)
		in, _ := a.counters(t, tt.name)
		wantCounters(t, tt.name+" in", in, link, link.CountsLinkHeaderIn)
	}
}

// openTun makes a tun device in the namespace that the thread is in.
func openTun(name string, flags uint16) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(flags | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("make %s: %w", name, err)
	}
	return fd, nil
}
