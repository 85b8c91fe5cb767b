package table

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// DropSums adds up drops over batches: by verdict, reason, place, namespace,
// interface, protocol, direction and owner, with the flows of each. What does
// not fit is counted in a row ~other of its verdict, so that the sums always
// equal what came in. It has no clock and is for one goroutine.
type DropSums struct {
	clock
	max    int
	rows   map[dropKey]*dropRow
	other  map[record.Verdict]*dropRow
	flows  int    // flows kept beside all rows
	pids   int    // processes kept beside all rows
	seq    uint64 // of the next row
	folded uint64 // rows that went into other
	total  map[record.Verdict]tally
	lost   lostSums
}

type tally struct{ packets, bytes uint64 }

// clock is the time as the batches tell it.
type clock struct {
	host       string
	start, end time.Time
	last       time.Duration // length of the last interval
	epoch      uint64        // its number
}

// tick takes the time of b. Batches of the same interval, as a recording has
// them where a live batch was too large, count as one.
func (c *clock) tick(b *record.Batch) {
	if c.epoch == 0 {
		c.start = b.Start
	}
	last := b.End.Sub(b.Start)
	if c.epoch == 0 || !b.End.Equal(c.end) || last != c.last {
		c.epoch++
	}
	c.end, c.last = b.End, last
}

// span is the time that rates are taken over, and that an interval's numbers
// are of.
func (c *clock) span(once bool) time.Duration {
	if once {
		return c.end.Sub(c.start)
	}
	return c.last
}

type dropKey struct {
	verdict                     record.Verdict
	reason, subsystem, location string
	netns                       uint32
	ifname, proto               string
	direction                   record.Direction
	comm, container             string
}

// tuple is a flow within a row; the protocol is the row's.
type tuple struct {
	src, dst     netip.Addr
	sport, dport uint16
}

type dropRow struct {
	key     dropKey
	seq     uint64
	sum     tally
	recent  uint64 // packets of the interval epoch
	epoch   uint64
	seen    time.Time
	latest  record.Drop // for names, owner and explanation
	stack   []string
	isOther bool
	merged  uint64 // rows that an other row stands for

	pids     map[uint32]struct{}
	morePIDs bool // processes did not fit
	flows    map[tuple]uint64
	more     bool // flows did not fit
	top      tuple
	topped   uint64 // packets of top
	topName  string // of its peer
}

// NewDropSums returns sums of at most maxKeys rows, and of as many flows and
// processes in all of them together, but the first flow of each row; 0 means
// DefaultMaxKeys.
func NewDropSums(maxKeys int) *DropSums {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	return &DropSums{
		max: maxKeys, rows: map[dropKey]*dropRow{}, other: map[record.Verdict]*dropRow{},
		total: map[record.Verdict]tally{},
	}
}

// Add takes the aggregates, the stacks of the samples and the losses of b.
// It keeps strings of b, and changes nothing in it.
func (m *DropSums) Add(b *record.Batch) {
	m.tick(b)
	for i := range b.Drops {
		m.add(&b.Drops[i])
	}
	for i := range b.Samples {
		s := &b.Samples[i]
		if r := m.rows[keyOf(s)]; r != nil && len(s.Stack) > 0 {
			r.stack = s.Stack
		}
	}
	m.lost.add(b.Lost)
}

func keyOf(d *record.Drop) dropKey {
	container := d.ContainerName
	if container == "" {
		container = d.Container
	}
	return dropKey{
		verdict: d.Verdict, reason: d.Reason, subsystem: d.Subsystem, location: d.Location, netns: d.NetNS,
		ifname: d.IfName, proto: d.Proto, direction: d.Direction, comm: d.Comm, container: container,
	}
}

func (m *DropSums) add(d *record.Drop) {
	if m.host == "" {
		m.host = d.Host
	}
	t := m.total[d.Verdict]
	m.total[d.Verdict] = tally{t.packets + d.Packets, t.bytes + d.Bytes}
	key := keyOf(d)
	r := m.rows[key]
	if r == nil {
		if len(m.rows) >= m.max {
			m.fold()
		}
		m.seq++
		r = &dropRow{key: key, seq: m.seq, flows: map[tuple]uint64{}}
		m.rows[key] = r
	}
	r.count(d.Packets, d.Bytes, m.epoch)
	r.seen = m.end
	r.latest = *d
	r.latest.Stack, r.latest.Packet = nil, nil
	m.pid(r, d.PID)
	m.flow(r, d)
}

