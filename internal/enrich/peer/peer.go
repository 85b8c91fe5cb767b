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
	// maxTTL is how long at most: nobody connects by an answer of
	// yesterday's, and addresses move.
	maxTTL = 24 * time.Hour
	// maxAddrs bounds the addresses that are remembered, and maxAnswers what each
	// is called: 10 MB if all are full and names are of usual length.
	maxAddrs   = 16384
	maxAnswers = 8
)

// place is an address as it is understood in a namespace: two may use the same
// one for different hosts.
type place struct {
	addr  netip.Addr
	netns uint32
}

// answer is what one process was told. Times are on the caller's clock, ns.
type answer struct {
	name        string
	owner       Owner
	from, until uint64
}

// answers is what an address was called, in the order of being told.
type answers struct {
	list [maxAnswers]answer
	n    int
	// crowded is until when an answer would be good that had to go: up to then,
	// those that are left are not all.
	crowded uint64
}

// Names maps addresses to names. The zero value is not ready; see New.
type Names struct {
	places  *simplelru.LRU[place, *answers]
	now     uint64 // of the latest answer
	evicted uint64
}

// New returns an empty cache.
func New() *Names { return newNames(maxAddrs) }

func newNames(addrs int) *Names {
	n := &Names{}
	n.places, _ = simplelru.NewLRU(addrs, n.forget) // errs on sizes below 1 only
	return n
}

// forget counts the names that were still good.
func (n *Names) forget(_ place, a *answers) {
	for i := range a.list[:a.n] {
		if a.list[i].until >= n.now {
			n.evicted++
		}
	}
}

// Learn takes in that at a moment (ns on a clock that is never set) a process was
// told this address for a name. The caller's name is kept.
func (n *Names) Learn(who Owner, name string, addr netip.Addr, at uint64, ttl time.Duration) {
	n.now = max(n.now, at)
	key := place{addr, who.NetNS}
	a, ok := n.places.Get(key)
	if !ok {
		a = &answers{}
		n.places.Add(key, a)
	}
	until := at + uint64(min(max(ttl, minTTL), maxTTL))
	if last := a.latest(who, at); last != nil && last.name == name && at <= last.until {
		last.until = max(last.until, until)
		return
	}
	if a.n == len(a.list) && !a.drop(at) {
		n.evicted++
	}
	a.list[a.n] = answer{name, who, at, until}
	a.n++
}

// drop makes room: of those that are over the one told first, else of all, and
// then it reports false.
func (a *answers) drop(now uint64) (over bool) {
	at := 0
	for i := range a.list[:a.n] {
		if a.list[i].until < now {
			at, over = i, true
			break
		}
	}
	if !over {
		a.crowded = max(a.crowded, a.list[at].until)
	}
	copy(a.list[at:], a.list[at+1:a.n])
	a.n--
	a.list[a.n] = answer{}
	return over
}

// latest returns what a process was told last before that moment, or nil.
func (a *answers) latest(who Owner, at uint64) *answer {
	for i := a.n - 1; i >= 0; i-- {
		if have := &a.list[i]; have.owner == who && have.from <= at {
			return have
		}
	}
	return nil
}

// Name returns what a process called an address at a moment: what it was told
// last before, if that was still good. If it was told nothing, or is not known
// (PID 0), that is what everybody in the namespace called it, if they were of
// one mind: names may be asked for by another process (nscd, systemd-resolved,
// the parent). It is "" if there is no name.
func (n *Names) Name(who Owner, addr netip.Addr, at uint64) string {
	a, ok := n.places.Get(place{addr, who.NetNS})
	if !ok {
		return ""
	}
	if own := a.latest(who, at); who.PID != 0 && own != nil && at <= own.until {
		return own.name
	}
	if at <= a.crowded {
		return ""
	}
	only := ""
	for i := range a.list[:a.n] {
		switch have := &a.list[i]; {
		case at < have.from || at > have.until:
		case only == "":
			only = have.name
		case only != have.name:
			return ""
		}
	}
	return only
}

// Evicted returns how many names were forgotten for want of room since the last
// call.
func (n *Names) Evicted() uint64 {
	evicted := n.evicted
	n.evicted = 0
	return evicted
}
