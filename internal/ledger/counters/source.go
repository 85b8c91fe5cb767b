package counters

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/ethtool"
)

// source answers for one network namespace. What it returns is good until it
// is asked again.
type source interface {
	// file reads a file of /proc/net.
	file(name string) ([]byte, error)
	// tracked reports whether there is connection tracking. Asking ctnetlink
	// would load it.
	tracked() bool
	// ask sends a netlink request and calls each with what every message of the
	// answer has behind its header.
	ask(r request, each func(body []byte)) error
	// ethtool hands a command to a device's driver.
	ethtool(ifname string, command []byte) error
	// tcx lists the programs on an interface; errNoTCX if this kernel has none.
	tcx(index uint32, attach ebpf.AttachType) ([]uint32, error)
	// program returns the name of a BPF program.
	program(id uint32) (string, error)
}

// request is a netlink request.
type request struct {
	protocol int // NETLINK_ROUTE …
	kind     uint16
	dump     bool
	body     []byte
}

var (
	errInterrupted = errors.New("the list changed while it was read")
	errNoTCX       = errors.New("this kernel has no tcx")
)

// live is the namespace that the thread is in, from enter to leave.
type live struct {
	procNet int // a descriptor of /proc/thread-self/net, good in each namespace
	sockets map[int]int
	tools   *ethtool.Socket
	out     []byte
	in      []byte
	text    []byte
	seq     uint32
	conns   *bool  // whether connections are tracked, once that is known
	inode   uint32 // of the namespace that the thread is in
}

const (
	messageSize = 32 << 10 // the most that the kernel puts into one datagram of a dump
	maxFile     = 4 << 20
	askTimeout  = 2 // seconds, for one datagram of an answer
)

// open makes a live source on the calling thread, which must stay the one that
// uses it: what /proc/thread-self/net shows follows the thread's namespace
// (proc_tgid_net_lookup in fs/proc/proc_net.c).
func open() (*live, error) {
	fd, err := unix.Open("/proc/thread-self/net", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /proc/thread-self/net: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("stat own network namespace: %w", err)
	}
	return &live{procNet: fd, inode: uint32(st.Ino), sockets: map[int]int{}, in: make([]byte, messageSize), text: make([]byte, 64<<10)}, nil
}

func (l *live) close() {
	l.leave()
	unix.Close(l.procNet)
}

// enter moves the thread into a namespace and completes its number.
func (l *live) enter(p *Place) error {
	path := p.Path
	if path == "" {
		path = "/proc/self/ns/net"
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if p.Inode != 0 && uint32(st.Ino) != p.Inode {
		return errReplaced
	}
	p.Inode = uint32(st.Ino)
	if p.Inode == l.inode {
		return nil // which needs no privileges
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	l.inode = p.Inode
	return nil
}

var errReplaced = errors.New("the namespace has gone, and its file leads to another")

// leave closes what was opened in the namespace, so that nothing of ours keeps it.
func (l *live) leave() {
	for _, fd := range l.sockets {
		unix.Close(fd)
	}
	clear(l.sockets)
	if l.tools != nil {
		l.tools.Close()
		l.tools = nil
	}
}

// file implements source.
func (l *live) file(name string) ([]byte, error) {
	fd, err := unix.Openat(l.procNet, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	size := 0
	for {
		n, err := unix.Read(fd, l.text[size:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return l.text[:size], nil
		}
		size += n
		if size == maxFile {
			return nil, unix.EFBIG
		}
		if size == len(l.text) {
			l.text = append(l.text, make([]byte, min(size, maxFile-size))...)
		}
	}
}

// tracked implements source. The module has this setting in every namespace, and
// looking for it takes as long as reading a file of counters.
func (l *live) tracked() bool {
	if l.conns == nil {
		is := unix.Access("/proc/sys/net/netfilter/nf_conntrack_count", unix.F_OK) == nil
		l.conns = &is
	}
	return *l.conns
}

// socket returns the namespace's socket of a netlink protocol.
func (l *live) socket(protocol int) (int, error) {
	if fd, ok := l.sockets[protocol]; ok {
		return fd, nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return 0, err
	}
	// The kernel answers at once, or is out of order.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: askTimeout}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	l.sockets[protocol] = fd
	return fd, nil
}

// ask implements source.
func (l *live) ask(r request, each func(body []byte)) error {
	fd, err := l.socket(r.protocol)
	if err != nil {
		return err
	}
	l.seq++
	flags := uint16(unix.NLM_F_REQUEST)
	if r.dump {
		flags |= unix.NLM_F_DUMP
	}
	b := binary.NativeEndian.AppendUint32(l.out[:0], uint32(unix.SizeofNlMsghdr+len(r.body)))
	b = binary.NativeEndian.AppendUint16(b, r.kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, l.seq)
	b = append(binary.NativeEndian.AppendUint32(b, 0), r.body...)
	l.out = b
	if _, err := unix.Write(fd, b); err != nil {
		return err
	}
	answer := answer{seq: l.seq, dump: r.dump, each: each}
	for !answer.done {
		n, err := unix.Read(fd, l.in)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			// What is left of the answer must not be taken for the next one.
			unix.Close(fd)
			delete(l.sockets, r.protocol)
			if errors.Is(err, unix.EAGAIN) {
				return fmt.Errorf("no answer within %d s", askTimeout)
			}
			return err
		}
		if err := answer.take(l.in[:n]); err != nil {
			return err
		}
	}
	if answer.interrupted {
		return errInterrupted
	}
	return nil
}

// answer follows the messages that answer one request.
type answer struct {
	seq         uint32
	dump        bool // there are many messages, and one that says that they are over
	each        func(body []byte)
	done        bool
	interrupted bool
}

// take reads one datagram: messages of struct nlmsghdr and a body.
func (a *answer) take(b []byte) error {
	for len(b) >= unix.SizeofNlMsghdr && !a.done {
		size := int(u32(b, 0))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			a.done = true
			return fmt.Errorf("a message of %d bytes in %d", size, len(b))
		}
		kind, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
		body := b[unix.SizeofNlMsghdr:size]
		if u32(b, 8) == a.seq {
			a.interrupted = a.interrupted || flags&unix.NLM_F_DUMP_INTR != 0
			a.done = !a.dump
			switch kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR: // both may begin with an error number
				a.done = true
				if code := int32(u32(body, 0)); code < 0 {
					return unix.Errno(-code)
				}
			case unix.NLMSG_NOOP:
			default:
				a.each(body)
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// ethtool implements source.
func (l *live) ethtool(ifname string, command []byte) error {
	if l.tools == nil {
		s, err := ethtool.Open()
		if err != nil {
			return err
		}
		l.tools = &s
	}
	return l.tools.Ask(ifname, command)
}

// tcx implements source.
func (l *live) tcx(index uint32, attach ebpf.AttachType) ([]uint32, error) {
	found, err := link.QueryPrograms(link.QueryOptions{Target: int(index), Attach: attach})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		return nil, errNoTCX
	}
	if err != nil {
		return nil, err
	}
	ids := make([]uint32, 0, len(found.Programs))
	for _, p := range found.Programs {
		ids = append(ids, uint32(p.ID))
	}
	return ids, nil
}

// program implements source.
func (l *live) program(id uint32) (string, error) {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return "", err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}
