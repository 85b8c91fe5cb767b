package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/nft"
	"github.com/netfate/netfate/internal/record"
)

// maxRows bounds the rows of a loss that rules are compared with.
const maxRows = 256

// suspect is a rule of nftables, or the policy of a chain, that may have dropped.
type suspect struct {
	family, table, chain, text string

	conditions []nft.Condition
	counted    bool
	packets    uint64 // in the interval, if it is counted
}

func (s *suspect) String() string {
	return fmt.Sprintf("%s %s %s: %s", s.family, s.table, s.chain, s.text)
}

// rulesOf returns the rules that may have dropped: those whose counters grew, and if
// these do not have all, those that count nothing. It leaves out what the hook and
// the packets exclude.
func (b *book) rulesOf(l *loss) (grew, silent []suspect) {
	var told uint64
	for _, s := range b.suspects(l) {
		switch {
		case s.counted && s.packets == 0:
		case len(l.rows) > 0 && !slices.ContainsFunc(l.rows, func(d *record.Drop) bool { return !nft.Excludes(s.conditions, packetOf(d)) }):
		case s.counted:
			grew, told = append(grew, s), told+s.packets
		default:
			silent = append(silent, s)
		}
	}
	if told >= l.number() {
		silent = nil
	}
	return grew, silent
}

func packetOf(d *record.Drop) nft.Packet {
	p := nft.Packet{Proto: d.Proto, Src: d.SrcAddr, Dst: d.DstAddr, SrcPort: d.SrcPort, DstPort: d.DstPort}
	if d.Direction == record.Out {
		p.Out = d.IfName
	} else {
		p.In = d.IfName
	}
	return p
}

// suspects are the rules that drop or reject, and the policies that drop, where a
// loss was: tables of netdev drop before IP, those of bridge in a bridge.
func (b *book) suspects(l *loss) (list []suspect) {
	fits := func(family string) bool {
		switch family {
		case "netdev":
			return l.station == ingress
		case "bridge":
			return l.station == bridge
		case "arp":
			return false
		}
		return l.station != ingress
	}
	for i := range b.NFT.Rules {
		r := &b.NFT.Rules[i]
		if !fits(r.Family) {
			continue
		}
		s := suspect{family: r.Family, table: r.Table, chain: r.Chain, text: r.Text, conditions: r.Conditions, counted: r.Counted, packets: r.Packets}
		for k := range b.NFT.Counters {
			if c := &b.NFT.Counters[k]; r.Counter != "" && !r.Counted && c.Family == r.Family && c.Table == r.Table && c.Name == r.Counter {
				s.counted, s.packets = true, c.Packets
			}
		}
		list = append(list, s)
	}
	for i := range b.NFT.Policies {
		if p := &b.NFT.Policies[i]; fits(p.Family) {
			list = append(list, suspect{family: p.Family, table: p.Table, chain: p.Chain, text: "policy drop"})
		}
	}
	return list
}

// ruleFact names the nftables rule that dropped, as far as counters tell it;
// otherwise those that may have.
func (b *book) ruleFact(l *loss) string {
	grew, silent := b.rulesOf(l)
	var parts []string
	for _, s := range grew[:min(len(grew), 3)] {
		parts = append(parts, fmt.Sprintf("%s (%d packets)", &s, s.packets))
	}
	text := strings.Join(parts, "; ")
	if text != "" {
		text = "rule " + text
		if len(silent) == 0 {
			return text
		}
		text += "; for the rest "
	}
	switch len(silent) {
	case 0:
		return text
	case 1:
		return text + "candidate, without a counter: " + silent[0].String()
	}
	names := make([]string, 0, 3)
	for _, s := range silent[:min(len(silent), 3)] {
		names = append(names, s.String())
	}
	if len(silent) > len(names) {
		names = append(names, "…")
	}
	return text + fmt.Sprintf("%d candidates without counters: %s", len(silent), strings.Join(names, "; "))
}
