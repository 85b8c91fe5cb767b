package table

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/record"
)

// What requests can be grouped by, beside byProcess and byPeer.
const (
	byPath   = "path"
	byHost   = "host"
	byStatus = "status"
	byMethod = "method"
)

// RequestGroups lists what requests can be grouped by.
func RequestGroups() []string { return []string{byPath, byHost, byStatus, byProcess, byPeer} }

// RequestCountGroups lists what requests can be grouped by that were only counted.
func RequestCountGroups() []string { return []string{byPath, byHost, byMethod} }

// RequestSums adds up requests over batches, grouped one way; paths as
// [http.Template] gives them. What does not fit is counted in a row ~other, so
// that the sums always equal what came in. It has no clock and is for one
// goroutine.
type RequestSums struct {
	clock
	by       string
	counts   bool // no more is known than how many there are
	max      int
	rows     map[requestKey]*requestRow
	other    requestRow
	hasOther bool
	seq      uint64
	folded   uint64
	total    requestTally
	recent   uint64 // requests of the interval epoch
	lost     lostSums
}

// requestKey is the key of a row in any grouping; what does not apply is zero.
type requestKey struct {
	sealed             string // protocol of a connection that cannot be read
	method, host, path string
	status             uint16
	err                string
	peer               netip.Addr
	pid                uint32
	comm, container    string
}

// requestTally is what a row adds up.
type requestTally struct {
	requests, errors uint64
	sealed           uint64 // of requests, how many are connections that cannot be read
	up, down         uint64 // bytes of bodies, and of such connections
	latencies        latencies
}

// requestRow is one row.
type requestRow struct {
	key     requestKey
	seq     uint64
	sum     requestTally
	recent  uint64 // requests of the interval epoch
	epoch   uint64
	seen    time.Time
	isOther bool
}

// NewRequestSums returns sums by one of [RequestGroups], of at most maxKeys
// rows; 0 means DefaultMaxKeys.
func NewRequestSums(by string, maxKeys int) *RequestSums {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	return &RequestSums{by: by, max: maxKeys, rows: map[requestKey]*requestRow{}, other: requestRow{isOther: true}}
}

// NewRequestCounts is [NewRequestSums] by one of [RequestCountGroups], for requests
// that were only counted.
func NewRequestCounts(by string, maxKeys int) *RequestSums {
	m := NewRequestSums(by, maxKeys)
	m.counts = true
	return m
}

// Add takes the requests and the losses of b. It keeps strings of b, and
// changes nothing in it.
func (m *RequestSums) Add(b *record.Batch) {
	before := m.epoch
	m.tick(b)
	if m.epoch != before {
		m.recent = 0
	}
	for i := range b.Requests {
		m.add(&b.Requests[i])
	}
	for i := range b.RequestCounts {
		m.addCount(&b.RequestCounts[i])
	}
	m.lost.add(b.Lost)
}

func (m *RequestSums) add(q *record.Request) {
	m.host = cmp.Or(m.host, q.Host)
	m.recent += m.total.count(q)
	r := m.row(m.keyOf(q))
	r.recent += r.sum.count(q)
}

// row returns the row of a key, for one more request.
func (m *RequestSums) row(key requestKey) *requestRow {
	r := m.rows[key]
	if r == nil {
		if len(m.rows) >= m.max {
			m.fold()
		}
		m.seq++
		r = &requestRow{key: key, seq: m.seq}
		m.rows[key] = r
	}
	r.tick(m.epoch)
	r.seen = m.end
	return r
}

// addCount adds what was counted in the kernel, whose remainder has a method and
// nothing else.
func (m *RequestSums) addCount(c *record.RequestSum) {
	m.host = cmp.Or(m.host, c.Host)
	m.total.requests += c.Requests
	m.recent += c.Requests
	r := &m.other
	switch {
	case m.by == byMethod:
		r = m.row(requestKey{method: c.Method})
	case c.Other:
		m.hasOther = true
		r.tick(m.epoch)
	case m.by == byHost:
		r = m.row(requestKey{host: c.HostName})
	default:
		r = m.row(requestKey{method: c.Method, host: c.HostName, path: c.Path})
	}
	r.sum.requests += c.Requests
	r.recent += c.Requests
}

func (m *RequestSums) keyOf(q *record.Request) requestKey {
	switch m.by {
	case byHost:
		return requestKey{host: q.HostName}
	case byStatus:
		if q.Status == 0 {
			return requestKey{sealed: sealed(q), err: q.Error}
		}
		return requestKey{status: q.Status}
	case byProcess:
		return requestKey{pid: q.PID, comm: q.Comm, container: containerName(&q.Owner)}
	case byPeer:
		if q.Side == record.Server {
			return requestKey{peer: q.SrcAddr}
		}
		return requestKey{peer: q.DstAddr}
	}
	return requestKey{sealed: sealed(q), method: q.Method, host: q.HostName, path: http.Template(q.Path)}
}

