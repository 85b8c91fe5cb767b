package nft

import (
	"net/netip"
	"testing"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// rule encodes expressions as the kernel does.
func rule(t *testing.T, exprs ...expr.Any) []byte {
	t.Helper()
	var list []netlink.Attribute
	for _, e := range exprs {
		b, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: b})
	}
	b, err := netlink.MarshalAttributes(list)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRead(t *testing.T) {
	f := func(want string, exprs ...expr.Any) {
		t.Helper()
		if got := Read(unix.NFPROTO_INET, rule(t, exprs...)).Text; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	f("iifname eth0 drop", &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("eth0\x00\x00")}, &expr.Counter{Packets: 1}, drop)
	f("l4proto udp dport 53 reject", &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{17}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 53}}, &expr.Reject{})
	f("", &expr.Verdict{Kind: expr.VerdictAccept})
	// A register that is loaded with zero is not a verdict, though drop is zero too.
	f("", &expr.Immediate{Register: 1, Data: []byte{0, 0, 0, 0}})
}

func TestExcludes(t *testing.T) {
	proto := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{17}}}
	port := func(op expr.CmpOp) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Cmp{Op: op, Register: 1, Data: []byte{0, 53}}}
	}
	iface := func(name string) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(name)}}
	}
	from := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{10, 0, 0, 1}}}
	masked := []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 0, 0, 0}}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{9, 0, 0, 0}},
	}
	p := Packet{Proto: "udp", Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), SrcPort: 4000, DstPort: 53, In: "eth0"}
	f := func(want bool, exprs []expr.Any, p Packet) {
		t.Helper()
		r := Read(unix.NFPROTO_IPV4, rule(t, exprs...))
		if got := Excludes(r.Conditions, p); got != want {
			t.Errorf("%s, %v: got %v, want %v", r.Text, p, got, want)
		}
	}
	f(false, proto, p)
	f(true, proto, Packet{Proto: "tcp"})
	f(false, proto, Packet{})
	f(false, port(expr.CmpOpEq), p)
	f(true, port(expr.CmpOpNeq), p)
	f(true, port(expr.CmpOpEq), Packet{DstPort: 54})
	f(false, port(expr.CmpOpLt), p) // is not compared
	f(false, iface("eth0\x00"), p)
	f(true, iface("eth1\x00"), p)
	f(false, iface("et"), p) // et*
	f(false, from, p)
	f(true, from, Packet{Src: p.Dst})
	f(false, masked, p) // nor is a network
}

func TestFamily(t *testing.T) {
	if got := Family(unix.NFPROTO_INET); got != "inet" {
		t.Errorf("got %q, want inet", got)
	}
	if got := Family(99); got != "" {
		t.Errorf("got %q, want none", got)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(uint8(unix.NFPROTO_IPV4), []byte{8, 0, 1, 0, 4, 0, 1, 0})
	t := &testing.T{}
	f.Add(uint8(unix.NFPROTO_INET), rule(t, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("eth0\x00\x00")}, &expr.Counter{Packets: 1}, &expr.Limit{Rate: 1},
		&expr.Lookup{SourceRegister: 1, SetName: "s"}, &expr.Verdict{Kind: expr.VerdictDrop}))
	f.Fuzz(func(_ *testing.T, family uint8, b []byte) { Read(family, b) })
}
