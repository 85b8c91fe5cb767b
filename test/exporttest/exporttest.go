// Package exporttest is what every exporter has to pass: batches in, and what arrives
// at the other side is all of it, or told as lost. Tests of exporters import it, and
// nothing else does.
package exporttest

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/record"
)

// What an exporter may carry, as Rig.Received names it.
const (
	DropPackets    = "packets of drops"
	DropBytes      = "bytes of drops"
	FlowPacketsIn  = "packets_in of flows"
	FlowBytesIn    = "bytes_in of flows"
	FlowPacketsOut = "packets_out of flows"
	FlowBytesOut   = "bytes_out of flows"
	HostPackets    = "host_packets of flows"
	HostBytes      = "host_bytes of flows"
	Conns          = "connections opened, failed and closed"
	Requests       = "requests"
	Queries        = "queries"
)

// Rig is an exporter and whoever it tells.
type Rig struct {
	Exporter export.Exporter
	// Received returns what has arrived, once the exporter was closed or nothing waits
	// any more. It has the sums that the exporter carries, by the names above.
	Received func(t *testing.T) map[string]uint64
	// Rows returns how many rows of a batch the exporter tells of; nil is all of them.
	Rows func(b *record.Batch) uint64
	// Leave makes whoever is told unreachable for good; nil if nobody is told, but asks.
	Leave func()
	// Refuse makes it refuse what it is told, but listen; nil likewise.
	Refuse func()
}

// closeTime is how long closing may take, on a host that is busy with other tests.
const closeTime = time.Minute

// Run runs the suite; open returns a rig with a new exporter, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) Rig) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, r Rig)
	}{
		{"nothing", func(t *testing.T, r Rig) { testAll(t, r) }},
		{"an empty batch", func(t *testing.T, r Rig) {
			testAll(t, r, func() *record.Batch { return &record.Batch{Start: begin(), End: begin()} })
		}},
		{"batches", func(t *testing.T, r Rig) { testAll(t, r, Minute, Minute, Minute) }},
		{"odd rows", func(t *testing.T, r Rig) { testAll(t, r, Odd) }},
		{"more rows than there is room for", func(t *testing.T, r Rig) { testAll(t, r, Storm, Minute, Storm) }},
		{"asked at the same time", testConcurrent},
		{"nobody there", testLeft},
		{"refused", testRefused},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func begin() time.Time { return time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC) }

// testAll feeds batches, and wants all of them at the other side, unchanged here.
func testAll(t *testing.T, r Rig, made ...func() *record.Batch) {
	var batches []*record.Batch
	for _, one := range made {
		b := one()
		batches = append(batches, b)
		if err := r.Exporter.Batch(b); err != nil {
			t.Fatalf("batch: %v", err)
		}
		settle(t, r.Exporter)
	}
	finish(t, r.Exporter)
	for i, one := range made {
		if before := one(); !reflect.DeepEqual(before, batches[i]) {
			t.Errorf("the exporter changed a frozen batch (-before +after):\n%s", cmp.Diff(before, batches[i], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })))
		}
	}
	compare(t, r, batches)
	balanced(t, r, batches)
}

// settle waits until nothing waits any more.
func settle(t *testing.T, e export.Exporter) {
	t.Helper()
	for end := time.Now().Add(closeTime); e.Status().Waiting > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still: %+v", closeTime, e.Status())
		}
	}
}

func finish(t *testing.T, e export.Exporter) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- e.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("close: %v", err)
		}
	case <-time.After(closeTime):
		t.Fatalf("close did not end within %v", closeTime)
	}
}

// compare compares what arrived with what the batches hold.
func compare(t *testing.T, r Rig, batches []*record.Batch) {
	t.Helper()
	want, got := sums(batches), r.Received(t)
	if len(got) == 0 {
		t.Error("the rig carries nothing")
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if have, ok := want[name]; !ok || got[name] != have {
			t.Errorf("%s: got %d, want %d", name, got[name], have)
		}
	}
}

