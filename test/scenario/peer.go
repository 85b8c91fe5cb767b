package scenario

import (
	"encoding/binary"
	"net"

	"github.com/netfate/netfate/test/netlab"
)

// peer is the far end of one TCP connection to a wired host, played by the
// recipe: it knows every sequence number and may break every rule.
type peer struct {
	host *netlab.NetNS
	tap  *netlab.Tap
	conn *net.TCPConn // the host's end
	seq  uint32       // the next byte that the peer sends
	ack  uint32       // the next byte that the peer expects
	to   uint16       // the port that it talks to
	time uint32       // timestamp value (RFC 7323); 0 if they are not used
	echo uint32       // the host's last timestamp
}

// establish connects a peer to a listener on the host's port to.
func establish(host *netlab.NetNS, tap *netlab.Tap, listener *net.TCPListener, to uint16, timestamps bool) *peer {
	p := &peer{host: host, tap: tap, to: to, seq: 1000}
	if timestamps {
		p.time = 100_000
	}
	p.send(netlab.SYN, nil)
	p.seq++
	p.expect("SYN-ACK", netlab.SYN|netlab.ACK)
	p.send(netlab.ACK, nil)
	conn, err := listener.AcceptTCP()
	host.Must("accept", err)
	host.TB().Cleanup(func() { conn.Close() })
	p.conn = conn
	return p
}

// segment returns a segment as the connection stands.
func (p *peer) segment(flags uint8, payload []byte) netlab.Frame {
	f := datagram(4000, p.to).Frame
	f.Proto, f.Flags, f.Seq, f.Payload = netlab.ProtoTCP, flags, p.seq, payload
	if flags&netlab.ACK != 0 {
		f.Ack = p.ack
	}
	if p.time != 0 {
		f.TCPOptions = p.stamp(p.time)
	}
	return f
}

// stamp is the timestamps option, aligned as usual.
func (p *peer) stamp(value uint32) []byte {
	option := []byte{1, 1, 8, 10}
	option = binary.BigEndian.AppendUint32(option, value)
	return binary.BigEndian.AppendUint32(option, p.echo)
}

func (p *peer) send(flags uint8, payload []byte) { p.tap.Frame(p.segment(flags, payload)) }

// data sends payload that counts, and waits until the host has acknowledged it.
func (p *peer) data(payload []byte) {
	p.send(netlab.ACK|netlab.PSH, payload)
	p.seq += uint32(len(payload))
	p.acked(p.seq)
}

// acked waits for an acknowledgement of just the number given.
func (p *peer) acked(number uint32) {
	p.host.TB().Helper()
	p.tap.Next("acknowledgement", func(f netlab.Frame) bool {
		return f.Proto == netlab.ProtoTCP && f.Flags&netlab.ACK != 0 && f.Ack == number
	})
}

// expect waits for a segment with the flags given and takes its numbers.
func (p *peer) expect(what string, flags uint8) {
	p.host.TB().Helper()
	f := p.tap.Next(what, func(f netlab.Frame) bool {
		return f.Proto == netlab.ProtoTCP && f.Flags&flags == flags
	})
	p.ack = f.Seq + uint32(len(f.Payload))
	if f.Flags&(netlab.SYN|netlab.FIN) != 0 {
		p.ack++
	}
	if p.time != 0 && len(f.TCPOptions) >= 12 {
		p.echo = timestampOf(f.TCPOptions)
	}
}

// timestampOf finds the timestamp value among TCP options, RFC 9293 section 3.2.
func timestampOf(options []byte) uint32 {
	for len(options) > 1 && options[0] != 0 {
		if options[0] == 1 {
			options = options[1:]
			continue
		}
		size := int(options[1])
		if size < 2 || size > len(options) {
			return 0
		}
		if options[0] == 8 && size == 10 {
			return binary.BigEndian.Uint32(options[2:])
		}
		options = options[size:]
	}
	return 0
}
