package counters

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/nft"
)

// sizeofNfGenMsg is struct nfgenmsg of linux/netfilter/nfnetlink.h: family,
// version, and a number in network order.
const sizeofNfGenMsg = 4

// Messages of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGetStatsCPU = unix.NFNL_SUBSYS_CTNETLINK<<8 | 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	ctGetStats    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 5 // IPCTNL_MSG_CT_GET_STATS
)

// conntrack reads the statistics of connection tracking, if there is any.
func (r *reading) conntrack(n *Namespace) error {
	if !r.tracked() {
		return nil
	}
	c := &Conntrack{}
	body := make([]byte, sizeofNfGenMsg)
	err := r.ask(request{protocol: unix.NETLINK_NETFILTER, kind: ctGetStats, body: body}, func(b []byte) {
		if len(b) >= sizeofNfGenMsg {
			c.Count = big32(attribute(b[sizeofNfGenMsg:], 1)) // CTA_STATS_GLOBAL_ENTRIES
			c.Max = big32(attribute(b[sizeofNfGenMsg:], 2))   // CTA_STATS_GLOBAL_MAX_ENTRIES
		}
	})
	if err != nil {
		return err
	}
	err = r.ask(request{protocol: unix.NETLINK_NETFILTER, kind: ctGetStatsCPU, dump: true, body: body}, func(b []byte) {
		if row, ok := parseConntrackCPU(b); ok && len(c.CPUs) < maxCPUs {
			c.CPUs = append(c.CPUs, row)
		}
	})
	if err != nil {
		return err
	}
	n.Conntrack = c
	return nil
}

// parseConntrackCPU reads a struct nfgenmsg, which has the CPU's number, and
// enum ctattr_stats_cpu.
func parseConntrackCPU(b []byte) (ConntrackCPU, bool) {
	if len(b) < sizeofNfGenMsg {
		return ConntrackCPU{}, false
	}
	c := ConntrackCPU{CPU: uint32(binary.BigEndian.Uint16(b[2:]))}
	for kind, value := range attributes(b[sizeofNfGenMsg:]) {
		switch v := big32(value); kind {
		case 2:
			c.Found = v
		case 4:
			c.Invalid = v
		case 8:
			c.Insert = v
		case 9:
			c.InsertFailed = v
		case 10:
			c.Drop = v
		case 11:
			c.EarlyDrop = v
		case 12:
			c.Error = v
		case 13:
			c.SearchRestart = v
		case 14:
			c.ClashResolve = v
		case 15:
			c.ChainTooLong = v
		}
	}
	return c, true
}

// nftMessage is the type of a message of nftables.
func nftMessage(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// nft reads what in nftables drops and counts. Most namespaces have no rules,
// which the first answer tells: its generation is 1 until the first change
// (nf_tables_init_net in net/netfilter/nf_tables_api.c).
func (r *reading) nft(n *Namespace) error {
	body := make([]byte, sizeofNfGenMsg)
	q := request{protocol: unix.NETLINK_NETFILTER, kind: nftMessage(unix.NFT_MSG_GETGEN), body: body}
	var generation uint32
	err := r.ask(q, func(b []byte) {
		if len(b) >= sizeofNfGenMsg {
			generation = big32(attribute(b[sizeofNfGenMsg:], unix.NFTA_GEN_ID))
		}
	})
	if err != nil || generation == 1 {
		return err
	}
	for _, list := range []struct {
		kind  uint16
		begin func()
		each  func(b []byte) (kept bool)
	}{
		{unix.NFT_MSG_GETCHAIN, func() { n.NFT.Policies = nil }, func(b []byte) bool { return r.policy(&n.NFT, b) }},
		{unix.NFT_MSG_GETRULE, func() { n.NFT.Rules = nil }, func(b []byte) bool { return r.rule(&n.NFT, b) }},
		{unix.NFT_MSG_GETOBJ, func() { n.NFT.Counters = nil }, func(b []byte) bool { return r.namedCounter(&n.NFT, b) }},
	} {
		var over uint64
		q.kind = nftMessage(list.kind)
		err := r.list(q, func() { list.begin(); over = 0 }, func(b []byte) {
			if len(b) >= sizeofNfGenMsg && !list.each(b) {
				over++
			}
		})
		if err != nil {
			n.NFT = NFT{}
			return err
		}
		r.lost.add("rules", over)
	}
	return nil
}

// keep takes in what was parsed; false if there is no room.
func keep[T any](list *[]T, item T, ok bool) bool {
	switch {
	case !ok:
		return true
	case len(*list) == maxRules:
		return false
	}
	*list = append(*list, item)
	return true
}

// policy takes in a base chain that drops; false if there is no room.
func (r *reading) policy(n *NFT, b []byte) bool {
	p, ok := parsePolicy(b, &r.texts)
	return keep(&n.Policies, p, ok)
}

// parsePolicy reads a chain (enum nft_chain_attributes); false if it is not a
// base chain with policy drop.
func parsePolicy(b []byte, text *texts) (NFTPolicy, bool) {
	p := NFTPolicy{Family: nft.Family(b[0])}
	base, drop := false, false
	for kind, value := range attributes(b[sizeofNfGenMsg:]) {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			p.Table = text.of(value)
		case unix.NFTA_CHAIN_NAME:
			p.Chain = text.of(value)
		case unix.NFTA_CHAIN_HANDLE:
			p.Handle = big64(value)
		case unix.NFTA_CHAIN_HOOK:
			base, p.Hook = true, big32(attribute(value, unix.NFTA_HOOK_HOOKNUM))
		case unix.NFTA_CHAIN_POLICY:
			drop = len(value) == 4 && big32(value) == verdictDrop
		}
	}
	return p, base && drop
}

