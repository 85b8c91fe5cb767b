package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/sensor/drop"
	"github.com/netfate/netfate/internal/sensor/flow"
	"github.com/netfate/netfate/internal/sensor/owner"
	"github.com/netfate/netfate/internal/table"
)

// live is the feed from this host's kernel. It belongs to the pump.
type live struct {
	cfg       Config
	names     *names
	owners    *owner.Sensor // nil if nothing that is asked for has owners
	drops     *drop.Sensor  // nil if not asked for
	flows     *flow.Sensor  // nil if not asked for
	conns     conns         // its sensor is nil if not asked for
	queries   queries       // likewise
	requests  requests      // likewise
	plaintext plaintext     // likewise
	counts    requestCounts // likewise
	books     books         // its reader likewise
	peers     peers         // names nobody if not asked for

	dropTable *table.Drops
	flowTable *table.Flows
	clock     kernel.Clock
	tick      uint64 // ns a jiffy

	event   decode.Sample
	samples []decode.Sample // that wait for their names
	omitted uint64          // samples of this interval beyond maxSamples
	rows    []flowRow
	places  placeless // of this interval's drops
	missing []string  // what is not watched, and why
	meter   meter     // measures nothing if not asked for
	over    bool      // the sensors are off: the next Roll is the last
}

// flowRow is a row of the flow sensor that waits for its interface's class,
// which says how its bytes count.
type flowRow struct {
	key    decode.FlowKey
	count  decode.FlowCount
	waited int // intervals
}

const (
	// follow is how often the ring is looked at: nobody is woken for it.
	follow = 100 * time.Millisecond
	// maxWait is how many intervals a row of flows waits for its interface to be
	// found: on a busy host that takes longer than one allows.
	maxWait = 3
	// lastLooks and lastTime bound how often, and for how long, names are looked up
	// before the last rows are counted: those of an interface that is gone never
	// will be known.
	lastLooks = 10
	lastTime  = 3 * time.Second
	// maxSamples bounds the events kept in one interval, some 10 MB.
	maxSamples = 20_000
)

// Follow implements feed.
func (l *live) Follow(ctx context.Context, until time.Time) error {
	for now := time.Now(); ctx.Err() == nil && now.Before(until); now = time.Now() {
		next := now.Add(follow)
		if until.Before(next) {
			next = until
		}
		if err := l.listen(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// listen reads samples until next, and lets the programs take as many again;
// then it reads what connections have done meanwhile.
func (l *live) listen(ctx context.Context, next time.Time) error {
	if l.drops == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(next)):
		}
	} else {
		if err := l.drops.Allow(l.cfg.Samples); err != nil {
			return err
		}
		if err := l.readSamples(next); err != nil {
			return err
		}
	}
	return l.readEvents()
}

// readEvents reads the rings of those sensors that tell single events.
func (l *live) readEvents() error {
	if l.conns.sensor != nil {
		if err := l.conns.read(); err != nil {
			return err
		}
	}
	if l.queries.sensor != nil {
		if err := l.queries.read(l); err != nil {
			return err
		}
	}
	if l.requests.sensor == nil {
		return nil
	}
	if err := l.requests.read(l); err != nil || l.plaintext.sensor == nil {
		return err
	}
	return l.plaintext.read(l)
}

func (l *live) readSamples(until time.Time) error {
	for {
		ok, err := l.drops.Next(until, &l.event)
		if err != nil || !ok {
			return err
		}
		if len(l.samples) >= maxSamples {
			l.omitted++
			continue
		}
		l.samples = append(l.samples, decode.Sample{
			DropEvent: l.event.DropEvent, Packet: slices.Clone(l.event.Packet), Stack: slices.Clone(l.event.Stack),
		})
	}
}

// Stop implements feed.
func (l *live) Stop() error {
	var errs []error
	l.books.end(context.Background(), l.names, time.Now()) // while the sensors still see what is counted
	if l.drops != nil {
		errs = append(errs, l.drops.Detach(), l.readSamples(time.Now()))
	}
	if l.flows != nil {
		errs = append(errs, l.flows.Detach())
	}
	if l.conns.sensor != nil {
		errs = append(errs, l.conns.end(), l.conns.sensor.Detach())
	}
	if l.queries.sensor != nil {
		errs = append(errs, l.queries.sensor.Detach())
	}
	if l.requests.sensor != nil {
		errs = append(errs, l.requests.sensor.Detach())
	}
	if l.plaintext.sensor != nil {
		errs = append(errs, l.plaintext.sensor.Detach())
	}
	if l.counts.sensor != nil {
		errs = append(errs, l.counts.sensor.Detach())
	}
	l.over = true
	// What was counted is in both generations; the first poll of each is
	// done here, the second by the Roll that follows.
	return errors.Join(append(errs, l.poll())...)
}

