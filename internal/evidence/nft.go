package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"

	"github.com/netfate/netfate/internal/nft"
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
			if d, ok := nft.Describe(r.Exprs); ok {
				rules = append(rules, nftRule{fmt.Sprintf("nft rule %s handle %d", name, r.Handle), d})
			}
		}
	}
	slices.SortStableFunc(rules, func(a, b nftRule) int { return cmp.Compare(b.Packets, a.Packets) })
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
	return fmt.Sprintf("%s %s %s", nft.Family(uint8(c.Table.Family)), c.Table.Name, c.Name)
}

// nftRule is a rule that drops or rejects.
type nftRule struct {
	name string
	nft.Rule
}

func (r nftRule) fact() Fact {
	f := Fact{Name: r.name, Value: r.Text}
	switch {
	case !r.Counted:
		f.Note = "it has no counter"
	case r.Packets == 0:
		f.Note = "matched nothing so far"
	default:
		f.Note = fmt.Sprintf("matched %d packets, %d bytes", r.Packets, r.Bytes)
	}
	return f
}
