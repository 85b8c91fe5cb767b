package table

import (
	"time"

	"github.com/netfate/netfate/internal/record"
)

// maxRest bounds the rows of a [Remainder] at each step of detail.
const maxRest = 4096

// Remainder adds up batches that a reader has no room for, without addresses:
// the counts stay exact, the detail goes. What has no room in the remainder
// loses its owner next, and then everything but its kind. It belongs to one
// goroutine. The zero value is not ready; see NewRemainder.
type Remainder struct {
	start, end time.Time
	drops      map[dropRest]int // to their places in dropRows
	flows      map[flowRest]int
	methods    map[string]int
	dropRows   []record.Drop
	flowRows   []record.Flow
	countRows  []record.RequestSum
	lost       []record.Lost

	// Rows and Samples are how many rows were added up and how many samples
	// were left out since the last Batch.
	Rows, Samples uint64
	// Single are rows that cannot be added up and are not kept: connections,
	// requests, queries, lines of the ledger.
	Single uint64
}

// ownerRest is an owner, as far as a remainder tells owners apart.
type ownerRest struct {
	pid             uint32
	comm, container string
}

type dropRest struct {
	netns                       uint32
	ifname, proto               string
	reason, subsystem, location string
	verdict                     record.Verdict
	direction                   record.Direction
	owner                       ownerRest
}

type flowRest struct {
	netns         uint32
	ifname, proto string
	direction     record.Direction
	owner         ownerRest
}

// NewRemainder returns an empty remainder.
func NewRemainder() *Remainder {
	return &Remainder{drops: map[dropRest]int{}, flows: map[flowRest]int{}, methods: map[string]int{}}
}

// Empty reports whether there is nothing to tell since the last Batch.
func (r *Remainder) Empty() bool { return r.Len() == 0 && r.Samples == 0 && r.Single == 0 }

// Len returns how many rows the next Batch has.
func (r *Remainder) Len() int {
	return len(r.dropRows) + len(r.flowRows) + len(r.countRows) + len(r.lost)
}

// Add adds b up, and changes nothing in it.
func (r *Remainder) Add(b *record.Batch) {
	if r.Empty() {
		r.start = b.Start
	}
	r.end = b.End
	for i := range b.Drops {
		r.drop(&b.Drops[i])
	}
	for i := range b.Flows {
		r.flow(&b.Flows[i])
	}
	for i := range b.RequestCounts {
		r.count(&b.RequestCounts[i])
	}
	for i := range b.Lost {
		r.loss(&b.Lost[i])
	}
	r.Rows += uint64(len(b.Drops) + len(b.Flows) + len(b.RequestCounts))
	r.Samples += uint64(len(b.Samples))
	r.Single += uint64(len(b.Conns) + len(b.Requests) + len(b.Queries) + len(b.Ledger))
}

// Batch returns what was added, frozen, and empties the remainder.
func (r *Remainder) Batch() *record.Batch {
	b := &record.Batch{Start: r.start, End: r.end, Drops: r.dropRows, Flows: r.flowRows, RequestCounts: r.countRows, Lost: r.lost}
	for i := range b.Drops {
		b.Drops[i].Time = r.end
	}
	for i := range b.Flows {
		b.Flows[i].Time = r.end
	}
	for i := range b.RequestCounts {
		b.RequestCounts[i].Time = r.end
	}
	for i := range b.Lost {
		b.Lost[i].Time = r.end
	}
	*r = *NewRemainder()
	return b
}

func ownerRestOf(o *record.Owner) ownerRest { return ownerRest{o.PID, o.Comm, o.Container} }

