package table

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Lines draws the table that o asks for: a heading, the rows, what they add
// up to, and whatever is left out or lost.
func (m *FlowSums) Lines(o Options) []string {
	g := grid{columns: m.columns(), signs: o.signs(), colour: o.Colour, memory: o.memory, flat: true}
	rows := m.all(o.Once)
	foot := m.footer(&o, &g.signs)
	shown := rows
	if !o.Once && o.height == 0 {
		// A log of blocks would repeat every flow there ever was.
		shown = slices.DeleteFunc(slices.Clone(rows), func(r *flowRow) bool { return r.quiet(m.epoch) })
	}
	n := len(shown)
	if o.Rows > 0 {
		n = min(n, o.Rows)
	}
	if o.height > 0 {
		// Heading, title, one line for "not shown", one for the cursor.
		n = min(n, max(o.height-len(foot)-4, 1))
	}
	left := m.leftOut(rows, shown[:n], &o)
	for _, r := range shown[:n] {
		g.rows = append(g.rows, row{cells: m.cells(r, &o, &g.signs)})
	}
	title, blocks := g.lines(o.Width)
	lines := []string{g.signs.cut(heading("flows by "+m.by, &m.clock, o.Once, &g.signs), o.Width)}
	if n > 0 {
		lines = append(lines, title)
	}
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	if left != "" {
		lines = append(lines, g.signs.cut(left, o.Width))
	}
	return append(lines, foot...)
}

// leftOut says what is in rows and not in shown.
func (m *FlowSums) leftOut(rows, shown []*flowRow, o *Options) string {
	if len(rows) == len(shown) {
		return ""
	}
	seen := make(map[*flowRow]bool, len(shown))
	for _, r := range shown {
		seen[r] = true
	}
	var rest, total flowTally
	quiet := true
	for _, r := range rows {
		if !seen[r] {
			quiet = quiet && r.quiet(m.epoch)
			rest.add(r.rate(m.epoch, o.Once))
			total.add(&r.sum)
		}
	}
	how := more(len(shown), o)
	if quiet && !o.Once {
		how = "quiet in this interval"
	}
	return fmt.Sprintf("not shown: %s, %s, %s; %s", plural(uint64(len(rows)-len(shown)), "row"), bitRate(rest.bytes, m.span(o.Once)),
		size(total.bytes), how)
}

func (m *FlowSums) columns() []column {
	if m.by == byInterface {
		return []column{
			{title: "INTERFACE", middle: true, min: 16},
			{title: "IN", right: true}, {title: "OUT", right: true},
			{title: "PKT IN", right: true, rank: 2}, {title: "PKT OUT", right: true, rank: 2},
			{title: "BYTES IN", right: true, rank: 3}, {title: "BYTES OUT", right: true, rank: 3},
			{title: "PACKETS IN", right: true, rank: 4}, {title: "PACKETS OUT", right: true, rank: 4},
			{title: "BUFFERS IN", right: true, rank: 5}, {title: "BUFFERS OUT", right: true, rank: 5},
			{title: "DROPS", right: true, rank: 1}, {title: "FLOWS", right: true, rank: 6},
		}
	}
	rate := []column{
		{title: "RATE", right: true}, {title: "PACKETS", right: true, rank: 5},
		{title: "IN", right: true, rank: 7}, {title: "OUT", right: true, rank: 7},
		{title: "TOTAL", right: true, rank: 6}, {title: "DROPS", right: true, rank: 4},
	}
	if m.by == byFlow {
		columns := append([]column{{title: "FLOW", middle: true, min: 30}, nameColumn(2)}, rate...)
		return append(columns,
			column{title: "RTT", right: true, rank: 3}, column{title: "RESENT", right: true, rank: 3},
			column{title: "OWNER", middle: true, min: 14, rank: 1}, column{title: "CONTAINER", middle: true, min: 10, rank: 8},
			column{title: "INTERFACE", middle: true, min: 10, rank: 9})
	}
	key := map[string]string{byProcess: "PROCESS", byContainer: "CONTAINER", byPeer: "PEER", byPort: "PORT"}[m.by]
	columns := append([]column{{title: key, middle: true, min: 24}, nameColumn(1)}, rate...)
	return append(columns, column{title: "RESENT", right: true, rank: 3}, column{title: "FLOWS", right: true, rank: 8})
}

// nameColumn is what a peer is called, beside its address.
func nameColumn(rank int) column {
	return column{title: "NAME", middle: true, min: 16, rank: rank, label: "name "}
}

// someCount leaves a zero out, so that what happened stands out.
func someCount(n uint64) string {
	if n == 0 {
		return "-"
	}
	return count(n)
}

