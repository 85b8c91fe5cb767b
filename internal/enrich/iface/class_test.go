package iface

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
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

// stack makes two namespaces with a veth between them, and on it a device of
// the kind, which has 10.9.0.1 and 10.9.0.2. option is what the kernel is built
// with to have it.
func stack(t *testing.T, kind, option, lines string) (a, b space) {
	t.Helper()
	a, b = quietSpace(t, kind+"-a"), quietSpace(t, kind+"-b")
	a.ip(t, "link add lower address 02:00:00:00:00:01 type veth peer name lower address 02:00:00:00:00:02 netns "+b.name+"\n")
	for i, s := range []space{a, b} {
		own, other := fmt.Sprint(i+1), fmt.Sprint(2-i)
		mac := "02:00:00:00:01:0"
		if kind == "ipvlan" {
			mac = "02:00:00:00:00:0" // its lower device's
		}
		s.ip(t, "link set lower up\naddr add 10.8.0."+own+"/24 dev lower\n"+
			"neigh replace 10.8.0."+other+" lladdr 02:00:00:00:00:0"+other+" dev lower nud permanent\n")
		cmd := exec.Command("ip", "-n", s.name, "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.NewReplacer("DEV", "upper", "LOWER", "lower", "MAC", mac+own,
			"LOCAL", "10.8.0."+own, "REMOTE", "10.8.0."+other).Replace(lines))
		if out, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(string(out), "Unknown device type") || strings.Contains(string(out), "not supported") {
				need.Feature{What: kind + " devices", Options: []string{option}}.Skip(t, fmt.Errorf("%w: %s", err, out))
			}
			t.Fatalf("make %s: %v: %s", kind, err, out)
		}
		s.ip(t, "link set upper up\naddr add 10.9.0."+own+"/24 dev upper\n")
		if _, link := s.find(t, "upper"); link.HeaderLen > 0 {
			s.ip(t, "neigh replace 10.9.0."+other+" lladdr "+mac+other+" dev upper nud permanent\n")
		}
	}
	return a, b
}

// measure sends from one device to another and compares what they counted
// with what their classes say.
func measure(t *testing.T, from, to space, out, in, addr string) {
	t.Helper()
	send(t, from, to, addr+":9", func() bool { in, _ := to.counters(t, in); return in.Packets > 0 })
	_, sender := from.find(t, out)
	_, receiver := to.find(t, in)
	_, sent := from.counters(t, out)
	received, _ := to.counters(t, in)
	wantCounters(t, sender.Kind+" out", sent, sender, sender.CountsLinkHeaderOut)
	wantCounters(t, receiver.Kind+" in", received, receiver, receiver.CountsLinkHeaderIn)
}

// The byte counters of every kind that the kernel has hold the link-layer
// header exactly where its class says so.
func TestCountersAreAsTheClassSays(t *testing.T) {
	// On top of a veth; each line is for ip(8), at both ends.
	kinds := []struct{ kind, option, lines string }{
		{"bridge", "CONFIG_BRIDGE", "link add DEV address MAC type bridge mcast_snooping 0\nlink set LOWER master DEV\n"},
		{"macvlan", "CONFIG_MACVLAN", "link add DEV link LOWER address MAC type macvlan mode bridge\n"},
		{"ipvlan", "CONFIG_IPVLAN", "link add DEV link LOWER type ipvlan mode l2\n"},
		{"vlan", "CONFIG_VLAN_8021Q", "link add DEV link LOWER address MAC type vlan id 5\n"},
		{"bond", "CONFIG_BONDING", "link add DEV address MAC type bond mode active-backup\nlink set LOWER down\nlink set LOWER master DEV\nlink set LOWER up\n"},
		{"vxlan", "CONFIG_VXLAN", "link add DEV address MAC type vxlan id 7 dstport 4789 local LOCAL remote REMOTE noudpcsum\n"},
		{"geneve", "CONFIG_GENEVE", "link add DEV address MAC type geneve id 7 remote REMOTE\n"},
		{"gretap", "CONFIG_NET_IPGRE", "link add DEV address MAC type gretap local LOCAL remote REMOTE\n"},
		{"gre", "CONFIG_NET_IPGRE", "link add DEV type gre local LOCAL remote REMOTE\n"},
		{"ipip", "CONFIG_NET_IPIP", "link add DEV type ipip local LOCAL remote REMOTE\n"},
	}
	for _, tt := range kinds {
		t.Run(tt.kind, func(t *testing.T) {
			a, b := stack(t, tt.kind, tt.option, tt.lines)
			if _, link := a.find(t, "upper"); link.Kind != tt.kind {
				t.Errorf("got kind %q, want %q", link.Kind, tt.kind)
			}
			measure(t, a, b, "upper", "upper", "10.9.0.2")
		})
	}
	t.Run("veth", func(t *testing.T) {
		a, b := stack(t, "veth", "CONFIG_VETH", "link add upper type bridge\n")
		measure(t, a, b, "lower", "lower", "10.8.0.2")
	})
	t.Run("lo", func(t *testing.T) {
		a := quietSpace(t, "lo")
		a.ip(t, "link set lo up\n")
		measure(t, a, a, "lo", "lo", "127.0.0.1")
	})
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
	features, err := exec.Command("nsenter", "--net=/run/netns/"+b.name, "ethtool", "-k", "v1").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(features), "generic-receive-offload: off") {
		need.Feature{What: "a veth that GRO makes poll", Since: "5.13"}.Skip(t, errors.New("GRO is on at first, and does nothing"))
	}
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