// balanced checks that each row was sent or lost, and tells which.
func balanced(t *testing.T, r Rig, batches []*record.Batch) (lost uint64) {
	t.Helper()
	var rows uint64
	for _, b := range batches {
		if r.Rows == nil {
			rows += export.Rows(b)
		} else {
			rows += r.Rows(b)
		}
	}
	s := r.Exporter.Status()
	for _, l := range s.Lost {
		lost += l.Count
		if l.Place == "" || l.Reason == "" || l.Effect == "" || l.Count == 0 {
			t.Errorf("a loss that does not say what it is: %+v", l)
		}
	}
	if s.Name == "" || s.Waiting != 0 || s.Sent+lost != rows {
		t.Errorf("%d rows in; got %d sent, %d lost, %d waiting (%+v)", rows, s.Sent, lost, s.Waiting, s)
	}
	return lost
}

// sums adds up what batches hold.
func sums(batches []*record.Batch) map[string]uint64 {
	s := map[string]uint64{}
	for _, b := range batches {
		for _, d := range b.Drops {
			s[DropPackets] += d.Packets
			s[DropBytes] += d.Bytes
		}
		for _, f := range b.Flows {
			s[FlowPacketsIn] += f.PacketsIn
			s[FlowBytesIn] += f.BytesIn
			s[FlowPacketsOut] += f.PacketsOut
			s[FlowBytesOut] += f.BytesOut
			s[HostPackets] += f.HostPackets
			s[HostBytes] += f.HostBytes
		}
		for _, c := range b.Conns {
			if c.Event != record.ConnOpen && c.Event != record.ConnListens {
				s[Conns]++
			}
		}
		for _, r := range b.Requests {
			s[Requests] += uint64(max(r.OneIn, 1))
		}
		s[Queries] += uint64(len(b.Queries))
	}
	for _, name := range []string{DropPackets, DropBytes, FlowPacketsIn, FlowBytesIn, FlowPacketsOut, FlowBytesOut, HostPackets, HostBytes, Conns, Requests, Queries} {
		s[name] += 0
	}
	return s
}

// testConcurrent asks for the status while batches come.
func testConcurrent(t *testing.T, r Rig) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Microsecond):
				r.Exporter.Status()
			}
		}
	})
	var batches []*record.Batch
	for range 20 {
		b := Minute()
		batches = append(batches, b)
		if err := r.Exporter.Batch(b); err != nil {
			t.Fatalf("batch: %v", err)
		}
		settle(t, r.Exporter)
	}
	close(stop)
	all.Wait()
	finish(t, r.Exporter)
	compare(t, r, batches)
}

// testLeft has nobody at the other side: nothing waits for it, and all is counted.
func testLeft(t *testing.T, r Rig) { testLosing(t, r, r.Leave) }

// testRefused has somebody there who takes nothing.
func testRefused(t *testing.T, r Rig) { testLosing(t, r, r.Refuse) }

func testLosing(t *testing.T, r Rig, lose func()) {
	defer func() {
		if !t.Failed() {
			return
		}
		t.Logf("status: %+v", r.Exporter.Status())
	}()
	if lose == nil {
		finish(t, r.Exporter)
		return
	}
	lose()
	var batches []*record.Batch
	for range 5 {
		b := Minute()
		batches = append(batches, b)
		if err := r.Exporter.Batch(b); err != nil {
			t.Fatalf("batch: %v", err)
		}
	}
	finish(t, r.Exporter)
	if lost := balanced(t, r, batches); lost == 0 {
		t.Error("nothing is told as lost")
	}
}

