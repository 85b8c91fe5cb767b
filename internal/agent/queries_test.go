package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/record"
)

// message is a datagram of DNS between two ends, as a socket sends or receives it.
func message(src, dst string, dir uint8, pid uint32) *decode.PacketEvent {
	t := tupleOf(src, dst)
	t.Proto = protoUDP
	return &decode.PacketEvent{Tuple: t, Dir: dir, Owner: decode.OwnerRef{PID: pid, Start: 1, NetNS: 4026532000}, NetNS: 4026532000, IfIndex: 2}
}

func TestWhoAsks(t *testing.T) {
	const client, server = "10.0.0.5:40000", "10.0.0.9:53"
	for name, c := range map[string]struct {
		events []*decode.PacketEvent
		side   record.Side
		pid    uint32
	}{
		"client":                    {[]*decode.PacketEvent{message(client, server, decode.PacketOut, 7)}, record.Client, 7},
		"client, by the answer":     {[]*decode.PacketEvent{message(server, client, 0, 7)}, record.Client, 7},
		"server":                    {[]*decode.PacketEvent{message(client, server, 0, 8)}, record.Server, 8},
		"server, by the answer":     {[]*decode.PacketEvent{message(server, client, decode.PacketOut, 8)}, record.Server, 8},
		"both, the client's counts": {[]*decode.PacketEvent{message(client, server, 0, 8), message(client, server, decode.PacketOut, 7), message(server, client, decode.PacketOut, 8)}, record.Client, 7},
		"known later":               {[]*decode.PacketEvent{message(client, server, decode.PacketOut, 0), message(server, client, 0, 7)}, record.Client, 7},
	} {
		q := newQueries(nil, nil)
		for _, e := range c.events {
			q.take(e, []byte("what it says"), time.Unix(1, 0))
		}
		from := netip.MustParseAddrPort(client)
		r := record.Query{Endpoints: record.Endpoints{Proto: "udp", SrcAddr: from.Addr(), SrcPort: from.Port()}}
		o, ok := q.origin(&r)
		if !ok || o.side != c.side || o.owner.PID != c.pid {
			t.Errorf("%s: got %v, %q and process %d, want %q and %d", name, ok, o.side, o.owner.PID, c.side, c.pid)
		}
	}
}

// TestSeenOnce: what a socket sent and another received is one datagram; sent
// again, it is another.
func TestSeenOnce(t *testing.T) {
	q := newQueries(nil, nil)
	out, in := message("10.0.0.5:40000", "10.0.0.9:53", decode.PacketOut, 7), message("10.0.0.5:40000", "10.0.0.9:53", 0, 8)
	p := passing{payload: 1}
	for i, step := range []struct {
		e    *decode.PacketEvent
		want bool
	}{{in, false}, {out, false}, {out, false}, {in, true}, {in, true}, {in, false}} {
		if got := q.twice(step.e, p); got != step.want {
			t.Errorf("step %d: got %v, want %v", i, got, step.want)
		}
	}
}

func TestAging(t *testing.T) {
	a := aging[int, string]{patience: patient}
	now := time.Unix(100, 0)
	a.turn(now)
	a.put(1, "one")
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{patient - 1, true}, {patient, true}, {2 * patient, false}} {
		a.turn(now.Add(step.after))
		if _, ok := a.get(1); ok != step.want {
			t.Errorf("after %v: got %v, want %v", step.after, ok, step.want)
		}
	}
	for i := range 3 * maxAging {
		a.put(i, "")
	}
	if n := len(a.young) + len(a.old); n > 2*maxAging {
		t.Errorf("got %d entries, want %d at most", n, 2*maxAging)
	}
	if _, ok := a.get(3*maxAging - 1); !ok {
		t.Error("the latest is gone")
	}
}
