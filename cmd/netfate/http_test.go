package main

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// speech is what one side of a connection says, a millisecond behind what was
// said before.
type speech struct {
	port     layers.TCPPort // of the client: which connection it is in
	response bool
	text     string
}

// writeSpeech writes a capture of connections: how each is opened, and what it
// says.
func writeSpeech(path string, list ...speech) error {
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return err
	}
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	client, server := net.IP{192, 0, 2, 1}, net.IP{192, 0, 2, 80}
	next := map[layers.TCPPort]*[2]uint32{}
	for _, s := range list {
		seq := next[s.port]
		if seq == nil {
			seq = &[2]uint32{1, 1}
			next[s.port] = seq
			for _, open := range []*layers.TCP{
				{SrcPort: s.port, DstPort: 80, SYN: true}, {SrcPort: 80, DstPort: s.port, SYN: true, ACK: true, Ack: 1},
			} {
				src, dst := client, server
				if open.ACK {
					src, dst = server, client
				}
				if err := writeSegment(w, at, src, dst, open, ""); err != nil {
					return err
				}
			}
		}
		tcp := &layers.TCP{SrcPort: s.port, DstPort: 80, ACK: true, Seq: seq[0], Ack: seq[1]}
		src, dst, said := client, server, &seq[0]
		if s.response {
			tcp = &layers.TCP{SrcPort: 80, DstPort: s.port, ACK: true, Seq: seq[1], Ack: seq[0]}
			src, dst, said = server, client, &seq[1]
		}
		if err := writeSegment(w, at, src, dst, tcp, s.text); err != nil {
			return err
		}
		*said += uint32(len(s.text))
		at = at.Add(time.Millisecond)
	}
	return os.WriteFile(path, file.Bytes(), 0o644)
}

func writeSegment(w *pcapgo.Writer, at time.Time, src, dst net.IP, tcp *layers.TCP, text string) error {
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: src, DstIP: dst}, tcp, gopacket.Payload(text))
	if err != nil {
		return err
	}
	n := len(b.Bytes())
	return w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: n, Length: n}, b.Bytes())
}

// refused is what the capture of TLS holds: a client that a server has nothing in
// common with.
func refused() ([]speech, error) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		_ = tls.Client(server, &tls.Config{ServerName: "bank.example.com", NextProtos: []string{"h2"}}).Handshake() // it is never answered
	}()
	hello := make([]byte, 16<<10)
	n, err := client.Read(hello)
	const handshakeFailure = "\x15\x03\x03\x00\x02\x02\x28"
	return []speech{{40002, false, string(hello[:n])}, {40002, true, handshakeFailure}}, err
}

// shop is what the capture of the stories holds.
func shop() []speech {
	return []speech{
		{40000, false, "GET /items/17?token=hunter2 HTTP/1.1\r\nHost: shop.example.com\r\nAuthorization: Bearer hunter3\r\n\r\n"},
		{40000, true, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{40000, false, "GET /items/18 HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"},
		{40001, false, "POST http://anna:hunter4@shop.example.com/orders HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"},
		{40000, true, "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnone\r\n0\r\n\r\n"},
		{40001, true, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"},
		{40001, false, "GET /slow HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"},
	}
}
