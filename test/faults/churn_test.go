package faults

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

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

// perProcess is how many sockets one process has: less than the 4,096 files that a kernel gives by
// itself.
const perProcess = 4_000

// manySockets has sockets open at once, of several processes, each of which sends one
// datagram: each is a flow of its process.
func manySockets(t *testing.T, d *daemon) []string {
	sockets := openSockets()
	client, server := pair(d.lab())
	counts := ofFlood(client, server)
	for first := 0; first < sockets; first += perProcess {
		n := min(perProcess, sockets-first)
		addr := fmt.Sprintf("10.91.0.%d", 10+first/perProcess)
		client.Addr("eth0", addr+"/24")
		server.Neigh("eth0", addr, client.MAC("eth0"))
		pid, end := holder(t, client, addr, n)
		defer end()
		mine := []string{fmt.Sprintf("netns=%d", client.Inode), fmt.Sprintf("pid=%d", pid), "dst_port=9"}
		counts = append(counts, count{"packets of a process's sockets", "flows", "packets_out", mine, func() uint64 { return uint64(n) }})
	}
	return d.differ(counts...)
}

// holderEnv has this program open sockets, as address and number, in place of testing.
const holderEnv = "NETFATE_FAULTS_SOCKETS"

func TestMain(m *testing.M) {
	if what := os.Getenv(holderEnv); what != "" {
		if err := hold(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holder starts a process that has n sockets of an address, and returns once each has sent.
func holder(t *testing.T, n *netlab.NetNS, addr string, sockets int) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", holderEnv, addr, sockets))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.Start(cmd)
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "open\n" {
		t.Fatalf("open %d sockets: %q, %v", sockets, said, err)
	}
	return cmd.Process.Pid, func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process with %d sockets: %v", sockets, err)
		}
	}
}

// hold opens sockets, sends a datagram by each, says so, and waits for the end of its input.
func hold(what string) error {
	var text string
	var sockets int
	if _, err := fmt.Sscan(what, &text, &sockets); err != nil {
		return err
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return err
	}
	to := netip.MustParseAddrPort(serverAddr + ":9")
	open := make([]*net.UDPConn, 0, sockets)
	for i := range sockets {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(20_000+i))))
		if err != nil {
			return err
		}
		open = append(open, c)
		if _, err := c.WriteToUDPAddrPort([]byte("lost"), to); err != nil {
			return err
		}
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	for _, c := range open {
		err = errors.Join(err, c.Close())
	}
	return err
}
