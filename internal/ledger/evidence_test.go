package ledger

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/evidence"
	"github.com/netfate/netfate/internal/ledger/counters"
	"github.com/netfate/netfate/internal/nft"
	"github.com/netfate/netfate/internal/record"
)

// lossOf returns the line of a loss in the book of its namespace or interface.
func lossOf(t *testing.T, lines []record.Entry, what string) record.Entry {
	t.Helper()
	for _, e := range lines {
		if e.Line == record.LostLine && e.What == what && e.Station != total {
			return e
		}
	}
	t.Fatalf("no loss %s", what)
	return record.Entry{}
}

// TestProve: a loss carries what was read for it and a command in which all is
// filled in; sums do not repeat it.
func TestProve(t *testing.T) {
	w := newWorld(t)
	w.to.Path, w.from.Path = "/run/netns/a", "/run/netns/a"
	w.came(9, "udp")
	w.count("IpInReceives", 9)
	w.count("TcpExtIPReversePathFilter", 9)
	w.drop(9, "IP_RPFILTER", "ip_rcv_finish_core", record.In)
	var asked Question
	w.look = func(q Question) []evidence.Fact {
		asked = q
		facts := []evidence.Fact{{Name: "unread", Unread: true}}
		for i := range 12 {
			facts = append(facts, evidence.Fact{Name: fmt.Sprint("f", i), Value: "1", Note: "strict"})
		}
		return facts
	}
	lines := w.balance()
	e := lossOf(t, lines, "IP_RPFILTER")
	if len(e.Evidence) != maxEvidence || e.Evidence[0] != "f0: 1 (strict)" || e.Evidence[maxEvidence-1] != "more: netfate explain IP_RPFILTER" {
		t.Errorf("got %q, want the first facts that were read, and where there are more", e.Evidence)
	}
	if want := "nsenter --net=/run/netns/a sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.v.rp_filter"; e.Command != want {
		t.Errorf("got %q, want %q", e.Command, want)
	}
	keys := strings.Join(asked.Keys, " ")
	if asked.NetNS != inode || asked.Subject.IfName != "v" || !strings.Contains(keys, "rp_filter") || strings.Contains(keys, "counter:") {
		t.Errorf("asked %+v, want settings of v, no counters", asked)
	}
	for _, e := range lines {
		if e.Station == total && e.Evidence != nil {
			t.Errorf("the sum of %s has evidence too", e.What)
		}
	}
	w.home = inode
	if e := lossOf(t, w.balance(), "IP_RPFILTER"); !strings.HasPrefix(e.Command, "sysctl ") {
		t.Errorf("got %q, want it as it is where one is", e.Command)
	}
}

// TestUnlisted: losses without a buffer have no reason of the kernel's, and are
// explained nevertheless.
func TestUnlisted(t *testing.T) {
	w := newWorld(t)
	w.link().Kind, w.from.Interfaces[0].Kind = "", ""
	w.link().Stats.RxMissedErrors, w.link().Stats.RxErrors = 9, 3
	w.link().Rings = &counters.Rings{Rx: 256, RxMax: 4096}
	w.to.Conntrack = &counters.Conntrack{Count: 8, Max: 8, CPUs: []counters.ConntrackCPU{{EarlyDrop: 5}}}
	w.from.Conntrack = &counters.Conntrack{Max: 8, CPUs: []counters.ConntrackCPU{{}}}
	lines := w.balance()
	for what, want := range map[string][3]string{
		"RING":       {"ethtool -G v rx 4096", "256 of at most 4096", "no free descriptor"},
		"RX_ERRORS":  {"ip -s -s link show v", "", "damaged"},
		"early_drop": {"sysctl net.netfilter", "8 of 8 entries", "thrown out"},
	} {
		e := lossOf(t, lines, what)
		if !strings.HasPrefix(e.Command, want[0]) || !strings.Contains(e.Fact, want[1]) || !strings.Contains(e.Why, want[2]) || e.Verdict == "" {
			t.Errorf("%s: got %q, %q, %q, %q; want %q", what, e.Verdict, e.Why, e.Fact, e.Command, want)
		}
	}
}

// TestRules: the rule that dropped is known by its counter; else the candidates are
// those that the packets do not exclude.
func TestRules(t *testing.T) {
	port := func(chain, n string) counters.NFTRule {
		return counters.NFTRule{Family: "ip", Table: "t", Chain: chain, Text: "dport " + n + " drop", Conditions: []nft.Condition{{Name: "dport", Value: n}}}
	}
	counted := func(r counters.NFTRule, n uint64) counters.NFTRule {
		r.Counted, r.Packets = true, n
		return r
	}
	named := port("in", "9")
	named.Counter = "c"
	for _, c := range []struct {
		name          string
		rules         []counters.NFTRule
		policies      []counters.NFTPolicy
		named         []counters.NFTCounter
		fact, command string
	}{
		{name: "its counter grew", rules: []counters.NFTRule{counted(port("in", "9"), 5), counted(port("out", "9"), 0), port("x", "9")},
			fact: "rule ip t in: dport 9 drop (5 packets)", command: "nft -a list chain ip t in"},
		{name: "a named counter", rules: []counters.NFTRule{named}, named: []counters.NFTCounter{{Family: "ip", Table: "t", Name: "c", Packets: 5}},
			fact: "rule ip t in: dport 9 drop (5 packets)", command: "nft -a list chain ip t in"},
		{name: "a counter that has not all", rules: []counters.NFTRule{counted(port("in", "9"), 2), port("x", "9")},
			fact: "rule ip t in: dport 9 drop (2 packets); for the rest candidate, without a counter: ip t x: dport 9 drop"},
		{name: "of another port", rules: []counters.NFTRule{port("in", "8"), port("in", "9"), {Family: "netdev", Table: "t", Chain: "d", Text: "drop"}},
			fact: "candidate, without a counter: ip t in: dport 9 drop", command: "nft -a list chain ip t in"},
		{name: "several", rules: []counters.NFTRule{port("a", "9"), port("b", "9")}, policies: []counters.NFTPolicy{{Family: "inet", Table: "f", Chain: "p"}},
			fact: "3 candidates without counters: ip t a: dport 9 drop; ip t b: dport 9 drop; inet f p: policy drop"},
		{name: "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.drop(5, "NETFILTER_DROP", "nft_do_chain", record.In)
			w.drops[0].DstPort = 9
			w.to.NFT = counters.NFT{Rules: c.rules, Policies: c.policies, Counters: c.named}
			from := counters.NFT{Rules: append([]counters.NFTRule(nil), c.rules...), Policies: c.policies}
			for i := range from.Rules {
				from.Rules[i].Packets = 0
			}
			for _, n := range c.named {
				n.Packets = 0
				from.Counters = append(from.Counters, n)
			}
			w.from.NFT = from
			e := lossOf(t, w.balance(), "NETFILTER_DROP")
			if diff := cmp.Diff(c.fact, e.Fact); diff != "" {
				t.Errorf("fact (-want +got):\n%s", diff)
			}
			if c.command != "" && e.Command != c.command {
				t.Errorf("command: got %q, want %q", e.Command, c.command)
			}
		})
	}
}
