//go:build clients

package clients

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/export/ipfix"
	"github.com/netfate/netfate/test/exporttest"
)

// collected is a record as goflow2 writes it, with the fields of testdata/goflow2.yaml.
type collected struct {
	Type           string `json:"type"`
	Direction      uint64 `json:"flow_direction"`
	Packets        uint64 `json:"packets"`
	Bytes          uint64 `json:"bytes"`
	ReversePackets uint64 `json:"reverse_packets"`
	ReverseBytes   uint64 `json:"reverse_bytes"`
	DroppedPackets uint64 `json:"dropped_packets"`
	DroppedBytes   uint64 `json:"dropped_bytes"`
	HostPackets    uint64 `json:"host_packets"`
	HostBytes      uint64 `json:"host_bytes"`
	Comm           string `json:"comm"`   // in hexadecimal
	Reason         string `json:"reason"` // likewise
	ofFlow         bool
}

// freeUDP returns an address that nobody listens at.
func freeUDP(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

// TestGoflow2 has goflow2 collect IPFIX over UDP: every flow, packet and byte arrives, both
// ways, and drops with their reasons. The kernel drops what goflow2 does not come to read
// (nstat UdpRcvbufErrors), so the host should have nothing else to do.
func TestGoflow2(t *testing.T) {
	exporttest.Run(t, func(t *testing.T) exporttest.Rig {
		addr, status, out := freeUDP(t), freeTCP(t, 1)[0], filepath.Join(t.TempDir(), "flows")
		// With more workers it may look at a record before its template.
		start(t, "goflow2", "-listen", "netflow://"+addr+"?workers=1", "-addr", status, "-mapping", "testdata/goflow2.yaml", "-transport.file", out)
		wait(t, "goflow2 listens", func() bool { return listens(status) })
		e := ipfix.New(ipfix.Config{Network: "udp", Addr: addr, Domain: 7, Queue: 16 << 20, Flush: time.Second})
		return exporttest.Rig{
			Exporter: e, Rows: ipfix.Rows,
			Received: func(t *testing.T) map[string]uint64 {
				var all []collected
				wait(t, "as many records as were sent", func() bool {
					all = records(t, out)
					return uint64(len(all)) >= e.Status().Sent
				})
				return added(t, all)
			},
		}
	})
}

// records reads what goflow2 has written so far.
func records(t *testing.T, path string) (all []collected) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the rest of it comes
		}
		// A record of a drop has no element for packets of hosts.
		c := collected{ofFlow: bytes.Contains(line, []byte(`"host_packets"`))}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("read %s: %v", line, err)
		}
		all = append(all, c)
	}
	return all
}

// added adds records up as the suite calls it. Those of drops have a reason.
func added(t *testing.T, all []collected) map[string]uint64 {
	t.Helper()
	s := map[string]uint64{
		exporttest.DropPackets: 0, exporttest.DropBytes: 0, exporttest.FlowPacketsIn: 0, exporttest.FlowBytesIn: 0,
		exporttest.FlowPacketsOut: 0, exporttest.FlowBytesOut: 0, exporttest.HostPackets: 0, exporttest.HostBytes: 0,
	}
	for _, c := range all {
		if c.Type != "IPFIX" {
			t.Errorf("got %+v", c)
		}
		if !c.ofFlow {
			s[exporttest.DropPackets] += c.DroppedPackets
			s[exporttest.DropBytes] += c.DroppedBytes
			continue
		}
		in, out, bytesIn, bytesOut := c.Packets, c.ReversePackets, c.Bytes, c.ReverseBytes
		if c.Direction != 0 {
			in, out, bytesIn, bytesOut = out, in, bytesOut, bytesIn
		}
		s[exporttest.FlowPacketsIn] += in
		s[exporttest.FlowPacketsOut] += out
		s[exporttest.FlowBytesIn] += bytesIn
		s[exporttest.FlowBytesOut] += bytesOut
		s[exporttest.HostPackets] += c.HostPackets
		s[exporttest.HostBytes] += c.HostBytes
	}
	return s
}
