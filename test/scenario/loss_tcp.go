package scenario

import (
	"fmt"
	"hash/fnv"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// tcpLosses are segments that TCP throws away.
func tcpLosses() []Recipe {
	return []Recipe{
		onConnection("tcp_out_of_window", "TCP_INVALID_SEQUENCE", record.Invalid, false, func(p *peer) int {
			f := p.segment(netlab.ACK, []byte("far ahead"))
			f.Seq += 1 << 30
			return p.tell(3, f)
		}),
		onConnection("tcp_ack_of_unsent_data", "TCP_ACK_UNSENT_DATA", record.Invalid, false, func(p *peer) int {
			f := p.segment(netlab.ACK, nil)
			f.Ack += 100_000
			return p.tell(3, f)
		}),
		onConnection("tcp_too_old_ack", "TCP_TOO_OLD_ACK", record.Invalid, false, func(p *peer) int {
			f := p.segment(netlab.ACK, nil)
			f.Ack -= 1 << 30
			f.Window = 1234 // not as predicted: the fast path does not look
			return p.tell(3, f)
		}),
		onConnection("tcp_without_ack_flag", "TCP_FLAGS", record.Invalid, false, func(p *peer) int {
			return p.tell(3, p.segment(netlab.PSH, []byte("no acknowledgement")))
		}),
		onConnection("tcp_syn_in_connection", "TCP_INVALID_SYN", record.Invalid, false, func(p *peer) int {
			f := p.segment(netlab.SYN, nil)
			return p.tell(3, f)
		}),
		onConnection("tcp_paws", "TCP_RFC7323_PAWS", record.Invalid, true, func(p *peer) int {
			f := p.segment(netlab.ACK, []byte("from the past"))
			f.TCPOptions = p.stamp(p.time - 50_000)
			return p.tell(3, f)
		}),
		{
			// The kernel makes the TCP socket of such a listener, and no process
			// does: the owner has to be found all the same.
			Name: "mptcp_listener", Reasons: []string{"TCP_INVALID_SEQUENCE"}, Verdict: record.Invalid,
			Proto: "tcp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:9000", Direction: record.In, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int {
					p := establish(host, tap, host.ListenMPTCP("10.0.0.2:9000"), 9000, false)
					p.data([]byte("hello"))
					f := p.segment(netlab.ACK, []byte("far ahead"))
					f.Seq += 1 << 30
					return p.tell(3, f)
				}
			},
		},
		onConnection("tcp_checksum", "TCP_CSUM", record.Invalid, false, func(p *peer) int {
			b := p.tap.Address(p.segment(netlab.ACK, []byte("flipped"))).Bytes()
			b[netlab.TransportAt(b)+16] ^= 0xff
			return repeat(p.tap, 3, b)
		}).ownedBy(AnyOwner),
		onConnection("tcp_header_too_short", "PKT_TOO_SMALL", record.Invalid, false, func(p *peer) int {
			b := p.tap.Address(p.segment(netlab.ACK, []byte("offset 4"))).Bytes()
			b[netlab.TransportAt(b)+12] = 4 << 4
			return repeat(p.tap, 3, b)
		}).ownedBy(AnyOwner),
		onConnection("tcp_unexpected_md5", "TCP_MD5UNEXPECTED", record.Policy, false, func(p *peer) int {
			f := p.segment(netlab.ACK, []byte("signed"))
			f.TCPOptions = append([]byte{1, 1, 19, 18}, make([]byte, 16)...)
			return p.tell(3, f)
		}).ownedBy(AnyOwner),
		{
			Name: "accept_queue_full", Reasons: []string{"TCP_LISTEN_OVERFLOW"}, Verdict: record.Resource,
			Proto: "tcp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:9000", Direction: record.In, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				host.Sysctl("net/ipv4/tcp_syncookies", "0")
				s := host.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				host.Must("bind", unix.Bind(s.FD, &unix.SockaddrInet4{Port: 9000, Addr: [4]byte{10, 0, 0, 2}}))
				host.Must("listen", unix.Listen(s.FD, 2))
				return host, func() int { return lateHandshake(tap) }
			},
		},
	}
}

// lateHandshake completes a connection to a listener of backlog 2 after its
// accept queue has filled up with three others, and says so three times. It
// cannot begin after that: then its SYN would go, and by another way; and with
// more than one other half open older kernels answer no SYN either.
func lateHandshake(tap *netlab.Tap) int {
	tap.Frame(begin(tap, 4001))
	tap.Frame(begin(tap, 4002))
	late := begin(tap, 4000)
	tap.Frame(begin(tap, 4003))
	return repeat(tap, 3, tap.Address(late).Bytes())
}

// begin sends a SYN and returns the ACK that will complete the connection.
func begin(tap *netlab.Tap, port uint16) netlab.Frame {
	f := datagram(port, 9000).Frame
	f.Proto, f.Flags, f.Payload = netlab.ProtoTCP, netlab.SYN, nil
	tap.Frame(f)
	answer := tap.Next("SYN-ACK", func(a netlab.Frame) bool { return a.Dst == f.Src })
	f.Flags, f.Seq, f.Ack = netlab.ACK, 1, answer.Seq+1
	return f
}

// onConnection establishes a connection from a tap and then plays one step. Each
// has a port of its own: a segment that TCP has taken from its socket's queue
// has lost its namespace, which is found by its addresses if no other has them.
func onConnection(name, reason string, verdict record.Verdict, timestamps bool, step func(*peer) int) Recipe {
	hash := fnv.New32a()
	hash.Write([]byte(name)) // it never fails
	port := uint16(20_000 + hash.Sum32()%10_000)
	return Recipe{
		Name: name, Reasons: []string{reason}, Verdict: verdict,
		Proto: "tcp", Src: "10.0.0.1:4000", Dst: fmt.Sprintf("10.0.0.2:%d", port), Direction: record.In, Owner: Self,
		Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
			host, tap := wired(l)
			return host, func() int {
				p := establish(host, tap, host.ListenTCP(fmt.Sprintf("10.0.0.2:%d", port)), port, timestamps)
				p.data([]byte("hello"))
				return step(p)
			}
		},
	}
}

// ownedBy returns the recipe with another owner.
func (r Recipe) ownedBy(owner Owner) Recipe {
	r.Owner = owner
	return r
}

// tell sends a segment count times.
func (p *peer) tell(count int, f netlab.Frame) int {
	return repeat(p.tap, count, p.tap.Address(f).Bytes())
}
