package counters

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sampleOf returns a sample of one namespace, some seconds after the epoch.
func sampleOf(seconds int64, n Namespace) *Sample {
	n.Inode = 4026531840
	return &Sample{Start: time.Unix(seconds, 0), Namespaces: []Namespace{n}}
}

// differenceOf returns what a namespace counted from a to b.
func differenceOf(t *testing.T, a, b Namespace) NamespaceDelta {
	t.Helper()
	d := Difference(sampleOf(1, a), sampleOf(2, b))
	if len(d.Namespaces) != 1 {
		t.Fatalf("got %d namespaces, want 1", len(d.Namespaces))
	}
	return d.Namespaces[0]
}

func TestWide(t *testing.T) {
	f := func(a, b, want uint64, backwards, wraps bool) {
		t.Helper()
		var d differ
		if got := d.wide("", "", a, b); got != want {
			t.Errorf("%d to %d: got %d, want %d", a, b, got, want)
		}
		if backwards != (len(d.resets) == 1) || backwards && d.resets[0].Wrapped != wraps {
			t.Errorf("%d to %d: got resets %+v, want one %t, wrapped %t", a, b, d.resets, backwards, wraps)
		}
	}
	f(5, 5, 0, false, false)
	f(5, 9, 4, false, false)
	f(1<<32-1, 0, 1, true, true)
	f(1<<32-10, 20, 30, true, true)
	f(1<<32-10, 1<<31, 1<<31, true, false) // too far for having gone round
	f(1<<40, 7, 7, true, false)            // of 64 bits: it began anew
	f(100, 7, 7, true, false)
}

func TestNarrowWraps(t *testing.T) {
	var d differ
	if got := d.narrow("", "", 1<<32-2, 3); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
}