// sealed is the protocol of a connection that cannot be read, and empty for a
// request.
func sealed(q *record.Request) string {
	if q.Sealed() {
		return q.Protocol
	}
	return ""
}

func (r *requestRow) tick(epoch uint64) {
	if r.epoch != epoch {
		r.epoch, r.recent = epoch, 0
	}
}

// count adds one record and returns how many requests it stands for.
func (t *requestTally) count(q *record.Request) uint64 {
	n := uint64(max(q.OneIn, 1))
	t.requests += n
	if failed(q) {
		t.errors += n
	}
	if q.Sealed() {
		t.sealed += n
	}
	t.up += n * q.RequestBytes
	t.down += n * q.ResponseBytes
	t.latencies.add(q.LatencyMicros)
	return n
}

// failed reports whether a request counts as an error: there is no whole
// response, or the server could not do what it should have. A client that asks
// for the wrong thing is answered well; a request that was not seen says nothing.
func failed(q *record.Request) bool {
	return q.Status >= 500 || q.Error != "" && q.Error != record.Unasked
}

func (t *requestTally) add(o *requestTally) {
	t.requests += o.requests
	t.errors += o.errors
	t.sealed += o.sealed
	t.up += o.up
	t.down += o.down
	t.latencies.merge(&o.latencies)
}

// fold moves the quarter of the rows that were quiet the longest, of those the
// smallest, into the row ~other.
func (m *RequestSums) fold() {
	rows := m.sorted(func(a, b *requestRow) int {
		return cmp.Or(a.seen.Compare(b.seen), cmp.Compare(a.sum.requests, b.sum.requests), cmp.Compare(a.seq, b.seq))
	})
	m.hasOther = true
	m.other.tick(m.epoch)
	for _, r := range rows[:max(len(rows)/4, 1)] {
		if r.epoch == m.epoch {
			m.other.recent += r.recent
		}
		m.other.sum.add(&r.sum)
		m.folded++
		delete(m.rows, r.key)
	}
}

func (m *RequestSums) sorted(less func(a, b *requestRow) int) []*requestRow {
	rows := make([]*requestRow, 0, len(m.rows)+1)
	for _, r := range m.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, less)
	return rows
}

// all returns every row, the busiest first; ~other is last.
func (m *RequestSums) all(once bool) []*requestRow {
	rows := m.sorted(func(a, b *requestRow) int {
		return cmp.Or(cmp.Compare(b.rate(m.epoch, once), a.rate(m.epoch, once)), cmp.Compare(b.sum.requests, a.sum.requests),
			cmp.Compare(a.seq, b.seq))
	})
	if m.hasOther {
		rows = append(rows, &m.other)
	}
	return rows
}

// rate is the number of requests that the row's rate is made of.
func (r *requestRow) rate(epoch uint64, once bool) uint64 {
	switch {
	case once:
		return r.sum.requests
	case r.epoch == epoch:
		return r.recent
	}
	return 0
}

// name is the row's key as people read it, not yet clean.
func (m *RequestSums) name(r *requestRow) string {
	k := &r.key
	switch {
	case r.isOther:
		return otherName
	case m.by == byHost:
		return cmp.Or(k.host, "(no host)")
	case m.by == byStatus && k.status != 0:
		return strconv.Itoa(int(k.status))
	case m.by == byStatus && k.sealed != "":
		return strings.ToUpper(k.sealed) + " " + cmp.Or(k.err, "(status encrypted)")
	case m.by == byStatus:
		return cmp.Or(k.err, "(no status)")
	case m.by == byProcess:
		return "(no process)"
	case m.by == byPeer && k.peer.IsValid():
		return k.peer.String()
	case m.by == byPeer:
		return "(no address)"
	case k.sealed != "":
		return sealedName(k.sealed, k.host)
	case m.by == byMethod:
		return cmp.Or(k.method, "(in pieces)")
	case k.method == "":
		return "(request not seen)"
	}
	return k.method + " " + k.host + k.path
}

// records returns the sums as records, for the formats that are not tables.
func (m *RequestSums) records() []record.RequestSum {
	var out []record.RequestSum
	for _, r := range m.all(true) {
		k, s := &r.key, &r.sum
		sum := record.RequestSum{
			Time: m.end, Start: m.start, Host: m.host, Protocol: k.sealed, Method: k.method, HostName: k.host, Path: k.path, Status: k.status, Error: k.err,
			Peer: k.peer, PID: k.pid, Comm: k.comm, ContainerName: k.container,
			Requests:  s.requests,
			P50Micros: s.latencies.at(0.5), P95Micros: s.latencies.at(0.95), P99Micros: s.latencies.at(0.99), Other: r.isOther,
		}
		if !m.counts {
			sum.Errors, sum.RequestBytes, sum.ResponseBytes = &s.errors, &s.up, &s.down
		}
		out = append(out, sum)
	}
	return out
}
