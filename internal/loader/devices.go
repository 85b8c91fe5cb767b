package loader

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/section"
)

// attachDevices attaches a program to interfaces: those of --dev, or the one that
// its section or --target names.
func (r *Running) attachDevices(s *Status, p *ebpf.Program) error {
	devices, direction := r.devicesOf(s)
	if len(devices) == 0 {
		return usagef("attach %s: it needs an interface; name one with --dev", s.Name)
	}
	var errs []error
	for _, name := range devices {
		dev, err := netlink.LinkByName(name)
		if err != nil {
			errs = append(errs, noDevice(s.Name, name, err))
			continue
		}
		switch s.Section.Kind {
		case section.XDP:
			err = r.attachXDP(s, p, dev)
		case section.TC:
			err = r.attachTC(s, p, dev, direction)
		default:
			err = r.attachSocket(s, p, dev)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// devicesOf reads IF, ingress, egress or IF:ingress from the target. An interface
// in --target counts for more than --dev, and that for more than what the section
// names: xdp/eth0.
func (r *Running) devicesOf(s *Status) (devices []string, direction string) {
	devices, direction = r.object.cfg.Devices, s.Section.Direction
	if direction == "" {
		direction = "ingress"
	}
	dev, way, ok := strings.Cut(s.Section.Target, ":")
	if !ok && (dev == "ingress" || dev == "egress") {
		dev, way = "", dev
	}
	if _, said := r.object.cfg.Targets[s.Name]; dev != "" && (said || len(devices) == 0) {
		devices = []string{dev}
	}
	if way != "" {
		direction = way
	}
	return devices, direction
}

func noDevice(program, name string, err error) error {
	var missing netlink.LinkNotFoundError
	if !errors.As(err, &missing) {
		return fmt.Errorf("attach %s: look up %s: %w", program, name, err)
	}
	all, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("attach %s: there is no interface %s", program, name)
	}
	have := map[string]struct{}{}
	for _, l := range all {
		have[l.Attrs().Name] = struct{}{}
	}
	return usagef("attach %s: there is no interface %s in this network namespace; it has %s", program, name, names(have))
}

// attachXDP attaches by a link, which the kernel takes off with this process.
// Another program there is named, and replaced only if that was asked for.
func (r *Running) attachXDP(s *Status, p *ebpf.Program, dev netlink.Link) error {
	name := dev.Attrs().Name
	if err := r.makeRoom(s, dev); err != nil {
		return err
	}
	attach := func(flags link.XDPAttachFlags) (link.Link, error) {
		return link.AttachXDP(link.XDPOptions{Program: p, Interface: dev.Attrs().Index, Flags: flags})
	}
	if r.object.cfg.Mode == Generic {
		l, err := attach(link.XDPGenericMode)
		return r.hang(s, l, err, name+" XDP generic")
	}
	l, err := attach(link.XDPDriverMode)
	if r.object.cfg.Mode == Native || err == nil || !noDriverMode(err) {
		return r.hang(s, l, err, name+" XDP native")
	}
	if l, err = attach(link.XDPGenericMode); err == nil {
		s.Notes = append(s.Notes, fmt.Sprintf("the driver of %s has no XDP, so %s runs in generic mode: later, and slower", name, s.Name))
	}
	return r.hang(s, l, err, name+" XDP generic")
}

// noDriverMode reports whether a driver has no XDP of its own, or not for this
// interface as it is now (a large MTU, LRO).
func noDriverMode(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported)
}

// makeRoom takes another's XDP program off, if that is wanted; it comes back
// when ours goes.
func (r *Running) makeRoom(s *Status, dev netlink.Link) error {
	xdp := dev.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return nil
	}
	name := dev.Attrs().Name
	holder := programName(xdp.ProgId)
	if !r.object.cfg.Replace {
		return usagef("attach %s: %s runs the XDP program %s (id %d) already, and an interface runs one; --replace takes its place while netfate runs",
			s.Name, name, holder, xdp.ProgId)
	}
	old, err := ebpf.NewProgramFromID(ebpf.ProgramID(xdp.ProgId))
	if err != nil {
		return kernel.Diagnose(err, "open the XDP program of "+name)
	}
	flags := int(xdp.AttachMode)
	if mode, ok := map[uint32]int{attachedDriver: unix.XDP_FLAGS_DRV_MODE, attachedGeneric: unix.XDP_FLAGS_SKB_MODE}[xdp.AttachMode]; ok {
		flags = mode
	}
	if err := netlink.LinkSetXdpFdWithFlags(dev, -1, flags); err != nil {
		return errors.Join(fmt.Errorf("attach %s: take %s off %s: %w; if a link holds it, stop the process that has the link (netfate ps --all)",
			s.Name, holder, name, err), old.Close())
	}
	s.Notes = append(s.Notes, fmt.Sprintf("the XDP program %s (id %d) is off %s until %s ends", holder, xdp.ProgId, name, s.Name))
	r.held = append(r.held, attachment{program: s.Name, release: func() error {
		err := netlink.LinkSetXdpFdWithFlags(dev, old.FD(), flags)
		if errors.Is(err, unix.ENODEV) {
			err = nil // with its interface, its place is gone
		}
		if err != nil {
			err = fmt.Errorf("put the XDP program %s back on %s: %w", holder, name, err)
		}
		return errors.Join(err, old.Close())
	}})
	return nil
}

