package http

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// TestTLSLikeTshark compares what handshakes say with what tshark reads: name,
// protocols, version, suite and fatal alert of each connection.
func TestTLSLikeTshark(t *testing.T) {
	if n := compareTLS(t, madeTLS(t)); n != 21 {
		t.Errorf("got %d handshakes to compare, want 21", n)
	}
}

// The same on public captures.
func TestPublicTLSLikeTshark(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(need.Captures(t), "*.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for version := range byte(5) {
			if bytes.Contains(data, []byte{0x16, 3, version}) { // as a hello has
				compared += compareTLS(t, file)
				break
			}
		}
	}
	if compared < 7 {
		t.Errorf("got %d handshakes to compare, want 7 and more", compared)
	}
}

// compareTLS returns how many handshakes tshark found.
func compareTLS(t *testing.T, file string) int {
	t.Helper()
	want, got := sharkedTLS(t, file), readTLS(t, file)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-tshark +netfate):\n%s", filepath.Base(file), diff)
	}
	return len(want)
}

// shaken is what a handshake says, in words.
type shaken struct{ Name, Protocols, Version, Cipher, Alert string }

// readTLS returns ours, by the connection.
func readTLS(t *testing.T, file string) map[string]shaken {
	t.Helper()
	r := openCapture(t, file)
	tr := New(Config{})
	parser := packet.NewParser()
	var p packet.Packet
	for {
		frame, info, err := r.ReadPacketData()
		if err != nil {
			break
		}
		if parser.Parse(r.LinkType(), info.Timestamp, frame, info.Length, &p) {
			tr.Packet(&p)
		}
	}
	var b record.Batch
	tr.Roll(p.Time, true, &b)
	all := map[string]shaken{}
	for _, r := range b.Requests {
		if r.Protocol != record.TLS {
			continue
		}
		s := shaken{Name: r.HostName, Protocols: strings.Join(r.ALPN, ","), Version: r.TLSVersion, Cipher: r.TLSCipher}
		if strings.Contains(r.Error, " by ") && !strings.HasPrefix(r.Error, "encrypted_alert") {
			s.Alert = r.Error
		}
		all[direction(netip.AddrPortFrom(r.SrcAddr, r.SrcPort), netip.AddrPortFrom(r.DstAddr, r.DstPort))] = s
	}
	return all
}

// sharkedTLS returns tshark's.
func sharkedTLS(t *testing.T, file string) map[string]shaken {
	t.Helper()
	args := []string{
		"-r", file, "-Y", "tls.handshake.type in {1, 2} || tls.alert_message", "-T", "fields",
		"-o", "tls.desegment_ssl_records:true", "-o", "tls.desegment_ssl_application_data:true",
	}
	for _, field := range []string{
		"ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tls.handshake.type", "tls.handshake.extensions_server_name",
		"tls.handshake.extensions_alpn_str", "tls.handshake.version", "tls.handshake.extensions.supported_version",
		"tls.handshake.ciphersuite", "tls.alert_message.level", "tls.alert_message.desc",
	} {
		args = append(args, "-e", field)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	const fatal = "2"
	alerts := map[string]string{"42": "bad_certificate", "70": "protocol_version", "120": "no_application_protocol"}
	all := map[string]shaken{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i := range 4 { // the innermost of tunnels
			f[i] = f[i][strings.LastIndexByte(f[i], ',')+1:]
		}
		up, down := f[0]+" "+f[1]+" > "+f[2]+" "+f[3], f[2]+" "+f[3]+" > "+f[0]+" "+f[1]
		kinds := strings.Split(f[4], ",")
		switch {
		case slices.Contains(kinds, "1"):
			s := all[up]
			s.Name, s.Protocols = f[5], f[6]
			all[up] = s
		case slices.Contains(kinds, "2"):
			s := all[down]
			version := number(t, strings.Split(f[7], ",")[0])
			if f[8] == "" {
				s.Protocols = f[6] // chosen; in TLS 1.3 that is encrypted
			} else {
				version = number(t, f[8])
			}
			s.Version, s.Cipher = strings.TrimPrefix(tls.VersionName(version), "TLS "), tls.CipherSuiteName(number(t, f[9]))
			all[down] = s
		case f[10] == fatal:
			name := cmp.Or(alerts[f[11]], f[11])
			if s, ok := all[up]; ok {
				s.Alert = name + " by client"
				all[up] = s
			} else if s, ok := all[down]; ok {
				s.Alert = name + " by server"
				all[down] = s
			}
		}
	}
	return all
}

func number(t *testing.T, text string) uint16 {
	t.Helper()
	n, err := strconv.ParseUint(text, 0, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// madeTLS writes a capture of what Go's TLS says in many ways, whole, in
// small segments, and in the tunnel of a proxy.
func madeTLS(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.pcap")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriterNanos(file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	port := layers.TCPPort(40000)
	for _, edit := range []func(client, server *tls.Config){
		nil, only(tls.VersionTLS12),
		func(client, server *tls.Config) {
			client.MaxVersion, server.MinVersion = tls.VersionTLS10, tls.VersionTLS10
			client.MinVersion = tls.VersionTLS10
		},
		func(_, server *tls.Config) { server.CurvePreferences = []tls.CurveID{tls.CurveP521} },
		func(client, _ *tls.Config) { client.MaxVersion, client.RootCAs = tls.VersionTLS12, x509.NewCertPool() },
		func(_, server *tls.Config) { server.NextProtos = []string{"spdy/1"} },
		func(client, server *tls.Config) {
			client.MaxVersion, server.MinVersion = tls.VersionTLS12, tls.VersionTLS13
		},
	} {
		said := secured(t, edit)
		const ask, answer = "CONNECT shop.example.com:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 Go on\r\n\r\n"
		for _, c := range []struct {
			server layers.TCPPort
			talk   *talk
		}{
			{443, newTalk(0).hear(said).close()}, {443, newTalk(50).hear(said).close()},
			{8080, newTalk(0).ask(ask).answer(answer).hear(said).close()},
		} {
			port++
			for i := range c.talk.packets {
				writeTCP(t, w, &c.talk.packets[i], port, c.server)
			}
		}
	}
	return path
}

// writeTCP writes a packet of a talk between two ports.
func writeTCP(t *testing.T, w *pcapgo.Writer, p *packet.Packet, client, server layers.TCPPort) {
	t.Helper()
	tcp := &layers.TCP{
		SrcPort: client, DstPort: server, Seq: p.Seq, Ack: p.Ack, Window: 65535,
		SYN: p.Flags&packet.SYN != 0, ACK: p.Flags&packet.ACK != 0, FIN: p.Flags&packet.FIN != 0,
	}
	if p.Src.Port() == 8080 {
		tcp.SrcPort, tcp.DstPort = tcp.DstPort, tcp.SrcPort
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: p.Src.Addr().AsSlice(), DstIP: p.Dst.Addr().AsSlice()},
		tcp, gopacket.Payload(p.Payload))
	if err != nil {
		t.Fatal(err)
	}
	n := len(b.Bytes())
	if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: n, Length: n}, b.Bytes()); err != nil {
		t.Fatal(err)
	}
}
