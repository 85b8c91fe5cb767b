package nft

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
)

// Condition is one that a rule makes of single values: that something of the
// packet is, or is not, what Value says.
type Condition struct {
	Name  string // l4proto, protocol, saddr, daddr, sport, dport, iifname, oifname
	Not   bool
	Value string
}

// Packet is what is known of one; what is not is empty.
type Packet struct {
	Proto            string // lower case: tcp, udp …
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	In, Out          string // interfaces
}

// Excludes reports whether a rule with these conditions cannot have matched a
// packet. What is not known of the packet excludes nothing.
func Excludes(conditions []Condition, p Packet) bool {
	for _, c := range conditions {
		if v := p.value(c.Name); v != "" && (v == c.Value) == c.Not {
			return true
		}
	}
	return false
}

func (p *Packet) value(name string) string {
	port := func(n uint16) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(int(n))
	}
	addr := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.Unmap().String()
	}
	switch name {
	case "l4proto", "protocol":
		return p.Proto
	case "saddr":
		return addr(p.Src)
	case "daddr":
		return addr(p.Dst)
	case "sport":
		return port(p.SrcPort)
	case "dport":
		return port(p.DstPort)
	case "iifname":
		return p.In
	case "oifname":
		return p.Out
	}
	return ""
}

// condition returns what a comparison asks for; false if it is no condition on a
// single value, or on one whose words could be another's.
func condition(name string, e *expr.Cmp) (Condition, bool) {
	if e.Op != expr.CmpOpEq && e.Op != expr.CmpOpNeq {
		return Condition{}, false
	}
	switch name {
	case "iifname", "oifname":
		if len(e.Data) == 0 || e.Data[len(e.Data)-1] != 0 { // the beginning of a name: "eth*"
			return Condition{}, false
		}
	case "l4proto", "protocol", "saddr", "daddr", "sport", "dport":
	default:
		return Condition{}, false
	}
	v := valueText(name, e.Data)
	return Condition{Name: name, Not: e.Op == expr.CmpOpNeq, Value: v}, !strings.HasPrefix(v, "0x")
}
