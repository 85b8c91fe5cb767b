package faults

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/netlab"
)

// The ports that what comes and goes sends to, closed ones.
const (
	fromSpaces  = 47_011
	fromLinks   = 47_012
	fromCgroups = 47_013
)

// churn has namespaces, interfaces, and cgroups with a process each come and go while the
// daemon watches: each sends one datagram that is counted, and of none a file stays open.
func churn(t *testing.T, d *daemon) []string {
	before := held(t, d.pid())
	goroutines := d.status().Process.Goroutines
	times := comings()
	began := d.already(fromSpaces, fromLinks, fromCgroups)
	for range times {
		oneSpace(t)
	}
	links(netlab.New(t), times)
	cgroups(t, cgroupComings())
	wrong := d.differ(
		lostOf("of namespaces that are gone", fromSpaces, began, times), lostOf("of interfaces that are gone", fromLinks, began, times),
		lostOf("of cgroups that are gone", fromCgroups, began, cgroupComings()))
	// Names are looked up behind the traffic, and files are open while they are.
	if !netlab.Poll(patience, func() bool { return held(t, d.pid()).total() <= before.total() }) {
		wrong = append(wrong, fmt.Sprintf("got files %v, want no more than %v as before", held(t, d.pid()).files, before.files))
	}
	if !netlab.Poll(patience, func() bool { return d.status().Process.Goroutines <= goroutines+few }) {
		wrong = append(wrong, fmt.Sprintf("got %d goroutines, want about the %d before", d.status().Process.Goroutines, goroutines))
	}
	return wrong
}

// few is how many goroutines come and go by themselves: answers, timers, looking at names.
const few = 4

// already is what was lost at ports by now.
func (d *daemon) already(ports ...int) map[int]uint64 {
	d.t.Helper()
	all := map[int]uint64{}
	for _, port := range ports {
		n, err := d.sum("drops", "packets", "proto=udp", fmt.Sprintf("dst_port=%d", port))
		if err != nil {
			d.t.Fatalf("%v; netfate says:\n%s", err, d.said)
		}
		all[port] = n
	}
	return all
}

func lostOf(what string, port int, began map[int]uint64, times int) count {
	return count{"packets " + what, "drops", "packets", []string{"proto=udp", fmt.Sprintf("dst_port=%d", port)}, func() uint64 { return began[port] + uint64(times) }}
}

// oneSpace makes a namespace whose lo loses a datagram, and takes it away.
func oneSpace(t *testing.T) {
	t.Helper()
	stage := &stage{TB: t}
	defer stage.tearDown()
	n := netlab.New(stage).NetNS("brief")
	n.Datagrams(fmt.Sprintf("127.0.0.1:%d", fromSpaces), 1, 20).Close()
}

// stage is a test of its own, as long as a namespace lives.
type stage struct {
	testing.TB
	last []func()
}

// Cleanup implements netlab.TB.
func (s *stage) Cleanup(f func()) { s.last = append(s.last, f) }

func (s *stage) tearDown() {
	for len(s.last) > 0 {
		f := s.last[len(s.last)-1]
		s.last = s.last[:len(s.last)-1]
		f()
	}
}

// links makes interfaces in one namespace, one after the other under one name, each with
// the address that a datagram is lost at.
func links(lab *netlab.Lab, times int) {
	n := lab.NetNS("links")
	for range times {
		n.Add(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "brief0", TxQLen: -1}, PeerName: "brief1"})
		n.Addr("brief0", "10.92.0.1/24")
		n.Datagrams(fmt.Sprintf("10.92.0.1:%d", fromLinks), 1, 20).Close()
		n.Must("delete an interface", n.Netlink().LinkDel(n.Link("brief0")))
	}
}

// cgroups makes cgroups in which a process sends and ends.
func cgroups(t *testing.T, times int) {
	t.Helper()
	n := netlab.New(t).NetNS("cgroups")
	for i := range times {
		dir := newCgroup(t, fmt.Sprintf("nf-%d-churn-%d", os.Getpid(), i))
		cmd := exec.Command("bash", "-c", fmt.Sprintf("echo lost >/dev/udp/127.0.0.1/%d", fromCgroups))
		inCgroup(t, cmd, dir, func() { n.Start(cmd) })
		if err := cmd.Wait(); err != nil {
			t.Fatalf("send from a cgroup: %v", err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// newCgroup makes one (version 2); it goes with the test at the latest.
func newCgroup(t *testing.T, name string) (dir string) {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		root += "/unified" // both versions side by side
	}
	dir = filepath.Join(root, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // it may have gone
	return dir
}

// inCgroup has f start cmd in a cgroup.
func inCgroup(t *testing.T, cmd *exec.Cmd, dir string, f func()) {
	t.Helper()
	file, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(file.Fd())}
	f()
}

// manySockets has as many sockets open as the long form's 65,536, each of which sends one
// datagram: each is a flow, and all are this process's.
func manySockets(t *testing.T, d *daemon) []string {
	sockets := openSockets()
	client, server := pair(d.lab())
	lift(t, uint64(sockets)+1024)
	counts := ofFlood(client, server)
	const each = 16_384 // of one address's ports
	from := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 91, 0, byte(10 + i/each)}), uint16(20_000+i%each))
	}
	for i := 0; i < sockets; i += each {
		client.Addr("eth0", from(i).Addr().String()+"/24")
		server.Neigh("eth0", from(i).Addr().String(), client.MAC("eth0"))
	}
	to := netip.MustParseAddrPort(serverAddr + ":9")
	open := make([]*net.UDPConn, 0, sockets)
	client.Do(func() error {
		for i := range sockets {
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(from(i)))
			if err != nil {
				return err
			}
			open = append(open, c)
			if _, err := c.WriteToUDPAddrPort([]byte("lost"), to); err != nil {
				return err
			}
		}
		return nil
	})
	mine := []string{fmt.Sprintf("netns=%d", client.Inode), fmt.Sprintf("pid=%d", os.Getpid()), "dst_port=9"}
	wrong := d.differ(append(counts, count{"packets of this process's sockets", "flows", "packets_out", mine, func() uint64 { return uint64(sockets) }})...)
	for _, c := range open {
		c.Close()
	}
	return wrong
}

// lift raises the limit of open files until the test ends.
func lift(t *testing.T, files uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if before.Cur >= files {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: max(files, before.Max)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }) // lower is always allowed
}
