package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netfate/netfate/internal/decode"
	observed "github.com/netfate/netfate/internal/dns"
	"github.com/netfate/netfate/internal/enrich/iface"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/table"
	"github.com/netfate/netfate/internal/verdict"
)

const (
	peersNetNS = 4026532000
	seconds    = uint64(time.Second)
)

// resolver is a live feed that hears a process of this number ask, and a server of
// another host answer.
func resolver(t *testing.T) (l *live, hear func(pid uint32, at uint64, question, answer string)) {
	t.Helper()
	l = &live{clock: kernel.Clock{Mono: 1000 * seconds, Real: 1_800_000_000e9}, peers: newPeers(), dropTable: table.NewDrops()}
	l.names = newNames("web1", nil, nil, nil)
	l.names.ifaces = iface.New(func(uint32) (string, bool) { return "", false })
	for pid := range uint32(20) { // no kernel side to ask about them
		l.names.learned[decode.ProcessKey{Start: 1, PID: pid}] = struct{}{}
	}
	l.queries = newQueries(nil, l.told)
	id := uint16(0)
	return l, func(pid uint32, at uint64, question, answer string) {
		t.Helper()
		id++
		q := new(dns.Msg).SetQuestion(question, dns.TypeA)
		q.Id = id
		a := new(dns.Msg).SetReply(q)
		rr, err := dns.NewRR(answer)
		if err != nil {
			t.Fatal(err)
		}
		a.Answer = append(a.Answer, rr)
		const client, server = "10.0.0.5:40000", "10.0.0.53:53"
		for i, m := range []*dns.Msg{q, a} {
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			e := message(client, server, decode.PacketOut, pid)
			if i == 1 {
				e = message(server, client, 0, pid)
			}
			e.Time = at*seconds + uint64(i)
			l.queries.take(e, b, l.clock.Wall(e.Time))
		}
	}
}

func callerRef(pid uint32) decode.OwnerRef {
	return decode.OwnerRef{PID: pid, Start: 1, NetNS: peersNetNS}
}

// connOf is a connection of a process, from a port of its own.
func connOf(pid uint32, began uint64, what uint8) *decode.ConnEvent {
	t := tupleOf("10.0.0.5:1000", "192.0.2.9:443")
	t.SrcPort += uint16(began)
	return &decode.ConnEvent{
		Conn: decode.Conn{Tuple: t, Owner: callerRef(pid), NetNS: peersNetNS, Start: began*seconds + 10, Role: decode.ConnClient},
		Time: began*seconds + 20, What: what, State: 1,
	}
}

func TestPeerOfConn(t *testing.T) {
	l, hear := resolver(t)
	is := func(what, want string, e *decode.ConnEvent) {
		t.Helper()
		c := l.conn(e)
		if c.Name != want {
			t.Errorf("%s: got name %q, want %q", what, c.Name, want)
		}
	}
	hear(7, 100, "www.example.com.", "www.example.com. 20 A 192.0.2.9")
	hear(8, 101, "cdn.example.net.", "cdn.example.net. 20 A 192.0.2.9")
	is("the first process", "www.example.com", connOf(7, 102, decode.ConnOpened))
	is("the second", "cdn.example.net", connOf(8, 103, decode.ConnOpened))
	is("a third, which of the two is not known", "", connOf(9, 104, decode.ConnOpened))
	elsewhere := connOf(7, 105, decode.ConnOpened)
	elsewhere.Conn.NetNS, elsewhere.Conn.Owner.NetNS = 1, 1
	is("another namespace", "", elsewhere)
	is("before the answer", "", connOf(7, 99, decode.ConnFailed))
	is("when it is long over", "", connOf(7, 1000, decode.ConnOpened))
	// What is called otherwise meanwhile keeps the name that it began with.
	hear(7, 110, "new.example.com.", "new.example.com. 20 A 192.0.2.9")
	is("the first one, still open", "www.example.com", connOf(7, 102, decode.ConnOpen))
	is("the first one, closed", "www.example.com", connOf(7, 102, decode.ConnClosed))
	is("the next one", "new.example.com", connOf(7, 111, decode.ConnOpened))
	again := connOf(7, 102, decode.ConnOpened)
	again.Conn.Start = 112 * seconds
	is("another of the same ports", "new.example.com", again)
	server := connOf(7, 113, decode.ConnOpened)
	server.Conn.Role = decode.ConnServer
	is("one from there", "new.example.com", server)
}

