package main

import (
	"bytes"
	"net"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/miekg/dns"
)

// lookup is a question as a resolver asks it, and what comes back.
type lookup struct {
	name    string
	qtype   uint16
	rcode   int
	answer  string        // a record as in a zone file
	latency time.Duration // 0 is no answer
}

// writeLookups writes a capture of lookups, one a second.
func writeLookups(path string, list ...lookup) error {
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return err
	}
	client, server := net.IP{192, 0, 2, 1}, net.IP{192, 0, 2, 53}
	for i, l := range list {
		at := time.Date(2026, 11, 22, 3, 0, i, 0, time.UTC)
		m := new(dns.Msg).SetQuestion(l.name, l.qtype)
		m.Id = uint16(i)
		if err := writeMessage(w, at, client, server, 40000, 53, m); err != nil {
			return err
		}
		if l.latency == 0 {
			continue
		}
		m.Response, m.Rcode = true, l.rcode
		if l.answer != "" {
			rr, err := dns.NewRR(l.answer)
			if err != nil {
				return err
			}
			m.Answer = append(m.Answer, rr)
		}
		if err := writeMessage(w, at.Add(l.latency), server, client, 53, 40000, m); err != nil {
			return err
		}
	}
	return os.WriteFile(path, file.Bytes(), 0o644)
}

func writeMessage(w *pcapgo.Writer, at time.Time, src, dst net.IP, sport, dport layers.UDPPort, m *dns.Msg) error {
	text, err := m.Pack()
	if err != nil {
		return err
	}
	b := gopacket.NewSerializeBuffer()
	err = gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src, DstIP: dst},
		&layers.UDP{SrcPort: sport, DstPort: dport}, gopacket.Payload(text))
	if err != nil {
		return err
	}
	n := len(b.Bytes())
	return w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: n, Length: n}, b.Bytes())
}

// lookups is what the capture of the stories holds.
func lookups() []lookup {
	return []lookup{
		{"web.example.com.", dns.TypeA, dns.RcodeSuccess, "web.example.com. 60 A 198.51.100.7", 12 * time.Millisecond},
		{"web.example.com.", dns.TypeAAAA, dns.RcodeSuccess, "", 13 * time.Millisecond},
		{"no.example.com.", dns.TypeA, dns.RcodeNameError, "", 2 * time.Millisecond},
		{"slow.example.com.", dns.TypeMX, 0, "", 0},
	}
}
