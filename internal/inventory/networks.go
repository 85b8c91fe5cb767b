package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
)

// networks is what is attached to interfaces. Links know the interface by a
// number that means something only in one network namespace, and do not say in
// which: so each namespace is asked what it has.
type networks struct {
	names    map[uint32]string // of namespaces, by inode; "" is this process's own
	links    map[uint32]string // by link id: interface
	xdp      map[xdpKey]string // interface, by what XDP links tell
	unlinked []unlinked
}

type xdpKey struct{ program, ifindex uint32 }

// unlinked is a program on an interface, found from the interface's side.
type unlinked struct {
	program uint32
	how     string
	where   string
}

// namespace is a network namespace and a file that leads there.
type namespace struct {
	inode uint32
	path  string
	name  string
}

// wantDevices reports whether anything may be attached to an interface or to a
// network namespace.
func wantDevices(programs []Program, links []linkInfo) bool {
	for i := range links {
		l := &links[i]
		if l.XDP() != nil || l.TCX() != nil || l.Netkit() != nil || l.NetNs() != nil {
			return true
		}
	}
	for i := range programs {
		switch programs[i].typ {
		case ebpf.SchedCLS, ebpf.SchedACT, ebpf.XDP:
			return true
		}
	}
	return false
}

// networks asks each network namespace that a process is in or that has a name
// in /run/netns.
func (s *scan) networks(ctx context.Context, wanted bool) *networks {
	n := &networks{names: map[uint32]string{}, links: map[uint32]string{}, xdp: map[xdpKey]string{}}
	if !wanted {
		return n
	}
	spaces := s.namespaces()
	kernel.OnOwnThread(func() { // it goes to other namespaces
		for i := range spaces {
			n.names[spaces[i].inode] = spaces[i].name
			if ctx.Err() != nil {
				return
			}
			if err := s.askNamespace(n, &spaces[i]); err != nil {
				s.miss("network namespaces", err)
			}
		}
	})
	return n
}

// namespaces returns this process's own namespace first.
func (s *scan) namespaces() []namespace {
	var spaces []namespace
	seen := map[uint32]bool{}
	add := func(path, name string) {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || seen[uint32(st.Ino)] {
			return // gone, or not to be seen: then its programs have no place
		}
		if len(spaces) == maxNamespaces {
			s.miss("network namespaces", fmt.Errorf("only the first %d were looked at", maxNamespaces))
			return
		}
		seen[uint32(st.Ino)] = true
		spaces = append(spaces, namespace{uint32(st.Ino), path, name})
	}
	add(filepath.Join(s.cfg.Proc, "self/ns/net"), "")
	const named = "/run/netns"
	names, err := readNames(named)
	s.miss("named network namespaces", err)
	for _, name := range names {
		add(filepath.Join(named, name), name)
	}
	for _, pid := range s.processes() {
		add(filepath.Join(s.cfg.Proc, strconv.Itoa(pid), "ns/net"), fmt.Sprintf("pid:%d", pid))
	}
	return spaces
}

// askNamespace moves the thread to a namespace and asks there.
func (s *scan) askNamespace(n *networks, ns *namespace) error {
	f, err := os.Open(ns.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if ns.name != "" {
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", ns.path, err)
		}
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", ns.path, err)
	}
	defer h.Close()
	devices, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces in %s: %w", ns.path, err)
	}
	at := map[int]string{} // interfaces by index
	for _, dev := range devices {
		attrs := dev.Attrs()
		at[attrs.Index] = attrs.Name + suffix(ns.name)
		s.askDevice(n, dev, at[attrs.Index])
	}
	return s.askQdiscs(n, h, at)
}

// suffix tells people of a namespace that is not theirs.
func suffix(name string) string {
	if name == "" {
		return ""
	}
	return " (netns " + name + ")"
}

// askDevice asks an interface for XDP, TCX and netkit programs.
func (s *scan) askDevice(n *networks, dev netlink.Link, where string) {
	attrs := dev.Attrs()
	if x := attrs.Xdp; x != nil && x.Attached && x.ProgId != 0 {
		place := where + " xdp"
		modes := map[uint32]string{1: " native", 2: " generic", 3: " offloaded"} // XDP_ATTACHED_DRV and so on
		place += modes[x.AttachMode]
		n.xdp[xdpKey{x.ProgId, uint32(attrs.Index)}] = place
		n.unlinked = append(n.unlinked, unlinked{x.ProgId, "xdp", place})
	}
	types := []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress}
	if dev.Type() == "netkit" {
		types = append(types, ebpf.AttachNetkitPrimary, ebpf.AttachNetkitPeer)
	}
	for _, t := range types {
		res, err := link.QueryPrograms(link.QueryOptions{Target: attrs.Index, Attach: t})
		if err != nil {
			// Before 6.6 there is no TCX, and a netkit's peer is asked by its primary.
			if !errors.Is(err, unix.EINVAL) && !errors.Is(err, link.ErrNotSupported) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENODEV) {
				s.miss("programs of interfaces", fmt.Errorf("%s: %w", where, err))
			}
			continue
		}
		for _, found := range res.Programs {
			place := where + " " + attachName(t)
			if id, ok := found.LinkID(); ok {
				n.links[uint32(id)] = place
			} else {
				n.unlinked = append(n.unlinked, unlinked{uint32(found.ID), "tcx", place})
			}
		}
	}
}

// askQdiscs asks for tc filters of old: those of the qdiscs clsact and ingress.
func (s *scan) askQdiscs(n *networks, h *netlink.Handle, at map[int]string) error {
	qdiscs, err := h.QdiscList(nil)
	if err != nil {
		return fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		parents := map[uint32]string{netlink.HANDLE_MIN_INGRESS: "ingress", netlink.HANDLE_MIN_EGRESS: "egress"}
		switch q.Type() {
		case "clsact":
		case "ingress":
			parents = map[uint32]string{netlink.MakeHandle(0xffff, 0): "ingress"}
		default:
			parents = map[uint32]string{q.Attrs().Handle: "egress"}
		}
		index := q.Attrs().LinkIndex
		dev := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
		for parent, direction := range parents {
			if parent == 0 {
				continue // a default qdisc has no filters
			}
			filters, err := h.FilterList(dev, parent)
			if err != nil {
				s.miss("tc filters", err)
				continue
			}
			for _, f := range filters {
				if b, ok := f.(*netlink.BpfFilter); ok && b.Id > 0 {
					n.unlinked = append(n.unlinked, unlinked{uint32(b.Id), "tc", fmt.Sprintf("%s tc %s (%s)", at[index], direction, q.Type())})
				}
			}
		}
	}
	return nil
}

// ofLink tells the interface of a link.
func (n *networks) ofLink(id, program, ifindex uint32, what string) string {
	if place, ok := n.links[id]; ok {
		return place
	}
	if place, ok := n.xdp[xdpKey{program, ifindex}]; ok && what == "xdp" {
		return place
	}
	if ifindex == 0 {
		return "an interface that is gone, " + what
	}
	return fmt.Sprintf("interface %d of a network namespace out of reach, %s", ifindex, what)
}

// name tells people a network namespace.
func (n *networks) name(inode uint32) string {
	name, ok := n.names[inode]
	switch {
	case !ok:
		return fmt.Sprintf("netns %d", inode)
	case name == "":
		return "this netns"
	}
	return "netns " + name
}
