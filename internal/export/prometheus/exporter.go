package prometheus

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/record"
)

// DefaultSeries is how many series of each counter there may be, some 7 MB of answer
// if all are used; histograms, of which one has many lines, may have a tenth.
const DefaultSeries = 2000

// Config is what an exporter tells beside what batches hold.
type Config struct {
	// Series bounds the series of each counter; 0 is for DefaultSeries.
	Series int
	Build  Build
	// Sensors returns what the sensors cost; nil if nobody measures.
	Sensors func() []Sensor
	// Exports returns how the exporters fare, this one too; nil tells of this one.
	Exports func() []export.Status
	// Lost returns what was lost since the start; nil adds up what the batches tell.
	Lost func() []record.Lost
}

// Build is what runs where.
type Build struct{ Version, Go, Kernel string }

// Sensor is what one sensor costs.
type Sensor struct {
	Name     string
	Programs int
	Memory   uint64 // bytes in the kernel
	// Runs and Time are of its programs since they were loaded; 0 if nobody counts.
	Runs uint64
	Time time.Duration
}

// Exporter holds the sums. Its methods may be called at the same time.
type Exporter struct {
	cfg      Config
	registry *client.Registry

	mu       sync.Mutex
	families [families]*family
	times    [histograms]*times
	balance  map[[2]string]int64 // of the ledger, by direction and line
	lost     map[[2]string]*record.Lost
	last     time.Time // end of the last batch
	sent     uint64
	blurred  uint64 // rows that are in series of others, with a part of what they are at least
}

// New returns an exporter that has counted nothing.
func New(cfg Config) *Exporter {
	if cfg.Series == 0 {
		cfg.Series = DefaultSeries
	}
	e := &Exporter{cfg: cfg, registry: client.NewPedanticRegistry(), balance: map[[2]string]int64{}, lost: map[[2]string]*record.Lost{}}
	for i, d := range declared() {
		e.families[i] = newFamily(d, cfg.Series)
	}
	for i, d := range declaredHistograms() {
		e.times[i] = newTimes(d, max(cfg.Series/10, 1))
		e.registry.MustRegister(e.times[i].vec)
	}
	e.registry.MustRegister(
		&sums{e}, newHealth(e), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return e
}

// sums collects the counters.
type sums struct{ *Exporter }

// Describe implements client.Collector.
func (s *sums) Describe(out chan<- *client.Desc) {
	for _, f := range s.families {
		for _, d := range f.descs {
			out <- d
		}
	}
}

// Collect implements client.Collector.
func (s *sums) Collect(out chan<- client.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.families {
		f.collect(out)
	}
}

// Batch implements export.Exporter.
func (e *Exporter) Batch(b *record.Batch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	blurred := e.blurred
	each(e, b.Drops, e.drop)
	each(e, b.Flows, e.flow)
	each(e, b.Conns, e.conn)
	each(e, b.Requests, e.request)
	each(e, b.RequestCounts, e.requestCount)
	each(e, b.Queries, e.query)
	each(e, b.Ledger, e.entry)
	for i := range b.Lost {
		e.lose(&b.Lost[i])
	}
	e.sent += export.Rows(b) - (e.blurred - blurred)
	if b.End.After(e.last) {
		e.last = b.End
	}
	return nil
}

// each adds rows, and counts those that had no room of their own.
func each[R any](e *Exporter, rows []R, add func(*R) bool) {
	for i := range rows {
		if !add(&rows[i]) {
			e.blurred++
		}
	}
}

// Close implements export.Exporter.
func (e *Exporter) Close() error { return nil }

// Status implements export.Exporter.
func (e *Exporter) Status() export.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := export.Status{Name: "prometheus", Target: "/metrics", Sent: e.sent}
	if e.blurred > 0 {
		s.Lost = []record.Lost{{
			Time: e.last, Place: "prometheus", Reason: "more series than there may be", Count: e.blurred,
			Effect: "these rows are counted, but in series of " + Other,
		}}
	}
	return s
}

// Handler answers scrapes, in the format that the client asks for.
func (e *Exporter) Handler() http.Handler {
	return promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes})
}

// maxScrapes is how many answers are made at once; others get 503.
const maxScrapes = 4

// WriteFile writes all metrics to a file, in the text format that node_exporter's
// textfile collector reads: without exemplars and native histograms. Readers see the old
// file or the new one.
func (e *Exporter) WriteFile(path string) error {
	if err := client.WriteToTextfile(path, e.registry); err != nil {
		return fmt.Errorf("write the metrics: %w", err)
	}
	return nil
}

func (e *Exporter) drop(d *record.Drop) bool {
	s, whole := e.families[dropFamily].of(key{
		string(d.Verdict), string(d.Direction), d.Reason, place(d.Location), namespace(d.NetNSName), d.IfName,
	})
	s.add(0, d.Packets)
	s.add(1, d.Bytes)
	if d.SrcAddr.IsValid() && d.DstAddr.IsValid() {
		s.exemplar = &exemplar{at: d.Time, packets: d.Packets, src: d.SrcAddr, dst: d.DstAddr, comm: d.Comm}
	}
	if d.Verdict == record.Benign {
		return whole
	}
	owner, known := e.families[ownerFamily].of(ownerKey(&d.Owner))
	owner.add(2, d.Packets)
	return whole && known
}

func ownerKey(o *record.Owner) key { return key{o.Comm, o.ContainerName, o.PodNamespace, o.Pod} }