func (r *Remainder) drop(d *record.Drop) {
	key := dropRest{
		netns: d.NetNS, ifname: d.IfName, proto: d.Proto,
		reason: d.Reason, subsystem: d.Subsystem, location: d.Location,
		verdict: d.Verdict, direction: d.Direction, owner: ownerRestOf(&d.Owner),
	}
	nobody := key
	nobody.owner = ownerRest{}
	at, row := place(r.drops, len(r.dropRows), key, nobody, dropRest{verdict: d.Verdict})
	if at == len(r.dropRows) {
		n := record.Drop{
			Reason: row.reason, Subsystem: row.subsystem, Location: row.location,
			Verdict: row.verdict, Direction: row.direction,
		}
		n.Endpoints = rest(&d.Endpoints, row.netns, row.ifname, row.proto, row.owner != ownerRest{})
		r.dropRows = append(r.dropRows, n)
	}
	sum := &r.dropRows[at]
	sum.Packets += d.Packets
	sum.Bytes += d.Bytes
	sum.Buffers += d.Buffers
}

func (r *Remainder) flow(f *record.Flow) {
	key := flowRest{
		netns: f.NetNS, ifname: f.IfName, proto: f.Proto, direction: f.Direction, owner: ownerRestOf(&f.Owner),
	}
	nobody := key
	nobody.owner = ownerRest{}
	at, row := place(r.flows, len(r.flowRows), key, nobody, flowRest{})
	if at == len(r.flowRows) {
		n := record.Flow{Direction: row.direction, Other: true, Start: f.Start, End: f.End}
		n.Endpoints = rest(&f.Endpoints, row.netns, row.ifname, row.proto, row.owner != ownerRest{})
		r.flowRows = append(r.flowRows, n)
	}
	addFlow(&r.flowRows[at], f)
}

// count keeps the method of requests that were counted, as the kernel's own
// remainder does.
func (r *Remainder) count(c *record.RequestSum) {
	at, method := place(r.methods, len(r.countRows), c.Method, "")
	if at == len(r.countRows) {
		r.countRows = append(r.countRows, record.RequestSum{Start: c.Start, Host: c.Host, Method: method, Other: true})
	}
	r.countRows[at].Requests += c.Requests
}

func addFlow(sum, f *record.Flow) {
	if f.Start.Before(sum.Start) {
		sum.Start = f.Start
	}
	if f.End.After(sum.End) {
		sum.End = f.End
	}
	sum.PacketsIn += f.PacketsIn
	sum.BytesIn += f.BytesIn
	sum.PacketsOut += f.PacketsOut
	sum.BytesOut += f.BytesOut
	sum.BuffersIn += f.BuffersIn
	sum.BufferBytesIn += f.BufferBytesIn
	sum.BuffersOut += f.BuffersOut
	sum.BufferBytesOut += f.BufferBytesOut
	sum.HostPackets += f.HostPackets
	sum.HostBytes += f.HostBytes
	sum.Drops += f.Drops
	sum.Retransmits += f.Retransmits
}

// place finds the row of the first of keys that has one or may have a new one,
// which is then at next. The last always may: there are few of those.
func place[K comparable](rows map[K]int, next int, keys ...K) (at int, key K) {
	for step, k := range keys {
		if at, ok := rows[k]; ok {
			return at, k
		}
		if last := step == len(keys)-1; last || next < maxRest*(step+1) {
			rows[k] = next
			return next, k
		}
	}
	panic("table: a remainder without keys")
}

// rest is what a remainder keeps of a row's endpoints.
func rest(e *record.Endpoints, netns uint32, ifname, proto string, owned bool) record.Endpoints {
	kept := record.Endpoints{Host: e.Host, NetNS: netns, IfName: ifname, Proto: proto}
	if netns == e.NetNS {
		kept.NetNSName = e.NetNSName
	}
	if owned {
		kept.Owner = e.Owner
	}
	return kept
}

// loss adds up losses of one kind. There are few kinds: they are places in
// netfate.
func (r *Remainder) loss(l *record.Lost) {
	for i := range r.lost {
		if have := &r.lost[i]; have.Place == l.Place && have.Reason == l.Reason && have.Effect == l.Effect {
			have.Count += l.Count
			return
		}
	}
	r.lost = append(r.lost, *l)
}