func (m *DropSums) pid(r *dropRow, pid uint32) {
	if _, known := r.pids[pid]; known || pid == 0 {
		return
	}
	if m.pids >= m.max {
		r.morePIDs = true
		return
	}
	if r.pids == nil {
		r.pids = map[uint32]struct{}{}
	}
	r.pids[pid] = struct{}{}
	m.pids++
}

func (r *dropRow) count(packets, bytes, epoch uint64) {
	if r.epoch != epoch {
		r.epoch, r.recent = epoch, 0
	}
	r.recent += packets
	r.sum.packets += packets
	r.sum.bytes += bytes
}

func (m *DropSums) flow(r *dropRow, d *record.Drop) {
	if !d.SrcAddr.IsValid() && !d.DstAddr.IsValid() {
		return
	}
	t := tuple{d.SrcAddr, d.DstAddr, d.SrcPort, d.DstPort}
	n, known := r.flows[t]
	if !known {
		if m.flows >= m.max && len(r.flows) > 0 { // the first of a row always fits
			r.more = true
			return
		}
		m.flows++
	}
	n += d.Packets
	r.flows[t] = n
	if n > r.topped || !known && len(r.flows) == 1 {
		if t != r.top {
			r.topName = ""
		}
		r.top, r.topped = t, n
	}
	if t == r.top {
		r.topName = cmp.Or(d.Name, r.topName)
	}
}

// fold moves the quarter of the rows that were quiet the longest, of those
// the smallest, into the other rows.
func (m *DropSums) fold() {
	rows := m.sorted(func(a, b *dropRow) int {
		return cmp.Or(a.seen.Compare(b.seen), cmp.Compare(a.sum.packets, b.sum.packets), cmp.Compare(a.seq, b.seq))
	})
	for _, r := range rows[:max(len(rows)/4, 1)] {
		o := m.other[r.key.verdict]
		if o == nil {
			o = &dropRow{key: dropKey{verdict: r.key.verdict, reason: "~other"}, isOther: true}
			m.other[r.key.verdict] = o
		}
		recent := uint64(0)
		if r.epoch == m.epoch {
			recent = r.recent
		}
		o.count(0, 0, m.epoch)
		o.recent += recent
		o.sum.packets += r.sum.packets
		o.sum.bytes += r.sum.bytes
		o.merged++
		if r.seen.After(o.seen) {
			o.seen = r.seen
		}
		m.folded++
		m.flows -= len(r.flows)
		m.pids -= len(r.pids)
		delete(m.rows, r.key)
	}
}

func (m *DropSums) sorted(less func(a, b *dropRow) int) []*dropRow {
	rows := make([]*dropRow, 0, len(m.rows))
	for _, r := range m.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, less)
	return rows
}

// all returns every row, the most alarming verdict first, then the fastest,
// then the largest.
func (m *DropSums) all(once bool) []*dropRow {
	rows := m.sorted(func(a, b *dropRow) int { return cmp.Compare(a.seq, b.seq) })
	for _, o := range m.other {
		rows = append(rows, o)
	}
	slices.SortStableFunc(rows, func(a, b *dropRow) int {
		if a.isOther != b.isOther && rank(a.key.verdict) == rank(b.key.verdict) {
			if a.isOther {
				return 1
			}
			return -1
		}
		return cmp.Or(
			cmp.Compare(rank(a.key.verdict), rank(b.key.verdict)),
			cmp.Compare(b.rate(m.epoch, once), a.rate(m.epoch, once)),
			cmp.Compare(b.sum.packets, a.sum.packets), cmp.Compare(a.seq, b.seq))
	})
	return rows
}

// Total says what was lost since the beginning, by verdict.
func (m *DropSums) Total() string {
	var parts []string
	for _, v := range record.Verdicts() {
		if t, ok := m.total[v]; ok && v != record.Benign {
			parts = append(parts, string(v)+" "+count(t.packets))
		}
	}
	return strings.Join(parts, ", ")
}

// Now returns the packets lost in the last interval, benign ones left out, and how
// long that was; with once it is of the whole time.
func (m *DropSums) Now(once bool) (packets uint64, span time.Duration) {
	for _, r := range m.all(once) {
		if r.key.verdict != record.Benign {
			packets += r.rate(m.epoch, once)
		}
	}
	return packets, m.span(once)
}

// rate is the packets that the row's rate is made of.
func (r *dropRow) rate(epoch uint64, once bool) uint64 {
	switch {
	case once:
		return r.sum.packets
	case r.epoch == epoch:
		return r.recent
	}
	return 0
}

// rank is the place of a verdict in the order of alarm. One that is missing
// or not known could be anything, so it ranks as a loss.
func rank(v record.Verdict) int {
	return max(slices.Index(record.Verdicts(), v), 0)
}
