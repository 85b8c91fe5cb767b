package sensor

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/sensor/drop"
	"github.com/netfate/netfate/internal/sensor/flow"
	"github.com/netfate/netfate/test/need"
)

// expression is a filter, what it matches of the tuples of traffic, and how
// many UDP packets of traffic are lost under it.
type expression struct {
	expr  string
	match func(decode.Tuple) bool
	lost  uint64
}

func expressions() []expression {
	discard := netip.MustParseAddr("10.0.0.2").As16()
	return []expression{
		{"udp port 9 and host 10.0.0.2", func(t decode.Tuple) bool {
			return t.Proto == 17 && (t.SrcPort == 9 || t.DstPort == 9) && (t.Src == discard || t.Dst == discard)
		}, discard4},
		{"ip6", func(t decode.Tuple) bool { return t.EthProto == 0x86dd }, discard6},
		{"vlan", func(t decode.Tuple) bool { return t.SrcPort == 1000+vlan }, tagged},
	}
}

// TestFilter runs sensors with an expression beside sensors without, on the
// same packets: what they count is exactly what the expression lets through.
func TestFilter(t *testing.T) {
	need.Root(t)
	for _, raw := range []bool{false, true} {
		t.Run(map[bool]string{false: "typed", true: "raw"}[raw], func(t *testing.T) { testFilter(t, raw) })
	}
}

func testFilter(t *testing.T, raw bool) {
	n := newNetwork(t)
	plainFlows, plainDrops := flowsOf(t, flow.Config{Raw: raw}), dropsOf(t, drop.Config{Raw: raw})
	var someFlows []*flow.Sensor
	var someDrops []*drop.Sensor
	for _, e := range expressions() {
		pair := compile(t, e.expr)
		someFlows = append(someFlows, flowsOf(t, flow.Config{Raw: raw, Filter: pair}))
		someDrops = append(someDrops, dropsOf(t, drop.Config{Raw: raw, Filter: pair}))
	}
	n.traffic(t)
	in := n.lab.Inodes()
	allFlows, allDrops := flows(t, plainFlows, in), drops(t, plainDrops, in)
	for i, e := range expressions() {
		wantFlows, wantDrops := map[decode.FlowKey]amount{}, map[decode.DropKey]amount{}
		for k, a := range allFlows {
			if e.match(k.Tuple) {
				wantFlows[k] = a
			}
		}
		for k, a := range allDrops {
			if e.match(k.Tuple) {
				wantDrops[k] = a
			}
		}
		if len(wantFlows) == 0 || len(wantDrops) == 0 {
			t.Errorf("%q: got %d flows and %d drops without it, want some to find", e.expr, len(wantFlows), len(wantDrops))
		}
		if diff := cmp.Diff(wantFlows, flows(t, someFlows[i], in)); diff != "" {
			t.Errorf("flows of %q (-want +got):\n%s", e.expr, diff)
		}
		gotDrops := drops(t, someDrops[i], in)
		if diff := cmp.Diff(wantDrops, gotDrops); diff != "" {
			t.Errorf("drops of %q (-want +got):\n%s", e.expr, diff)
		}
		var lost uint64
		for k, a := range gotDrops {
			if k.Proto == 17 { // IPv6 drops group reports by itself
				lost += a.Packets
			}
		}
		if lost != e.lost {
			t.Errorf("drops of %q: got %d packets, want %d", e.expr, lost, e.lost)
		}
	}
}

// TestRawCountsTheSame runs both variants beside each other.
func TestRawCountsTheSame(t *testing.T) {
	need.Root(t)
	n := newNetwork(t)
	typedFlows, rawFlows := flowsOf(t, flow.Config{}), flowsOf(t, flow.Config{Raw: true})
	typedDrops, rawDrops := dropsOf(t, drop.Config{}), dropsOf(t, drop.Config{Raw: true})
	n.traffic(t)
	in := n.lab.Inodes()
	want := flows(t, typedFlows, in)
	if diff := cmp.Diff(want, flows(t, rawFlows, in)); diff != "" {
		t.Errorf("flows (-typed +raw):\n%s", diff)
	}
	lost := drops(t, typedDrops, in)
	if diff := cmp.Diff(lost, drops(t, rawDrops, in)); diff != "" {
		t.Errorf("drops (-typed +raw):\n%s", diff)
	}
	total := map[uint16]uint64{}
	for k, a := range lost {
		if k.Proto == 17 {
			total[k.DstPort] += a.Packets
		}
	}
	if diff := cmp.Diff(map[uint16]uint64{9: discard4 + discard6 + tagged + untagged, 10: other4}, total); diff != "" {
		t.Errorf("UDP packets lost, by port (-want +got):\n%s", diff)
	}
	var bytes uint64
	for k, a := range want {
		if k.SrcPort == 1000+vlan && k.NetNS == in["b"] {
			bytes += a.Bytes
		}
	}
	if want := uint64(tagged * len(n.frame(vlan))); bytes != want {
		t.Errorf("tagged packets received: got %d bytes, want %d", bytes, want)
	}
}
