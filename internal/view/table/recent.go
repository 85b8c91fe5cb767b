package table

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// MaxRecent bounds the single records that a screen keeps of a kind: some 1 MB.
const MaxRecent = 1000

// Recent is the latest records of a kind R, one by one. It is for one goroutine.
type Recent[R any] struct {
	clock
	what    string
	list    func(*record.Batch) []R
	want    func(*R) bool
	columns []column
	cells   func(*R, *signs) row
	latest  []R    // a ring, of which seq % MaxRecent comes next
	seq     uint64 // records that there were
	lost    lostSums
}

// NewFailures returns the latest connections that failed or broke, with the cells
// that [NewConns] has lines of.
func NewFailures() *Recent[record.Conn] {
	return &Recent[record.Conn]{
		what: "connections that failed or broke", list: func(b *record.Batch) []record.Conn { return b.Conns }, want: broken,
		columns: []column{
			{title: "TIME"}, {title: "EVENT"}, {title: "CONNECTION", middle: true, min: 30}, {title: "WHY", min: 9}, nameColumn(4),
			{title: "AFTER", right: true, rank: 1}, {title: "OWNER", middle: true, min: 14, rank: 2}, {title: "SIDE", rank: 3},
			{title: "RESENT", right: true, rank: 5}, {title: "CONTAINER", middle: true, min: 10, rank: 6}, {title: "NETNS", middle: true, min: 8, rank: 7},
		},
		cells: failureRow,
	}
}

func failureRow(c *record.Conn, g *signs) row {
	after := tookCell(uint64(c.ConnectMicros))
	if c.Event == record.ConnClosed {
		after = tookCell(c.DurationMicros)
	}
	return row{paint: paint(rank(record.Loss)), cells: []cell{
		clockCell(c.Time), {text: string(c.Event)}, flowCell("", tuple{c.SrcAddr, c.DstAddr, c.SrcPort, c.DstPort}, g.to, "", g),
		{text: strings.ReplaceAll(g.clean(c.Error), "_", " ")}, {text: g.clean(c.Name)}, after, ownerCell(&c.Owner, "", g), {text: string(c.Side)},
		resentCell(c.Retransmits, c.SegmentsOut), {text: g.clean(containerName(&c.Owner))}, {text: g.clean(netnsName(&c.Endpoints))},
	}}
}

// NewRecentRequests returns the latest requests.
func NewRecentRequests() *Recent[record.Request] {
	return &Recent[record.Request]{
		what: "latest requests", list: requestsOf, want: func(*record.Request) bool { return true },
		columns: []column{
			{title: "TIME"}, {title: "STATUS", right: true}, {title: "REQUEST", middle: true, min: 24}, {title: "LATENCY", right: true}, {title: "ERROR", min: 8, rank: 1},
			{title: "OWNER", middle: true, min: 14, rank: 2}, {title: "DOWN", right: true, rank: 4}, {title: "UP", right: true, rank: 5},
			{title: "SPOKEN", min: 8, rank: 6}, {title: "CONNECTION", middle: true, min: 30, rank: 3}, {title: "CONTAINER", middle: true, min: 10, rank: 7},
		},
		cells: requestRowOf,
	}
}

func requestRowOf(q *record.Request, g *signs) row {
	status := number("-", 0)
	if q.Status != 0 {
		status = number(strconv.Itoa(int(q.Status)), float64(q.Status))
	}
	r := row{cells: []cell{
		clockCell(cmp.Or(q.Start, q.Time)), status, {text: g.clean(wanted(q))}, tookCell(q.LatencyMicros), {text: g.clean(q.Error)},
		ownerCell(&q.Owner, "", g), sizeCell(q.ResponseBytes), sizeCell(q.RequestBytes), {text: g.clean(spoken(q))},
		flowCell("", tuple{q.SrcAddr, q.DstAddr, q.SrcPort, q.DstPort}, g.to, "", g), {text: g.clean(containerName(&q.Owner))},
	}}
	if failed(q) {
		r.paint = paint(rank(record.Loss))
	}
	return r
}

// NewRecentQueries returns the latest questions of DNS.
func NewRecentQueries() *Recent[record.Query] {
	return &Recent[record.Query]{
		what: "latest queries", list: queriesOf, want: func(*record.Query) bool { return true },
		columns: []column{
			{title: "TIME"}, {title: "RESULT", min: 10}, {title: "NAME", middle: true, min: 20}, {title: "TYPE"}, {title: "LATENCY", right: true},
			{title: "SERVER", middle: true, min: 12, rank: 2}, {title: "OWNER", middle: true, min: 14, rank: 1}, {title: "ANSWERS", min: 16, rank: 3},
			{title: "RETRIES", right: true, rank: 4}, {title: "PROTO", rank: 5}, {title: "CONTAINER", middle: true, min: 10, rank: 6},
		},
		cells: queryRowOf,
	}
}

func queryRowOf(q *record.Query, g *signs) row {
	result := strings.TrimSpace(q.RCode + " " + q.Error)
	r := row{cells: []cell{
		clockCell(cmp.Or(q.Start, q.Time)), {text: g.clean(result)}, {text: g.clean(cmp.Or(q.QName, noName))}, {text: g.clean(q.QType)}, tookCell(q.LatencyMicros),
		{text: g.clean(q.Server)}, ownerCell(&q.Owner, "", g), {text: g.clean(strings.Join(q.Answers, " "))}, someCountCell(uint64(q.Retries)),
		{text: g.clean(q.Protocol)}, {text: g.clean(containerName(&q.Owner))},
	}}
	if q.Error != "" || q.RCode != "" && q.RCode != "NOERROR" {
		r.paint = paint(rank(record.Refused))
	}
	return r
}

func clockCell(t time.Time) cell {
	return number(t.UTC().Format("15:04:05.000"), float64(t.UnixMicro()))
}

// Add takes the records of b, and keeps strings of it.
func (m *Recent[R]) Add(b *record.Batch) {
	m.tick(b)
	m.lost.add(b.Lost)
	list := m.list(b)
	for i := range list {
		switch r := &list[i]; {
		case !m.want(r):
			continue
		case len(m.latest) < MaxRecent:
			m.latest = append(m.latest, *r)
		default:
			m.latest[m.seq%MaxRecent] = *r
		}
		m.seq++
	}
}

// Sheet returns them, the latest first, each with all its fields.
func (m *Recent[R]) Sheet(o Options) *Sheet {
	g := o.signs()
	lost := m.lost.lines(&o)
	foot := lost
	if m.seq > 0 {
		all := plural(m.seq, "row") + " since " + m.start.UTC().Format("15:04:05") + " UTC"
		if m.seq > MaxRecent {
			all += ", of which the last " + strconv.Itoa(MaxRecent) + " are here"
		}
		foot = append(lost[:len(lost):len(lost)], g.cut(all, o.Width))
	}
	head, _, _ := strings.Cut(heading(m.what, &m.clock, true, &g), ", rates over")
	s := newSheet(head, m.columns, lost, foot, &o)
	for n := range uint64(len(m.latest)) {
		seq := m.seq - 1 - n
		rec := m.latest[seq%MaxRecent]
		s.add(Row{Key: seq, row: m.cells(&rec, &g), Facts: func() []Fact { return fields(&rec, &g) }})
	}
	return s
}

// fields returns all that a record says.
func fields(rec any, g *signs) []Fact {
	var facts []Fact
	list := record.Fields(rec)
	for i := range list {
		if f := &list[i]; !f.Hidden {
			if text := f.Text(rec); text != "" {
				facts = append(facts, Fact{f.Name, g.clean(text)})
			}
		}
	}
	return facts
}
