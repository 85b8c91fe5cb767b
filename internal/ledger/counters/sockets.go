package counters

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Constants of linux/sock_diag.h, inet_diag.h and packet_diag.h.
const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	inetDiagMemInfo  = 7  // INET_DIAG_SKMEMINFO
	sizeofInetReq    = 56 // struct inet_diag_req_v2
	sizeofInetMsg    = 72 // struct inet_diag_msg
	tcpListen        = 10 // TCP_LISTEN

	sizeofPacketMsg = 16 // struct packet_diag_msg
	packetShow      = 17 // PACKET_SHOW_INFO | PACKET_SHOW_MEMINFO
	packetInfo      = 0  // PACKET_DIAG_INFO
	packetUID       = 5
	packetMemInfo   = 6

	memQueued = 0 // SK_MEMINFO_RMEM_ALLOC
	memBuffer = 1 // SK_MEMINFO_RCVBUF
	memDrops  = 8 // SK_MEMINFO_DROPS
)

// socketList keeps the sockets that dropped most, and sums of all.
type socketList struct {
	kept []Socket
	sums []SocketSum
}

// sum returns the row of a protocol.
func (l *socketList) sum(protocol string) *SocketSum {
	for i := range l.sums {
		if l.sums[i].Protocol == protocol {
			return &l.sums[i]
		}
	}
	l.sums = append(l.sums, SocketSum{Protocol: protocol})
	return &l.sums[len(l.sums)-1]
}

// add takes in a socket.
func (l *socketList) add(s Socket) {
	sum := l.sum(s.Protocol)
	sum.Sockets++
	sum.Drops += uint64(s.Drops)
	if s.Drops == 0 {
		return
	}
	l.kept = append(l.kept, s)
	if len(l.kept) == 2*maxSockets {
		l.cut()
	}
}

// forget takes out a protocol that could not be read to its end.
func (l *socketList) forget(protocol string) {
	l.kept = slices.DeleteFunc(l.kept, func(s Socket) bool { return s.Protocol == protocol })
	l.sums = slices.DeleteFunc(l.sums, func(s SocketSum) bool { return s.Protocol == protocol })
}

// cut leaves the sockets with most drops.
func (l *socketList) cut() {
	slices.SortFunc(l.kept, func(a, b Socket) int {
		return cmp.Or(cmp.Compare(b.Drops, a.Drops), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Cookie, b.Cookie), cmp.Compare(a.Inode, b.Inode))
	})
	if len(l.kept) <= maxSockets {
		return
	}
	for _, s := range l.kept[maxSockets:] {
		sum := l.sum(s.Protocol)
		sum.RestSockets++
		sum.RestDrops += uint64(s.Drops)
	}
	l.kept = l.kept[:maxSockets]
}

func (l *socketList) finish() ([]Socket, []SocketSum) {
	l.cut()
	return l.kept, l.sums
}

// inetRequest asks for the sockets of a protocol in the given states, with
// their memory.
func inetRequest(family, protocol uint8, states uint32) request {
	b := make([]byte, sizeofInetReq)
	b[0], b[1], b[2] = family, protocol, 1<<(inetDiagMemInfo-1)
	binary.NativeEndian.PutUint32(b[4:], states)
	return request{protocol: unix.NETLINK_SOCK_DIAG, kind: sockDiagByFamily, body: b}
}

// udp reads the UDP sockets. The kernel walks its whole table for each request,
// of all namespaces, so it is asked only where there is such a socket.
func (r *reading) udp(have Sockstat, all bool, sockets *socketList) error {
	for _, kind := range []struct {
		name     string
		protocol uint8
		v4, v6   uint64
	}{{"udp", unix.IPPROTO_UDP, have.UDP, have.UDP6}, {"udplite", unix.IPPROTO_UDPLITE, have.UDPLite, have.UDPLite6}} {
		sockets.sum(kind.name)
		for _, f := range []struct {
			family uint8
			count  uint64
		}{{unix.AF_INET, kind.v4}, {unix.AF_INET6, kind.v6}} {
			if f.count == 0 && (!all || kind.protocol == unix.IPPROTO_UDPLITE) {
				continue
			}
			q := inetRequest(f.family, kind.protocol, ^uint32(0))
			q.dump = true
			// A dump of sockets is never consistent, so it is not repeated.
			err := r.ask(q, func(b []byte) {
				if s, ok := parseInetSocket(b); ok {
					s.Protocol = kind.name
					sockets.add(s.Socket)
				}
			})
			if err != nil {
				sockets.forget(kind.name)
				return err
			}
		}
	}
	return nil
}

