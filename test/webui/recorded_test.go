package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/recording"
)

// TestRecorded has a browser look at a recording of another host and another day.
func TestRecorded(t *testing.T) {
	d := &netfate{t: t, dir: t.TempDir()}
	path := filepath.Join(d.dir, "night.nfr")
	start := time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	record3Minutes(t, path, start)
	config := filepath.Join(d.dir, "netfate.yaml")
	// Readers are not as fast as a test.
	if err := os.WriteFile(config, []byte("api: {listen: ['127.0.0.1:0'], rate: 10000, burst: 10000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start("-r", path, "--config", config)
	browse(t, "recorded", d.page, map[string]any{"file": "night.nfr", "host": "shop-7", "day": "2026-03-14"})
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("SIGINT: %v; netfate says:\n%s", err, d.said())
	}
}

// record3Minutes writes a row of each kind every second.
func record3Minutes(t *testing.T, path string, start time.Time) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := recording.NewWriter(out, recording.Header{Host: "shop-7", Kernel: "6.12.1", Netfate: "test", Start: start, IntervalUS: 1e6}, recording.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	for s := range 180 {
		at := start.Add(time.Duration(s) * time.Second)
		ends := record.Endpoints{
			Time: at.Add(time.Second), Host: "shop-7", NetNS: 7, NetNSName: "shop", IfName: "eth0", Proto: "tcp",
			SrcAddr: client, SrcPort: 40000, DstAddr: server, DstPort: 8080, Owner: record.Owner{PID: 4711, Comm: "orders"},
		}
		filtered := ends
		filtered.Proto, filtered.DstPort = "udp", 9999
		b := &record.Batch{Start: at, End: at.Add(time.Second)}
		b.Flows = []record.Flow{{
			Endpoints: ends, Start: at, End: at.Add(time.Second), Direction: record.Out, PacketsOut: 5, BytesOut: 5000, PacketsIn: 4, BytesIn: 700,
			HostPackets: 9, HostBytes: 5700,
		}}
		b.Drops = []record.Drop{{
			Endpoints: filtered, Reason: "NETFILTER_DROP", Location: "nft_do_chain+0x1", Verdict: record.Policy, Direction: record.In, Packets: 3, Bytes: 300, Buffers: 3,
		}}
		b.Requests = []record.Request{{
			Endpoints: ends, Protocol: "http/1.1", Start: at, Method: "GET", HostName: "shop", Path: "/orders/17", Status: 500, LatencyMicros: 1500,
		}}
		if err := w.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