func TestInterfaces(t *testing.T) {
	link := func(index uint32, kind string, packets uint64) Interface {
		return Interface{Index: index, Name: "x", Kind: kind, Stats: LinkStats{RxPackets: packets}}
	}
	n := differenceOf(t,
		Namespace{Interfaces: []Interface{link(1, "lo", 10), link(2, "veth", 5), link(3, "veth", 50), link(4, "veth", 1)}},
		Namespace{Interfaces: []Interface{link(1, "lo", 13), link(3, "veth", 2), link(4, "bridge", 7), link(9, "veth", 6)}})
	var got []uint64
	for _, l := range n.Interfaces {
		got = append(got, l.Stats.RxPackets)
	}
	if diff := cmp.Diff([]uint64{3, 2, 7, 6}, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	if len(n.Came) != 2 || n.Came[0].Index != 4 || n.Came[1].Index != 9 {
		t.Errorf("came: got %+v, want 4, which is another device now, and 9", n.Came)
	}
	if len(n.Gone) != 2 || n.Gone[0].Index != 2 || n.Gone[0].Stats.RxPackets != 5 || n.Gone[1].Index != 4 {
		t.Errorf("gone: got %+v, want 2 and 4 as they were", n.Gone)
	}
	want := []Reset{{Part: PartLinks, Subject: "x", Counter: "rx_packets", Before: 50, After: 2}}
	if diff := cmp.Diff(want, n.Resets); diff != "" {
		t.Errorf("resets (-want +got):\n%s", diff)
	}
}

// TestDriverSinceThen has a driver's statistics in the later sample only: what
// they counted before it is unknown.
func TestDriverSinceThen(t *testing.T) {
	driver := Counters{Names: []string{"rx_queue_0_drops"}, Values: []uint64{9}}
	n := differenceOf(t, Namespace{Interfaces: []Interface{{Index: 1, Name: "v"}}}, Namespace{Interfaces: []Interface{{Index: 1, Name: "v", Driver: driver}}})
	if g, ok := n.Gap(PartEthtool); !ok || g.Subject != "v" || len(n.Interfaces[0].Driver.Names) > 0 {
		t.Errorf("got %+v, gaps %+v; want no statistics and a gap", n.Interfaces[0].Driver, n.Gaps)
	}
}

func TestSamplesStay(t *testing.T) {
	a := Namespace{Interfaces: []Interface{{Index: 1, Stats: LinkStats{RxPackets: 4}, Driver: Counters{Names: []string{"x"}, Values: []uint64{1}}}}}
	b := Namespace{
		Interfaces: []Interface{{Index: 1, Stats: LinkStats{RxPackets: 9}, Driver: Counters{Names: []string{"x"}, Values: []uint64{8}}}},
		Qdiscs:     []Qdisc{{Index: 1, Stats: QueueStats{Drops: 3}}},
		Filters:    []Filter{{Index: 1, Actions: []Action{{Stats: QueueStats{Packets: 5}}}}},
		Conntrack:  &Conntrack{CPUs: []ConntrackCPU{{Drop: 7}}},
		NFT:        NFT{Rules: []NFTRule{{Packets: 5}}},
	}
	a.Qdiscs, a.Filters, a.Conntrack, a.NFT = b.Qdiscs, b.Filters, b.Conntrack, b.NFT
	n := differenceOf(t, a, b)
	if got := b.Interfaces[0]; got.Stats.RxPackets != 9 || got.Driver.Values[0] != 8 || b.Qdiscs[0].Stats.Drops != 3 || b.Filters[0].Actions[0].Stats.Packets != 5 ||
		b.Conntrack.CPUs[0].Drop != 7 || b.NFT.Rules[0].Packets != 5 {
		t.Errorf("the later sample was changed: %+v", b)
	}
	if n.Interfaces[0].Driver.Values[0] != 7 || n.Qdiscs[0].Stats.Drops != 0 || n.Filters[0].Actions[0].Stats.Packets != 0 || n.Conntrack.CPUs[0].Drop != 0 ||
		n.NFT.Rules[0].Packets != 0 {
		t.Errorf("got %+v, want 7 in the driver and nothing else", n)
	}
}

func TestCounters(t *testing.T) {
	n := differenceOf(t,
		Namespace{SNMP: Counters{Names: []string{"IpInReceives", "UdpNoPorts"}, Values: []uint64{10, 3}}},
		Namespace{SNMP: Counters{Names: []string{"IpInReceives", "IcmpMsgInType3", "UdpNoPorts"}, Values: []uint64{15, 2, 4}}})
	if diff := cmp.Diff([]uint64{5, 2, 1}, n.SNMP.Values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if got, ok := n.Counter("IcmpMsgInType3"); !ok || got != 2 {
		t.Errorf("IcmpMsgInType3: got %d %t, want 2", got, ok)
	}
	if _, ok := n.Counter("Nothing"); ok {
		t.Error("a counter that nobody has was found")
	}
}

func TestMissingPart(t *testing.T) {
	counters := Counters{Names: []string{"IpInReceives"}, Values: []uint64{10}}
	gap := []Gap{{Part: PartSNMP, Why: "it needs root"}}
	n := differenceOf(t, Namespace{Gaps: gap}, Namespace{SNMP: counters})
	if n.SNMP.Names != nil {
		t.Errorf("got %+v, want nothing: the earlier sample has none", n.SNMP)
	}
	if g, ok := n.Gap(PartSNMP); !ok || g.Why != "in the earlier sample: it needs root" {
		t.Errorf("got gap %+v, want that of the earlier sample", g)
	}
	// What is missing of one interface only leaves the others.
	n = differenceOf(t, Namespace{SNMP: counters, Gaps: []Gap{{Part: PartSNMP, Subject: "x"}}}, Namespace{SNMP: counters})
	if n.SNMP.Names == nil {
		t.Error("got nothing, want the difference")
	}
	// A namespace that could not be entered has nothing.
	n = differenceOf(t, Namespace{Gaps: []Gap{{Part: PartNamespace}}}, Namespace{SNMP: counters})
	if n.SNMP.Names != nil {
		t.Errorf("got %+v, want nothing", n.SNMP)
	}
}

func TestSockets(t *testing.T) {
	s := func(cookie uint64, drops uint32) Socket { return Socket{Protocol: "udp", Cookie: cookie, Drops: drops} }
	n := differenceOf(t,
		Namespace{Sockets: []Socket{s(1, 10), s(2, 7)}, SocketSums: []SocketSum{{Protocol: "udp", Sockets: 5, Drops: 17}}},
		Namespace{Sockets: []Socket{s(1, 14), s(3, 2)}, SocketSums: []SocketSum{{Protocol: "udp", Sockets: 5, Drops: 16}}})
	if diff := cmp.Diff([]Socket{s(1, 4), s(3, 2)}, n.Sockets, cmp.Comparer(func(a, b Socket) bool { return a == b })); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
	if len(n.SocketsGone) != 1 || n.SocketsGone[0] != s(2, 7) {
		t.Errorf("gone: got %+v, want the second", n.SocketsGone)
	}
	if diff := cmp.Diff([]SocketSum{{Protocol: "udp", Sockets: 5, Drops: 6}}, n.SocketSums); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	// One that may have been among the rest is not new.
	n = differenceOf(t,
		Namespace{SocketSums: []SocketSum{{Protocol: "udp", Drops: 50, RestSockets: 2, RestDrops: 50}}},
		Namespace{Sockets: []Socket{s(3, 45)}, SocketSums: []SocketSum{{Protocol: "udp", Drops: 65, RestSockets: 1, RestDrops: 20}}})
	if len(n.Sockets) != 0 || n.SocketSums[0].Drops != 0 {
		t.Errorf("got %+v %+v, want nothing", n.Sockets, n.SocketSums)
	}
}

func TestRulesMadeAnew(t *testing.T) {
	rule := func(text string, packets uint64) NFT {
		return NFT{Rules: []NFTRule{{Table: "t", Handle: 4, Text: text, Counted: true, Packets: packets}}}
	}
	n := differenceOf(t, Namespace{NFT: rule("udp drop", 100)}, Namespace{NFT: rule("tcp drop", 120)})
	if got := n.NFT.Rules[0].Packets; got != 120 {
		t.Errorf("another rule of the same handle: got %d, want 120", got)
	}
	n = differenceOf(t, Namespace{NFT: rule("udp drop", 100)}, Namespace{NFT: rule("udp drop", 120)})
	if got := n.NFT.Rules[0].Packets; got != 20 {
		t.Errorf("the same rule: got %d, want 20", got)
	}
}

func TestCameAndGone(t *testing.T) {
	a := &Sample{Namespaces: []Namespace{{Place: Place{Inode: 1, Path: "old"}}, {Place: Place{Inode: 2}}}}
	b := &Sample{Namespaces: []Namespace{{Place: Place{Inode: 3}}, {Place: Place{Inode: 1, Path: "new"}}}}
	d := Difference(a, b)
	if len(d.Namespaces) != 1 || d.Namespaces[0].Path != "new" {
		t.Errorf("both: got %+v, want namespace 1", d.Namespaces)
	}
	if diff := cmp.Diff([]Place{{Inode: 3}}, d.Came); diff != "" {
		t.Errorf("came (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Place{{Inode: 2}}, d.Gone); diff != "" {
		t.Errorf("gone (-want +got):\n%s", diff)
	}
}

func TestSpans(t *testing.T) {
	const ms = time.Millisecond
	a := Namespace{Reads: []Read{{PartLinks, 10 * ms, 14 * ms}, {PartSNMP, 14 * ms, 16 * ms}}}
	b := Namespace{Reads: []Read{{PartLinks, 20 * ms, 22 * ms}, {PartXfrm, 22 * ms, 29 * ms}}}
	n := differenceOf(t, a, b)
	want := []Span{{Part: PartLinks, Start: 12 * ms, End: time.Second + 21*ms, StartRead: 4 * ms, EndRead: 2 * ms}}
	if diff := cmp.Diff(want, n.Spans); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if n.Skew != 9*ms {
		t.Errorf("skew: got %s, want 9ms", n.Skew)
	}
}

func TestHostDifference(t *testing.T) {
	a := &Sample{Host: Host{Softnet: []Softnet{{CPU: 0, Processed: 1<<32 - 5, Dropped: 3}, {CPU: 2, Processed: 7}}}}
	b := &Sample{Host: Host{Softnet: []Softnet{{CPU: 0, Processed: 10, Dropped: 4, Backlog: 6}, {CPU: 1, Processed: 2}}}}
	d := Difference(a, b)
	if diff := cmp.Diff([]Softnet{{CPU: 0, Processed: 15, Dropped: 1, Backlog: 6}, {CPU: 1, Processed: 2}}, d.Host.Softnet); diff != "" {
		t.Errorf("softnet (-want +got):\n%s", diff)
	}
	if len(d.Host.Resets) != 1 || !d.Host.Resets[0].Wrapped {
		t.Errorf("resets: got %+v, want one that wrapped", d.Host.Resets)
	}
}
