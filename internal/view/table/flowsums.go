package table

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// What flows can be grouped by.
const (
	byFlow      = "flow"
	byProcess   = "process"
	byContainer = "container"
	byPeer      = "peer"
	byPort      = "port"
	byInterface = "interface"
)

// FlowSums adds up flows over batches, grouped one way. What does not fit is
// counted in a row of its own, so that the sums always equal what came in.
//
// A packet is in a flow record of each interface that it crosses. By
// interface the records are taken as they are. Otherwise those of one
// conversation (the same two endpoints and protocol) are joined first: its
// total is the host's count, each packet once; what goes in and out is as
// seen from one interface, its owner's if there is one; its owner is whoever
// any of its records names, so that traffic of a container counts as the
// container's on the host's interface too. By process and container a
// conversation within the host is that of both its ends, each as its own
// interface saw it.
//
// It has no clock and is for one goroutine.
type FlowSums struct {
	clock
	by       string
	max      int
	selected bool // see Options.Selected
	captured bool // see Options.Captured
	rows     map[flowKey]*flowRow
	other    flowRow
	hasOther bool
	seq      uint64
	folded   uint64
	total    flowTally // of all rows
	recent   flowTally // of all rows, in the interval epoch
	host     hostTally
	recently hostTally
	lost     lostSums
}

// hostTally is what the host's totals count.
type hostTally struct{ packets, bytes uint64 }

// flowTally is what a row of flows adds up.
type flowTally struct {
	packets, bytes                 uint64 // as the row's total: the host's count, or in and out by interface
	packetsIn, bytesIn             uint64
	packetsOut, bytesOut           uint64
	buffersIn, bufferBytesIn       uint64
	buffersOut, bufferBytesOut     uint64
	hostPackets, hostBytes         uint64
	drops, retransmits, flowsCount uint64
}

func (t *flowTally) add(o *flowTally) {
	t.packets += o.packets
	t.bytes += o.bytes
	t.packetsIn += o.packetsIn
	t.bytesIn += o.bytesIn
	t.packetsOut += o.packetsOut
	t.bytesOut += o.bytesOut
	t.buffersIn += o.buffersIn
	t.bufferBytesIn += o.bufferBytesIn
	t.buffersOut += o.buffersOut
	t.bufferBytesOut += o.bufferBytesOut
	t.hostPackets += o.hostPackets
	t.hostBytes += o.hostBytes
	t.drops += o.drops
	t.retransmits += o.retransmits
	t.flowsCount += o.flowsCount
}

// tallyOf is the measures of one record, its own in and out as the total.
func tallyOf(f *record.Flow) flowTally {
	return flowTally{
		packets: f.PacketsIn + f.PacketsOut, bytes: f.BytesIn + f.BytesOut,
		packetsIn: f.PacketsIn, bytesIn: f.BytesIn, packetsOut: f.PacketsOut, bytesOut: f.BytesOut,
		buffersIn: f.BuffersIn, bufferBytesIn: f.BufferBytesIn, buffersOut: f.BuffersOut, bufferBytesOut: f.BufferBytesOut,
		hostPackets: f.HostPackets, hostBytes: f.HostBytes, drops: f.Drops, retransmits: f.Retransmits, flowsCount: 1,
	}
}

// flowKey is the key of a row in any grouping; what does not apply is zero.
type flowKey struct {
	tuple     tuple
	proto     string
	netns     uint32
	ifname    string
	pid       uint32
	comm      string
	container string
}

type flowRow struct {
	key     flowKey
	seq     uint64
	sum     flowTally
	recent  flowTally
	epoch   uint64
	seen    time.Time
	rtt     uint32 // us, of the last interval that knew it
	called  called // the peer
	latest  flowFace
	isOther bool
	merged  uint64
}

// flowFace is what a row shows of its latest record besides counts: half of a
// record's size.
type flowFace struct {
	record.Endpoints
	direction record.Direction
}

// NewFlowSums returns sums by one of [FlowGroups], of at most maxKeys rows; 0
// means DefaultMaxKeys.
func NewFlowSums(by string, maxKeys int) *FlowSums {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	return &FlowSums{by: by, max: maxKeys, rows: map[flowKey]*flowRow{}, other: flowRow{isOther: true}}
}

// Only says that not all records of the host come; see [Options.Selected].
func (m *FlowSums) Only(selected bool) { m.selected = selected }

