package table

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// connKey is what tells the sockets of open connections apart.
type connKey struct {
	netns uint32
	tuple tuple
	side  record.Side
}

// ConnTable is the connections, or the listeners, that were open at the end of
// the last interval. It has no clock and is for one goroutine.
type ConnTable struct {
	clock
	listeners bool
	max       int
	now       []record.Conn
	before    map[connKey]connBytes // what they had moved an interval ago
	omitted   uint64
	lost      lostSums
}

type connBytes struct{ in, out uint64 }

// NewConnTable returns a table of connections, or of listeners, of at most
// maxKeys rows; 0 means DefaultMaxKeys.
func NewConnTable(listeners bool, maxKeys int) *ConnTable {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	return &ConnTable{listeners: listeners, max: maxKeys, before: map[connKey]connBytes{}}
}

// Add takes what b says is open in place of what was.
func (m *ConnTable) Add(b *record.Batch) {
	m.tick(b)
	clear(m.before)
	for i := range m.now {
		c := &m.now[i]
		m.before[keyOfConn(c)] = connBytes{c.BytesIn, c.BytesOut}
	}
	m.now, m.omitted = m.now[:0], 0
	want := record.ConnOpen
	if m.listeners {
		want = record.ConnListens
	}
	for i := range b.Conns {
		c := &b.Conns[i]
		m.host = cmp.Or(m.host, c.Host)
		switch {
		case c.Event != want:
		case len(m.now) == m.max:
			m.omitted++
		default:
			m.now = append(m.now, *c)
		}
	}
	m.lost.add(b.Lost)
}

func keyOfConn(c *record.Conn) connKey {
	return connKey{c.NetNS, tuple{c.SrcAddr, c.DstAddr, c.SrcPort, c.DstPort}, c.Side}
}

// moved is what a connection moved in the last interval.
func (m *ConnTable) moved(c *record.Conn) connBytes {
	was, ok := m.before[keyOfConn(c)]
	if !ok || c.BytesIn < was.in || c.BytesOut < was.out {
		if c.Older {
			return connBytes{} // its bytes are of longer ago
		}
		return connBytes{c.BytesIn, c.BytesOut}
	}
	return connBytes{c.BytesIn - was.in, c.BytesOut - was.out}
}

// Lines draws the table that o asks for.
func (m *ConnTable) Lines(o Options) []string {
	g := grid{columns: m.columns(), signs: o.signs(), colour: o.Colour, memory: o.memory, flat: true}
	m.sort()
	foot := m.lost.lines(&o)
	n := len(m.now)
	if o.Rows > 0 {
		n = min(n, o.Rows)
	}
	if o.height > 0 {
		n = min(n, max(o.height-len(foot)-4, 1)) // heading, title, "not shown", the cursor
	}
	for i := range m.now[:n] {
		g.rows = append(g.rows, m.row(&m.now[i], &g.signs))
	}
	title, blocks := g.lines(o.Width)
	lines := []string{g.signs.cut(heading(m.what(), &m.clock, o.Once, &g.signs), o.Width)}
	if n > 0 {
		lines = append(lines, title)
	} else if m.epoch > 0 {
		lines = append(lines, "none")
	}
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	if left := uint64(len(m.now)-n) + m.omitted; left > 0 {
		lines = append(lines, g.signs.cut(fmt.Sprintf("not shown: %s; %s", plural(left, "row"), more(n, &o)), o.Width))
	}
	return append(lines, foot...)
}

func (m *ConnTable) what() string {
	if m.listeners {
		return "listeners"
	}
	return "open connections"
}

// row is painted if somebody is held up.
func (m *ConnTable) row(c *record.Conn, g *signs) row {
	r := row{cells: m.cells(c, g)}
	recently := !c.CookieTime.IsZero() && c.Time.Sub(c.CookieTime) < cookiesGood
	if m.listeners && (c.Backlog > c.BacklogMax || recently) || c.ZeroWindow {
		r.paint = paint(rank(record.Resource))
	}
	return r
}

// sort puts first what moves the most, or the listener that most wait for.
func (m *ConnTable) sort() {
	slices.SortStableFunc(m.now, func(a, b record.Conn) int {
		if m.listeners {
			return cmp.Or(cmp.Compare(b.Backlog, a.Backlog), cmp.Compare(b.Overflows, a.Overflows), cmp.Compare(a.DstPort, b.DstPort))
		}
		x, y := m.moved(&a), m.moved(&b)
		return cmp.Or(cmp.Compare(y.in+y.out, x.in+x.out), cmp.Compare(b.BytesIn+b.BytesOut, a.BytesIn+a.BytesOut),
			a.Start.Compare(b.Start))
	})
}