// inetSocket is a socket as inet_diag describes it.
type inetSocket struct {
	Socket
	waiting, limit uint32 // of a listener
}

// parseInetSocket reads a struct inet_diag_msg and its attributes.
func parseInetSocket(b []byte) (inetSocket, bool) {
	if len(b) < sizeofInetMsg {
		return inetSocket{}, false
	}
	s := inetSocket{waiting: u32(b, 56), limit: u32(b, 60)}
	if m := attribute(b[sizeofInetMsg:], inetDiagMemInfo); m != nil {
		s.memory(m)
	}
	s.Local, s.Remote = endpoint(b[0], b[4:6], b[8:24]), endpoint(b[0], b[6:8], b[24:40])
	s.Index, s.Cookie = u32(b, 40), uint64(u32(b, 48))<<32|uint64(u32(b, 44))
	s.UID, s.Inode = u32(b, 64), u32(b, 68)
	return s, true
}

// memory reads SK_MEMINFO_*.
func (s *Socket) memory(b []byte) {
	s.Queued, s.Buffer, s.Drops = u32(b, 4*memQueued), u32(b, 4*memBuffer), u32(b, 4*memDrops)
}

func endpoint(family uint8, port, addr []byte) netip.AddrPort {
	var a netip.Addr
	if family == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(addr))
	} else {
		a = netip.AddrFrom16([16]byte(addr)).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// listeners reads the TCP sockets that listen.
func (r *reading) listeners(n *Namespace, all bool) error {
	var over uint64
	for _, f := range []struct {
		family uint8
		count  uint64
	}{{unix.AF_INET, n.Sockstat.TCP}, {unix.AF_INET6, n.Sockstat.TCP6}} {
		if f.count == 0 && !all {
			continue
		}
		q := inetRequest(f.family, unix.IPPROTO_TCP, 1<<tcpListen)
		q.dump = true
		err := r.ask(q, func(b []byte) {
			s, ok := parseInetSocket(b)
			switch {
			case !ok:
			case len(n.Listeners) == maxListeners:
				over++
			default:
				n.Listeners = append(n.Listeners, Listener{
					Local: s.Local, Index: s.Index, UID: s.UID, Inode: s.Inode, Cookie: s.Cookie,
					Waiting: s.waiting, Max: s.limit, Drops: s.Drops,
				})
			}
		})
		if err != nil {
			n.Listeners = nil
			return err
		}
	}
	r.lost.add("listeners", over)
	return nil
}

// packetSockets reads the sockets of AF_PACKET.
func (r *reading) packetSockets(sockets *socketList) error {
	body := make([]byte, 20) // struct packet_diag_req
	body[0] = unix.AF_PACKET
	binary.NativeEndian.PutUint32(body[8:], packetShow)
	sockets.sum("packet")
	err := r.ask(request{protocol: unix.NETLINK_SOCK_DIAG, kind: sockDiagByFamily, dump: true, body: body}, func(b []byte) {
		if s, ok := parsePacketSocket(b); ok {
			sockets.add(s)
		}
	})
	if err != nil {
		sockets.forget("packet")
	}
	return err
}

// parsePacketSocket reads a struct packet_diag_msg and its attributes.
func parsePacketSocket(b []byte) (Socket, bool) {
	if len(b) < sizeofPacketMsg {
		return Socket{}, false
	}
	s := Socket{Protocol: "packet", Inode: u32(b, 4), Cookie: uint64(u32(b, 12))<<32 | uint64(u32(b, 8))}
	for kind, value := range attributes(b[sizeofPacketMsg:]) {
		switch kind {
		case packetInfo:
			s.Index = u32(value, 0)
		case packetUID:
			s.UID = u32(value, 0)
		case packetMemInfo:
			s.memory(value)
		}
	}
	return s, true
}

// rawSockets reads the raw sockets, where there are some, from files: their sock_diag
// needs a module that is rarely there.
func (r *reading) rawSockets(have Sockstat, sockets *socketList) error {
	for _, f := range []struct {
		name  string
		count uint64
	}{{"raw", have.RAW}, {"raw6", have.RAW6}} {
		if f.count == 0 {
			continue
		}
		text, err := r.file(f.name)
		if err == nil {
			sockets.sum("raw")
			err = parseRaw(text, sockets.add)
		}
		if err != nil {
			sockets.forget("raw")
			return err
		}
	}
	return nil
}

// parseRaw reads /proc/net/raw or raw6 (raw_sock_seq_show in net/ipv4/raw.c): a head,
// and a line a socket, whose port is its protocol.
func parseRaw(text []byte, each func(Socket)) error {
	_, text = line(text)
	for len(text) > 0 {
		var whole []byte
		whole, text = line(text)
		// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ref pointer drops
		var words [13][]byte
		rest := whole
		for i := range words {
			words[i], rest = field(rest)
		}
		_, queue, _ := bytes.Cut(words[4], []byte(":"))
		queued, ok1 := hexadecimal(queue)
		uid, ok2 := decimal(words[7])
		inode, ok3 := decimal(words[9])
		drops, ok4 := decimal(words[12])
		local, ok5 := procEndpoint(words[1])
		remote, ok6 := procEndpoint(words[2])
		if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
			return fmt.Errorf("line %.200q: %w", whole, errFormat)
		}
		each(Socket{Protocol: "raw", Local: local, Remote: remote, UID: uint32(uid), Inode: uint32(inode), Drops: uint32(drops), Queued: queued})
	}
	return nil
}

