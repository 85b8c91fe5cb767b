// Package wire reads the packets of an interface whole, sent and received, forwarded
// or for this host: a packet socket whose ring the kernel fills (AF_PACKET,
// TPACKET_V3). It changes nothing on the interface but for promiscuous mode, if that
// is asked for, and for as long as it reads.
//
// It knows frames, no protocol. Package capture makes batches of them.
package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/socket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
)

// Config says what to read.
type Config struct {
	Interface   string
	NetNS       string // path of the namespace that it is in; empty is this one
	Promiscuous bool   // see frames for other hosts too
	// Filter is a program for each link, Ethernet's and that of raw IP, which says
	// with anything but 0 what to let through; nil lets everything through. It is
	// asked in the kernel about frames without a VLAN tag, which the kernel takes
	// off before: whoever reads asks again.
	Filter func(layers.LinkType) ([]bpf.RawInstruction, error)
}

// Frame is one packet as it was on the wire, a VLAN tag put back where the kernel
// took it off. Bytes are good until the next is read. A frame without Bytes is a
// tick: nothing came up to its time.
type Frame struct {
	Time   time.Time
	Bytes  []byte
	Length int // of which Bytes is what was captured
}

// Wire is an open interface. It is for one goroutine.
type Wire struct {
	name  string
	link  layers.LinkType
	conn  *socket.Conn
	raw   syscall.RawConn
	ring  ring
	until time.Time // when the kernel has nothing left, once it was told to stop
}

// pause is how long nothing comes before there is a tick.
const pause = 100 * time.Millisecond

// Open opens an interface. The error wraps kernel.ErrNotAllowed without CAP_NET_RAW,
// and for another namespace without CAP_SYS_ADMIN.
func Open(cfg Config) (*Wire, error) {
	var in socket.Config
	if cfg.NetNS != "" {
		ns, err := os.Open(cfg.NetNS)
		if err != nil {
			return nil, fmt.Errorf("open network namespace: %w", err)
		}
		defer ns.Close()
		in.NetNS = int(ns.Fd())
	}
	w, err := open(cfg.Interface, unix.SOCK_RAW, &in)
	if err != nil {
		return nil, err
	}
	device, err := w.device()
	if errors.Is(err, unix.ENODEV) {
		err = errors.New("there is none of that name in this network namespace; ip link lists them, --netns names another namespace")
	}
	if err == nil && w.link != layers.LinkTypeEthernet {
		// Without a link header that is the same for all of a kind: from IP on.
		err = w.conn.Close()
		if err == nil {
			link := w.link
			if w, err = open(cfg.Interface, unix.SOCK_DGRAM, &in); err != nil {
				return nil, err
			}
			w.link = link
		}
	}
	if err == nil {
		err = w.start(&cfg, device)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("interface %s: %w", cfg.Interface, err), w.Close())
	}
	return w, nil
}

// open makes a socket that gets nothing yet: without a protocol none is bound.
func open(name string, kind int, in *socket.Config) (*Wire, error) {
	conn, err := socket.Socket(unix.AF_PACKET, kind, 0, "packet", in)
	if errors.Is(err, unix.EPERM) {
		return nil, &kernel.Refusal{
			Doing: "open a packet socket", Cause: "this process lacks CAP_NET_RAW, or CAP_SYS_ADMIN for another namespace",
			Remedy: "run netfate as root, or give the program the capabilities: setcap cap_net_raw,cap_sys_admin+ep FILE", Err: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a packet socket: %w", err), conn.Close())
	}
	return &Wire{name: name, conn: conn, raw: raw}, nil
}

// device is what the kernel says of an interface.
type device struct {
	index    int
	loopback bool
}

// device looks up the interface in the socket's namespace.
func (w *Wire) device() (d device, err error) {
	ask := func(what uint, take func(*unix.Ifreq)) {
		var r *unix.Ifreq
		if err == nil {
			r, err = unix.NewIfreq(w.name)
		}
		if err == nil {
			err = w.control(func(fd int) error { return unix.IoctlIfreq(fd, what, r) })
		}
		if err == nil {
			take(r)
		}
	}
	ask(unix.SIOCGIFINDEX, func(r *unix.Ifreq) { d.index = int(r.Uint32()) })
	ask(unix.SIOCGIFHWADDR, func(r *unix.Ifreq) { w.link, d.loopback = linkOf(r.Uint16()) })
	return d, err
}

// linkOf is what frames of a kind of device are like. On lo each is sent and
// received.
func linkOf(kind uint16) (_ layers.LinkType, loopback bool) {
	switch kind {
	case unix.ARPHRD_ETHER:
		return layers.LinkTypeEthernet, false
	case unix.ARPHRD_LOOPBACK:
		return layers.LinkTypeEthernet, true
	}
	return layers.LinkTypeRaw, false
}

func (w *Wire) control(f func(fd int) error) error {
	var err error
	if e := w.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// start has the kernel fill the ring: everything is set before the socket is bound,
// so that no frame comes unfiltered or from elsewhere.
func (w *Wire) start(cfg *Config, d device) error {
	program, err := programFor(w.link, cfg.Filter)
	if err != nil {
		return err
	}
	if err := w.conn.SetBPF(program); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if err := w.control(w.ring.open); err != nil {
		return fmt.Errorf("make ring: %w", err)
	}
	if d.loopback {
		if err := w.conn.SetsockoptInt(unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return fmt.Errorf("ignore what is sent: %w", err)
		}
	}
	if cfg.Promiscuous {
		m := unix.PacketMreq{Ifindex: int32(d.index), Type: unix.PACKET_MR_PROMISC}
		if err := w.conn.SetsockoptPacketMreq(unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("make promiscuous: %w", err)
		}
	}
	if err := w.conn.Bind(&unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ALL), Ifindex: d.index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// swapped puts a number of 16 bits into network order.
func swapped(n uint16) uint16 { return n<<8 | n>>8 } // both architectures are little ends

// Link is the link type of all frames: Ethernet or raw IP.
func (w *Wire) Link() layers.LinkType { return w.link }

// Next returns the next frame or tick. Once ctx is done it returns what the kernel
// has got by then, and io.EOF after it. An interface that is taken down may come up
// again; one that is removed is an error.
func (w *Wire) Next(ctx context.Context) (Frame, error) {
	if w.until.IsZero() && ctx.Err() != nil {
		if err := w.stop(); err != nil {
			return Frame{}, err
		}
	}
	if f, ok := w.ring.next(); ok {
		return f, nil
	}
	if err := w.wait(ctx); err != nil {
		return Frame{}, err
	}
	if f, ok := w.ring.next(); ok {
		return f, nil
	}
	// Frames of which the kernel has not told yet may be as old as a block that is
	// not full.
	return Frame{Time: time.Now().Add(-2 * retire)}, nil
}

// Dropped returns how many frames found the ring full since the last call.
func (w *Wire) Dropped() (uint64, error) {
	s, err := w.conn.GetsockoptTpacketStatsV3(unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("read packet statistics: %w", err)
	}
	return uint64(s.Drops), nil
}

// Close takes the socket off the interface.
func (w *Wire) Close() error { return errors.Join(w.conn.Close(), w.ring.close()) }