func (m *ConnTable) columns() []column {
	if m.listeners {
		return []column{
			{title: "LISTENS ON", middle: true, min: 20},
			{title: "WAITING", right: true}, {title: "ROOM", right: true}, {title: "HANDSHAKES", right: true, rank: 4},
			{title: "OVERFLOWS", right: true}, {title: "COOKIES", right: true, rank: 3},
			{title: "OWNER", middle: true, min: 14, rank: 1}, {title: "CONTAINER", middle: true, min: 10, rank: 5},
			{title: "NETNS", middle: true, min: 8, rank: 2},
		}
	}
	return []column{
		{title: "CONNECTION", middle: true, min: 30}, nameColumn(3),
		{title: "STATE", rank: 4},
		{title: "IN", right: true}, {title: "OUT", right: true},
		{title: "RTT", right: true}, {title: "RESENT", right: true, rank: 1},
		{title: "OWNER", middle: true, min: 14, rank: 2},
		{title: "AGE", right: true, rank: 5},
		{title: "TOTAL IN", right: true, rank: 6}, {title: "TOTAL OUT", right: true, rank: 6},
		{title: "RTT MIN", right: true, rank: 7}, {title: "CONNECT", right: true, rank: 7},
		{title: "HELD UP", right: true, rank: 8},
		{title: "CONTAINER", middle: true, min: 10, rank: 9}, {title: "NETNS", middle: true, min: 8, rank: 10},
	}
}

func (m *ConnTable) cells(c *record.Conn, g *signs) []cell {
	owner, container, at := ownerCell(&c.Owner, "", g), g.clean(containerName(&c.Owner)), g.clean(netnsName(&c.Endpoints))
	if m.listeners {
		return []cell{
			{text: g.clean(endpoint(c.DstAddr, c.DstPort))}, countCell(c.Backlog), countCell(c.BacklogMax), someCountCell(c.SynQueue),
			someCountCell(c.Overflows), number(cookies(c), float64(c.CookieTime.Unix())), owner, {text: container}, {text: at},
		}
	}
	moved, span := m.moved(c), m.span(false)
	age := number(lasting(c.Time.Sub(c.Start)), c.Time.Sub(c.Start).Seconds())
	if c.Older {
		age.text = ">" + age.text
	}
	key := flowCell("", tuple{c.SrcAddr, c.DstAddr, c.SrcPort, c.DstPort}, g.to, "", g)
	return []cell{
		key, {text: g.clean(c.Name)}, {text: strings.ReplaceAll(g.clean(c.State), "_", " ")}, bitRateCell(moved.in, span), bitRateCell(moved.out, span),
		tookCell(uint64(c.RTTMicros)), resentCell(c.Retransmits, c.SegmentsOut), owner, age, sizeCell(c.BytesIn), sizeCell(c.BytesOut),
		tookCell(uint64(c.RTTMinMicros)), tookCell(uint64(c.ConnectMicros)), tookCell(c.RwndMicros), {text: container}, {text: at},
	}
}

// cookiesGood is how long the kernel takes a SYN cookie for (TCP_SYNCOOKIE_VALID):
// so long a flood of SYNs is not over.
const cookiesGood = 2 * time.Minute

// cookies says when a listener last sent SYN cookies: "3 s ago".
func cookies(c *record.Conn) string {
	if c.CookieTime.IsZero() {
		return "-"
	}
	return lasting(max(c.Time.Sub(c.CookieTime), 0)) + " ago"
}

// resent is the share of segments that were sent again: "-", or "3 (0.2%)".
func resent(again, all uint64) string {
	if again == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", count(again), percent(again, all))
}

// percent shows a share: 0.02%, 1.5%, 100%.
func percent(part, all uint64) string {
	if all == 0 {
		return "-"
	}
	x := 100 * float64(part) / float64(all)
	switch {
	case part == 0:
		return "0%"
	case x < 0.01:
		return "<0.01%"
	case x < 0.1:
		return fmt.Sprintf("%.2f%%", x)
	case x < 9.95:
		return fmt.Sprintf("%.1f%%", x)
	}
	return fmt.Sprintf("%.0f%%", x)
}