func (m *FlowSums) cells(r *flowRow, o *Options, g *signs) []cell {
	now, span := r.rate(m.epoch, o.Once), m.span(o.Once)
	s := &r.sum
	key := m.keyCell(r, g)
	if m.by == byInterface {
		return []cell{
			key, bitRateCell(now.bytesIn, span), bitRateCell(now.bytesOut, span), perSecondCell(now.packetsIn, span), perSecondCell(now.packetsOut, span),
			sizeCell(s.bytesIn), sizeCell(s.bytesOut), countCell(s.packetsIn), countCell(s.packetsOut),
			countCell(s.buffersIn), countCell(s.buffersOut), someCountCell(s.drops), countCell(now.flowsCount),
		}
	}
	cells := []cell{
		key, r.called.cell(g), bitRateCell(now.bytes, span), perSecondCell(now.packets, span),
		bitRateCell(now.bytesIn, span), bitRateCell(now.bytesOut, span), sizeCell(s.bytes), someCountCell(s.drops),
	}
	var container, at string
	var who cell
	rtt := tookCell(0)
	if !r.isOther {
		rtt = tookCell(uint64(r.rtt))
		who = ownerCell(&r.latest.Owner, "", g)
		container, at = g.clean(containerName(&r.latest.Owner)), g.clean(place(&r.latest.Endpoints))
	}
	if m.by == byFlow {
		return append(cells, rtt, someCountCell(s.retransmits), who, cell{text: container}, cell{text: at})
	}
	return append(cells, someCountCell(s.retransmits), countCell(now.flowsCount))
}

// keyCell names the row.
func (m *FlowSums) keyCell(r *flowRow, g *signs) cell {
	if l := &r.latest; !r.isOther && m.by == byFlow && (l.SrcAddr.IsValid() || l.DstAddr.IsValid()) {
		return flowCell(l.Proto, tuple{l.SrcAddr, l.DstAddr, l.SrcPort, l.DstPort}, arrow(l, &r.sum, g), "", g)
	}
	if !r.isOther && m.by == byProcess && r.latest.Known() {
		container := g.clean(containerName(&r.latest.Owner))
		return ownerCell(&r.latest.Owner, strings.TrimRight(" "+container, " "), g)
	}
	return cell{text: g.clean(m.key(r))}
}

// key is the name of a row that is neither a flow between two addresses nor a
// process, not yet clean.
func (m *FlowSums) key(r *flowRow) string {
	l := &r.latest
	switch {
	case r.isOther && m.captured:
		return "other (did not fit, or cannot be read)"
	case r.isOther:
		return "other (did not fit)"
	case m.by == byInterface:
		return place(&l.Endpoints)
	case m.by == byProcess:
		return "(no process)"
	case m.by == byContainer:
		return cmp.Or(r.key.container, "(no container)")
	case m.by == byPeer && !r.key.tuple.dst.IsValid():
		return "(no address)"
	case m.by == byPeer:
		return endpoint(r.key.tuple.dst, 0)
	case m.by == byPort && r.key.tuple.dport != 0:
		return r.key.proto + " " + strconv.Itoa(int(r.key.tuple.dport))
	}
	return cmp.Or(l.Proto, "(no protocol)")
}

// arrow points where packets went; both ways unless only one end spoke.
func arrow(f *flowFace, s *flowTally, g *signs) string {
	switch {
	case s.packetsIn > 0 && s.packetsOut > 0:
		return g.both
	case (f.direction == record.Out || f.direction == "") && s.packetsOut == 0 && s.packetsIn > 0,
		f.direction == record.In && s.packetsIn == 0 && s.packetsOut > 0:
		return g.from
	}
	return g.to
}

// footer is the lines below the table: losses of our own first, then the
// totals of all rows, shown or not.
func (m *FlowSums) footer(o *Options, g *signs) []string {
	lines := m.lost.lines(o)
	if m.epoch == 0 {
		return lines
	}
	add := func(parts ...string) { lines = append(lines, g.pack("", parts, "; ", o.Width)...) }
	span := m.span(o.Once)
	now, lately := &m.recent, m.recently
	if o.Once {
		now, lately = &m.total, m.host
	}
	since := fmt.Sprintf("since %s UTC (%s)", m.start.UTC().Format("15:04:05"), lasting(m.end.Sub(m.start)))
	if m.by == byInterface {
		add(fmt.Sprintf("all interfaces: in %s, out %s", bitRate(now.bytesIn, span), bitRate(now.bytesOut, span)),
			fmt.Sprintf("%s: in %s, out %s", since, size(m.total.bytesIn), size(m.total.bytesOut)))
	}
	what, all := "host, each packet once", m.host
	if m.selected {
		what, all = "selected", hostTally{m.total.packets, m.total.bytes}
		lately = hostTally{now.packets, now.bytes}
	}
	sum := fmt.Sprintf("%s: %s in %s, %s dropped", since, size(all.bytes), plural(all.packets, "packet"), count(m.total.drops))
	if m.captured {
		what, sum = "capture", strings.TrimSuffix(sum, ", 0 dropped")
	}
	add(fmt.Sprintf("%s: %s, %s", what, bitRate(lately.bytes, span), perSecond(lately.packets, span)), sum)
	if m.folded > 0 {
		add(fmt.Sprintf("%s of the last row did not fit here; what came back begins anew above, sums stay exact", plural(m.folded, "row")))
	}
	return lines
}
