package agent

import (
	"net/netip"
	"testing"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/table"
)

// tcp returns a tuple of TCP over IPv4.
func tcp(src, dst string, flags uint8) decode.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return decode.Tuple{
		Src: s.Addr().As16(), Dst: d.Addr().As16(), SrcPort: s.Port(), DstPort: d.Port(),
		EthProto: 0x0800, Proto: 6, Flags: flags,
	}
}

// TestPlaceless finds the namespace of a packet from 10.0.0.1:1 to 10.0.0.2:2
// by what else is known.
func TestPlaceless(t *testing.T) {
	const client, router, server, elsewhere = 1, 2, 3, 4
	const from, to = "10.0.0.1:1", "10.0.0.2:2"
	rx := func(netns uint32) decode.FlowKey { return decode.FlowKey{Tuple: tcp(from, to, 0), NetNS: netns} }
	tx := func(netns uint32, flags uint8) decode.FlowKey {
		return decode.FlowKey{Tuple: tcp(from, to, decode.FlowTX|flags), NetNS: netns}
	}
	socket := func(netns uint32, local, remote string) table.Pair {
		s := tcp(local, remote, 0)
		return table.PairOf(&s, netns, true, false)
	}
	bind := func(netns uint32, addr string) decode.BoundKey {
		a := netip.MustParseAddrPort(addr)
		k := decode.BoundKey{NetNS: netns, Port: a.Port(), Proto: 6}
		if !a.Addr().IsUnspecified() {
			k.Addr = a.Addr().As16()
		}
		return k
	}
	born := uint8(decode.FlowBorn)
	for _, c := range []struct {
		name  string
		flags uint8
		flows []decode.FlowKey
		open  []table.Pair
		bound []decode.BoundKey
		want  uint32
	}{
		{name: "nothing known", flags: decode.DropIn},
		{name: "received there", flags: decode.DropIn, flows: []decode.FlowKey{tx(client, born), rx(server)}, want: server},
		{name: "received twice there", flags: decode.DropIn, flows: []decode.FlowKey{rx(server), rx(server)}, want: server},
		{name: "sent from there", flags: decode.DropOut, flows: []decode.FlowKey{tx(client, born), rx(server)}, want: client},
		{name: "routed", flags: decode.DropIn, flows: []decode.FlowKey{tx(client, born), rx(router), tx(router, 0), rx(server)}, want: server},
		{name: "only the router saw it", flags: decode.DropIn, flows: []decode.FlowKey{rx(router), tx(router, 0)}},
		{name: "on lo", flags: decode.DropIn, flows: []decode.FlowKey{tx(server, born), rx(server)}, want: server},
		{name: "in two namespaces", flags: decode.DropIn, flows: []decode.FlowKey{rx(server), rx(elsewhere)}},
		{name: "in two, and a socket in one", flags: decode.DropIn, flows: []decode.FlowKey{rx(server), rx(elsewhere)}, open: []table.Pair{socket(server, to, from)}, want: server},
		{name: "a socket", flags: decode.DropIn, open: []table.Pair{socket(server, to, from), socket(client, from, to)}, want: server},
		{name: "a socket that sent", flags: decode.DropOut, open: []table.Pair{socket(server, to, from), socket(client, from, to)}, want: client},
		{name: "sockets of two namespaces", flags: decode.DropIn, open: []table.Pair{socket(server, to, from), socket(elsewhere, to, from)}},
		{name: "a bound address", flags: decode.DropIn, bound: []decode.BoundKey{bind(server, to), bind(elsewhere, "10.0.0.3:2")}, want: server},
		{name: "any address", flags: decode.DropIn, bound: []decode.BoundKey{bind(server, "0.0.0.0:2"), bind(elsewhere, "0.0.0.0:3")}, want: server},
		{name: "any address in two", flags: decode.DropIn, bound: []decode.BoundKey{bind(server, to), bind(elsewhere, "0.0.0.0:2")}},
		{name: "forwarded", flags: decode.DropForward, flows: []decode.FlowKey{rx(server)}},
		{name: "a remainder", flags: decode.DropIn | decode.DropOther, flows: []decode.FlowKey{rx(server)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := placeless{}
			drop := decode.DropKey{Tuple: tcp(from, to, c.flags)}
			p.want(&drop)
			for _, k := range c.flows {
				p.addFlow(&k)
			}
			for _, pair := range c.open {
				p.addSocket(&pair)
			}
			bound := map[decode.BoundKey]decode.OwnerRef{}
			for _, k := range c.bound {
				bound[k] = decode.OwnerRef{PID: 1}
			}
			p.addBound(bound)
			if got := p.netns(&drop); got != c.want {
				t.Errorf("got namespace %d, want %d", got, c.want)
			}
			drop.NetNS = elsewhere
			if got := p.netns(&drop); got != elsewhere {
				t.Errorf("with one of its own: got namespace %d, want %d", got, elsewhere)
			}
		})
	}
}
