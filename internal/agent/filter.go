package agent

import (
	"net/netip"
	"slices"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/record"
)

// selectPackets takes the requests and queries out of b whose packets an
// expression does not select, as far as addresses and ports make one. A nil pair
// leaves all.
func selectPackets(b *record.Batch, pair *filter.Pair) {
	if pair == nil {
		return
	}
	b.Requests = slices.DeleteFunc(b.Requests, func(r record.Request) bool { return !matches(pair, tupleFrom(&r.Endpoints)) })
	b.Queries = slices.DeleteFunc(b.Queries, func(r record.Query) bool { return !matches(pair, tupleFrom(&r.Endpoints)) })
}

// tupleFrom returns the addresses and ports of a record as packets have them.
func tupleFrom(e *record.Endpoints) decode.Tuple {
	t := decode.Tuple{SrcPort: e.SrcPort, DstPort: e.DstPort, Proto: protoTCP, EthProto: etherIPv6}
	if e.Proto == "udp" {
		t.Proto = protoUDP
	}
	if e.SrcAddr.Is4() {
		t.EthProto = etherIPv4
	}
	as16 := func(a netip.Addr) (b [16]byte) {
		if a.IsValid() {
			b = a.As16()
		}
		return b
	}
	t.Src, t.Dst = as16(e.SrcAddr), as16(e.DstAddr)
	return t
}
