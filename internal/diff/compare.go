package diff

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/record"
)

const (
	// enough is the evidence, ln (2·10⁴), at which chance explains that two counts
	// differ in one of 10⁴ comparisons.
	enough = 9.90
	// factor is by how much the rate of a loss has to differ to be told, and
	// trafficFactor that of bytes.
	factor        = 1.5
	trafficFactor = 1.1
	// prior is how many counts the belief is worth that counts do not clump.
	prior = 10
)

// rest is the reason of losses that had no room.
const rest = "~other"

// Report is what differs.
type Report struct {
	Before, After *Side
	// Changes are losses, then flows, then owners. Of losses those that are new come
	// first, then those that are gone, then those whose rate changed; each the most
	// alarming first. Flows and owners are ordered by how many bytes a second they
	// differ.
	Changes []record.Change
	// Same is how many places lose as much by time as before, as far as chance lets
	// one tell.
	Same int
	// Hidden is how many flows and owners Config.Rows left out.
	Hidden int
}

// Compare returns what differs between two sides, which are closed.
func Compare(before, after *Side, cfg Config) *Report {
	r := &Report{Before: before, After: after}
	r.losses(cfg.Why)
	addTraffic(r, cfg.Rows, pairs(before.flows, after.flows), func(c *record.Change, key flowKey) {
		c.What, c.Proto, c.SrcAddr, c.DstAddr, c.DstPort = record.ChangedFlow, key.proto, key.src, key.dst, key.port
		c.Name = cmp.Or(after.names[key], before.names[key])
	})
	addTraffic(r, cfg.Rows, pairs(before.owners, after.owners), func(c *record.Change, key ownerKey) {
		c.What, c.Comm, c.Container = record.ChangedOwner, key.comm, key.container
	})
	return r
}

// pair is a key on both sides.
type pair[K comparable] struct {
	key           K
	other         bool
	before, after tally
}

// place is a place that loses packets, by what it is called on both sides.
type place struct {
	lossKey
	netns string
}

func pairs[K comparable](before, after *sums[K]) []pair[K] {
	list := make([]pair[K], 0, len(before.rows)+len(after.rows)+1)
	for key, row := range before.rows {
		p := pair[K]{key: key, before: *row}
		if row := after.rows[key]; row != nil {
			p.after = *row
		}
		list = append(list, p)
	}
	for key, row := range after.rows {
		if before.rows[key] == nil {
			list = append(list, pair[K]{key: key, after: *row})
		}
	}
	if before.rest != (tally{}) || after.rest != (tally{}) {
		list = append(list, pair[K]{other: true, before: before.rest, after: after.rest})
	}
	return list
}

// named is the losses of a side by the names of their namespaces, of which
// several may be called the same.
func (s *Side) named() *sums[place] {
	named := &sums[place]{rows: map[place]*tally{}, rest: s.losses.rest}
	for key, row := range s.losses.rows {
		at := place{key, s.netnsName(key.netns)}
		at.lossKey.netns = 0
		if named.rows[at] == nil {
			named.rows[at] = &tally{}
		}
		named.rows[at].join(row)
	}
	return named
}

// about is a drop at a place, of either side.
func (r *Report) about() map[place]record.Drop {
	about := map[place]record.Drop{}
	for _, s := range []*Side{r.Before, r.After} {
		for key, d := range s.why {
			at := place{key, s.netnsName(key.netns)}
			at.lossKey.netns = 0
			about[at] = d
		}
	}
	return about
}

func (r *Report) losses(why func(record.Drop) string) {
	about := r.about()
	for _, p := range pairs(r.Before.named(), r.After.named()) {
		c, same := r.loss(&p)
		if same {
			r.Same++
			continue
		}
		if d, ok := about[p.key]; ok && why != nil && !p.other {
			c.Why = why(d)
		}
		r.Changes = append(r.Changes, c)
	}
	order := []string{record.ChangeNew, record.ChangeGone, record.ChangeMore, record.ChangeLess}
	slices.SortFunc(r.Changes, func(a, b record.Change) int {
		return cmp.Or(
			cmp.Compare(min(slices.Index(order, a.Change), 2), min(slices.Index(order, b.Change), 2)),
			boolCompare(a.Chance, b.Chance),
			cmp.Compare(slices.Index(record.Verdicts(), a.Verdict), slices.Index(record.Verdicts(), b.Verdict)),
			cmp.Compare(b.PacketsBefore+b.PacketsAfter, a.PacketsBefore+a.PacketsAfter),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Subsystem, b.Subsystem), cmp.Compare(a.Location, b.Location),
			cmp.Compare(a.NetNSName, b.NetNSName), cmp.Compare(a.IfName, b.IfName))
	})
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// loss makes a change of a place that loses packets, or says that there is none.
func (r *Report) loss(p *pair[place]) (c record.Change, same bool) {
	c = r.change(&p.before, &p.after)
	c.Change = r.direction(p.before.packets, p.after.packets)
	evidence := r.evidence(&p.before, &p.after)
	switch {
	case c.Change == "":
		return c, true
	case c.Change == record.ChangeNew, c.Change == record.ChangeGone:
		c.Chance = evidence < enough
	case evidence < enough, r.ratio(p.before.packets, p.after.packets) < factor:
		return c, true
	}
	c.What = record.ChangedLoss
	if p.other {
		c.Reason = rest
		return c, false
	}
	c.Verdict, c.Reason, c.Subsystem, c.Location = p.key.verdict, p.key.reason, p.key.subsystem, p.key.function
	c.NetNSName, c.IfName = p.key.netns, p.key.ifname
	return c, false
}

