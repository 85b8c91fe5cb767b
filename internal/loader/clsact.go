package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/runstate"
)

// Filters of ours have priorities of their own, from this one on, behind those
// that people give by hand, and a handle that says whose they are: "nf".
const (
	filterPriority = 0xc0de
	filterHandle   = 0x6e66
	// maxFilters bounds how many of ours one interface has each way.
	maxFilters = 64
)

// addFilter attaches a program to tc in the way of kernels before 6.6. Filter and
// qdisc stay when this process dies, so both are written down before they are
// made.
func (r *Running) addFilter(s *Status, p *ebpf.Program, dev netlink.Link, direction string) (*runstate.Filter, error) {
	f := runstate.Filter{
		IfName: dev.Attrs().Name, IfIndex: dev.Attrs().Index, Direction: direction, Handle: filterHandle, ProgramID: s.ID,
	}
	var err error
	if f.NetNS, err = ownNetNS(); err != nil {
		return nil, err
	}
	if f.Priority, err = freePriority(dev, direction); err != nil {
		return nil, err
	}
	has, err := hasClsact(dev)
	if err != nil {
		return nil, err
	}
	f.Qdisc = !has
	r.state.Filters = append(r.state.Filters, f)
	if err := r.save(); err != nil {
		return nil, err
	}
	if f.Qdisc {
		if err := netlink.QdiscAdd(clsact(f.IfIndex)); err != nil {
			return nil, fmt.Errorf("add the clsact qdisc: %w", err)
		}
	}
	err = netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: f.IfIndex, Parent: parentOf(direction), Handle: f.Handle, Priority: f.Priority, Protocol: unix.ETH_P_ALL,
		},
		Fd: p.FD(), Name: s.Name, DirectAction: true,
	})
	if err != nil {
		return nil, fmt.Errorf("add the filter: %w", err)
	}
	return &f, nil
}

func clsact(ifindex int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

func parentOf(direction string) uint32 {
	if direction == "egress" {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func hasClsact(dev netlink.Link) (bool, error) {
	qdiscs, err := netlink.QdiscList(dev)
	if err != nil {
		return false, fmt.Errorf("list the qdiscs of %s: %w", dev.Attrs().Name, err)
	}
	return slices.ContainsFunc(qdiscs, isClsact), nil
}

func isClsact(q netlink.Qdisc) bool { return q.Type() == "clsact" }

// freePriority finds a priority behind those of our other filters, so that they
// run in the order in which they came, as TCX has it: of two filters of one
// priority the kernel asks the later one first, and one that lets a packet pass
// ends the search.
func freePriority(dev netlink.Link, direction string) (uint16, error) {
	filters, err := netlink.FilterList(dev, parentOf(direction))
	if err != nil {
		return 0, fmt.Errorf("list the filters of %s: %w", dev.Attrs().Name, err)
	}
	taken, next := map[uint16]bool{}, uint16(filterPriority)
	for _, f := range filters {
		priority := f.Attrs().Priority
		taken[priority] = true
		if priority >= next && priority < filterPriority+maxFilters {
			next = priority + 1
		}
	}
	// Where the last is taken, one that ended has left a place in front of it.
	for range maxFilters {
		if next == filterPriority+maxFilters {
			next = filterPriority
		}
		if !taken[next] {
			return next, nil
		}
		next++
	}
	return 0, fmt.Errorf("%s has %d filters of netfate already", dev.Attrs().Name, maxFilters)
}

// removeFilter takes off the one filter that f names, if it still runs the
// program that was put there, and the qdisc if that was made for it and is empty.
// What is gone, with its interface or without, is no error.
func removeFilter(f *runstate.Filter) error {
	ns, err := findNetNS(f.NetNS)
	if err != nil || ns == nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter the network namespace of %s: %w", f.IfName, err)
	}
	defer h.Close()
	dev, err := h.LinkByIndex(f.IfIndex)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", f.IfName, err)
	}
	filters, err := h.FilterList(dev, parentOf(f.Direction))
	if err != nil {
		return fmt.Errorf("list the filters of %s: %w", f.IfName, err)
	}
	for _, have := range filters {
		bpf, ok := have.(*netlink.BpfFilter)
		if !ok || bpf.Priority != f.Priority || bpf.Handle != f.Handle || uint32(bpf.Id) != f.ProgramID {
			continue
		}
		if err := h.FilterDel(bpf); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("take the filter off %s: %w", f.IfName, err)
		}
	}
	if !f.Qdisc {
		return nil
	}
	return removeClsact(h, dev)
}

// removeClsact removes the qdisc if nothing hangs on it. Asking and removing are
// two steps, so whoever adds a filter between them loses it: the kernel has no
// call that does both.
func removeClsact(h *netlink.Handle, dev netlink.Link) error {
	qdiscs, err := h.QdiscList(dev)
	if err != nil {
		return fmt.Errorf("list the qdiscs of %s: %w", dev.Attrs().Name, err)
	}
	if !slices.ContainsFunc(qdiscs, isClsact) {
		return nil
	}
	for _, direction := range []string{"ingress", "egress"} {
		left, err := h.FilterList(dev, parentOf(direction))
		if err != nil {
			return fmt.Errorf("list the filters of %s: %w", dev.Attrs().Name, err)
		}
		if len(left) > 0 {
			return nil
		}
	}
	if err := h.QdiscDel(clsact(dev.Attrs().Index)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove the clsact qdisc of %s: %w", dev.Attrs().Name, err)
	}
	return nil
}

// findNetNS opens the network namespace of that inode by a process in it or by
// its name; nil if it is nowhere to be found: then what was in it is gone.
func findNetNS(inode uint32) (*os.File, error) {
	for _, pattern := range []string{"/proc/thread-self/ns/net", "/run/netns/*", "/proc/[0-9]*/ns/net"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("find a network namespace: %w", err)
		}
		for _, path := range paths {
			var s unix.Stat_t
			if unix.Stat(path, &s) != nil || uint32(s.Ino) != inode {
				continue
			}
			if f, err := os.Open(path); err == nil { // else it has ended meanwhile
				return f, nil
			}
		}
	}
	return nil, nil
}

// ownNetNS returns the inode of this thread's network namespace.
func ownNetNS() (uint32, error) {
	var s unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &s); err != nil {
		return 0, fmt.Errorf("look at this network namespace: %w", err)
	}
	return uint32(s.Ino), nil
}