// Minute is a batch of what a host does, some of each kind.
func Minute() *record.Batch {
	b := &record.Batch{Start: begin(), End: begin().Add(time.Second)}
	ends := func(src, dst string, port uint16, comm string) record.Endpoints {
		uid := uint32(33)
		return record.Endpoints{
			Time: b.End, Host: "web1", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Proto: "tcp",
			SrcAddr: netip.MustParseAddr(src), SrcPort: 40000 + port, DstAddr: netip.MustParseAddr(dst), DstPort: port,
			Owner: record.Owner{PID: 7, Comm: comm, UID: &uid, Container: "0123456789ab", ContainerName: "shop", Pod: "shop-1", PodNamespace: "prod"},
		}
	}
	for i, comm := range []string{"nginx", "curl", "sshd"} {
		n := uint64(i + 1)
		v4, v6 := ends("192.0.2.1", "198.51.100.7", 443, comm), ends("2001:db8::1", "2001:db8::2", 53, comm)
		v6.Proto = "udp"
		b.Flows = append(b.Flows,
			record.Flow{
				Endpoints: v4, Start: b.Start, End: b.End, Direction: record.Out, PacketsIn: 10 * n, BytesIn: 9000 * n, PacketsOut: 8 * n, BytesOut: 700 * n,
				HostPackets: 18 * n, HostBytes: 9700 * n, TCPFlags: "SPA", Drops: n, Retransmits: 1, RTTMicros: 1200, Name: "example.com",
			},
			record.Flow{
				Endpoints: v6, Start: b.Start, End: b.End, Direction: record.In, PacketsIn: 3 * n, BytesIn: 300 * n, HostPackets: 3 * n, HostBytes: 300 * n,
			})
		b.Drops = append(b.Drops,
			record.Drop{Endpoints: v4, Reason: "NETFILTER_DROP", Location: "nft_do_chain+0x1a4", Verdict: record.Policy, Packets: n, Bytes: 60 * n, Direction: record.In},
			record.Drop{Endpoints: v6, Reason: "SOCKET_RCVBUFF", Location: "__udp_enqueue_schedule_skb+0x20", Verdict: record.Resource, Packets: 2 * n, Bytes: 500 * n, Direction: record.In},
			record.Drop{Endpoints: v4, Reason: "TCP_OLD_DATA", Location: "tcp_data_queue+0x8", Verdict: record.Benign, Packets: 4, Bytes: 240, Direction: record.In})
		b.Conns = append(b.Conns,
			record.Conn{Endpoints: v4, Event: record.ConnOpened, Side: record.Client, Start: b.Start, ConnectMicros: 1500},
			record.Conn{Endpoints: v4, Event: record.ConnFailed, Side: record.Client, Start: b.Start, ConnectMicros: 900, Error: "refused"},
			record.Conn{Endpoints: v4, Event: record.ConnOpen, Side: record.Client, Start: b.Start},
			record.Conn{Endpoints: v4, Event: record.ConnClosed, Side: record.Client, Start: b.Start, DurationMicros: 1e6, RTTMicros: 1400, BytesIn: 8000, BytesOut: 600, ClosedBy: "peer"})
		b.Requests = append(b.Requests,
			record.Request{Endpoints: v4, Protocol: "http/1.1", Side: record.Server, Start: b.Start, Method: "GET", HostName: "example.com", Path: "/a", Status: 200, RequestBytes: 0, ResponseBytes: 5000, LatencyMicros: 2500},
			record.Request{Endpoints: v4, Protocol: "h2", Side: record.Client, Start: b.Start, Method: "POST", HostName: "example.com", Path: "/b", Status: 503, LatencyMicros: 90_000, OneIn: 4},
			record.Request{Endpoints: v4, Protocol: record.TLS, TLS: true, Side: record.Client, Start: b.Start, HostName: "example.com", Error: "unknown_ca by client"})
		b.Queries = append(b.Queries, record.Query{
			Endpoints: v6, Protocol: "dns", Side: record.Client, Start: b.Start, QName: "example.com", QType: "A", RCode: "NOERROR", Answers: []string{"192.0.2.9"},
			TTL: 60, LatencyMicros: 800, Retries: uint32(i), Server: "2001:db8::2",
		})
	}
	one := uint64(1)
	for _, e := range []record.Entry{
		{Line: record.Came, Packets: 100},
		{Line: record.Delivered, Packets: 95},
		{Layer: record.NetfilterLayer, Line: record.LostLine, What: "NETFILTER_DROP", Verdict: record.Policy, Packets: 6, Seen: &one},
		{Line: record.Remainder, Packets: -1},
	} {
		e.Time, e.Start, e.Host, e.Scope, e.Station, e.Direction, e.Unit = b.End, b.Start, "web1", record.HostScope, "total", record.In, "buffers"
		if e.Layer == "" {
			e.Layer = record.TotalLayer
		}
		b.Ledger = append(b.Ledger, e)
	}
	b.Samples = []record.Drop{{Endpoints: ends("192.0.2.1", "198.51.100.7", 443, "nginx"), Reason: "NETFILTER_DROP", Verdict: record.Policy, Packets: 1, Bytes: 60, Sample: true}}
	b.Lost = []record.Lost{{Time: b.End, Place: "drop_ring", Reason: "full", Count: 5, Effect: "samples are missing"}}
	return b
}