const (
	verdictDrop   = 0 // NF_DROP
	objectCounter = 1 // NFT_OBJECT_COUNTER
)

// maxWords bounds the words of rules that are kept.
const maxWords = 16384

// rule takes in a rule that drops or rejects; false if there is no room.
func (r *reading) rule(n *NFT, b []byte) bool {
	rule, expressions, ok := parseRule(b, &r.texts)
	if !ok {
		return true
	}
	// The words of a rule do not change, the counts among its expressions do.
	r.scratch = append(append(r.scratch[:0], b[0]), expressions...)
	if counts := ownCounter(r.scratch[1:]); counts != nil {
		clear(counts)
	}
	words, known := r.rules[string(r.scratch)]
	if !known {
		words = nft.Read(b[0], expressions)
		if len(r.rules) >= maxWords {
			clear(r.rules)
		}
		r.rules[string(r.scratch)] = words
	}
	rule.Text, rule.Conditions = words.Text, words.Conditions
	return keep(&n.Rules, rule, true)
}

// parseRule reads a rule (enum nft_rule_attributes), its expressions too; false
// if it neither drops nor rejects.
func parseRule(b []byte, text *texts) (NFTRule, []byte, bool) {
	rule := NFTRule{Family: nft.Family(b[0])}
	var expressions []byte
	for kind, value := range attributes(b[sizeofNfGenMsg:]) {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			rule.Table = text.of(value)
		case unix.NFTA_RULE_CHAIN:
			rule.Chain = text.of(value)
		case unix.NFTA_RULE_HANDLE:
			rule.Handle = big64(value)
		case unix.NFTA_RULE_EXPRESSIONS:
			expressions = value
		}
	}
	for _, element := range attributes(expressions) {
		data := attribute(element, unix.NFTA_EXPR_DATA)
		name := attribute(element, unix.NFTA_EXPR_NAME)
		switch string(name[:max(len(name)-1, 0)]) { // without its zero byte
		case "counter":
			rule.Counted = true
			rule.Packets, rule.Bytes = big64(attribute(data, unix.NFTA_COUNTER_PACKETS)), big64(attribute(data, unix.NFTA_COUNTER_BYTES))
		case "objref":
			if big32(attribute(data, 1)) == objectCounter { // NFTA_OBJREF_IMM_TYPE and _NAME
				rule.Counter = text.of(attribute(data, 2))
			}
		case "immediate":
			code := attribute(attribute(attribute(data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VERDICT), unix.NFTA_VERDICT_CODE)
			if len(code) == 4 && big32(code) == verdictDrop {
				rule.Verdict = "drop"
			}
		case "reject":
			rule.Verdict = "reject"
		case "target":
			switch text.of(attribute(data, unix.NFTA_TARGET_NAME)) {
			case "DROP":
				rule.Verdict = "drop"
			case "REJECT":
				rule.Verdict = "reject"
			}
		}
	}
	return rule, expressions, rule.Verdict != ""
}

// ownCounter returns the counts of a rule's counter, within its expressions.
func ownCounter(expressions []byte) []byte {
	for _, element := range attributes(expressions) {
		if name := attribute(element, unix.NFTA_EXPR_NAME); string(name[:max(len(name)-1, 0)]) == "counter" {
			return attribute(element, unix.NFTA_EXPR_DATA)
		}
	}
	return nil
}

// namedCounter takes in a named counter; false if there is no room.
func (r *reading) namedCounter(n *NFT, b []byte) bool {
	c, ok := parseNamedCounter(b, &r.texts)
	return keep(&n.Counters, c, ok)
}

// parseNamedCounter reads an object (enum nft_object_attributes); false if it
// is no counter.
func parseNamedCounter(b []byte, text *texts) (NFTCounter, bool) {
	c := NFTCounter{Family: nft.Family(b[0])}
	counter := false
	for kind, value := range attributes(b[sizeofNfGenMsg:]) {
		switch kind {
		case unix.NFTA_OBJ_TABLE:
			c.Table = text.of(value)
		case unix.NFTA_OBJ_NAME:
			c.Name = text.of(value)
		case unix.NFTA_OBJ_TYPE:
			counter = big32(value) == objectCounter
		case 6: // NFTA_OBJ_HANDLE
			c.Handle = big64(value)
		case unix.NFTA_OBJ_DATA:
			c.Packets, c.Bytes = big64(attribute(value, unix.NFTA_COUNTER_PACKETS)), big64(attribute(value, unix.NFTA_COUNTER_BYTES))
		}
	}
	return c, counter
}