// Add takes the flows and the losses of b. It keeps strings of b, and changes
// nothing in it.
func (m *FlowSums) Add(b *record.Batch) {
	before := m.epoch
	m.tick(b)
	if m.epoch != before {
		m.recent, m.recently = flowTally{}, hostTally{}
	}
	for i := range b.Flows {
		f := &b.Flows[i]
		if m.clock.host == "" {
			m.clock.host = f.Host
		}
		m.host.packets += f.HostPackets
		m.host.bytes += f.HostBytes
		m.recently.packets += f.HostPackets
		m.recently.bytes += f.HostBytes
	}
	if m.by == byInterface {
		for i := range b.Flows {
			f := &b.Flows[i]
			t := tallyOf(f)
			m.add(flowKey{netns: f.NetNS, ifname: f.IfName}, &conversation{f, f.Name, 0, t}, f.Other && f.IfName == "")
		}
	} else {
		list := conversations(b.Flows, m.by == byProcess || m.by == byContainer)
		for i := range list {
			c := &list[i]
			if m.selected {
				c.tally.packets = c.tally.packetsIn + c.tally.packetsOut
				c.tally.bytes = c.tally.bytesIn + c.tally.bytesOut
			}
			m.add(m.keyOf(c.flow), c, c.flow.Other)
		}
	}
	m.lost.add(b.Lost)
}

// conversation is the records of one batch between the same two endpoints.
type conversation struct {
	flow  *record.Flow // as seen from the best interface, which knows the owner if any does
	name  string       // of any of its records
	rtt   uint32       // us; the best interface's, or any
	tally flowTally
}

// conversationKey is what tells conversations apart.
type conversationKey struct {
	tuple tuple
	proto string
	netns uint32
	other int // of a remainder: its index, as it is no conversation
	owner ownerKey
}

// ownerKey is an end of a conversation by who owns it; zero if nobody does.
type ownerKey struct {
	pid             uint32
	comm, container string
}

// conversations joins the records of a batch, in order of first appearance. By
// owner, each owner has the conversation as its own: where both ends are on
// this host, it is the traffic of both.
func conversations(flows []record.Flow, byOwner bool) []conversation {
	index := make(map[conversationKey]int, len(flows))
	list := make([]conversation, 0, len(flows))
	for i := range flows {
		k := keyOfConversation(&flows[i], i, byOwner)
		at, ok := index[k]
		if !ok {
			at = len(list)
			index[k] = at
			list = append(list, conversation{})
		}
		list[at].join(&flows[i])
	}
	if byOwner {
		return giveToOwners(list, index)
	}
	return list
}

func keyOfConversation(f *record.Flow, i int, byOwner bool) conversationKey {
	if f.Other {
		return conversationKey{other: i + 1}
	}
	k := conversationKey{tuple: canonical(tuple{f.SrcAddr, f.DstAddr, f.SrcPort, f.DstPort}), proto: f.Proto}
	if f.SrcAddr.IsLoopback() || f.DstAddr.IsLoopback() {
		k.netns = f.NetNS // every namespace has its own 127.0.0.1
	}
	if byOwner && f.Known() {
		k.owner = ownerKey{f.PID, f.Comm, f.Container}
	}
	return k
}

// giveToOwners counts, for each owner, what its own interface saw. What the
// records without an owner hold of an owned conversation, on its way through
// the host, goes to one of the owners: the host's count, and the drops.
func giveToOwners(list []conversation, index map[conversationKey]int) []conversation {
	first := make(map[conversationKey]int, len(index)) // of the owned ones, without their owner
	for k, at := range index {
		if k.owner == (ownerKey{}) {
			continue
		}
		c := &list[at].tally
		c.packets, c.bytes = c.packetsIn+c.packetsOut, c.bytesIn+c.bytesOut
		k.owner = ownerKey{}
		if have, ok := first[k]; !ok || at < have {
			first[k] = at
		}
	}
	given := map[int]bool{}
	for k, at := range first {
		if passing, ok := index[k]; ok {
			from, to := &list[passing].tally, &list[at].tally
			to.hostPackets += from.hostPackets
			to.hostBytes += from.hostBytes
			to.drops += from.drops
			to.retransmits += from.retransmits
			given[passing] = true
		}
	}
	kept := list[:0]
	for at := range list {
		if !given[at] {
			kept = append(kept, list[at])
		}
	}
	return kept
}