// procEndpoint reads an address and a port as files of /proc/net have them: words of
// 32 bits, each written as a number of this machine's, and the port.
func procEndpoint(b []byte) (netip.AddrPort, bool) {
	text, port, ok := bytes.Cut(b, []byte(":"))
	p, ok2 := hexadecimal(port)
	if !ok || !ok2 || p > 0xffff || len(text) != 8 && len(text) != 32 {
		return netip.AddrPort{}, false
	}
	addr := make([]byte, 0, 16)
	for ; len(text) > 0; text = text[8:] {
		word, ok := hexadecimal(text[:8])
		if !ok {
			return netip.AddrPort{}, false
		}
		addr = binary.NativeEndian.AppendUint32(addr, word)
	}
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), true
}

// netlinkSockets reads the sockets of AF_NETLINK, from a file: their sock_diag
// needs a module that is rarely there.
func (r *reading) netlinkSockets(sockets *socketList) error {
	text, err := r.file("netlink")
	if err != nil {
		return err
	}
	sockets.sum("netlink")
	if err = parseNetlink(text, sockets.add); err != nil {
		sockets.forget("netlink")
	}
	return err
}

// parseNetlink reads /proc/net/netlink: a head, and a line a socket.
func parseNetlink(text []byte, each func(Socket)) error {
	head, text := line(text)
	if !bytes.HasPrefix(head, []byte("sk ")) {
		return fmt.Errorf("head %.80q: %w", head, errFormat)
	}
	for len(text) > 0 {
		var whole []byte
		whole, text = line(text)
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		var words [10][]byte
		rest := whole
		for i := range words {
			words[i], rest = field(rest)
		}
		queued, ok1 := decimal(words[4])
		drops, ok2 := decimal(words[8])
		inode, ok3 := decimal(words[9])
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("line %.160q: %w", whole, errFormat)
		}
		each(Socket{Protocol: "netlink", Queued: uint32(queued), Drops: uint32(drops), Inode: uint32(inode)})
	}
	return nil
}