// Roll implements feed.
func (l *live) Roll(ctx context.Context, start, end time.Time) (*record.Batch, error) {
	l.clock = kernel.ReadClock()
	began := time.Now()
	if err := l.poll(); err != nil {
		return nil, err
	}
	l.books.end(ctx, l.names, began)
	if l.conns.sensor != nil {
		if err := l.conns.end(); err != nil {
			return nil, err
		}
	}
	b := &record.Batch{Start: start.UTC(), End: end.UTC()}
	if l.queries.sensor != nil {
		if err := l.queries.read(l); err != nil {
			return nil, err
		}
		l.rollPeers(b)
	}
	if l.requests.sensor != nil {
		if err := l.requests.read(l); err != nil {
			return nil, err
		}
		l.requests.roll(b, l.over)
	}
	if l.plaintext.sensor != nil {
		if err := l.plaintext.read(l); err != nil {
			return nil, err
		}
		l.plaintext.roll(b, l.over)
	}
	selectPackets(b, l.cfg.Filter)
	l.want()
	l.wantQueries(b.Queries)
	l.wantRequests(b.Requests)
	l.lookUp(ctx)
	if err := l.names.rescan(end); err != nil {
		return nil, err
	}
	l.rollSamples(b)
	lost := l.rollDrops(b)
	l.rollFlows(b, lost)
	l.rollConns(b)
	l.nameQueries(b.Queries)
	l.nameRequests(b.Requests)
	l.counts.roll(b, l.names.host)
	l.books.roll(ctx, b, l.names, l.drops != nil)
	if err := l.meter.tick(l, end); err != nil {
		return nil, err
	}
	return l.cfg.Select.apply(b), l.rollLosses(b)
}

// poll reads the kernel's tables into ours.
func (l *live) poll() error {
	if l.drops != nil {
		mono, jiffies, err := l.drops.Moment()
		if err != nil {
			return err
		}
		err = l.drops.Poll(func(k *decode.DropKey, c *decode.DropCount) {
			l.dropTable.Add(k, c, l.mono(c.First, c.Last, mono, jiffies))
		})
		if err != nil {
			return err
		}
	}
	if l.counts.sensor != nil {
		if err := l.counts.read(); err != nil {
			return err
		}
	}
	if l.flows == nil {
		return nil
	}
	return l.flows.Poll(func(k *decode.FlowKey, c *decode.FlowCount) {
		l.rows = append(l.rows, flowRow{key: *k, count: *c})
	})
}

// mono converts jiffies to CLOCK_MONOTONIC ns, given one moment on both. They
// are coarse: a packet is not later than now, and not before the first.
func (l *live) mono(first, last, momentNS, momentJiffies uint64) uint64 {
	at := momentNS + (last-momentJiffies)*l.tick // modulo 2^64, either way
	return min(max(at, first), max(l.clock.Mono, first))
}

// want asks the enrichers for everything that this interval will need, so that
// one refresh finds it.
func (l *live) want() {
	l.findPlaces()
	l.wantConns()
	for i := range l.rows {
		r := &l.rows[i]
		l.names.want(r.key.NetNS, r.key.IfIndex, decode.OwnerRef{Start: r.count.OwnerStart, PID: r.count.PID})
	}
	l.dropTable.Each(func(k *decode.DropKey, d *table.Drop) { l.names.want(l.places.netns(k), k.IfIndex, d.Owner) })
}

// lookUp finds what was asked for; before the last rows are counted, as often as
// it takes to know their interfaces, if that is not too often.
func (l *live) lookUp(ctx context.Context) {
	l.names.refresh(ctx)
	began := time.Now()
	for range lastLooks {
		if !l.over || time.Since(began) > lastTime || !slices.ContainsFunc(l.rows, func(r flowRow) bool { return !l.known(&r) }) {
			return
		}
		l.names.refresh(ctx)
	}
}

// known reports whether it is known how a row counts, or never will be.
func (l *live) known(r *flowRow) bool {
	return r.key.NetNS == 0 || r.key.IfIndex == 0 || l.names.device(r.key.NetNS, r.key.IfIndex).Known
}