// join adds a record. The host's counts, drops and retransmits add up over
// interfaces; the counts in and out are taken from one.
func (c *conversation) join(f *record.Flow) {
	t := tallyOf(f)
	c.name, c.rtt = cmp.Or(c.name, f.Name), cmp.Or(c.rtt, f.RTTMicros)
	if c.tally.flowsCount == 0 {
		c.flow, c.tally = f, t
		c.tally.packets, c.tally.bytes = f.HostPackets, f.HostBytes
		return
	}
	sum := c.tally
	better := cmp.Or(
		cmp.Compare(known(&f.Owner), known(&c.flow.Owner)),
		cmp.Compare(f.HostPackets, c.flow.HostPackets),
		cmp.Compare(f.PacketsIn+f.PacketsOut, c.flow.PacketsIn+c.flow.PacketsOut)) > 0
	if better {
		c.flow, c.tally, c.rtt = f, t, cmp.Or(f.RTTMicros, c.rtt)
	}
	c.tally.flowsCount = 1
	c.tally.hostPackets, c.tally.hostBytes = sum.hostPackets+f.HostPackets, sum.hostBytes+f.HostBytes
	c.tally.packets, c.tally.bytes = c.tally.hostPackets, c.tally.hostBytes
	c.tally.drops, c.tally.retransmits = sum.drops+f.Drops, sum.retransmits+f.Retransmits
}

// Now returns what the host carried in the last interval, each packet once, what
// its interfaces received and sent, and how long that interval was; with once it
// is of the whole time.
func (m *FlowSums) Now(once bool) (bytes, packets, in, out uint64, span time.Duration) {
	if once {
		return m.host.bytes, m.host.packets, m.total.bytesIn, m.total.bytesOut, m.span(once)
	}
	return m.recently.bytes, m.recently.packets, m.recent.bytesIn, m.recent.bytesOut, m.span(once)
}

func known(o *record.Owner) int {
	if o.Known() {
		return 1
	}
	return 0
}

// canonical orders the ends of a tuple, so that both directions are one.
func canonical(t tuple) tuple {
	if cmp.Or(t.src.Compare(t.dst), cmp.Compare(t.sport, t.dport)) > 0 {
		return tuple{t.dst, t.src, t.dport, t.sport}
	}
	return t
}

// peer is the remote end: of forwarded traffic the one that was called.
func peer(f *record.Flow) netip.Addr {
	if f.Direction == record.In {
		return f.SrcAddr
	}
	return f.DstAddr
}

func (m *FlowSums) keyOf(f *record.Flow) flowKey {
	switch m.by {
	case byProcess:
		return flowKey{pid: f.PID, comm: f.Comm, container: containerName(&f.Owner)}
	case byContainer:
		return flowKey{container: cmp.Or(containerName(&f.Owner), f.Cgroup)}
	case byPeer:
		return flowKey{tuple: tuple{dst: peer(f)}}
	case byPort:
		return flowKey{proto: f.Proto, tuple: tuple{dport: f.DstPort}}
	}
	k := flowKey{tuple: canonical(tuple{f.SrcAddr, f.DstAddr, f.SrcPort, f.DstPort}), proto: f.Proto}
	if f.SrcAddr.IsLoopback() || f.DstAddr.IsLoopback() {
		k.netns = f.NetNS
	}
	return k
}

func (m *FlowSums) add(key flowKey, c *conversation, other bool) {
	f, t := c.flow, &c.tally
	m.total.add(t)
	m.recent.add(t)
	if other {
		m.hasOther = true
		m.other.merged++
		m.other.count(t, m.epoch, m.end)
		return
	}
	r := m.rows[key]
	if r == nil {
		if len(m.rows) >= m.max {
			m.fold()
		}
		m.seq++
		r = &flowRow{key: key, seq: m.seq}
		m.rows[key] = r
	}
	r.count(t, m.epoch, m.end)
	r.rtt = cmp.Or(c.rtt, r.rtt)
	if m.by == byFlow || m.by == byPeer {
		r.called.add(c.name)
	}
	if r.sum.flowsCount == t.flowsCount || f.Known() && !r.latest.Known() {
		r.latest = flowFace{f.Endpoints, f.Direction}
		return
	}
	// The first record that knew its owner knew best who began, too.
	if f.Known() {
		r.latest.Owner = f.Owner
	}
}

