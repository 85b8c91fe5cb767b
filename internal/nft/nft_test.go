package nft

import (
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

func TestWords(t *testing.T) {
	f := func(want string, exprs ...expr.Any) {
		t.Helper()
		if got := Words(unix.NFPROTO_INET, rule(t, exprs...)); got != want {
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

func TestFamily(t *testing.T) {
	if got := Family(unix.NFPROTO_INET); got != "inet" {
		t.Errorf("got %q, want inet", got)
	}
	if got := Family(99); got != "" {
		t.Errorf("got %q, want none", got)
	}
}

func FuzzWords(f *testing.F) {
	f.Add(uint8(unix.NFPROTO_IPV4), []byte{8, 0, 1, 0, 4, 0, 1, 0})
	t := &testing.T{}
	f.Add(uint8(unix.NFPROTO_INET), rule(t, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("eth0\x00\x00")}, &expr.Counter{Packets: 1}, &expr.Limit{Rate: 1},
		&expr.Lookup{SourceRegister: 1, SetName: "s"}, &expr.Verdict{Kind: expr.VerdictDrop}))
	f.Fuzz(func(_ *testing.T, family uint8, b []byte) { Words(family, b) })
}
