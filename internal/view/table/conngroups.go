package table

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// ConnGroups lists what connections can be grouped by.
func ConnGroups() []string { return []string{byProcess, byPeer, byContainer} }

// ConnSums adds up connections, grouped one way: how many opened, failed and
// closed, how long they took, how they fared. What does not fit is counted in
// a row of its own. It has no clock and is for one goroutine.
type ConnSums struct {
	clock
	by    string
	max   int
	rows  map[connGroup]*connRow
	other *connRow
	total connTally
	lost  lostSums
}

type connGroup struct {
	pid             uint32
	comm, container string
	peer            netip.Addr
	port            uint16
	side            record.Side
}

type connRow struct {
	key connGroup
	connTally
	owner        record.Owner
	called       called // the peer
	connect, rtt latencies
	why          map[string]uint64 // failures by their cause
}

type connTally struct {
	opened, failed, closed, broken uint64
	bytesIn, bytesOut              uint64
	segments, retransmits          uint64
}

func (t *connTally) add(c *record.Conn) {
	switch c.Event {
	case record.ConnOpened:
		t.opened++
	case record.ConnFailed:
		t.failed++
	case record.ConnClosed:
		t.closed++
		if c.Error != "" {
			t.broken++
		}
		t.bytesIn += c.BytesIn
		t.bytesOut += c.BytesOut
	}
	if c.Event != record.ConnOpened {
		t.segments += c.SegmentsOut
		t.retransmits += c.Retransmits
	}
}

// NewConnSums returns sums by one of [ConnGroups], of at most maxKeys rows; 0
// means 2,000, which take at most 20 MB.
func NewConnSums(by string, maxKeys int) *ConnSums {
	if maxKeys <= 0 {
		maxKeys = 2000
	}
	return &ConnSums{by: by, max: maxKeys, rows: map[connGroup]*connRow{}}
}

// Add takes what happened to connections in b.
func (m *ConnSums) Add(b *record.Batch) {
	m.tick(b)
	for i := range b.Conns {
		c := &b.Conns[i]
		m.host = cmp.Or(m.host, c.Host)
		if c.Event == record.ConnOpen || c.Event == record.ConnListens {
			continue
		}
		m.total.add(c)
		m.row(c).add(c)
	}
	m.lost.add(b.Lost)
}

func (m *ConnSums) row(c *record.Conn) *connRow {
	key := m.keyOf(c)
	if r := m.rows[key]; r != nil {
		return r
	}
	if len(m.rows) >= m.max {
		if m.other == nil {
			m.other = &connRow{why: map[string]uint64{}}
		}
		return m.other
	}
	r := &connRow{key: key, owner: c.Owner, why: map[string]uint64{}}
	m.rows[key] = r
	return r
}

// keyOf groups peers with the port of the server, whichever side it is.
func (m *ConnSums) keyOf(c *record.Conn) connGroup {
	switch m.by {
	case byContainer:
		return connGroup{container: cmp.Or(containerName(&c.Owner), c.Cgroup)}
	case byPeer:
		k := connGroup{peer: c.DstAddr, port: c.DstPort, side: c.Side}
		if c.Side == record.Server {
			k.peer = c.SrcAddr
		}
		return k
	}
	return connGroup{comm: c.Comm, container: containerName(&c.Owner), pid: c.PID}
}

func (r *connRow) add(c *record.Conn) {
	r.connTally.add(c)
	if c.Known() {
		r.owner = c.Owner
	}
	if r.key.peer.IsValid() {
		r.called.add(c.Name)
	}
	if c.Event == record.ConnOpened && c.ConnectMicros > 0 {
		r.connect.add(uint64(c.ConnectMicros))
	}
	if c.Event == record.ConnClosed && c.RTTMicros > 0 {
		r.rtt.add(uint64(c.RTTMicros))
	}
	if broken(c) {
		r.why[c.Error]++
	}
}

// Lines draws the table that o asks for.
func (m *ConnSums) Lines(o Options) []string {
	g := grid{columns: m.columns(), signs: o.signs(), colour: o.Colour, memory: o.memory, flat: true}
	rows := m.all()
	foot := m.footer(&o, &g.signs)
	n := len(rows)
	if o.Rows > 0 {
		n = min(n, o.Rows)
	}
	if o.height > 0 {
		n = min(n, max(o.height-len(foot)-4, 1))
	}
	for _, r := range rows[:n] {
		g.rows = append(g.rows, m.rowOf(r, &g.signs))
	}
	title, blocks := g.lines(o.Width)
	lines := []string{g.signs.cut(heading("connections by "+m.by, &m.clock, o.Once, &g.signs), o.Width)}
	if n > 0 {
		lines = append(lines, title)
	}
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	if left := uint64(len(rows) - n); left > 0 {
		lines = append(lines, g.signs.cut(fmt.Sprintf("not shown: %s; %s", plural(left, "row"), more(n, &o)), o.Width))
	}
	return append(lines, foot...)
}