func (r *flowRow) count(t *flowTally, epoch uint64, at time.Time) {
	if r.epoch != epoch {
		r.epoch, r.recent = epoch, flowTally{}
	}
	r.recent.add(t)
	r.sum.add(t)
	if at.After(r.seen) {
		r.seen = at
	}
}

// fold moves the quarter of the rows that were quiet the longest, of those
// the smallest, into the row other.
func (m *FlowSums) fold() {
	rows := m.sorted(func(a, b *flowRow) int {
		return cmp.Or(a.seen.Compare(b.seen), cmp.Compare(a.sum.bytes, b.sum.bytes), cmp.Compare(a.seq, b.seq))
	})
	m.hasOther = true
	for _, r := range rows[:max(len(rows)/4, 1)] {
		if m.other.epoch != m.epoch {
			m.other.epoch, m.other.recent = m.epoch, flowTally{}
		}
		if r.epoch == m.epoch {
			m.other.recent.add(&r.recent)
		}
		m.other.sum.add(&r.sum)
		if r.seen.After(m.other.seen) {
			m.other.seen = r.seen
		}
		m.other.merged++
		m.folded++
		delete(m.rows, r.key)
	}
}

func (m *FlowSums) sorted(less func(a, b *flowRow) int) []*flowRow {
	rows := make([]*flowRow, 0, len(m.rows)+1)
	for _, r := range m.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, less)
	return rows
}

// all returns every row, the fastest first, then the largest; other is last.
func (m *FlowSums) all(once bool) []*flowRow {
	rows := m.sorted(func(a, b *flowRow) int {
		return cmp.Or(
			cmp.Compare(b.speed(m.epoch, once), a.speed(m.epoch, once)),
			cmp.Compare(b.sum.bytes, a.sum.bytes), cmp.Compare(a.seq, b.seq))
	})
	if m.hasOther {
		rows = append(rows, &m.other)
	}
	return rows
}

// speed is the bytes that the row's rate is made of.
func (r *flowRow) speed(epoch uint64, once bool) uint64 {
	switch {
	case once:
		return r.sum.bytes
	case r.epoch == epoch:
		return r.recent.bytes
	}
	return 0
}

// quiet reports whether the row had no packet in the interval epoch.
func (r *flowRow) quiet(epoch uint64) bool {
	return r.epoch != epoch || r.recent.packets == 0 && r.recent.packetsIn == 0 && r.recent.packetsOut == 0 && r.recent.drops == 0
}

// rate is what the row's rates are made of.
func (r *flowRow) rate(epoch uint64, once bool) *flowTally {
	switch {
	case once:
		return &r.sum
	case r.epoch == epoch:
		return &r.recent
	}
	return &flowTally{}
}

// records returns the sums as flow records, for the formats that are not
// tables: the fields of the grouping are filled in, the others are not known.
func (m *FlowSums) records() []record.Flow {
	var out []record.Flow
	for _, r := range m.all(true) {
		f := record.Flow{Start: m.start, End: m.end, Other: r.isOther}
		f.Time, f.Host = m.end, m.clock.host
		l := &r.latest
		switch {
		case r.isOther:
		case m.by == byInterface:
			f.NetNS, f.NetNSName, f.IfName = l.NetNS, l.NetNSName, l.IfName
		case m.by == byProcess:
			f.Owner = l.Owner
		case m.by == byContainer:
			f.Owner = l.Owner
			f.PID, f.Comm, f.UID = 0, "", nil
			if containerName(&l.Owner) != "" {
				f.Cgroup = ""
			}
		case m.by == byPeer:
			f.DstAddr, f.Name = r.key.tuple.dst, r.called.latest
		case m.by == byPort:
			f.Proto, f.DstPort = r.key.proto, r.key.tuple.dport
		}
		s := &r.sum
		f.PacketsIn, f.BytesIn, f.PacketsOut, f.BytesOut = s.packetsIn, s.bytesIn, s.packetsOut, s.bytesOut
		f.BuffersIn, f.BufferBytesIn, f.BuffersOut, f.BufferBytesOut = s.buffersIn, s.bufferBytesIn, s.buffersOut, s.bufferBytesOut
		f.HostPackets, f.HostBytes, f.Drops, f.Retransmits = s.hostPackets, s.hostBytes, s.drops, s.retransmits
		out = append(out, f)
	}
	return out
}
