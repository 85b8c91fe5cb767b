package decode

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// States of a socket, include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpCloseWait   = 8
)

// Connection reads the next row of the ring or of the iterator over open
// connections and returns what follows it.
func Connection(b []byte, e *ConnEvent) ([]byte, error) {
	if !pod(b, e) {
		return nil, fmt.Errorf("connection row of %d bytes: %w", len(b), ErrShort)
	}
	return b[unsafe.Sizeof(*e):], nil
}

// Sides returns the tuple with the client as its source: the socket's own side
// is the server's if it serves or listens.
func (e *ConnEvent) Sides() Tuple {
	t := e.Conn.Tuple
	if e.Conn.Role == ConnServer || e.Conn.Role == ConnListener {
		t = t.Reversed()
	}
	t.Flags = 0
	return t
}

// PayloadIn is how many bytes the application was sent. The socket counts the
// FIN too, which takes a number of the sequence.
func (e *ConnEvent) PayloadIn() uint64 {
	return e.BytesIn - min(e.BytesIn, bit(e.Conn.Flags&ConnFINIn != 0))
}

// PayloadOut is how many of the application's bytes the peer has acknowledged.
// The socket counts a client's SYN and the FIN too.
func (e *ConnEvent) PayloadOut() uint64 {
	const fin = ConnFINOut | ConnAllAcked
	extra := bit(e.Conn.Role == ConnClient) + bit(e.Conn.Flags&fin == fin)
	return e.BytesOut - min(e.BytesOut, extra)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// RTT returns the smoothed round-trip time, its smallest and its mean
// deviation, in microseconds; zeros for a connection that measured none.
func (e *ConnEvent) RTT() (smoothed, smallest, deviation uint32) {
	if e.SRTT == 0 {
		return 0, 0, 0
	}
	smallest = e.RTTMin
	if smallest == ^uint32(0) {
		smallest = 0
	}
	return e.SRTT >> 3, smallest, e.RTTVar >> 2
}

// ClosedBy says who ended a closed connection: local or peer, who sent the
// first FIN, both at once, local_reset, peer_reset, timeout, or kernel, if an
// administrator or the network did; "" if that is not known.
func (e *ConnEvent) ClosedBy() string {
	switch {
	case e.What != ConnClosed:
		return ""
	case e.Err == int32(unix.ETIMEDOUT):
		return "timeout"
	case e.Conn.Flags&ConnRSTIn != 0:
		return "peer_reset"
	case e.Conn.Flags&ConnRSTOut != 0:
		return "local_reset"
	case e.Err != 0:
		return "kernel"
	case e.State == tcpEstablished || e.State == tcpCloseWait:
		return "local_reset" // without a FIN of ours: the reset follows the change of state
	}
	switch e.Conn.End {
	case ConnEndLocal:
		return "local"
	case ConnEndPeer:
		return "peer"
	case ConnEndBoth:
		return "both"
	}
	return ""
}

// Error says in a word why a connection failed or broke; "" if it did not.
func (e *ConnEvent) Error() string {
	if e.What != ConnFailed && e.What != ConnClosed {
		return ""
	}
	switch errno := unix.Errno(e.Err); errno {
	case 0:
	case unix.ECONNREFUSED:
		return "refused"
	case unix.ETIMEDOUT:
		return "timed_out"
	case unix.EHOSTUNREACH:
		return "host_unreachable"
	case unix.ENETUNREACH:
		return "net_unreachable"
	case unix.EADDRNOTAVAIL:
		return "no_local_port"
	case unix.ECONNRESET, unix.EPIPE: // EPIPE: the peer had sent its FIN already
		return "reset"
	case unix.ECONNABORTED:
		return "aborted"
	case unix.EACCES, unix.EPERM:
		return "forbidden"
	default:
		return strings.ToLower(strings.TrimPrefix(unix.ErrnoName(errno), "E"))
	}
	switch {
	case e.What == ConnClosed:
		return ""
	case e.Conn.Role == ConnClient && e.SegsOut == 0:
		return "no_local_port" // nothing else stops it before the first SYN
	}
	return "aborted" // the program gave up
}
