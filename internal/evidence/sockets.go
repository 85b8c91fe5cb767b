package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Constants of linux/inet_diag.h and linux/sock_diag.h.
const (
	sockDiagByFamily  = 20 // SOCK_DIAG_BY_FAMILY
	diagSkMemInfo     = 7  // INET_DIAG_SKMEMINFO
	tcpListen         = 10 // TCP_LISTEN
	diagMessageLength = 72 // sizeof(struct inet_diag_msg)
)

// diagSocket is one socket as sock_diag describes it.
type diagSocket struct {
	state         uint8
	local, remote netip.AddrPort
	// queued and limit are the receive and send queue, or for a listener the
	// connections that wait and may wait for accept.
	queued, limit uint32
	uid           uint32
	memory        []uint32 // by SK_MEMINFO_*; nil if not told
}

// The indices of SK_MEMINFO_*.
const (
	memReceived = 0
	memLimit    = 1
	memBacklog  = 7
	memDrops    = 8
)

var errNoSocketDiag = errors.New("sockets are looked up for tcp and udp only")

// diagRequest asks sock_diag. With dump set it lists the sockets in the given
// states whose local port is that of local (any, if it is zero); otherwise it
// looks one socket up as an arriving packet would.
func (c *collector) diagRequest(local, remote netip.AddrPort, dump bool, states uint32) ([]diagSocket, error) {
	family, proto := uint8(unix.AF_INET), uint8(unix.IPPROTO_TCP)
	if local.Addr().Unmap().Is6() {
		family = unix.AF_INET6
	}
	switch c.Proto {
	case "tcp":
	case "udp":
		proto = unix.IPPROTO_UDP
	default:
		return nil, errNoSocketDiag
	}
	req := make([]byte, 56) // struct inet_diag_req_v2
	req[0], req[1], req[2] = family, proto, 1<<(diagSkMemInfo-1)
	binary.NativeEndian.PutUint32(req[4:], states)
	a, b := local, remote
	if proto == unix.IPPROTO_UDP && !dump {
		a, b = b, a // udp_dump_one has source and destination swapped
	}
	putEndpoint(req[8:], req[12:], a)
	putEndpoint(req[10:], req[28:], b)
	if !dump && c.IfName != "" {
		if i, err := net.InterfaceByName(c.IfName); err == nil {
			binary.NativeEndian.PutUint32(req[44:], uint32(i.Index))
		}
	}
	for i := 48; i < 56; i++ {
		req[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	flags := netlink.Request
	if dump {
		flags |= netlink.Dump
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, fmt.Errorf("set sock_diag timeout: %w", err)
	}
	messages, err := conn.Execute(netlink.Message{Header: netlink.Header{Type: sockDiagByFamily, Flags: flags}, Data: req})
	if err != nil {
		return nil, err
	}
	var found []diagSocket
	for _, m := range messages {
		if s, ok := parseDiag(m.Data); ok {
			found = append(found, s)
		}
	}
	return found, nil
}

// putEndpoint writes port and address in network order into a sockid.
func putEndpoint(port, addr []byte, e netip.AddrPort) {
	binary.BigEndian.PutUint16(port, e.Port())
	if e.Addr().IsValid() {
		copy(addr, e.Addr().Unmap().AsSlice())
	}
}

// parseDiag reads a struct inet_diag_msg and the attributes behind it.
func parseDiag(b []byte) (diagSocket, bool) {
	if len(b) < diagMessageLength {
		return diagSocket{}, false
	}
	s := diagSocket{
		state: b[1], local: endpoint(b[0], b[4:], b[8:]), remote: endpoint(b[0], b[6:], b[24:]),
		queued: binary.NativeEndian.Uint32(b[56:]), limit: binary.NativeEndian.Uint32(b[60:]),
		uid: binary.NativeEndian.Uint32(b[64:]),
	}
	attributes, err := netlink.UnmarshalAttributes(b[diagMessageLength:])
	if err != nil {
		return s, true
	}
	for _, a := range attributes {
		if a.Type != diagSkMemInfo {
			continue
		}
		for d := a.Data; len(d) >= 4; d = d[4:] {
			s.memory = append(s.memory, binary.NativeEndian.Uint32(d))
		}
	}
	return s, true
}

func endpoint(family uint8, port, addr []byte) netip.AddrPort {
	var a netip.Addr
	if family == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(addr[:4]))
	} else {
		a = netip.AddrFrom16([16]byte(addr[:16])).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// socketFacts looks up the socket that the packet was for, or came from, and
// tells its buffer, use and drops.
func socketFacts(c *collector) ([]Fact, error) {
	if !c.Dst.Addr().IsValid() || !c.Src.Addr().IsValid() {
		return nil, errNoAddress
	}
	for _, way := range [][2]netip.AddrPort{{c.Dst, c.Src}, {c.Src, c.Dst}} {
		found, err := c.diagRequest(way[0], way[1], false, ^uint32(0))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask sock_diag: %w", err)
		}
		for _, s := range found {
			return socketDetails(c.Proto, s), nil
		}
	}
	return []Fact{{Name: "receiving socket", Value: "none", Note: "it is closed by now, or belongs to another namespace"}}, nil
}

func socketDetails(proto string, s diagSocket) []Fact {
	name := fmt.Sprintf("%s socket %s", proto, s.local)
	facts := []Fact{{Name: name, Value: fmt.Sprintf("remote %s, uid %d", s.remote, s.uid)}}
	if proto == "tcp" && s.state == tcpListen {
		return []Fact{listenerFact(proto, s)}
	}
	if len(s.memory) <= memBacklog {
		return facts
	}
	used, limit := s.memory[memReceived], s.memory[memLimit]
	f := Fact{Name: name + ", receive buffer", Value: fmt.Sprintf("%s of %s", size(uint64(used)), size(uint64(limit)))}
	switch {
	case limit > 0 && used >= limit:
		f.Note = "full: the application does not read fast enough"
	case limit > 0 && uint64(used)*10 >= uint64(limit)*8:
		f.Note = "more than 80 % full"
	}
	facts = append(facts, f)
	if len(s.memory) > memDrops && s.memory[memDrops] > 0 {
		facts = append(facts, Fact{Name: name + ", drops", Value: fmt.Sprint(s.memory[memDrops]), Note: "since the socket was made"})
	}
	if b := s.memory[memBacklog]; b > 0 {
		facts = append(facts, Fact{Name: name + ", backlog", Value: size(uint64(b)), Note: "waiting while the application holds the socket"})
	}
	return facts
}

// listenFacts tells who listens on the destination port, on any address, and
// how full the accept queues are.
func listenFacts(c *collector) ([]Fact, error) {
	states := uint32(1 << tcpListen)
	if c.Proto == "udp" {
		states = ^uint32(0)
		if c.Dst.Port() == 0 {
			return nil, errNoAddress
		}
	}
	var facts []Fact
	for _, wildcard := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		found, err := c.diagRequest(netip.AddrPortFrom(wildcard, c.Dst.Port()), netip.AddrPort{}, true, states)
		if err != nil {
			return facts, fmt.Errorf("ask sock_diag: %w", err)
		}
		for _, s := range found {
			// Without a port only the queues that matter are of interest.
			if c.Dst.Port() != 0 || s.queued > 0 {
				facts = append(facts, c.reachable(listenerFact(c.Proto, s), s))
			}
		}
	}
	if len(facts) == 0 {
		f := Fact{Name: "listening socket", Value: "none"}
		if c.Dst.Port() == 0 {
			f.Name, f.Note = "listening sockets", "none has connections waiting"
		} else {
			f.Note = fmt.Sprintf("nobody in this namespace has %s port %d open", c.Proto, c.Dst.Port())
		}
		facts = append(facts, f)
	}
	return facts, nil
}

// reachable adds to a listener's fact that it is bound to an address that the
// packet was not for.
func (c *collector) reachable(f Fact, s diagSocket) Fact {
	bound, dst := s.local.Addr(), c.Dst.Addr().Unmap()
	if !bound.IsUnspecified() && dst.IsValid() && bound != dst {
		f.Note = fmt.Sprintf("bound to %s only: what comes for %s is refused", bound, dst)
	}
	return f
}

func listenerFact(proto string, s diagSocket) Fact {
	f := Fact{Name: fmt.Sprintf("%s socket on %s", proto, s.local), Value: fmt.Sprintf("open, uid %d", s.uid)}
	if proto != "tcp" {
		return f
	}
	f.Name, f.Value = fmt.Sprintf("tcp listener %s", s.local), fmt.Sprintf("%d of %d connections wait for accept", s.queued, s.limit)
	if s.queued > s.limit {
		f.Note = "full: new connections are dropped"
	}
	return f
}
