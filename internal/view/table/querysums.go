package table

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// What queries can be grouped by, beside byProcess.
const (
	byName   = "name"
	byServer = "server"
)

// QueryGroups lists what queries can be grouped by.
func QueryGroups() []string { return []string{byName, byServer, byProcess} }

// maxCodes bounds the response codes told apart in a row.
const maxCodes = 8

// otherName is the row of what did not fit.
const otherName = "~other"

// QuerySums adds up queries over batches, grouped one way. What does not fit is
// counted in a row ~other, so that the sums always equal what came in. It has no
// clock and is for one goroutine.
type QuerySums struct {
	clock
	by       string
	max      int
	rows     map[queryKey]*queryRow
	other    queryRow
	hasOther bool
	seq      uint64
	folded   uint64
	total    queryTally
	recent   uint64 // queries of the interval epoch
	lost     lostSums
}

// queryKey is the key of a row in any grouping; what does not apply is zero. The
// protocols are always told apart.
type queryKey struct {
	protocol, name, server string
	pid                    uint32
	comm, container        string
}

// queryTally is what a row adds up.
type queryTally struct {
	queries, unanswered, failed, malformed, retries uint64
	latencies                                       latencies
	codes                                           []codeCount // in order of first appearance
}

// codeCount is how often a response code came.
type codeCount struct {
	code  string
	count uint64
}

// queryRow is one row.
type queryRow struct {
	key     queryKey
	seq     uint64
	sum     queryTally
	recent  uint64 // queries of the interval epoch
	epoch   uint64
	seen    time.Time
	isOther bool
	merged  uint64
}

// NewQuerySums returns sums by one of [QueryGroups], of at most maxKeys rows; 0
// means DefaultMaxKeys.
func NewQuerySums(by string, maxKeys int) *QuerySums {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	return &QuerySums{by: by, max: maxKeys, rows: map[queryKey]*queryRow{}, other: queryRow{isOther: true}}
}

// Add takes the queries and the losses of b. It keeps strings of b, and changes
// nothing in it.
func (m *QuerySums) Add(b *record.Batch) {
	before := m.epoch
	m.tick(b)
	if m.epoch != before {
		m.recent = 0
	}
	for i := range b.Queries {
		m.add(&b.Queries[i])
	}
	m.lost.add(b.Lost)
}

func (m *QuerySums) add(q *record.Query) {
	m.host = cmp.Or(m.host, q.Host)
	m.total.count(q)
	m.recent++
	key := m.keyOf(q)
	r := m.rows[key]
	if r == nil {
		if len(m.rows) >= m.max {
			m.fold()
		}
		m.seq++
		r = &queryRow{key: key, seq: m.seq}
		m.rows[key] = r
	}
	r.tick(m.epoch)
	r.recent++
	r.seen = m.end
	r.sum.count(q)
}

func (m *QuerySums) keyOf(q *record.Query) queryKey {
	switch m.by {
	case byServer:
		return queryKey{protocol: q.Protocol, server: q.Server}
	case byProcess:
		return queryKey{protocol: q.Protocol, pid: q.PID, comm: q.Comm, container: containerName(&q.Owner)}
	}
	return queryKey{protocol: q.Protocol, name: q.QName}
}

func (r *queryRow) tick(epoch uint64) {
	if r.epoch != epoch {
		r.epoch, r.recent = epoch, 0
	}
}

// count adds one query.
func (t *queryTally) count(q *record.Query) {
	t.queries++
	t.retries += uint64(q.Retries)
	t.latencies.add(q.LatencyMicros)
	switch q.Error {
	case record.Unanswered:
		t.unanswered++
	case record.Malformed, record.CutOff:
		t.malformed++
	}
	if q.RCode != "" && q.RCode != "NOERROR" {
		t.failed++
		t.code(q.RCode, 1)
	}
}

// code counts a failure; the last of maxCodes takes the rest.
func (t *queryTally) code(code string, n uint64) {
	at := slices.IndexFunc(t.codes, func(c codeCount) bool { return c.code == code })
	switch {
	case at >= 0:
	case len(t.codes) == maxCodes:
		at = maxCodes - 1
		t.codes[at].code = otherName
	default:
		at = len(t.codes)
		t.codes = append(t.codes, codeCount{code: code})
	}
	t.codes[at].count += n
}

func (t *queryTally) add(o *queryTally) {
	t.queries += o.queries
	t.unanswered += o.unanswered
	t.failed += o.failed
	t.malformed += o.malformed
	t.retries += o.retries
	t.latencies.merge(&o.latencies)
	for _, c := range o.codes {
		t.code(c.code, c.count)
	}
}

// failures says "NXDOMAIN 3", the most frequent first.
func (t *queryTally) failures() (list []string) {
	codes := slices.Clone(t.codes)
	slices.SortStableFunc(codes, func(a, b codeCount) int { return cmp.Compare(b.count, a.count) })
	for _, c := range codes {
		list = append(list, fmt.Sprintf("%s %d", c.code, c.count))
	}
	return list
}

// fold moves the quarter of the rows that were quiet the longest, of those the
// smallest, into the row ~other.
func (m *QuerySums) fold() {
	rows := m.sorted(func(a, b *queryRow) int {
		return cmp.Or(a.seen.Compare(b.seen), cmp.Compare(a.sum.queries, b.sum.queries), cmp.Compare(a.seq, b.seq))
	})
	m.hasOther = true
	m.other.tick(m.epoch)
	for _, r := range rows[:max(len(rows)/4, 1)] {
		if r.epoch == m.epoch {
			m.other.recent += r.recent
		}
		m.other.sum.add(&r.sum)
		m.other.merged++
		m.folded++
		delete(m.rows, r.key)
	}
}

func (m *QuerySums) sorted(less func(a, b *queryRow) int) []*queryRow {
	rows := make([]*queryRow, 0, len(m.rows)+1)
	for _, r := range m.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, less)
	return rows
}

// all returns every row, the busiest first; ~other is last.
func (m *QuerySums) all(once bool) []*queryRow {
	rows := m.sorted(func(a, b *queryRow) int {
		return cmp.Or(cmp.Compare(b.rate(m.epoch, once), a.rate(m.epoch, once)), cmp.Compare(b.sum.queries, a.sum.queries), cmp.Compare(a.seq, b.seq))
	})
	if m.hasOther {
		rows = append(rows, &m.other)
	}
	return rows
}

// rate is the number of queries that the row's rate is made of.
func (r *queryRow) rate(epoch uint64, once bool) uint64 {
	switch {
	case once:
		return r.sum.queries
	case r.epoch == epoch:
		return r.recent
	}
	return 0
}

// records returns the sums as records, for the formats that are not tables.
func (m *QuerySums) records() []record.QuerySum {
	var out []record.QuerySum
	for _, r := range m.all(true) {
		s := &r.sum
		out = append(out, record.QuerySum{
			Time: m.end, Start: m.start, Host: m.host, Protocol: r.key.protocol, QName: r.key.name, Server: r.key.server,
			PID: r.key.pid, Comm: r.key.comm, ContainerName: r.key.container,
			Queries: s.queries, Unanswered: s.unanswered, Failed: s.failed, RCodes: s.failures(), Malformed: s.malformed, Retries: s.retries,
			P50Micros: s.latencies.at(0.5), P95Micros: s.latencies.at(0.95), P99Micros: s.latencies.at(0.99), Other: r.isOther,
		})
	}
	return out
}
