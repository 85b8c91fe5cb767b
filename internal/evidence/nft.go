package evidence

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mdnetlink "github.com/mdlayher/netlink"
)

const maxChains = 512 // chains read; beyond it a fact says how many were not

// nftFacts lists what can drop a packet in the rules of nftables (and of
// iptables-nft): chains with policy drop, then rules that drop or reject, those
// that counted most first.
func nftFacts(*collector) ([]Fact, error) {
	conn, err := nftables.New(nftables.WithSockOptions(func(c *mdnetlink.Conn) error {
		return c.SetDeadline(time.Now().Add(askTimeout))
	}))
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list nft chains: %w", err)
	}
	var policies []Fact
	var rules []nftRule
	for i, chain := range chains {
		if i == maxChains {
			policies = append(policies, Fact{Name: "nft chains", Value: fmt.Sprintf("%d of %d not read", len(chains)-i, len(chains))})
			break
		}
		name := chainName(chain)
		if chain.Policy != nil && chain.Hooknum != nil && *chain.Policy == nftables.ChainPolicyDrop {
			policies = append(policies, Fact{
				Name: "nft chain " + name, Value: "policy drop",
				Note: "drops all that none of its rules accepts; a policy has no counter",
			})
		}
		list, err := conn.GetRules(chain.Table, chain)
		if err != nil {
			policies = append(policies, Fact{Name: "nft chain " + name, Value: "not read: " + err.Error()})
			continue
		}
		for _, r := range list {
			if d, ok := describe(r.Exprs); ok {
				d.name = fmt.Sprintf("nft rule %s handle %d", name, r.Handle)
				rules = append(rules, d)
			}
		}
	}
	slices.SortStableFunc(rules, func(a, b nftRule) int { return cmp.Compare(b.packets, a.packets) })
	facts := policies
	for _, r := range rules {
		facts = append(facts, r.fact())
	}
	if len(facts) == 0 {
		facts = append(facts, Fact{Name: "nft rules", Value: "none drops or rejects", Note: "iptables-legacy and eBPF rules are not seen here"})
	}
	return facts, nil
}

func chainName(c *nftables.Chain) string {
	families := map[nftables.TableFamily]string{
		nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
		nftables.TableFamilyARP: "arp", nftables.TableFamilyBridge: "bridge", nftables.TableFamilyNetdev: "netdev",
	}
	return fmt.Sprintf("%s %s %s", families[c.Table.Family], c.Table.Name, c.Name)
}

// nftRule is a rule that drops or rejects, in words.
type nftRule struct {
	name, text     string
	counted        bool
	packets, bytes uint64
}

func (r nftRule) fact() Fact {
	f := Fact{Name: r.name, Value: r.text}
	switch {
	case !r.counted:
		f.Note = "it has no counter"
	case r.packets == 0:
		f.Note = "matched nothing so far"
	default:
		f.Note = fmt.Sprintf("matched %d packets, %d bytes", r.packets, r.bytes)
	}
	return f
}

// describe puts a rule into words, as near to the language of nft(8) as is
// possible without names for everything; it reports whether the rule drops or
// rejects.
func describe(exprs []expr.Any) (nftRule, bool) {
	var r nftRule
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
		case *expr.Lookup:
			words = append(words, setText(registers[e.SourceRegister], e))
		case *expr.Range:
			words = append(words, registers[e.Register]+" in a range")
		case *expr.Limit:
			words = append(words, fmt.Sprintf("limit %d", e.Rate))
		case *expr.Match:
			words = append(words, "xt "+e.Name)
		case *expr.Counter:
			r.counted, r.packets, r.bytes = true, e.Packets, e.Bytes
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
	r.text = strings.Join(words, " ")
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
