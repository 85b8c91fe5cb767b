package table

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/netfate/netfate/internal/record"
)

func TestRemainder(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	eth := func(comm, src string) record.Endpoints {
		return record.Endpoints{
			Host: "h", NetNS: 7, NetNSName: "web", IfName: "eth0", Proto: "udp",
			SrcAddr: netip.MustParseAddr(src), SrcPort: 53, Owner: record.Owner{PID: 1, Comm: comm, Container: "c"},
		}
	}
	first := &record.Batch{
		Start: at(1), End: at(2),
		Drops: []record.Drop{
			{Endpoints: eth("a", "10.0.0.1"), Reason: "NO_SOCKET", Verdict: record.Refused, Packets: 1, Bytes: 10, Buffers: 1, SocketState: "listen"},
			{Endpoints: eth("a", "10.0.0.2"), Reason: "NO_SOCKET", Verdict: record.Refused, Packets: 2, Bytes: 20, Buffers: 2},
			{Endpoints: eth("a", "10.0.0.2"), Reason: "UDP_CSUM", Verdict: record.Invalid, Packets: 4, Bytes: 40, Buffers: 4},
		},
		Samples: make([]record.Drop, 3),
		Flows: []record.Flow{
			{Endpoints: eth("a", "10.0.0.1"), Direction: record.In, Start: at(1), End: at(2), PacketsIn: 1, BytesIn: 2, HostPackets: 1, Name: "x"},
			{Endpoints: eth("b", "10.0.0.1"), Direction: record.In, Start: at(1), End: at(2), PacketsOut: 3, BytesOut: 4, Drops: 5},
		},
		RequestCounts: []record.RequestSum{
			{Start: at(1), Host: "h", Method: "GET", HostName: "a", Path: "/a", Requests: 3},
			{Start: at(1), Host: "h", Method: "GET", HostName: "a", Path: "/b", Requests: 2},
			{Start: at(1), Host: "h", Method: "PUT", Other: true, Requests: 1},
		},
		Lost: []record.Lost{{Time: at(2), Place: "ring", Reason: "full", Count: 8}},
	}
	second := &record.Batch{
		Start: at(2), End: at(3),
		Flows: []record.Flow{{
			Endpoints: eth("a", "10.0.0.9"), Direction: record.In, Start: at(2), End: at(3),
			PacketsIn: 10, BytesIn: 20, BuffersOut: 30, HostBytes: 40, Retransmits: 50,
		}},
		Lost: []record.Lost{{Time: at(3), Place: "ring", Reason: "full", Count: 1}, {Time: at(3), Place: "ring", Reason: "read", Count: 2}},
	}
	r := NewRemainder()
	if !r.Empty() {
		t.Error("a new remainder is not empty")
	}
	r.Add(first)
	r.Add(second)
	if r.Rows != 9 || r.Samples != 3 || r.Empty() || r.Len() != 8 {
		t.Errorf("got %d rows and %d samples in %d, want 9 and 3 in 8", r.Rows, r.Samples, r.Len())
	}
	bare := func(comm string) record.Endpoints {
		e := eth(comm, "10.0.0.1")
		e.Time, e.SrcAddr, e.SrcPort = at(3), netip.Addr{}, 0
		return e
	}
	want := &record.Batch{
		Start: at(1), End: at(3),
		Drops: []record.Drop{
			{Endpoints: bare("a"), Reason: "NO_SOCKET", Verdict: record.Refused, Packets: 3, Bytes: 30, Buffers: 3},
			{Endpoints: bare("a"), Reason: "UDP_CSUM", Verdict: record.Invalid, Packets: 4, Bytes: 40, Buffers: 4},
		},
		Flows: []record.Flow{
			{
				Endpoints: bare("a"), Direction: record.In, Other: true, Start: at(1), End: at(3),
				PacketsIn: 11, BytesIn: 22, BuffersOut: 30, HostPackets: 1, HostBytes: 40, Retransmits: 50,
			},
			{Endpoints: bare("b"), Direction: record.In, Other: true, Start: at(1), End: at(2), PacketsOut: 3, BytesOut: 4, Drops: 5},
		},
		RequestCounts: []record.RequestSum{
			{Time: at(3), Start: at(1), Host: "h", Method: "GET", Requests: 5, Other: true},
			{Time: at(3), Start: at(1), Host: "h", Method: "PUT", Requests: 1, Other: true},
		},
		Lost: []record.Lost{
			{Time: at(3), Place: "ring", Reason: "full", Count: 9}, {Time: at(3), Place: "ring", Reason: "read", Count: 2},
		},
	}
	if diff := cmp.Diff(want, r.Batch(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("sum (-want +got):\n%s", diff)
	}
	if !r.Empty() || r.Rows != 0 {
		t.Error("it is not empty after Batch")
	}
}

// TestRemainderIsBounded has more owners, and then more interfaces, than there
// is room for: detail goes step by step, counts never do.
func TestRemainderIsBounded(t *testing.T) {
	r := NewRemainder()
	const n = 3 * maxRest
	for i := range n {
		ifname := "eth0"
		if i >= 2*maxRest {
			ifname = fmt.Sprint("veth", i)
		}
		e := record.Endpoints{NetNS: 7, IfName: ifname, Owner: record.Owner{PID: uint32(i + 1)}}
		r.Add(&record.Batch{
			End: time.Unix(1, 0), Flows: []record.Flow{{Endpoints: e, PacketsIn: 1}},
			Drops: []record.Drop{{Endpoints: e, Verdict: record.Loss, Packets: 1}},
		})
	}
	b := r.Batch()
	flows, drops := map[bool]uint64{}, map[bool]uint64{}
	for i := range b.Flows {
		flows[b.Flows[i].Known()] += b.Flows[i].PacketsIn
	}
	for i := range b.Drops {
		drops[b.Drops[i].Known()] += b.Drops[i].Packets
	}
	want := map[bool]uint64{true: maxRest, false: n - maxRest}
	if diff := cmp.Diff(want, flows); diff != "" {
		t.Errorf("flows by whether the owner is known (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, drops); diff != "" {
		t.Errorf("drops by whether the owner is known (-want +got):\n%s", diff)
	}
	if len(b.Flows) > 2*maxRest+1 || len(b.Drops) > 2*maxRest+1 {
		t.Errorf("got %d flows and %d drops, want at most %d", len(b.Flows), len(b.Drops), 2*maxRest+1)
	}
	if last := b.Flows[len(b.Flows)-1]; last.NetNS != 0 || last.IfName != "" || last.PacketsIn == 0 {
		t.Errorf("got %+v at the end, want what has no interface", last.Endpoints)
	}
}
