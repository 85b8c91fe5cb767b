package packet

import (
	"net/netip"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Bounds on fragments, those of Linux: net.ipv4.ipfrag_high_thresh and
// net.ipv4.ipfrag_time, and the longest packet there is.
const (
	maxFragmentBytes = 4 << 20
	maxFragmentAge   = 30 * time.Second
	maxFragmentEnd   = 1<<16 - 1
	// fragmentCost is what a packet costs beside its bytes, about.
	fragmentCost = 512
)

// fragmentKey tells packets apart whose fragments come mixed.
type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8
}

// fragment is one part of a packet.
type fragment struct {
	at      int  // of its first byte
	more    bool // it is not the last
	body    []byte
	missing int   // bytes after body that the capture has cut
	next    uint8 // protocol of what is behind, in IPv6
}

// assembly is a packet of which not all fragments have come.
type assembly struct {
	key   fragmentKey
	since time.Time
	body  []byte // with holes
	spans []span // what has come, in order and apart
	total int    // -1 until the last has come
	whole int    // bytes up to the first that the capture has cut
	next  uint8  // of the fragment at 0
}

type span struct{ from, to int }

// fragments puts packets together. A fragment that was there already is left
// out; a packet whose fragments overlap otherwise is given up, as Linux does for
// both versions of IP (RFC 5722; 7969f5e0fa87 for IPv4).
type fragments struct {
	byKey map[fragmentKey]*assembly
	order []*assembly // the oldest first
	bytes int
	clock time.Time
	next  uint8 // of the packet that was put together last

	expired, evicted, overlapping uint64 // packets given up
}

func newFragments() fragments { return fragments{byKey: map[fragmentKey]*assembly{}} }

// now gives up what waits for too long.
func (f *fragments) now(at time.Time) {
	for len(f.order) > 0 && at.Sub(f.order[0].since) > maxFragmentAge {
		f.expired++
		f.drop(f.order[0])
	}
	f.clock = at
}

// add adds a part and returns the packet if it is whole now: its bytes up to the
// first that the capture has cut, and how many there are from there on.
func (f *fragments) add(key fragmentKey, part fragment) (whole []byte, missing int, ok bool) {
	length := len(part.body) + part.missing
	// All but the last are multiples of 8 (RFC 791), and none is empty.
	if length == 0 || part.more && length%8 != 0 || part.at+length > maxFragmentEnd {
		return nil, 0, false
	}
	a := f.byKey[key]
	if a == nil {
		a = &assembly{key: key, since: f.clock, total: -1, whole: maxFragmentEnd}
		f.byKey[key] = a
		f.order = append(f.order, a)
		f.bytes += fragmentCost
	}
	have := cap(a.body)
	switch a.add(part, length) {
	case overlaps:
		f.overlapping++
		f.drop(a)
		return nil, 0, false
	case repeats:
		return nil, 0, false
	}
	f.bytes += cap(a.body) - have
	if a.complete() {
		f.drop(a)
		f.next = a.next
		n := min(a.whole, a.total)
		return a.body[:n], a.total - n, true
	}
	for f.bytes > maxFragmentBytes {
		f.evicted++
		f.drop(f.order[0])
	}
	return nil, 0, false
}

// head returns what has come of the beginning of a packet.
func (f *fragments) head(key fragmentKey) []byte {
	a := f.byKey[key]
	if a == nil || len(a.spans) == 0 || a.spans[0].from > 0 {
		return nil
	}
	return a.body[:min(a.spans[0].to, a.whole, len(a.body))]
}

func (f *fragments) drop(a *assembly) {
	delete(f.byKey, a.key)
	at := slices.Index(f.order, a)
	f.order = slices.Delete(f.order, at, at+1)
	f.bytes -= fragmentCost + cap(a.body)
}

// What a part may be to the others.
type fit uint8

const (
	fits fit = iota
	repeats
	overlaps
)

func (a *assembly) add(part fragment, length int) fit {
	s := span{part.at, part.at + length}
	at, _ := slices.BinarySearchFunc(a.spans, s.from, func(have span, from int) int { return have.to - from - 1 })
	// at is the first span that ends behind the beginning of s.
	if at < len(a.spans) && a.spans[at].from < s.to {
		if a.spans[at].from <= s.from && s.to <= a.spans[at].to {
			return repeats
		}
		return overlaps
	}
	switch {
	case a.total >= 0 && (s.to > a.total || !part.more):
		return overlaps // it ends twice, or goes on behind its end
	case !part.more && len(a.spans) > 0 && a.spans[len(a.spans)-1].to > s.to:
		return overlaps
	case !part.more:
		a.total = s.to
	}
	if len(a.body) < part.at+len(part.body) {
		a.body = append(a.body, make([]byte, part.at+len(part.body)-len(a.body))...)
	}
	copy(a.body[part.at:], part.body)
	if part.missing > 0 {
		a.whole = min(a.whole, part.at+len(part.body))
	}
	if part.at == 0 {
		a.next = part.next
	}
	a.spans = slices.Insert(a.spans, at, s)
	a.merge(at)
	return fits
}

// merge makes one of the span at and those that touch it.
func (a *assembly) merge(at int) {
	if at+1 < len(a.spans) && a.spans[at].to == a.spans[at+1].from {
		a.spans[at].to = a.spans[at+1].to
		a.spans = slices.Delete(a.spans, at+1, at+2)
	}
	if at > 0 && a.spans[at-1].to == a.spans[at].from {
		a.spans[at-1].to = a.spans[at].to
		a.spans = slices.Delete(a.spans, at, at+1)
	}
}

func (a *assembly) complete() bool {
	return a.total >= 0 && len(a.spans) == 1 && a.spans[0] == span{0, a.total}
}

// lost returns and clears the counts.
func (f *fragments) lost() (list []record.Lost) {
	add := func(reason string, n *uint64) {
		if *n > 0 {
			list = append(list, record.Lost{Place: "fragments", Reason: reason, Count: *n,
				Effect: "packets that came in fragments are not read"})
			*n = 0
		}
	}
	add("expired", &f.expired)
	add("full", &f.evicted)
	add("overlapping", &f.overlapping)
	return list
}