func (e *Exporter) flow(f *record.Flow) bool {
	whole := true
	for _, way := range []struct {
		direction      record.Direction
		packets, bytes uint64
	}{{record.In, f.PacketsIn, f.BytesIn}, {record.Out, f.PacketsOut, f.BytesOut}} {
		if way.packets == 0 && way.bytes == 0 {
			continue
		}
		s, known := e.families[flowFamily].of(key{string(way.direction), f.Proto, namespace(f.NetNSName), f.IfName})
		s.add(0, way.packets)
		s.add(1, way.bytes)
		whole = whole && known
	}
	if f.HostPackets == 0 && f.HostBytes == 0 && f.Retransmits == 0 {
		return whole
	}
	owner, known := e.families[ownerFamily].of(ownerKey(&f.Owner))
	owner.add(0, f.HostPackets)
	owner.add(1, f.HostBytes)
	owner.add(3, f.Retransmits)
	return whole && known
}

func (e *Exporter) conn(c *record.Conn) bool {
	switch c.Event {
	case record.ConnOpened, record.ConnFailed, record.ConnClosed:
	default:
		return true // goes on: it is counted when it closes
	}
	o := &c.Owner
	s, whole := e.families[connFamily].of(key{
		string(c.Event), string(c.Side), c.ClosedBy, c.Error, o.Comm, o.ContainerName, o.PodNamespace, o.Pod,
	})
	s.add(0, 1)
	k := key{string(c.Side), c.Comm}
	switch {
	case c.Event == record.ConnOpened && !c.Older:
		whole = e.times[connectTimes].observe(k, uint64(c.ConnectMicros), 1, ends(&c.Endpoints)) && whole
	case c.Event == record.ConnClosed:
		s.add(1, c.BytesIn)
		s.add(2, c.BytesOut)
		if c.RTTMicros > 0 {
			whole = e.times[roundTrips].observe(k, uint64(c.RTTMicros), 1, ends(&c.Endpoints)) && whole
		}
	}
	return whole
}

// ends is an exemplar's labels: between whom.
func ends(e *record.Endpoints) client.Labels {
	if !e.SrcAddr.IsValid() || !e.DstAddr.IsValid() {
		return client.Labels{}
	}
	x := exemplar{src: e.SrcAddr, dst: e.DstAddr}
	return x.labels()
}

// Of the 128 characters that an exemplar may have.
const (
	maxHost = 40
	maxPath = 60
	maxName = 100
)

func (e *Exporter) request(r *record.Request) bool {
	status := ""
	if r.Status != 0 {
		status = strconv.Itoa(int(r.Status))
	}
	o, n := &r.Owner, weight(r)
	s, whole := e.families[requestFamily].of(key{
		r.Protocol, string(r.Side), method(r.Method), status, r.Error, o.Comm, o.ContainerName, o.PodNamespace, o.Pod,
	})
	s.add(0, n)
	s.add(1, r.RequestBytes)
	s.add(2, r.ResponseBytes)
	if r.LatencyMicros == 0 {
		return whole
	}
	about := client.Labels{"host_name": cut(r.HostName, maxHost), "path": cut(r.Path, maxPath)}
	return e.times[requestTimes].observe(key{r.Protocol, string(r.Side), r.Comm}, r.LatencyMicros, n, about) && whole
}

func (e *Exporter) requestCount(r *record.RequestSum) bool {
	s, whole := e.families[requestCountFamily].of(key{method(r.Method), r.HostName})
	s.add(0, r.Requests)
	return whole
}

func (e *Exporter) query(q *record.Query) bool {
	o := &q.Owner
	s, whole := e.families[queryFamily].of(key{
		q.Protocol, string(q.Side), q.RCode, q.Error, q.Server, o.Comm, o.ContainerName, o.PodNamespace, o.Pod,
	})
	s.add(0, 1)
	s.add(1, uint64(q.Retries))
	if q.LatencyMicros == 0 {
		return whole
	}
	return e.times[queryTimes].observe(key{q.Protocol, string(q.Side), q.Server}, q.LatencyMicros, 1, client.Labels{"qname": cut(q.QName, maxName)}) && whole
}

// total is the station of the sums of a book of the ledger.
const total = "total"

// entry adds a line of the host's book. Those of namespaces and interfaces are in it.
func (e *Exporter) entry(l *record.Entry) bool {
	if l.Scope != record.HostScope || l.Station != total {
		return true
	}
	direction, whole := string(l.Direction), true
	switch l.Line {
	case record.Merged, record.Waiting, record.Remainder:
		e.balance[[2]string{direction, string(l.Line)}] += l.Packets
		return true
	case record.LostLine:
		var s *series
		s, whole = e.families[ledgerLossFamily].of(key{direction, string(l.Layer), string(l.Verdict), l.What})
		s.correct(0, l.Packets)
	}
	s, _ := e.families[ledgerFamily].of(key{direction, string(l.Line)})
	s.correct(0, l.Packets)
	return whole
}

// maxLost bounds the places and reasons of what was lost, which are ours.
const maxLost = 256

func (e *Exporter) lose(l *record.Lost) {
	k := [2]string{l.Place, l.Reason}
	if _, ok := e.lost[k]; !ok && len(e.lost) >= maxLost {
		k = [2]string{Other, Other}
	}
	if e.lost[k] == nil {
		e.lost[k] = &record.Lost{Place: k[0], Reason: k[1], Effect: l.Effect}
	}
	e.lost[k].Count += l.Count
}

// losses returns what was lost since the start.
func (e *Exporter) losses() (all []record.Lost) {
	if e.cfg.Lost != nil {
		return e.cfg.Lost()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.lost {
		all = append(all, *l)
	}
	return all
}

// exports returns how the exporters fare.
func (e *Exporter) exports() []export.Status {
	if e.cfg.Exports != nil {
		return e.cfg.Exports()
	}
	return []export.Status{e.Status()}
}

// Gather returns all metrics, for those who tell of them otherwise.
func (e *Exporter) Gather() ([]*dto.MetricFamily, error) { return e.registry.Gather() }