// Odd is a batch of what must not trouble anybody: rows that know nothing, remainders,
// names that are no text, addresses with zones, large numbers.
func Odd() *record.Batch {
	b := &record.Batch{Start: begin(), End: begin().Add(time.Second)}
	strange := record.Endpoints{
		Time: b.End, Host: "a\x00b", NetNSName: "pid 12 \xff\xfe", IfName: strings.Repeat("é", 500), Proto: "ip 253",
		SrcAddr: netip.MustParseAddr("fe80::1%eth0"), DstAddr: netip.MustParseAddr("::ffff:192.0.2.1"), SrcPort: 65535, DstPort: 65535,
		Owner: record.Owner{PID: 1<<32 - 1, Comm: "\xffkworker/0:1-\n\"\\", ContainerName: strings.Repeat("x", 3000), Cgroup: "/\xc3\x28"},
	}
	const many = 1 << 45
	b.Drops = []record.Drop{
		{Packets: 3, Bytes: 180},
		{Endpoints: strange, Reason: "R\xff", Location: "0xffffffff81234567", Verdict: record.Loss, Packets: many, Bytes: many},
		{Endpoints: strange},
	}
	b.Flows = []record.Flow{
		{Other: true, PacketsIn: 7, BytesIn: 700, PacketsOut: 5, BytesOut: 500, HostPackets: 12, HostBytes: 1200},
		{Endpoints: strange, PacketsOut: many, BytesOut: 2 * many, HostPackets: many, HostBytes: 2 * many, TCPFlags: "FSRPAUEC", RTTMicros: 1<<32 - 1, Name: "\xff"},
		{Endpoints: strange, Start: b.End, End: b.Start},
	}
	b.Conns = []record.Conn{{Event: record.ConnClosed}, {Endpoints: strange, Event: record.ConnFailed, Error: "reset"}, {Event: record.ConnListens}}
	b.Requests = []record.Request{
		{},
		{Endpoints: strange, Protocol: "h2", Method: "SUBSCRIBE\x00", HostName: strings.Repeat("\xff", 400), Path: strings.Repeat("/é", 2000), Status: 65535, LatencyMicros: many, OneIn: 64},
	}
	b.Queries = []record.Query{{}, {Endpoints: strange, QName: strings.Repeat("ü.", 200), RCode: "RCODE4095", LatencyMicros: many, Error: record.Malformed}}
	b.Ledger = []record.Entry{
		{Scope: record.HostScope, Station: "total", Direction: record.Out, Line: record.Delivered, Packets: -5},
		{Scope: record.HostScope, Station: "total", Direction: record.Out, Line: record.Delivered, Packets: 9},
	}
	return b
}

// StormRows is more than tables of labels and single messages have room for.
const StormRows = 2500

// Storm is a batch of many rows that all differ: StormRows of flows, drops, requests and
// queries each.
func Storm() *record.Batch {
	b := &record.Batch{Start: begin(), End: begin().Add(time.Second)}
	for i := range StormRows {
		e := record.Endpoints{
			Time: b.End, Host: "web1", NetNS: 1, NetNSName: fmt.Sprintf("ns%d", i%7), IfName: fmt.Sprintf("veth%d", i), Proto: "tcp",
			SrcAddr: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), SrcPort: uint16(i), DstAddr: netip.MustParseAddr("2001:db8::9"), DstPort: 443,
			Owner: record.Owner{PID: uint32(i), Comm: fmt.Sprintf("worker-%d", i)},
		}
		b.Flows = append(b.Flows, record.Flow{Endpoints: e, Direction: record.Out, PacketsOut: 1, BytesOut: 100, HostPackets: 1, HostBytes: 100})
		b.Drops = append(b.Drops, record.Drop{Endpoints: e, Reason: fmt.Sprintf("REASON_%d", i%900), Verdict: record.Verdicts()[i%6], Packets: 1, Bytes: 60})
		b.Requests = append(b.Requests, record.Request{Endpoints: e, Protocol: "http/1.1", Side: record.Server, Method: "GET", Path: fmt.Sprintf("/%d", i), Status: 200, LatencyMicros: uint64(i)})
		b.Queries = append(b.Queries, record.Query{Endpoints: e, Protocol: "dns", QName: fmt.Sprintf("%d.example", i), Server: e.SrcAddr.String(), LatencyMicros: uint64(i)})
	}
	return b
}