// all returns every row, those that failed most first; ~other is last.
func (m *ConnSums) all() []*connRow {
	rows := make([]*connRow, 0, len(m.rows)+1)
	for _, r := range m.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *connRow) int {
		return cmp.Or(cmp.Compare(b.failed+b.broken, a.failed+a.broken), cmp.Compare(b.opened+b.closed, a.opened+a.closed),
			cmp.Compare(a.key.comm, b.key.comm), cmp.Compare(a.key.pid, b.key.pid), a.key.peer.Compare(b.key.peer), cmp.Compare(a.key.port, b.key.port))
	})
	if m.other != nil {
		rows = append(rows, m.other)
	}
	return rows
}

func (m *ConnSums) rowOf(r *connRow, g *signs) row {
	line := row{cells: m.cells(r, g)}
	if r.failed+r.broken > 0 {
		line.paint = paint(rank(record.Loss))
	}
	return line
}

func (m *ConnSums) columns() []column {
	key := map[string]string{byProcess: "PROCESS", byPeer: "PEER", byContainer: "CONTAINER"}[m.by]
	return []column{
		{title: key, middle: true, min: 24}, nameColumn(2),
		{title: "OPENED", right: true}, {title: "FAILED", right: true}, {title: "CLOSED", right: true, rank: 5}, {title: "BROKEN", right: true, rank: 1},
		{title: "CONNECT P50", right: true, rank: 3}, {title: "P95", right: true, rank: 3}, {title: "P99", right: true, rank: 3},
		{title: "RTT P50", right: true, rank: 6}, {title: "P99", right: true, rank: 6},
		{title: "RESENT", right: true, rank: 7},
		{title: "IN", right: true, rank: 8}, {title: "OUT", right: true, rank: 8},
		{title: "WHY", middle: true, min: 12, rank: 4},
	}
}

func (m *ConnSums) cells(r *connRow, g *signs) []cell {
	return []cell{
		m.keyCell(r, g), r.called.cell(g), countCell(r.opened), someCountCell(r.failed), countCell(r.closed), someCountCell(r.broken),
		tookCell(r.connect.at(0.5)), tookCell(r.connect.at(0.95)), tookCell(r.connect.at(0.99)),
		tookCell(r.rtt.at(0.5)), tookCell(r.rtt.at(0.99)), resentCell(r.retransmits, r.segments),
		sizeCell(r.bytesIn), sizeCell(r.bytesOut), {text: causes(r.why, g)},
	}
}

// causes lists why connections failed, the most first: "12 refused, 3 timed out".
func causes(why map[string]uint64, g *signs) string {
	names := make([]string, 0, len(why))
	for name := range why {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(why[b], why[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = count(why[name]) + " " + strings.ReplaceAll(g.clean(name), "_", " ")
	}
	return strings.Join(names, ", ")
}

func (m *ConnSums) keyCell(r *connRow, g *signs) cell {
	switch {
	case r == m.other:
		return cell{text: "~other (did not fit)"}
	case m.by == byPeer:
		to := "to " + endpoint(r.key.peer, r.key.port)
		if r.key.side == record.Server {
			to = "from " + endpoint(r.key.peer, 0) + fmt.Sprintf(" at :%d", r.key.port)
		}
		return cell{text: g.clean(to)}
	case m.by == byContainer:
		return cell{text: g.clean(cmp.Or(r.key.container, "(no container)"))}
	case !r.owner.Known():
		return cell{text: "(no process)"}
	}
	return ownerCell(&r.owner, strings.TrimRight(" "+g.clean(r.key.container), " "), g)
}

func (m *ConnSums) footer(o *Options, g *signs) []string {
	lines := m.lost.lines(o)
	if m.epoch == 0 {
		return lines
	}
	t := &m.total
	return append(lines, g.pack("", []string{
		fmt.Sprintf("all since %s UTC (%s): %d opened, %d failed, %d closed, of which %d broken", m.start.UTC().Format("15:04:05"),
			lasting(m.end.Sub(m.start)), t.opened, t.failed, t.closed, t.broken),
		"resent " + resent(t.retransmits, t.segments),
	}, "; ", o.Width)...)
}
