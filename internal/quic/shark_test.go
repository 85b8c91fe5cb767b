package quic

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/quic-go/quic-go"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// TestLikeTshark compares names and protocols with what tshark reads, in a capture
// of quic-go.
func TestLikeTshark(t *testing.T) {
	s := usual(t, quic.Version1)
	packets := speak(t, s)
	s.retry, s.client.ServerName, s.client.InsecureSkipVerify = true, "other.example.com", true
	again := speak(t, s)
	path := filepath.Join(t.TempDir(), "made.pcap")
	writeUDP(t, path, packets, again)
	if n := compare(t, path); n != 2 {
		t.Errorf("got %d connections to compare, want 2", n)
	}
}

// The same on public captures.
func TestPublicLikeTshark(t *testing.T) {
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
		if mayHold(data) {
			compared += compare(t, file)
		}
	}
	if compared == 0 {
		t.Error("no connections to compare")
	}
}

// mayHold reports whether there are bytes as a long header of version 1 begins: to
// ask tshark takes half a second.
func mayHold(data []byte) bool {
	version := []byte{0, 0, 0, version1}
	for {
		at := bytes.Index(data, version)
		if at < 0 {
			return false
		}
		if at > 0 && data[at-1]&(longHeader|fixedBit) == longHeader|fixedBit {
			return true
		}
		data = data[at+1:]
	}
}

// compare returns how many connections tshark found.
func compare(t *testing.T, file string) int {
	t.Helper()
	want, got := tsharks(t, file), ours(t, file)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-tshark +netfate):\n%s", filepath.Base(file), diff)
	}
	return len(want)
}

// ours returns name and protocols by the connection.
func ours(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	r, err := pcapgo.NewReader(bytes.NewReader(data))
	if err != nil {
		return all // pcapng, which none of those with QUIC is
	}
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
	for _, r := range b.Requests {
		all[r.SrcAddr.String()+" > "+r.DstAddr.String()+" "+r.HostName] = strings.Join(r.ALPN, ",")
	}
	return all
}

// tsharks returns tshark's.
func tsharks(t *testing.T, file string) map[string]string {
	t.Helper()
	out, err := exec.Command("tshark", "-r", file, "-Y", "quic && tls.handshake.type == 1", "-T", "fields",
		"-e", "ip.src", "-e", "ipv6.src", "-e", "ip.dst", "-e", "ipv6.dst",
		"-e", "tls.handshake.extensions_server_name", "-e", "tls.handshake.extensions_alpn_str").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		all[f[0]+f[1]+" > "+f[2]+f[3]+" "+f[4]] = f[5]
	}
	return all
}

// writeUDP writes talks as a capture, each from another port of the client's.
func writeUDP(t *testing.T, path string, talks ...[]packet.Packet) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriterNanos(file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, talk := range talks {
		for _, p := range talk {
			udp := &layers.UDP{SrcPort: layers.UDPPort(p.Src.Port()), DstPort: layers.UDPPort(p.Dst.Port())}
			if p.Src.Port() == 443 {
				udp.DstPort += layers.UDPPort(i)
			} else {
				udp.SrcPort += layers.UDPPort(i)
			}
			b := gopacket.NewSerializeBuffer()
			err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
				&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4},
				&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: p.Src.Addr().AsSlice(), DstIP: p.Dst.Addr().AsSlice()},
				udp, gopacket.Payload(p.Payload))
			if err != nil {
				t.Fatal(err)
			}
			n := len(b.Bytes())
			if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: n, Length: n}, b.Bytes()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