// takeKnown takes the rows whose interface is known, or has been waited for long
// enough, and leaves the others for the next interval; with over it takes all.
func takeKnown(rows []flowRow, over bool, known func(*flowRow) bool) (take, left []flowRow) {
	for i := range rows {
		r := &rows[i]
		if over || known(r) || r.waited >= maxWait || len(left) >= maxIdleRows {
			take = append(take, *r)
			continue
		}
		r.waited++
		left = append(left, *r)
	}
	return take, left
}

// startBooks takes the first sample of counters, and forgets what the sensors saw
// before it.
func (l *live) startBooks(ctx context.Context) error {
	if l.books.reader == nil {
		return nil
	}
	if err := l.poll(); err != nil {
		return err
	}
	l.dropTable.Roll(func(*decode.DropKey, *table.Drop) {})
	l.rows = l.rows[:0]
	l.books.begin(ctx, l.names)
	return nil
}

// findPlaces finds the namespaces of drops that come without.
func (l *live) findPlaces() {
	l.places = placeless{}
	l.dropTable.Each(func(k *decode.DropKey, _ *table.Drop) { l.places.want(k) })
	if len(l.places) == 0 {
		return
	}
	for i := range l.rows {
		l.places.addFlow(&l.rows[i].key)
	}
	for pair := range l.names.open {
		l.places.addSocket(&pair)
	}
	l.names.readBound()
	l.places.addBound(l.names.bound)
}

// rollDrops makes records of the drops and returns which pairs lost packets
// that somebody misses.
func (l *live) rollDrops(b *record.Batch) []table.PairDrops {
	var lost []table.PairDrops
	b.Drops = make([]record.Drop, 0, l.dropTable.Len())
	l.dropTable.Roll(func(k *decode.DropKey, d *table.Drop) {
		r := l.drop(k, d.Owner, b.End)
		r.Packets, r.Bytes, r.Buffers = d.Packets, d.Bytes, d.Buffers
		r.TCPFlags = decode.TCPFlags(d.TCPFlags)
		b.Drops = append(b.Drops, r)
		if r.Verdict != record.Benign && k.Flags&decode.DropOther == 0 {
			placed := *k
			placed.NetNS = l.places.netns(k)
			lost = append(lost, table.PairDrops{Pair: table.PairOfDrop(&placed), Packets: d.Packets})
		}
	})
	return lost
}

// drop makes the record of a drop, without its counts.
func (l *live) drop(key *decode.DropKey, o decode.OwnerRef, at time.Time) record.Drop {
	var r record.Drop
	var function string
	placed := *key
	k := &placed
	k.NetNS = l.places.netns(key)
	l.names.endpoints(&r.Endpoints, at, &k.Tuple, k.NetNS, k.IfIndex)
	r.Reason, r.Subsystem = l.names.reasons.Name(k.Reason)
	function, r.Location = l.names.place(k.Location)
	r.Direction = direction(k.Flags, function)
	r.SocketState = decode.SocketState(k.SocketState)
	if o.PID == 0 && r.Direction != record.Forward && k.HasAddrs() {
		pair := table.PairOfDrop(k)
		if l.flowTable != nil {
			o = l.flowTable.Known(pair)
		}
		if o.PID == 0 {
			o, _ = l.names.Owner(&pair)
		}
	}
	r.Owner, r.Name = l.names.owner(o), l.dropPeer(k, o, &r)
	l.names.judge(&r, function)
	return r
}

func (l *live) rollSamples(b *record.Batch) {
	b.Samples = make([]record.Drop, 0, len(l.samples))
	for i := range l.samples {
		e := &l.samples[i]
		r := l.drop(&e.Key, decode.OwnerRef{Start: e.OwnerStart, PID: e.PID}, l.clock.Wall(e.Time))
		r.Sample = true
		r.Packets, r.Bytes, r.Buffers, r.Length = uint64(e.Packets), uint64(e.Bytes), 1, e.Length
		r.TCPFlags = decode.TCPFlags(e.TCPFlags)
		if inner, ok := decode.Inner(e); ok {
			r.InnerProto = inner.Protocol()
			r.InnerSrcAddr, r.InnerDstAddr = inner.SrcAddr(), inner.DstAddr()
			r.InnerSrcPort, r.InnerDstPort = inner.Ports()
		}
		head := e.Head()
		r.PacketLink, r.Packet, r.PacketLength = head.Frame(max(int(l.cfg.Snaplen), decode.PacketLen))
		for _, addr := range e.Stack {
			_, location := l.names.place(addr)
			r.Stack = append(r.Stack, location)
		}
		b.Samples = append(b.Samples, r)
	}
	l.samples = l.samples[:0]
	if l.omitted > 0 {
		b.Lost = append(b.Lost, record.Lost{
			Time: b.End, Place: "samples", Reason: "more in one interval than are kept", Count: l.omitted,
			Effect: "these events are counted, but not shown one by one",
		})
		l.omitted = 0
	}
}

