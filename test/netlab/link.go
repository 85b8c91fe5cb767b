package netlab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Veth joins two namespaces by a veth pair and brings both ends up.
func (l *Lab) Veth(a *NetNS, aName string, b *NetNS, bName string) {
	l.tb.Helper()
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: aName, TxQLen: -1},
		PeerName:      bName,
		PeerNamespace: netlink.NsFd(int(b.handle)),
	}
	if err := a.nl.LinkAdd(veth); err != nil {
		l.tb.Fatalf("make veth %s/%s to %s/%s: %v", a.Short, aName, b.Short, bName, err)
	}
	a.Up(aName)
	b.Up(bName)
}

// Link returns the named interface.
func (n *NetNS) Link(ifname string) netlink.Link {
	n.tb.Helper()
	link, err := n.nl.LinkByName(ifname)
	if err != nil {
		n.tb.Fatalf("find interface %s in %s: %v", ifname, n.Short, err)
	}
	return link
}

// Links returns every interface of the namespace with its statistics, as
// IFLA_STATS64 has them.
func (n *NetNS) Links() []netlink.Link {
	n.tb.Helper()
	links, err := n.nl.LinkList()
	if err != nil {
		n.tb.Fatalf("list interfaces of %s: %v", n.Short, err)
	}
	return links
}

// Index returns the interface's index in the namespace.
func (n *NetNS) Index(ifname string) int {
	n.tb.Helper()
	return n.Link(ifname).Attrs().Index
}

// MAC returns the interface's hardware address.
func (n *NetNS) MAC(ifname string) net.HardwareAddr {
	n.tb.Helper()
	return n.Link(ifname).Attrs().HardwareAddr
}

// Up brings the interface up.
func (n *NetNS) Up(ifname string) {
	n.tb.Helper()
	n.check("bring up "+ifname, n.nl.LinkSetUp(n.Link(ifname)))
}

// Down brings the interface down.
func (n *NetNS) Down(ifname string) {
	n.tb.Helper()
	n.check("bring down "+ifname, n.nl.LinkSetDown(n.Link(ifname)))
}

// MTU sets the interface's MTU.
func (n *NetNS) MTU(ifname string, mtu int) {
	n.tb.Helper()
	n.check("set mtu of "+ifname, n.nl.LinkSetMTU(n.Link(ifname), mtu))
}

// Add makes a link of any kind and brings it up.
func (n *NetNS) Add(link netlink.Link) {
	n.tb.Helper()
	n.check("add "+link.Attrs().Name, n.nl.LinkAdd(link))
	n.Up(link.Attrs().Name)
}

// Bridge makes a bridge of the named ports, without spanning tree, and brings
// it up.
func (n *NetNS) Bridge(name string, ports ...string) {
	n.tb.Helper()
	snooping := false // a bridge that snoops sends queries of its own
	n.Add(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}, MulticastSnooping: &snooping})
	bridge := n.Link(name)
	for _, port := range ports {
		n.check("add "+port+" to "+name, n.nl.LinkSetMaster(n.Link(port), bridge))
	}
}

// Addr gives the interface an address with its prefix length; IPv6 addresses
// are usable at once (nodad).
func (n *NetNS) Addr(ifname, cidr string) {
	n.tb.Helper()
	addr, err := netlink.ParseAddr(cidr)
	n.check("parse address", err)
	if addr.IP.To4() == nil {
		addr.Flags |= unix.IFA_F_NODAD
	}
	n.check("add address "+cidr+" to "+ifname, n.nl.AddrAdd(n.Link(ifname), addr))
}

// DelAddr takes an address away.
func (n *NetNS) DelAddr(ifname, cidr string) {
	n.tb.Helper()
	addr, err := netlink.ParseAddr(cidr)
	n.check("parse address", err)
	n.check("delete address "+cidr, n.nl.AddrDel(n.Link(ifname), addr))
}

// Route adds a route to the prefix ("default" for all of IPv4, "::/0" for all
// of IPv6) by the gateway.
func (n *NetNS) Route(prefix, gateway string) {
	n.tb.Helper()
	route := &netlink.Route{Gw: net.ParseIP(gateway)}
	if prefix == "default" {
		prefix = "0.0.0.0/0"
	}
	_, dst, err := net.ParseCIDR(prefix)
	n.check("parse prefix", err)
	route.Dst = dst
	n.check("add route to "+prefix, n.nl.RouteAdd(route))
}

