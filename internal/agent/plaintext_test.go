package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

// call is what a call of a TLS library brings: of connection conn, from src.
type call struct {
	conn     uint64
	src, dst string
	dir      uint8
	pid      uint32
	seq      uint32
	flags    uint8
	text     string
}

func (c *call) event() *decode.PacketEvent {
	e := &decode.PacketEvent{
		Conn: c.conn, Dir: c.dir | decode.PacketPlain, Seq: c.seq, TCPFlags: c.flags,
		Owner: decode.OwnerRef{PID: c.pid, Start: 1, NetNS: 4026532000},
	}
	if c.src != "" {
		e.Tuple = tupleOf(c.src, c.dst)
	}
	return e
}

const (
	tlsClient, tlsServer = "10.0.0.5:40000", "10.0.0.9:443"
	ask                  = "GET /in HTTP/1.1\r\nHost: h\r\n\r\n"
	answer               = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	syn, fin             = packet.SYN | packet.ACK, packet.FIN | packet.ACK
)

// TestInsideTLS feeds calls of TLS libraries and wants the requests that they are.
func TestInsideTLS(t *testing.T) {
	client := []call{
		{1, tlsClient, tlsServer, decode.PacketOut, 7, 0, syn, ask}, {1, tlsServer, tlsClient, 0, 7, 0, syn, answer},
		{1, tlsClient, tlsServer, decode.PacketOut, 7, uint32(len(ask)), packet.ACK, ask}, {1, tlsServer, tlsClient, 0, 7, uint32(len(answer)), packet.ACK, answer},
		{1, tlsClient, tlsServer, decode.PacketOut, 7, uint32(2 * len(ask)), fin, ""},
	}
	server := []call{
		{2, tlsClient, tlsServer, 0, 8, 0, syn, ask}, {2, tlsServer, tlsClient, decode.PacketOut, 8, 0, syn, answer},
		{2, tlsClient, tlsServer, 0, 8, uint32(len(ask)), packet.ACK, ask}, {2, tlsServer, tlsClient, decode.PacketOut, 8, uint32(len(answer)), packet.ACK, answer},
	}
	var both []call
	for i := range server {
		both = append(both, client[i], server[i])
	}
	midway := append([]call(nil), client[2:4]...)
	for i := range midway {
		midway[i].seq += 5000
	}
	nowhere := append([]call(nil), client...)
	for i := range nowhere {
		nowhere[i].src, nowhere[i].dst = "", ""
	}
	const at = tlsClient + " "
	for _, c := range []struct {
		name  string
		calls []call
		want  []string
	}{
		{"a client's", client, []string{at + "client GET h/in 200 of 7", at + "client GET h/in 200 of 7"}},
		{"a server's", server, []string{at + "server GET h/in 200 of 8", at + "server GET h/in 200 of 8"}},
		{"both ends'", both, []string{at + "client GET h/in 200 of 7", at + "client GET h/in 200 of 7"}},
		{"joined midway", midway, []string{at + "client GET h/in 200 of 7"}},
		{"of no socket that is known", nowhere, []string{"invalid AddrPort client GET h/in 200 of 7", "invalid AddrPort client GET h/in 200 of 7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &live{plaintext: newPlaintext(nil, &Config{})}
			for i := range c.calls {
				l.plaintext.take(c.calls[i].event(), []byte(c.calls[i].text), time.Unix(1, int64(i)))
			}
			b := &record.Batch{End: time.Unix(2, 0)}
			l.plaintext.roll(b, true)
			var got []string
			for i := range b.Requests {
				r := &b.Requests[i]
				o, _ := l.holder(r)
				hideMadeUp(&r.Endpoints)
				if !r.TLS {
					t.Errorf("not told as inside TLS: %+v", *r)
				}
				got = append(got, fmt.Sprintf("%v %s %s %s%s %d of %d", netip.AddrPortFrom(r.SrcAddr, r.SrcPort), o.side, r.Method, r.HostName, r.Path, r.Status, o.owner.PID))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHandshakesOfWhatIsRead: a connection that is read is not told by its
// handshake too, also if what it says comes an interval later; one that failed, and
// one that is not read, are.
func TestHandshakesOfWhatIsRead(t *testing.T) {
	q := newPlaintext(nil, &Config{})
	handshake := func(port uint16, err string) record.Request {
		src, dst := netip.MustParseAddrPort(tlsClient), netip.MustParseAddrPort(tlsServer)
		return record.Request{Protocol: record.TLS, TLS: true, Error: err, Endpoints: record.Endpoints{
			SrcAddr: src.Addr(), SrcPort: port, DstAddr: dst.Addr(), DstPort: dst.Port(),
		}}
	}
	told := func(over bool, list ...record.Request) (ports []uint16) {
		b := &record.Batch{End: time.Unix(2, 0), Requests: list}
		q.roll(b, over)
		for i := range b.Requests {
			if b.Requests[i].Protocol == record.TLS {
				ports = append(ports, b.Requests[i].SrcPort)
			}
		}
		return ports
	}
	if diff := cmp.Diff([]uint16{40002}, told(false, handshake(40000, ""), handshake(40001, ""), handshake(40002, "unknown_ca by client"))); diff != "" {
		t.Errorf("at once (-want +got):\n%s", diff)
	}
	read := call{1, tlsClient, tlsServer, decode.PacketOut, 7, 0, syn, ask}
	q.take(read.event(), []byte(read.text), time.Unix(1, 0))
	if diff := cmp.Diff([]uint16{40001}, told(false, handshake(40003, ""))); diff != "" {
		t.Errorf("an interval later (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint16{40003, 40004}, told(true, handshake(40004, ""))); diff != "" {
		t.Errorf("at the end (-want +got):\n%s", diff)
	}
}
