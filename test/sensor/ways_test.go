package sensor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/sensor/flow"
	"github.com/netfate/netfate/internal/sensor/owner"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// ownerWay is one of the ways in which the owner sensor works, forced by what
// it has to do without, and what of it is as good as the best.
type ownerWay struct {
	name    string
	without []string
	needs   []string // capabilities without which this kernel can't show it
	users   bool     // who uses a socket owns it
	early   bool     // from the first packet on
	packets bool     // packet sockets have owners
}

func ownerWays() []ownerWay {
	return []ownerWay{
		{"storage, functions", []string{"sock_length"}, []string{"sk_storage", "fentry"}, true, true, true},
		{"storage, tracepoints", []string{"fentry"}, []string{"sk_storage", "sock_length"}, true, false, true},
		{"storage, nothing", []string{"fentry", "sock_length"}, []string{"sk_storage"}, false, false, false},
		{"table, functions", []string{"sk_storage", "sock_length"}, []string{"fentry"}, true, true, true},
		{"table, tracepoints", []string{"sk_storage", "fentry"}, []string{"sock_length"}, true, false, false},
		{"table, nothing", []string{"sk_storage", "fentry", "sock_length", "map_batch"}, nil, false, false, false},
	}
}

// capabilities tells what doctor finds on this kernel, once.
var capabilities = sync.OnceValue(func() map[string]bool {
	able := map[string]bool{}
	for _, c := range kernel.Probe(context.Background()) {
		able[c.Name] = c.OK
	}
	return able
})

// TestOwnersEachWay plays the same on each way that this kernel allows, and
// wants the same owners but where a way is known to be worse. Then it wants the
// sensor left to itself to be no worse than any of them.
func TestOwnersEachWay(t *testing.T) {
	need.Root(t)
	best := ownerWay{name: "chosen"}
	for _, w := range ownerWays() {
		able := !slices.ContainsFunc(w.needs, func(name string) bool { return !capabilities()[name] })
		if able {
			best.users, best.early, best.packets = best.users || w.users, best.early || w.early, best.packets || w.packets
		}
		t.Run(w.name, func(t *testing.T) {
			for _, name := range w.needs {
				need.Capability(t, name)
			}
			testOwners(t, w)
		})
	}
	t.Run(best.name, func(t *testing.T) { testOwners(t, best) })
}

// The ports of the sockets that testOwners makes. All are made by this process
// and left to the worker.
const (
	keptPort = 1001 + iota // not used
	sendsPort
	getsPort
	sends6Port
	gets6Port
	acceptedPort // accepted by this process, used by the worker
	olderPort    // older than the sensor, and not used
	packetProto  = 0x88b5
)