// Neigh adds a permanent neighbour, so that no ARP or NDP is needed.
func (n *NetNS) Neigh(ifname, addr string, mac net.HardwareAddr) {
	n.tb.Helper()
	ip := netip.MustParseAddr(addr)
	family := unix.AF_INET
	if ip.Is6() {
		family = unix.AF_INET6
	}
	n.check("add neighbour "+addr, n.nl.NeighSet(&netlink.Neigh{
		LinkIndex: n.Index(ifname), Family: family, State: netlink.NUD_PERMANENT,
		IP: ip.AsSlice(), HardwareAddr: mac,
	}))
}

// Sysctl writes a sysctl of the namespace: key is its path below /proc/sys,
// with slashes.
func (n *NetNS) Sysctl(key, value string) {
	n.tb.Helper()
	n.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0) })
}

// IPv6 switches IPv6 on, for the interfaces that there are and those to come,
// without duplicate address detection or router solicitations. Interfaces
// still report their multicast groups (MLD): those made after this call within
// milliseconds and not, as usual, over seconds.
func (n *NetNS) IPv6() {
	n.tb.Helper()
	n.ipv6 = true
	for _, which := range []string{"all", "default"} {
		n.Sysctl("net/ipv6/conf/"+which+"/accept_dad", "0")
		n.Sysctl("net/ipv6/conf/"+which+"/router_solicitations", "0")
		n.Sysctl("net/ipv6/conf/"+which+"/mldv2_unsolicited_report_interval", "10")
		n.Sysctl("net/ipv6/conf/"+which+"/disable_ipv6", "0")
	}
}

// Forwarding makes the namespace a router for IPv4, and after [NetNS.IPv6] for
// IPv6: with IPv6 off a router's interfaces still try to report groups.
func (n *NetNS) Forwarding() {
	n.tb.Helper()
	n.Sysctl("net/ipv4/ip_forward", "1")
	if n.ipv6 {
		n.Sysctl("net/ipv6/conf/all/forwarding", "1")
	}
}

// Counter returns one of the namespace's protocol counters, such as "Udp",
// "RcvbufErrors" or "TcpExt", "ListenDrops" or "Ip6", "OutDiscards".
func (n *NetNS) Counter(group, name string) uint64 {
	n.tb.Helper()
	var value uint64
	n.Do(func() error {
		for _, file := range []string{"snmp", "netstat", "snmp6"} {
			// Not /proc/net, which is that of the process's first thread.
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			if word := counter(string(text), group, name); word != "" {
				_, err := fmt.Sscan(word, &value)
				return err
			}
		}
		return fmt.Errorf("no counter %s %s", group, name)
	})
	return value
}

// counter finds a counter in the text of snmp and netstat (a line of names and
// a line of values for each group) or of snmp6 (a line for each).
func counter(text, group, name string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		words := strings.Fields(line)
		if len(words) == 2 && words[0] == group+name {
			return words[1]
		}
		if len(words) < 2 || words[0] != group+":" || i+1 == len(lines) {
			continue
		}
		values := strings.Fields(lines[i+1])
		if at := slices.Index(words, name); at > 0 && at < len(values) {
			return values[at]
		}
	}
	return ""
}

// Offloads switches checksumming, scatter-gather, segmentation and receive
// aggregation of the interface on or off. With them off at both ends of a
// veth, every buffer is one packet.
func (n *NetNS) Offloads(ifname string, on bool) {
	n.tb.Helper()
	var data uint32
	if on {
		data = 1
	}
	commands := []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SSG, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO}
	n.Do(func() error {
		for _, command := range commands {
			if err := ethtool(ifname, command, data); err != nil {
				return err
			}
		}
		return nil
	})
}

// ethtool sets one boolean of the interface, in the current namespace.
func ethtool(ifname string, command, data uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket for ethtool: %w", err)
	}
	defer unix.Close(fd)
	var value [8]byte // struct ethtool_value
	binary.NativeEndian.PutUint32(value[0:], command)
	binary.NativeEndian.PutUint32(value[4:], data)
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], ifname)
	request.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return fmt.Errorf("ethtool command %#x on %s: %w", command, ifname, errno)
	}
	return nil
}

func (n *NetNS) check(what string, err error) {
	n.tb.Helper()
	if err != nil {
		n.tb.Fatalf("%s in %s: %v", what, n.Short, err)
	}
}
