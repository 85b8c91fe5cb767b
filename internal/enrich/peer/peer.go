// Package peer remembers what DNS answers called the addresses that sockets of
// this host talk to.
//
// A name is known by who was told it: the address of a content network has a
// thousand names, and only the process that asked knows which one it means.
// [Names.Name] answers from memory at once, for a moment, since names change;
// nobody is ever asked. It has no clock and is for one goroutine. Only
// internal/agent imports this package.
package peer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Owner is a process in a network namespace, by what is never used twice. A PID
// of 0 is nobody.
type Owner struct {
	Start uint64 // of the process, ns since boot
	PID   uint32
	NetNS uint32 // inode
}

const (
	// minTTL is how long a name is good for at least. A TTL says when to ask again,
	// not when to hang up: programs keep what they were told and connect later
	// (Java for 30 s, Go's pools of connections for 90), while name servers of
	// content networks give 20 s and less. What is told next replaces it anyway.
	minTTL = 5 * time.Minute
	// maxTTL is how long at most: nobody connects by an answer of yesterday's, and
	// addresses move.
	maxTTL = 24 * time.Hour
	// maxOwn bounds what processes were told, by process and address, and maxTimes
	// the changes of each that are remembered; maxAddrs bounds the addresses with
	// names by namespace, and maxNames the names of each. All full, with names of
	// usual length, they take 20 MB.
	maxOwn   = 32768
	maxTimes = 4
	maxAddrs = 16384
	maxNames = 8
)

// own is an address as one process knows it.
type own struct {
	owner Owner
	addr  netip.Addr
}

// place is an address as it is understood in a namespace: two may use the same
// one for different hosts.
type place struct {
	addr  netip.Addr
	netns uint32
}

// told is a name, and from when to when it is good, on the caller's clock, ns.
type told struct {
	name        string
	from, until uint64
}

func (t *told) good(at uint64) bool { return t.from <= at && at <= t.until }

// calls is what one process was told, the latest last.
type calls struct{ list []told }

// names is what everybody was told: each name once, the one told first ahead.
type names struct {
	list []told
	// crowded is until when a name would be good that had no room: up to then,
	// those that are left are not all.
	crowded uint64
}

// Names maps addresses to names. The zero value is not ready; see New.
type Names struct {
	own    *simplelru.LRU[own, *calls]
	places *simplelru.LRU[place, *names]
	now    uint64 // of the latest answer
	gone   uint64 // until when something would be good that own had no room for
	lost   uint64
}

// New returns an empty cache.
func New() *Names { return newNames(maxOwn, maxAddrs) }

func newNames(maxOwn, maxAddrs int) *Names {
	n := &Names{}
	n.own, _ = simplelru.NewLRU(maxOwn, n.forgetOwn) // errs on sizes below 1 only
	n.places, _ = simplelru.NewLRU(maxAddrs, n.forgetPlace)
	return n
}

func (n *Names) forgetOwn(_ own, c *calls) { n.gone = max(n.gone, c.list[len(c.list)-1].until) }

// forgetPlace counts an address whose names are still good.
func (n *Names) forgetPlace(_ place, a *names) {
	for i := range a.list {
		if a.list[i].until >= n.now {
			n.lost++
			return
		}
	}
}

// Learn takes in that at a moment (ns on a clock that is never set) a process was
// told this address for a name. The caller's name is kept.
func (n *Names) Learn(who Owner, name string, addr netip.Addr, at uint64, ttl time.Duration) {
	n.now = max(n.now, at)
	t := told{name, at, at + uint64(min(max(ttl, minTTL), maxTTL))}
	if who.PID != 0 {
		key := own{who, addr}
		c, ok := n.own.Get(key)
		if !ok {
			c = &calls{}
		}
		c.add(t)
		n.own.Add(key, c)
	}
	key := place{addr, who.NetNS}
	a, ok := n.places.Get(key)
	if !ok {
		a = &names{}
	}
	a.add(t)
	n.places.Add(key, a)
}

// add takes in what the process was told last.
func (c *calls) add(t told) {
	if n := len(c.list); n > 0 && c.list[n-1].name == t.name && c.list[n-1].good(t.from) {
		c.list[n-1].until = max(c.list[n-1].until, t.until)
		return
	}
	if len(c.list) == maxTimes {
		c.list = slices.Delete(c.list, 0, 1)
	}
	c.list = append(c.list, t)
}

// at returns what the process had been told last by then, if that was good.
func (c *calls) at(at uint64) (name string, ok bool) {
	for i := len(c.list) - 1; i >= 0; i-- {
		if c.list[i].from <= at {
			return c.list[i].name, at <= c.list[i].until
		}
	}
	return "", false
}

// add takes in what somebody was told.
func (a *names) add(t told) {
	at := slices.IndexFunc(a.list, func(have told) bool { return have.name == t.name })
	switch {
	case at >= 0 && a.list[at].good(t.from):
		a.list[at].until = max(a.list[at].until, t.until)
		return
	case at >= 0:
		a.list = slices.Delete(a.list, at, at+1)
	case len(a.list) == maxNames:
		first := 0 // the one that is over, or else the one told first
		if over := slices.IndexFunc(a.list, func(have told) bool { return have.until < t.from }); over >= 0 {
			first = over
		}
		a.crowded = max(a.crowded, a.list[first].until)
		a.list = slices.Delete(a.list, first, first+1)
	}
	a.list = append(a.list, t)
}

// only returns the name that was good at that moment, if it is the only one; one
// is false if there were several.
func (a *names) only(at uint64) (name string, one bool) {
	for i := range a.list {
		switch {
		case !a.list[i].good(at):
		case name != "":
			return "", false
		default:
			name = a.list[i].name
		}
	}
	return name, at > a.crowded
}

// Name returns what a process called an address at a moment: what it had been
// told last by then, if that was still good. If it was told nothing, or is not
// known (PID 0), that is what everybody in the namespace called it, if they were
// of one mind: names may be asked for by another process (nscd, systemd-resolved,
// the parent). It is "" if there is no name.
func (n *Names) Name(who Owner, addr netip.Addr, at uint64) string {
	if c, ok := n.own.Get(own{who, addr}); ok {
		if name, ok := c.at(at); ok {
			return name
		}
	}
	a, ok := n.places.Get(place{addr, who.NetNS})
	if !ok {
		return ""
	}
	name, one := a.only(at)
	switch {
	case one:
		return name
	case who.PID != 0 && at <= n.gone:
		n.lost++ // which of them, the process may have been told
	}
	return ""
}

// Lost returns how many names were missing since the last call for want of room:
// addresses that are forgotten, and questions that could not be answered.
func (n *Names) Lost() uint64 {
	lost := n.lost
	n.lost = 0
	return lost
}