func TestPeerOfFlowAndDrop(t *testing.T) {
	l, hear := resolver(t)
	key := func(began uint64, tx uint8) *decode.FlowKey {
		e := connOf(7, began, 0)
		k := &decode.FlowKey{Tuple: e.Conn.Tuple, NetNS: peersNetNS, IfIndex: 2}
		k.Flags = tx
		return k
	}
	name := func(began, at uint64, flags uint8) string {
		t.Helper()
		f := table.NewFlows(10)
		count := decode.FlowCount{Packets: 1, Bytes: 100, Buffers: 1, First: at * seconds, PID: 7, OwnerStart: 1, TCPFlags: flags}
		f.Add(key(began, decode.FlowTX|decode.FlowBorn), &count, at*seconds, table.Device{Known: true})
		got := ""
		f.Roll(l.names, nil, func(f *table.Flow) { got = l.flow(f, time.Time{}).Name })
		return got
	}
	const syn, ack = 2, 16
	if got := name(1, 99, syn); got != "" {
		t.Errorf("before the answer: got name %q, want none", got)
	}
	hear(7, 100, "www.example.com.", "www.example.com. 20 A 192.0.2.9")
	if got := name(2, 101, syn); got != "www.example.com" {
		t.Errorf("when it begins: got name %q, want www.example.com", got)
	}
	hear(7, 110, "new.example.com.", "new.example.com. 20 A 192.0.2.9")
	if got := name(2, 9000, ack); got != "www.example.com" {
		t.Errorf("an hour later: got name %q, want www.example.com", got)
	}
	if got := name(3, 111, ack); got != "new.example.com" {
		t.Errorf("the first that is seen of it: got name %q, want new.example.com", got)
	}
	if got := name(2, 9100, syn); got != "" {
		t.Errorf("another of the same ports, when nothing is good any more: got name %q, want none", got)
	}

	d := &decode.DropKey{Tuple: connOf(7, 3, 0).Conn.Tuple, NetNS: peersNetNS}
	d.Flags = decode.DropOut
	l.dropTable.Add(d, &decode.DropCount{Packets: 1, PID: 7, OwnerStart: 1}, 0)
	book, err := verdict.New()
	if err != nil {
		t.Fatal(err)
	}
	l.names.book = book
	r := l.drop(d, callerRef(7), l.clock.Wall(112*seconds))
	if r.Name != "new.example.com" {
		t.Errorf("a drop of the flow: got name %q, want new.example.com", r.Name)
	}
	way := d.Tuple.Reversed()
	d.Tuple, d.Flags = way, decode.DropIn
	if r = l.drop(d, callerRef(7), l.clock.Wall(112*seconds)); r.Name != "new.example.com" {
		t.Errorf("a drop of what comes back: got name %q, want new.example.com", r.Name)
	}
}

// TestNobodyIsNamed unless it is asked for.
func TestNobodyIsNamed(t *testing.T) {
	l, hear := resolver(t)
	l.peers = peers{}
	hear(7, 100, "www.example.com.", "www.example.com. 20 A 192.0.2.9")
	if c := l.conn(connOf(7, 102, decode.ConnOpened)); c.Name != "" {
		t.Errorf("got name %q, want none", c.Name)
	}
}

// TestNamesForgotten: what has no room is told, and what DNS loses in words of names
// where only those are asked for.
func TestNamesForgotten(t *testing.T) {
	l, hear := resolver(t)
	hear(7, 100, "www.example.com.", "www.example.com. 20 A 192.0.2.9")
	all := observed.Addresses{Name: "all.example.com"}
	const room = 16384 // of peer.Names
	for i := range room + 11 {
		all.Addrs = append(all.Addrs, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	l.peers.learn(callerRef(8), peersNetNS, &all, 101*seconds)
	b := &record.Batch{End: time.Unix(1, 0)}
	l.rollPeers(b)
	if len(b.Lost) != 1 || b.Lost[0].Place != "names of peers" || b.Lost[0].Count != 12 {
		t.Errorf("got losses %+v, want 12 names of peers", b.Lost)
	}
	if len(b.Queries) != 0 {
		t.Errorf("got %d queries, want none: nobody asked for them", len(b.Queries))
	}
	l.cfg.Queries = true
	hear(7, 103, "www.example.com.", "www.example.com. 20 A 192.0.2.9")
	b = &record.Batch{End: time.Unix(2, 0)}
	if l.rollPeers(b); len(b.Queries) != 1 {
		t.Errorf("got %d queries, want 1", len(b.Queries))
	}
}
