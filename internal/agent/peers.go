package agent

import (
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/dns"
	"github.com/netfate/netfate/internal/enrich/peer"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/table"
)

// maxNamed bounds the flows and connections whose name is kept as it was when
// they began: some 6 MB.
const maxNamed = 1 << 15

// peers names the remote ends of traffic as their owners were told by DNS. It
// belongs to the pump. The zero value names nobody.
type peers struct {
	told  *peer.Names
	named *simplelru.LRU[table.Pair, string]
}

func newPeers() peers {
	named, _ := simplelru.NewLRU[table.Pair, string](maxNamed, nil) // errs on sizes below 1 only
	return peers{told: peer.New(), named: named}
}

// learn takes in what a socket's owner was told.
func (p *peers) learn(who decode.OwnerRef, netns uint32, a *dns.Addresses, at uint64) {
	if p.told == nil || netns == 0 {
		return
	}
	for _, addr := range a.Addrs {
		p.told.Learn(peerOwner(who, netns), a.Name, addr, at, time.Duration(a.TTL)*time.Second)
	}
}

func peerOwner(who decode.OwnerRef, netns uint32) peer.Owner {
	return peer.Owner{Start: who.Start, PID: who.PID, NetNS: netns}
}

// name returns what the owner of a pair calls its remote end: what it was called
// when the pair began, or when a name was found first. fresh says that it begins
// here: what an earlier pair of the same ports was called is nothing to it.
func (p *peers) name(pair table.Pair, fresh bool, who decode.OwnerRef, remote netip.Addr, at uint64) string {
	if p.told == nil || !remote.IsValid() {
		return ""
	}
	if name, ok := p.named.Get(pair); ok && !fresh {
		return name
	}
	name := p.told.Name(peerOwner(who, pair.NetNS()), remote, at)
	switch {
	case name != "":
		p.named.Add(pair, name)
	case fresh:
		p.named.Remove(pair)
	}
	return name
}

// remote is the end of a row that is elsewhere; of what passes through, the one
// that was called.
func remote(e *record.Endpoints, d record.Direction) netip.Addr {
	if d == record.In {
		return e.SrcAddr
	}
	return e.DstAddr
}

// flowPeer names the peer of a flow.
func (l *live) flowPeer(f *table.Flow, r *record.Flow) string {
	if f.Other() {
		return ""
	}
	const syn = 1 << 1
	fresh := r.Proto == "tcp" && (f.In.TCPFlags|f.Out.TCPFlags)&syn != 0
	return l.peers.name(f.Pair, fresh, f.Owner, remote(&r.Endpoints, r.Direction), f.First())
}

// dropPeer names the peer of a drop at that moment.
func (l *live) dropPeer(k *decode.DropKey, who decode.OwnerRef, r *record.Drop) string {
	if !k.HasAddrs() {
		return ""
	}
	mono := l.clock.Mono + uint64(r.Time.Sub(l.clock.Wall(l.clock.Mono))) // modulo 2^64, either way
	return l.peers.name(table.PairOfDrop(k), false, who, remote(&r.Endpoints, r.Direction), mono)
}

// connPeer names the peer of a connection. Of one that is older than netfate it is
// not known when it began.
func (l *live) connPeer(e *decode.ConnEvent, who decode.OwnerRef, r *record.Conn) string {
	addr, began := r.DstAddr, e.Conn.Start
	if r.Side == record.Server {
		addr = r.SrcAddr
	}
	if r.Older || began == 0 {
		began = e.Time
	}
	pair := table.PairOf(&e.Conn.Tuple, e.Conn.NetNS, true, false)
	fresh := r.Event == record.ConnOpened || r.Event == record.ConnFailed
	return l.peers.name(pair, fresh, who, addr, began)
}

// told takes in an answer to a question for addresses, as it arrives.
func (l *live) told(a *dns.Addresses) {
	key := asker{a.Client, protoUDP}
	if a.TCP {
		key.proto = protoTCP
	}
	if o, ok := l.queries.askers.get(key); ok {
		l.peers.learn(o.owner, o.netns, a, l.queries.now)
	}
}

// rollPeers adds the queries that ended to b, if they are asked for, and in any
// case what is missing of them and of the names that they tell.
func (l *live) rollPeers(b *record.Batch) {
	if l.cfg.Queries {
		l.queries.roll(b, l.over)
	} else {
		l.rollUnread(b)
	}
	if l.peers.told == nil {
		return
	}
	if n := l.peers.told.Lost(); n > 0 {
		b.Lost = append(b.Lost, record.Lost{
			Time: b.End, Place: "names of peers", Reason: "full", Count: n,
			Effect: "these addresses have names that are forgotten, or rows have one of several: the addresses stand alone",
		})
	}
}

// rollUnread drops the queries, which only were to name peers, and tells what
// could not be read in words of those.
func (l *live) rollUnread(b *record.Batch) {
	aside := record.Batch{End: b.End}
	l.queries.roll(&aside, l.over)
	unread := uint64(0)
	for i := range aside.Lost {
		unread += aside.Lost[i].Count
	}
	if unread > 0 {
		b.Lost = append(b.Lost, record.Lost{
			Time: b.End, Place: "names of peers", Reason: "DNS not read", Count: unread,
			Effect: "some peers may stand with their addresses only",
		})
	}
}