// change is the numbers of a change.
func (r *Report) change(before, after *tally) record.Change {
	return record.Change{
		Time: r.After.End, Host: cmp.Or(r.After.Host, r.Before.Host),
		PacketsBefore: before.packets, BytesBefore: before.bytes, BeforeMicros: uint64(r.Before.Span.Microseconds()),
		PacketsAfter: after.packets, BytesAfter: after.bytes, AfterMicros: uint64(r.After.Span.Microseconds()),
	}
}

// direction is how a number changed, by time; empty if it did not.
func (r *Report) direction(before, after uint64) string {
	was, is := perSecond(before, r.Before.Span), perSecond(after, r.After.Span)
	switch {
	case before == 0 && after == 0:
		return ""
	case before == 0:
		return record.ChangeNew
	case after == 0:
		return record.ChangeGone
	case is > was:
		return record.ChangeMore
	case is < was:
		return record.ChangeLess
	}
	return ""
}

// evidence is how little chance explains that the two rates differ: if they are
// the same, it comes to x with a probability of 2 exp(-x) at most, whatever the
// counts (Chernoff's bound on the binomial distribution that one of them has,
// given their sum). Packets that are lost by tens count as a tenth.
func (r *Report) evidence(before, after *tally) float64 {
	a, b := float64(before.packets), float64(after.packets)
	ta, tb := r.Before.Span.Seconds(), r.After.Span.Seconds()
	if ta <= 0 || tb <= 0 {
		return 0
	}
	sum := a + b
	return (surprise(a, sum*ta/(ta+tb)) + surprise(b, sum*tb/(ta+tb))) / clumping(before, r.Before.Intervals, after, r.After.Intervals)
}

func surprise(n, expected float64) float64 {
	if n == 0 {
		return 0
	}
	return n * math.Log(n/expected)
}

// clumping is how many times the variance of the counts of intervals is that of a
// Poisson process. It is the geometric mean of both sides, since the change that is
// looked for makes one of them clump, too; a side without packets knows nothing.
func clumping(before *tally, n int, after *tally, m int) float64 {
	switch {
	case before.packets == 0:
		return after.clumping(m)
	case after.packets == 0:
		return before.clumping(n)
	}
	return math.Sqrt(before.clumping(n) * after.clumping(m))
}

func (t *tally) clumping(intervals int) float64 {
	n := float64(t.packets)
	spread := t.squares - n*n/float64(max(intervals, 1))
	return max(1, (spread+prior)/(n+prior))
}

// ratio is how many times the lower rate the higher one is, infinity if one is 0.
func (r *Report) ratio(before, after uint64) float64 {
	was, is := perSecond(before, r.Before.Span), perSecond(after, r.After.Span)
	return max(was, is) / min(was, is)
}

// addTraffic adds the rows, at most so many, that differ by the most bytes a
// second. name fills in what the change is of.
func addTraffic[K comparable](r *Report, rows int, list []pair[K], name func(*record.Change, K)) {
	var changes []record.Change
	for i := range list {
		p := &list[i]
		c := r.change(&p.before, &p.after)
		c.Change, c.Other = r.direction(p.before.bytes, p.after.bytes), p.other
		name(&c, p.key)
		if c.Change != "" && r.ratio(p.before.bytes, p.after.bytes) >= trafficFactor {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(a, b record.Change) int {
		return cmp.Or(cmp.Compare(delta(&b), delta(&a)), cmp.Compare(a.Comm, b.Comm), cmp.Compare(a.Container, b.Container),
			a.SrcAddr.Compare(b.SrcAddr), a.DstAddr.Compare(b.DstAddr), cmp.Compare(a.DstPort, b.DstPort), cmp.Compare(a.Proto, b.Proto))
	})
	if rows > 0 && len(changes) > rows {
		r.Hidden += len(changes) - rows
		changes = changes[:rows]
	}
	r.Changes = append(r.Changes, changes...)
}

// delta is by how many bytes a second a change differs.
func delta(c *record.Change) float64 {
	return math.Abs(perSecond(c.BytesAfter, time.Duration(c.AfterMicros)*time.Microsecond) -
		perSecond(c.BytesBefore, time.Duration(c.BeforeMicros)*time.Microsecond))
}

func perSecond(n uint64, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return float64(n) / span.Seconds()
}