// How a program is attached, as IFLA_XDP_ATTACHED says (linux/if_link.h).
const (
	attachedDriver  = 1
	attachedGeneric = 2
)

func programName(id uint32) string {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return "of an unknown name"
	}
	info, err := p.Info()
	if err = errors.Join(err, p.Close()); err != nil || info.Name == "" {
		return "without a name"
	}
	return info.Name
}

// attachTC attaches by TCX (6.6), where several programs live beside each other
// and the kernel takes ours off with this process; before, by a filter of the
// clsact qdisc, which is written down first.
func (r *Running) attachTC(s *Status, p *ebpf.Program, dev netlink.Link, direction string) error {
	at, ok := map[string]ebpf.AttachType{"ingress": ebpf.AttachTCXIngress, "egress": ebpf.AttachTCXEgress}[direction]
	if !ok {
		return usagef("attach %s: a tc program hangs on ingress or egress, not on %q", s.Name, direction)
	}
	name := dev.Attrs().Name
	l, err := link.AttachTCX(link.TCXOptions{Interface: dev.Attrs().Index, Program: p, Attach: at})
	if err == nil || !errors.Is(err, ebpf.ErrNotSupported) {
		return r.hang(s, l, err, name+" tc "+direction)
	}
	f, err := r.addFilter(s, p, dev, direction)
	if err != nil {
		return kernel.Diagnose(err, fmt.Sprintf("attach %s to %s tc %s", s.Name, name, direction))
	}
	r.held = append(r.held, attachment{program: s.Name, filter: f})
	s.Where = append(s.Where, name+" tc "+direction+" (clsact)")
	return nil
}

// attachSocket hangs a socket filter on a packet socket of this process, which
// sees all packets of the interface.
func (r *Running) attachSocket(s *Status, p *ebpf.Program, dev netlink.Link) error {
	name := dev.Attrs().Name
	const allProtocols = uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(allProtocols))
	if err != nil {
		return kernel.Diagnose(err, "open a packet socket for "+s.Name)
	}
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: dev.Attrs().Index})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.FD())
	}
	if err != nil {
		return errors.Join(kernel.Diagnose(err, fmt.Sprintf("attach %s to a packet socket on %s", s.Name, name)), unix.Close(fd))
	}
	r.held = append(r.held, attachment{program: s.Name, release: func() error { return syscall.Close(fd) }})
	s.Where = append(s.Where, "packet socket on "+name)
	return nil
}
