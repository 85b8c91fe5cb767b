// Package nft puts rules of nftables into words. It reads no rules: whoever
// asks the kernel for them, in evidence and in the ledger's counters, imports it.
package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rule is a rule in words.
type Rule struct {
	// Text is as near to the language of nft(8) as is possible without names
	// for everything.
	Text string
	// Counted says that the rule has a counter of its own, of Packets and Bytes.
	Counted        bool
	Packets, Bytes uint64
	// Conditions are those of its conditions that [Excludes] can tell.
	Conditions []Condition
}

// Family returns the name that nft(8) has for a family (NFPROTO_*); empty for
// others.
func Family(number uint8) string {
	switch number {
	case unix.NFPROTO_INET:
		return "inet"
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	case unix.NFPROTO_ARP:
		return "arp"
	case unix.NFPROTO_BRIDGE:
		return "bridge"
	case unix.NFPROTO_NETDEV:
		return "netdev"
	}
	return ""
}

// Read describes a rule as netlink has it: the value of its attribute
// NFTA_RULE_EXPRESSIONS. What cannot be read is left out.
func Read(family uint8, expressions []byte) Rule {
	list, err := netlink.UnmarshalAttributes(expressions)
	if err != nil {
		return Rule{}
	}
	var exprs []expr.Any
	for _, element := range list {
		if e := parse(family, element.Data); e != nil {
			exprs = append(exprs, e)
		}
	}
	r, _ := Describe(exprs)
	return r
}

// parse reads one expression, if it is one that Describe knows.
func parse(family uint8, element []byte) expr.Any {
	name := text(element, unix.NFTA_EXPR_NAME)
	data := attribute(element, unix.NFTA_EXPR_DATA)
	switch name {
	case "immediate":
		return verdict(data)
	case "match": // of what belongs to an extension of iptables only its name is shown
		return &expr.Match{Name: text(data, unix.NFTA_MATCH_NAME)}
	case "target":
		return &expr.Target{Name: text(data, unix.NFTA_TARGET_NAME)}
	}
	e := known(name)
	if e == nil || expr.Unmarshal(family, data, e) != nil {
		return nil
	}
	return e
}

// verdict reads an immediate expression that is one; others load a register.
func verdict(data []byte) expr.Any {
	value := attribute(data, unix.NFTA_IMMEDIATE_DATA)
	code := attribute(attribute(value, unix.NFTA_DATA_VERDICT), unix.NFTA_VERDICT_CODE)
	if len(code) != 4 {
		return nil
	}
	return &expr.Verdict{Kind: expr.VerdictKind(int32(binary.BigEndian.Uint32(code)))}
}

// attribute returns the value of an attribute in a list of them; nil if it is
// not there.
func attribute(list []byte, kind uint16) []byte {
	found, err := netlink.UnmarshalAttributes(list)
	if err != nil {
		return nil
	}
	for _, a := range found {
		if a.Type&^unix.NLA_F_NESTED == kind {
			return a.Data
		}
	}
	return nil
}

func text(list []byte, kind uint16) string {
	return string(bytes.TrimRight(attribute(list, kind), "\x00"))
}

// known returns an empty expression of the kind named; nil for those that
// Describe does not know.
func known(name string) expr.Any {
	switch name {
	case "meta":
		return &expr.Meta{}
	case "ct":
		return &expr.Ct{}
	case "payload":
		return &expr.Payload{}
	case "bitwise":
		return &expr.Bitwise{}
	case "cmp":
		return &expr.Cmp{}
	case "lookup":
		return &expr.Lookup{}
	case "range":
		return &expr.Range{}
	case "limit":
		return &expr.Limit{}
	case "counter":
		return &expr.Counter{}
	case "reject":
		return &expr.Reject{}
	}
	return nil
}

// Describe puts a rule into words, as near to the language of nft(8) as is
// possible without names for everything; it reports whether the rule drops or
// rejects.
func Describe(exprs []expr.Any) (Rule, bool) {
	var r Rule
	var words []string
	registers := map[uint32]string{}
	drops := false
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			registers[e.Register] = metaName(e.Key)
		case *expr.Ct:
			registers[e.Register] = ctName(e.Key)
		case *expr.Payload:
			registers[e.DestRegister] = payloadName(e)
		case *expr.Bitwise:
			registers[e.DestRegister] = registers[e.SourceRegister] + maskText(registers[e.SourceRegister], e.Mask)
		case *expr.Cmp:
			if w := compareText(registers[e.Register], e); w != "" {
				words = append(words, w)
			}
			if c, ok := condition(registers[e.Register], e); ok {
				r.Conditions = append(r.Conditions, c)
			}
		case *expr.Lookup:
			words = append(words, setText(registers[e.SourceRegister], e))
		case *expr.Range:
			words = append(words, registers[e.Register]+" in a range")
		case *expr.Limit:
			words = append(words, fmt.Sprintf("limit %d", e.Rate))
		case *expr.Match:
			words = append(words, "xt "+e.Name)
		case *expr.Counter:
			r.Counted, r.Packets, r.Bytes = true, e.Packets, e.Bytes
		case *expr.Verdict:
			if e.Kind == expr.VerdictDrop {
				words, drops = append(words, "drop"), true
			}
		case *expr.Reject:
			words, drops = append(words, "reject"), true
		case *expr.Target:
			if e.Name == "DROP" || e.Name == "REJECT" {
				words, drops = append(words, strings.ToLower(e.Name)), true
			}
		}
	}
	r.Text = strings.Join(words, " ")
	return r, drops
}