func (l *live) rollFlows(b *record.Batch, lost []table.PairDrops) {
	if l.flows == nil {
		return
	}
	mono, jiffies, err := l.flows.Moment()
	if err != nil {
		mono, jiffies = 0, 0 // then every packet counts as the first of its slot
	}
	all := l.rows
	take, left := all, []flowRow(nil)
	if slices.ContainsFunc(all, func(r flowRow) bool { return !l.known(&r) }) { // seldom
		take, left = takeKnown(all, l.over, l.known)
	}
	for i := range take {
		r := &take[i]
		last := l.mono(r.count.First, r.count.Last, mono, jiffies)
		l.flowTable.Add(&r.key, &r.count, last, l.names.device(r.key.NetNS, r.key.IfIndex))
	}
	l.rows = append(all[:0], left...)
	if len(left) == 0 && cap(l.rows) > maxIdleRows {
		l.rows = nil
	}
	b.Flows = make([]record.Flow, 0, l.flowTable.Len())
	l.flowTable.Roll(l.names, lost, func(f *table.Flow) {
		r := l.flow(f, b.End)
		l.conns.sockets.tell(f, &r, len(b.Flows))
		b.Flows = append(b.Flows, r)
	})
	l.conns.sockets.roll(b.Flows, l.over)
	l.conns.sockets.losses(b)
}

// maxIdleRows bounds the rows whose memory is kept from one interval to the
// next: after a storm it goes back.
const maxIdleRows = 1 << 15

// flow makes the record of a flow.
func (l *live) flow(f *table.Flow, at time.Time) record.Flow {
	r := record.Flow{
		PacketsIn: f.In.Packets, BytesIn: f.In.Bytes, PacketsOut: f.Out.Packets, BytesOut: f.Out.Bytes,
		BuffersIn: f.In.Buffers, BufferBytesIn: f.In.BufferBytes,
		BuffersOut: f.Out.Buffers, BufferBytesOut: f.Out.BufferBytes,
		HostPackets: f.HostPackets, HostBytes: f.HostBytes, Drops: f.Drops, Other: f.Other(),
		TCPFlags: decode.TCPFlags(f.In.TCPFlags | f.Out.TCPFlags),
	}
	t := f.Tuple(f.LocalBegan)
	l.names.endpoints(&r.Endpoints, at, &t, f.NetNS(), f.IfIndex)
	r.Owner = l.names.owner(f.Owner)
	switch {
	case f.Through && !f.Born:
		r.Direction = record.Forward
	case f.LocalBegan:
		r.Direction = record.Out
	default:
		r.Direction = record.In
	}
	r.Start, r.End = l.clock.Wall(f.First()), l.clock.Wall(max(f.In.Last, f.Out.Last))
	r.Name = l.flowPeer(f, &r)
	return r
}

// rollLosses adds what the programs and the caches could not keep.
func (l *live) rollLosses(b *record.Batch) error {
	var readers []func() ([]counting.Loss, error)
	if l.owners != nil {
		readers = append(readers, l.owners.Losses)
	}
	if l.drops != nil {
		readers = append(readers, l.drops.Losses)
	}
	if l.flows != nil {
		readers = append(readers, l.flows.Losses)
	}
	if l.conns.sensor != nil {
		readers = append(readers, l.conns.sensor.Losses)
	}
	if l.queries.sensor != nil {
		readers = append(readers, l.queries.sensor.Losses)
	}
	if l.requests.sensor != nil {
		readers = append(readers, l.requests.sensor.Losses)
	}
	if l.plaintext.sensor != nil {
		readers = append(readers, l.plaintext.sensor.Losses)
	}
	if l.counts.sensor != nil {
		readers = append(readers, l.counts.sensor.Losses)
	}
	if l.names.failed > 0 {
		b.Lost = append(b.Lost, record.Lost{
			Time: b.End, Place: "names", Reason: "not looked up in time or not readable", Count: l.names.failed,
			Effect: "numbers stand where names of some namespaces, interfaces or processes should",
		})
		l.names.failed = 0
	}
	for _, read := range readers {
		losses, err := read()
		if err != nil {
			return err
		}
		for _, loss := range losses {
			b.Lost = append(b.Lost, record.Lost{
				Time: b.End, Place: loss.Place, Reason: loss.Reason, Count: loss.Count, Effect: loss.Effect,
			})
		}
	}
	return nil
}