func testOwners(t *testing.T, way ownerWay) {
	n := netlab.New(t).NetNS("a")
	n.IPv6()
	older := bound(t, n, unix.SOCK_DGRAM, "127.0.0.1", olderPort)
	t.Cleanup(func() { unix.Close(older) })

	s, err := owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Without: way.without})
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Attach())
	t.Logf("lacks: %q", s.Lacks())
	if (len(s.Lacks()) == 0) != (way.users && way.packets) {
		t.Errorf("got lacks %q, want some just if something is worse", s.Lacks())
	}
	packets := flowsOf(t, flow.Config{Owners: s.Owners()})

	listener := bound(t, n, unix.SOCK_STREAM, "127.0.0.1", acceptedPort)
	check(t, unix.Listen(listener, 1))
	client := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	check(t, unix.Connect(client.FD, sockaddr(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), acceptedPort))))
	accepted, _, err := unix.Accept(listener)
	check(t, err)
	w := startWorker(t, []int{
		bound(t, n, unix.SOCK_DGRAM, "127.0.0.1", keptPort),
		bound(t, n, unix.SOCK_DGRAM, "127.0.0.1", sendsPort),
		bound(t, n, unix.SOCK_DGRAM, "127.0.0.1", getsPort),
		bound(t, n, unix.SOCK_DGRAM, "::1", sends6Port),
		bound(t, n, unix.SOCK_DGRAM, "::1", gets6Port),
		accepted,
	})
	other, other6 := n.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0), n.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	check(t, unix.Sendto(other.FD, []byte{1}, 0, sockaddr(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), getsPort))))
	check(t, unix.Sendto(other6.FD, []byte{1}, 0, sockaddr(netip.AddrPortFrom(netip.MustParseAddr("::1"), gets6Port))))
	w.do("use 4 127.0.0.1:9")
	w.do("get 5")
	w.do("use 6 [::1]:9")
	w.do("get 7")
	w.do("use 8")
	link := n.Packets("lo", 0)
	for range 2 { // one that tells who sends, where that comes late, and one whose it is
		link.Send(append(make([]byte, 12), packetProto>>8, packetProto&255, 0, 0))
	}

	self := uint32(os.Getpid())
	user := w.pid()
	if !way.users {
		user = self
	}
	want := map[uint16]uint32{
		keptPort: self, sendsPort: user, getsPort: user, sends6Port: user, gets6Port: user, acceptedPort: user, olderPort: self,
	}
	if !way.users && slices.Contains(way.without, "sk_storage") {
		// A table knows nothing of a connection before its first message, and
		// by then its listener's address tells.
		want[acceptedPort] = w.pid()
	}
	got := map[uint16]uint32{}
	scan := func() {
		check(t, s.Scan(func(row *decode.OpenSocket) {
			if row.Owner.NetNS != n.Inode || row.SrcPort < keptPort || row.SrcPort > olderPort || row.Flags == 10 { // TCP_LISTEN
				return
			}
			if had, ok := got[row.SrcPort]; ok && had != row.Owner.PID {
				t.Errorf("port %d: got owner %d, and then %d", row.SrcPort, had, row.Owner.PID)
			}
			got[row.SrcPort] = row.Owner.PID
		}))
	}
	scan()
	scan() // the iterator runs again, and nothing changes
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners by port; this is %d, the worker %d (-want +got):\n%s", self, w.pid(), diff)
	}
	addresses := map[string]uint32{}
	check(t, s.Bound(func(k decode.BoundKey, o decode.OwnerRef) {
		if k.NetNS == n.Inode && k.Port == keptPort {
			addresses[fmt.Sprint(netip.AddrFrom16(k.Addr).Unmap(), " ", k.Proto)] = o.PID
		}
	}))
	if diff := cmp.Diff(map[string]uint32{"127.0.0.1 17": self}, addresses); diff != "" {
		t.Errorf("owners by bound address (-want +got):\n%s", diff)
	}

	sender := map[string]uint32{}
	check(t, packets.Detach())
	for range 2 {
		check(t, packets.Poll(func(k *decode.FlowKey, c *decode.FlowCount) {
			switch {
			case k.NetNS != n.Inode || k.Flags&decode.FlowTX == 0:
			case k.EthProto == packetProto:
				sender["packet socket"] = c.PID
			case k.SrcPort == sendsPort || k.SrcPort == sends6Port:
				sender[fmt.Sprint(k.SrcPort)] = c.PID
			}
		}))
	}
	first := self
	if way.early {
		first = w.pid()
	}
	packet := self
	if !way.packets {
		packet = 0
	}
	if diff := cmp.Diff(map[string]uint32{"1002": first, "1004": first, "packet socket": packet}, sender); diff != "" {
		t.Errorf("owners of first packets (-want +got):\n%s", diff)
	}
	losses, err := s.Losses()
	if err != nil || len(losses) > 0 {
		t.Errorf("lost %+v, error %v", losses, err)
	}

	if s.Owners().Type() != ebpf.Hash {
		return
	}
	if got := inTable(t, s, n.Inode); got == 0 {
		t.Error("got no sockets in the table: the test sees nothing")
	}
	w.stop()
	for _, socket := range []*netlab.Socket{client, other, other6, link} {
		socket.Close()
	}
	unix.Close(listener)
	unix.Close(older)
	if !netlab.Poll(20*time.Second, func() bool { return inTable(t, s, n.Inode) == 0 }) {
		t.Errorf("got %d sockets in the table after all were closed, want none", inTable(t, s, n.Inode))
	}
}

// bound makes a socket of this process in n and binds it.
func bound(t *testing.T, n *netlab.NetNS, kind int, addr string, port uint16) (fd int) {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	n.Do(func() (err error) {
		fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		return err
	})
	check(t, unix.Bind(fd, sockaddr(to)))
	return fd
}

// inTable counts the sockets of a namespace that have an owner in the table.
func inTable(t *testing.T, s *owner.Sensor, netns uint32) (count int) {
	t.Helper()
	var address uint64
	var o decode.OwnerRef
	all := s.Owners().Iterate()
	for all.Next(&address, &o) {
		if o.NetNS == netns {
			count++
		}
	}
	check(t, all.Err())
	return count
}

// TestFullTable makes more sockets than the table holds: they work, netfate
// does, and both say how many have no owner.
func TestFullTable(t *testing.T) {
	need.Root(t)
	n := netlab.New(t).NetNS("a")
	s, err := owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Without: []string{"sk_storage"}, MaxSockets: 4})
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Attach())
	for range 10 {
		n.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	}
	losses, err := s.Losses()
	check(t, err)
	if len(losses) != 1 || losses[0].Count < 6 {
		t.Errorf("got losses %+v, want one of at least 6 sockets", losses)
	}
}