func metaName(k expr.MetaKey) string {
	switch k {
	case expr.MetaKeyIIFNAME:
		return "iifname"
	case expr.MetaKeyOIFNAME:
		return "oifname"
	case expr.MetaKeyL4PROTO:
		return "l4proto"
	case expr.MetaKeyNFPROTO:
		return "nfproto"
	case expr.MetaKeyMARK:
		return "mark"
	case expr.MetaKeyPKTTYPE:
		return "pkttype"
	case expr.MetaKeySKUID:
		return "skuid"
	}
	return "meta"
}

func ctName(k expr.CtKey) string {
	if k == expr.CtKeySTATE {
		return "ct state"
	}
	return "ct"
}

func payloadName(p *expr.Payload) string {
	switch {
	case p.Base == expr.PayloadBaseTransportHeader && p.Len == 2 && p.Offset == 0:
		return "sport"
	case p.Base == expr.PayloadBaseTransportHeader && p.Len == 2 && p.Offset == 2:
		return "dport"
	case p.Base == expr.PayloadBaseTransportHeader && p.Len == 1 && p.Offset == 0:
		return "icmp type"
	case p.Base == expr.PayloadBaseNetworkHeader && p.Len == 4 && p.Offset == 12, p.Base == expr.PayloadBaseNetworkHeader && p.Len == 16 && p.Offset == 8:
		return "saddr"
	case p.Base == expr.PayloadBaseNetworkHeader && p.Len == 4 && p.Offset == 16, p.Base == expr.PayloadBaseNetworkHeader && p.Len == 16 && p.Offset == 24:
		return "daddr"
	case p.Base == expr.PayloadBaseNetworkHeader && p.Len == 1 && p.Offset == 9:
		return "protocol"
	}
	return fmt.Sprintf("@%d,%d,%d", p.Base, p.Offset*8, p.Len*8)
}

// maskText names the states that a mask of ct state selects, or shows the mask.
func maskText(name string, mask []byte) string {
	if name == "ct state" && len(mask) == 4 {
		bits := binary.NativeEndian.Uint32(mask)
		var states []string
		for bit, s := range map[uint32]string{1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"} {
			if bits&bit != 0 {
				states = append(states, s)
			}
		}
		slices.Sort(states)
		return " " + strings.Join(states, ",")
	}
	return fmt.Sprintf(" & %x", mask)
}

func compareText(name string, e *expr.Cmp) string {
	if strings.HasPrefix(name, "ct state ") && e.Op == expr.CmpOpNeq {
		return name // "ct state invalid" is: mask, then not equal to zero
	}
	if name == "nfproto" {
		return map[string]string{"\x02": "ip", "\x0a": "ip6"}[string(e.Data)]
	}
	op := map[expr.CmpOp]string{expr.CmpOpNeq: "!= ", expr.CmpOpLt: "< ", expr.CmpOpLte: "<= ", expr.CmpOpGt: "> ", expr.CmpOpGte: ">= "}[e.Op]
	return name + " " + op + valueText(name, e.Data)
}

func valueText(name string, data []byte) string {
	switch name {
	case "iifname", "oifname":
		return string(bytes.TrimRight(data, "\x00"))
	case "l4proto", "protocol":
		if len(data) >= 1 {
			if p := map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}[data[0]]; p != "" {
				return p
			}
		}
	case "sport", "dport":
		if len(data) == 2 {
			return fmt.Sprint(binary.BigEndian.Uint16(data))
		}
	case "saddr", "daddr":
		if a, ok := netip.AddrFromSlice(data); ok {
			return a.String()
		}
	}
	return fmt.Sprintf("0x%x", data)
}

func setText(name string, e *expr.Lookup) string {
	op := " in "
	if e.Invert {
		op = " not in "
	}
	if strings.HasPrefix(e.SetName, "__set") || strings.HasPrefix(e.SetName, "__map") {
		return name + op + "{…}"
	}
	return name + op + "@" + e.SetName
}
