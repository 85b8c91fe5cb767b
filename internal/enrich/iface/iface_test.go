package iface

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
)

// space is a network namespace of the test's own.
type space struct {
	name  string
	inode uint32
}

func newSpace(t *testing.T, name string) space {
	t.Helper()
	need.Root(t)
	s := space{name: fmt.Sprintf("nf-%d-%s", os.Getpid(), name)}
	run(t, "ip", "netns", "add", s.name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", s.name).Run() })
	var st syscall.Stat_t
	if err := syscall.Stat("/run/netns/"+s.name, &st); err != nil {
		t.Fatal(err)
	}
	s.inode = uint32(st.Ino)
	return s
}

// ip runs lines of ip(8) in the namespace.
func (s space) ip(t *testing.T, lines string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", s.name, "-batch", "-")
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// paths knows the ways into some namespaces.
func paths(spaces ...space) func(uint32) (string, bool) {
	return func(inode uint32) (string, bool) {
		for _, s := range spaces {
			if s.inode == inode {
				return "/run/netns/" + s.name, true
			}
		}
		return "", false
	}
}

func refresh(t *testing.T, table *Table) {
	t.Helper()
	if err := table.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// find returns an interface by its name, from a dump of its namespace.
func (s space) find(t *testing.T, name string) (uint32, Iface) {
	t.Helper()
	table := New(paths(s))
	links, err := table.read(s.inode)
	if err != nil {
		t.Fatal(err)
	}
	for index, link := range links {
		if link.Name == name {
			return index, link
		}
	}
	t.Fatalf("no %s in %+v", name, links)
	return 0, Iface{}
}

func TestInterfaces(t *testing.T) {
	a, b := newSpace(t, "a"), newSpace(t, "b")
	a.ip(t, `link add br0 type bridge
link add v0 mtu 1400 type veth peer name v1 netns `+b.name+`
link set v0 master br0
link add vx0 type vxlan id 7 dstport 4789 dev br0
tuntap add dev tap0 mode tap
tuntap add dev tun0 mode tun
`)
	bridge, _ := a.find(t, "br0")
	peer, _ := b.find(t, "v1")
	own, _ := a.find(t, "v0")
	tests := []struct {
		space space
		name  string
		want  Iface
	}{
		{a, "lo", Iface{Name: "lo", Kind: "lo", LinkNSID: -1, MTU: 65536, HeaderLen: 14}},
		{a, "br0", Iface{Name: "br0", Kind: "bridge", LinkNSID: -1, MTU: 1400, HeaderLen: 14, Class: Class{Stacked: true, CountsLinkHeaderOut: true}}},
		{a, "v0", Iface{Name: "v0", Kind: "veth", Master: bridge, Link: peer, LinkNSID: 0, MTU: 1400, HeaderLen: 14, Class: Class{CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}}},
		{b, "v1", Iface{Name: "v1", Kind: "veth", Link: own, LinkNSID: 0, MTU: 1500, HeaderLen: 14, Class: Class{CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}}},
		{a, "vx0", Iface{Name: "vx0", Kind: "vxlan", Link: bridge, LinkNSID: -1, MTU: 1350, HeaderLen: 14, Class: Class{Stacked: true}}},
		{a, "tap0", Iface{Name: "tap0", Kind: "tun", LinkNSID: -1, MTU: 1500, HeaderLen: 14, Class: Class{Outside: true, CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}}},
		{a, "tun0", Iface{Name: "tun0", Kind: "tun", LinkNSID: -1, MTU: 1500, HeaderLen: 0, Class: Class{Outside: true, CountsLinkHeaderIn: true, CountsLinkHeaderOut: true}}},
	}
	for _, tt := range tests {
		_, got := tt.space.find(t, tt.name)
		if tt.name == "vx0" {
			got.Link = tt.want.Link // vxlan tells its lower device in its own attributes only
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestLookup(t *testing.T) {
	a := newSpace(t, "look")
	a.ip(t, "link add v0 index 50 type veth peer name v1\n")
	table := New(paths(a))
	want := func(index uint32, name string) {
		t.Helper()
		if got, ok := table.Lookup(a.inode, index); got.Name != name || ok != (name != "") {
			t.Errorf("Lookup(%d): got %q, %v, want %q", index, got.Name, ok, name)
		}
	}
	want(50, "")
	want(0, "")
	refresh(t, table)
	want(50, "v0")
	want(1, "lo")

	a.ip(t, "link add v2 index 60 type veth peer name v3\n")
	want(60, "")
	refresh(t, table)
	want(60, "v2")

	a.ip(t, "link set v0 name renamed\n") // noticed in turn, nobody has to ask
	refresh(t, table)
	want(50, "renamed")

	a.ip(t, "link del renamed\n")
	refresh(t, table)
	want(50, "renamed") // for the records still to come
	a.ip(t, "link add again index 50 type veth peer name v4\n")
	refresh(t, table)
	want(50, "again")

	run(t, "ip", "netns", "del", a.name)
	refresh(t, table)
	want(50, "again")
	if len(table.spaces) != 0 {
		t.Errorf("got %d namespaces in turn, want 0", len(table.spaces))
	}
}

func TestOwnNamespaceNeedsNoPath(t *testing.T) {
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	table := New(paths())
	table.Lookup(uint32(st.Ino), 1)
	refresh(t, table)
	if got, ok := table.Lookup(uint32(st.Ino), 1); !ok || got.Name != "lo" {
		t.Errorf("got %+v, %v, want lo", got, ok)
	}
}

// A path may lead to another namespace than it did when it was found.
func TestPathOfAnotherNamespace(t *testing.T) {
	a := newSpace(t, "other")
	table := New(func(uint32) (string, bool) { return "/run/netns/" + a.name, true })
	if links, err := table.read(a.inode + 1); !errors.Is(err, errGone) {
		t.Errorf("got %v, %v, want errGone", links, err)
	}
}

func TestSearchInVainBacksOff(t *testing.T) {
	table := New(paths())
	searches := 0
	for range 100 {
		table.Lookup(1, 1)
		for inode, indexes := range table.takeDue() {
			searches++
			table.install(inode, nil, indexes)
		}
	}
	if searches != 7 {
		t.Errorf("got %d searches in 100 refreshes, want 7", searches)
	}
	table.Lookup(1, 2) // another one is looked for at once
	if due := table.takeDue(); len(due) != 1 {
		t.Errorf("got %d due, want 1", len(due))
	}
}

func TestRefreshIsBounded(t *testing.T) {
	table := New(paths())
	for inode := range uint32(2 * maxWanted) {
		table.Lookup(inode+1, 1)
	}
	if len(table.wanted) != maxWanted {
		t.Errorf("got %d wanted, want %d", len(table.wanted), maxWanted)
	}
	if due := table.takeDue(); len(due) != batch || len(table.wanted) != maxWanted-batch {
		t.Errorf("got %d due and %d left, want %d and %d", len(due), len(table.wanted), batch, maxWanted-batch)
	}
}

func TestEvictionIsCounted(t *testing.T) {
	table := New(paths())
	links := map[uint32]Iface{}
	for i := range uint32(keep + 10) {
		links[i+1] = Iface{Name: "x"}
	}
	table.install(1, links, nil)
	if table.Evicted() != 10 {
		t.Errorf("got %d evicted, want 10", table.Evicted())
	}
}

func TestConcurrentUse(t *testing.T) {
	a := newSpace(t, "conc")
	table := New(paths(a))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range uint32(2000) {
				table.Lookup(a.inode, i%8)
			}
		})
	}
	for range 10 {
		refresh(t, table)
	}
	wg.Wait()
}

func FuzzParseLink(f *testing.F) {
	link := make([]byte, unix.SizeofIfInfomsg)
	f.Add(append(link, 8, 0, unix.IFLA_IFNAME, 0, 'l', 'o', 0, 0))
	f.Add(append(link, 12, 0, unix.IFLA_LINKINFO, 0, 8, 0, 1, 0, 't', 'u', 'n', 0))
	f.Add(append(link, 4, 0, unix.IFLA_XDP, 0))
	f.Fuzz(func(t *testing.T, m []byte) {
		_, link, err := parseLink(m)
		if err == nil && link.Kind == "" {
			t.Errorf("parseLink(%x): no kind", m)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	table := New(paths())
	table.install(1, map[uint32]Iface{2: {Name: "eth0"}}, nil)
	b.ReportAllocs()
	for b.Loop() {
		table.Lookup(1, 2)
	}
}

// BenchmarkReadNamespace enters a namespace and lists its interfaces.
func BenchmarkReadNamespace(b *testing.B) {
	need.Root(b)
	s := space{name: fmt.Sprintf("nf-%d-bench", os.Getpid())}
	if err := exec.Command("ip", "netns", "add", s.name).Run(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = exec.Command("ip", "netns", "del", s.name).Run() }()
	var st syscall.Stat_t
	if err := syscall.Stat("/run/netns/"+s.name, &st); err != nil {
		b.Fatal(err)
	}
	s.inode = uint32(st.Ino)
	table := New(paths(s))
	for b.Loop() {
		if _, err := table.read(s.inode); err != nil {
			b.Fatal(err)
		}
	}
}
