package table

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// dropColumns, in order of their rank: verdict, numbers and reason always
// stay; then whose traffic it is, where it died, who owns it.
func dropColumns() []column {
	return []column{
		{title: "VERDICT"},
		{title: "PACKETS", right: true},
		{title: "RATE", right: true},
		{title: "REASON", middle: true, min: 16},
		{title: "WHERE", middle: true, min: 18, rank: 2, label: "at "},
		{title: "FLOW", middle: true, min: 34, rank: 1},
		nameColumn(4),
		{title: "OWNER", middle: true, min: 14, rank: 3},
		{title: "CONTAINER", middle: true, min: 12, rank: 5, label: "container "},
		{title: "INTERFACE", middle: true, min: 14, rank: 6},
		{title: "LAST", right: true, rank: 7, label: "last ", mute: "now"},
		{title: "WHY", rank: 8, first: true},
	}
}

// Lines draws the table that o asks for: a heading, the rows, what they add
// up to, and whatever is hidden, left out or lost.
func (m *DropSums) Lines(o Options) []string {
	g := grid{columns: dropColumns(), signs: o.signs(), colour: o.Colour, memory: o.memory}
	rows := m.all(o.Once)
	shown := rows[:0:0]
	var hidden tally
	kinds := uint64(0)
	for _, r := range rows {
		if r.key.verdict == record.Benign && !o.All {
			hidden.packets += r.sum.packets
			kinds += max(r.merged, 1)
			continue
		}
		shown = append(shown, r)
	}
	foot := m.footer(&o, &g.signs, hidden, kinds)
	limit, room := len(shown), 0
	if o.Rows > 0 {
		limit = min(limit, o.Rows)
	}
	if o.height > 0 {
		// Heading, title, one line for "not shown", one for the cursor.
		room = max(o.height-len(foot)-4, 1)
		limit = min(limit, room)
	}
	for _, r := range shown[:limit] {
		g.rows = append(g.rows, m.row(r, &o, &g.signs))
	}
	title, blocks := g.lines(o.Width)
	lines := []string{g.signs.cut(heading("drops", &m.clock, o.Once, &g.signs), o.Width)}
	if len(blocks) > 0 {
		lines = append(lines, title)
	}
	n, used := 0, 0
	for _, block := range blocks {
		if room > 0 && n == 0 {
			block = block[:min(len(block), room)] // a deep stack does not push the footer out
		}
		if used += len(block); room > 0 && n > 0 && used > room {
			break
		}
		lines = append(lines, block...)
		n++
	}
	if n < len(shown) {
		var rest uint64
		for _, r := range shown[n:] {
			rest += r.sum.packets
		}
		lines = append(lines, g.signs.cut(fmt.Sprintf("not shown: %s, %s; %s", plural(uint64(len(shown)-n), "row"),
			plural(rest, "packet"), more(n, &o)), o.Width))
	}
	return append(lines, foot...)
}

// more says how to see the rows that are not shown.
func more(shown int, o *Options) string {
	if o.Rows > 0 && shown == o.Rows {
		return "a larger -n shows more"
	}
	return "a higher window or -o json shows more"
}

// heading is the first line of a table.
func heading(what string, c *clock, once bool, g *signs) string {
	if c.epoch == 0 {
		return what + ": nothing was seen yet"
	}
	s := what
	if c.host != "" {
		s += " on " + g.clean(c.host)
	}
	s += " at " + c.end.UTC().Format("2006-01-02 15:04:05") + " UTC"
	if once {
		return s + ", rates over " + lasting(c.span(true))
	}
	return s + ", rates over the last " + lasting(c.last)
}

func (m *DropSums) row(r *dropRow, o *Options, g *signs) row {
	verdict, reason := string(r.key.verdict), r.key.reason
	if verdict == "" {
		verdict = "unknown"
	}
	if reason == "" {
		reason = "(no reason)" // kernels before 5.17
	}
	if r.key.subsystem != "" && r.key.subsystem != "core" {
		reason = r.key.subsystem + ":" + reason
	}
	cells := []cell{
		number(g.clean(verdict), float64(rank(r.key.verdict))), countCell(r.sum.packets),
		perSecondCell(r.rate(m.epoch, o.Once), m.span(o.Once)), {text: g.clean(reason)}, {text: g.clean(r.key.location)}, {}, {}, {text: "-"},
		{text: g.clean(containerName(&r.latest.Owner))}, {text: g.clean(r.place())}, number(m.ago(r), m.end.Sub(r.seen).Seconds()), {},
	}
	out := row{cells: cells, paint: paint(rank(r.key.verdict))}
	if r.isOther {
		cells[5].text = fmt.Sprintf("%s that did not fit", plural(r.merged, "row"))
		return out
	}
	cells[4].short = shortSymbol(cells[4].text)
	cells[5], cells[7] = r.flow(g), r.owner(g)
	cells[6].text = g.clean(r.topName)
	if o.Why != nil {
		cells[11].text = g.clean(o.Why(r.latest))
	}
	if o.Stack {
		for _, s := range r.stack {
			out.below = append(out.below, g.clean(s))
		}
	}
	return out
}

// shortSymbol leaves out the offset of symbol+0x1a.
func shortSymbol(s string) func(int) string {
	name, _, _ := strings.Cut(s, "+")
	return func(int) string { return name }
}

func (m *DropSums) ago(r *dropRow) string {
	if d := m.end.Sub(r.seen); d > 0 {
		return lasting(d)
	}
	return "now"
}

// flow is "udp 10.0.0.5:51234 → 10.0.0.9:53 +12": the largest flow, and how
// many more there are.
func (r *dropRow) flow(g *signs) cell {
	more := ""
	if n := len(r.flows) - 1; n > 0 || r.more {
		more = " +" + count(uint64(max(n, 0)))
		if r.more {
			more = " +more"
			if n > 0 {
				more = " +>" + count(uint64(n))
			}
		}
	}
	if len(r.flows) == 0 {
		return cell{text: g.clean(cmp.Or(r.key.proto, "-"))}
	}
	return flowCell(r.key.proto, r.top, g.to, more, g)
}

// flowCell says who talks to whom. In little room it gives up the port that
// was likely chosen at random, the higher one, then the protocol, then the
// middles of the addresses.
func flowCell(proto string, t tuple, arrow, more string, g *signs) cell {
	full := flowText(proto, t, arrow, g) + more
	return cell{text: full, short: func(w int) string {
		if t.sport > 0 && t.dport > 0 {
			if t.sport >= t.dport {
				t.sport = 0
			} else {
				t.dport = 0
			}
		}
		if s := flowText(proto, t, arrow, g) + more; width(s) <= w {
			return s
		}
		s := flowText("", t, arrow, g) + more
		if width(s) <= w {
			return s
		}
		room := w - width(arrow) - 2 - width(more)
		// What one end does not need is the other's.
		left := max(room/2, room-width(g.clean(endpoint(t.dst, t.dport))))
		src := g.shortEndpoint(t.src, t.sport, left)
		return src + " " + arrow + " " + g.shortEndpoint(t.dst, t.dport, room-width(src)) + more
	}}
}

// shortEndpoint is endpoint in at most w cells: the address loses its middle,
// the port stays.
func (g *signs) shortEndpoint(a netip.Addr, port uint16, w int) string {
	s := g.clean(endpoint(a, port))
	if port == 0 || !a.Is6() || width(s) <= w {
		return g.cutMiddle(s, w)
	}
	tail := "]:" + strconv.Itoa(int(port))
	return "[" + g.cutMiddle(g.clean(a.String()), w-1-len(tail)) + tail
}

// namedFlow is "10.0.0.5:51234 → 192.0.2.9:443 (www.example.com)": the name is
// the destination's, or with toDst false the source's.
func namedFlow(e *record.Endpoints, name string, toDst bool, g *signs) string {
	src, dst := g.clean(endpoint(e.SrcAddr, e.SrcPort)), g.clean(endpoint(e.DstAddr, e.DstPort))
	switch {
	case name == "":
	case toDst:
		dst += " (" + g.clean(name) + ")"
	default:
		src += " (" + g.clean(name) + ")"
	}
	return src + " " + g.to + " " + dst
}

func flowText(proto string, t tuple, arrow string, g *signs) string {
	s := g.clean(endpoint(t.src, t.sport)) + " " + arrow + " " + g.clean(endpoint(t.dst, t.dport))
	if proto == "" {
		return s
	}
	return g.clean(proto) + " " + s
}

// owner is "dnsmasq[812] +3": the latest process, and how many more of its
// name there were.
func (r *dropRow) owner(g *signs) cell {
	more := ""
	switch n := len(r.pids) - 1; {
	case r.morePIDs && n > 0:
		more = " +>" + count(uint64(n))
	case n > 0:
		more = " +" + count(uint64(n))
	}
	return ownerCell(&r.latest.Owner, more, g)
}

// ownerCell gives up the end of the name before the number.
func ownerCell(o *record.Owner, more string, g *signs) cell {
	text := ownerName(o, g) + more
	tail := strings.TrimPrefix(text, g.clean(o.Comm))
	return cell{text: text, short: func(w int) string {
		if room := w - width(tail); room > 3 {
			return g.cutEnd(g.clean(o.Comm), room) + tail
		}
		return text
	}}
}

func ownerName(o *record.Owner, g *signs) string {
	switch {
	case o.Comm != "" && o.PID != 0:
		return g.clean(o.Comm) + "[" + strconv.FormatUint(uint64(o.PID), 10) + "]"
	case o.Comm != "":
		return g.clean(o.Comm)
	case o.PID != 0:
		return "[" + strconv.FormatUint(uint64(o.PID), 10) + "]"
	}
	return "-"
}

// containerName is the best name of the owner's container, empty without one.
func containerName(o *record.Owner) string {
	switch {
	case o.Pod != "":
		return o.PodNamespace + "/" + o.Pod
	case o.ContainerName != "":
		return o.ContainerName
	}
	return o.Container
}

// place is "web/eth0 in": namespace, interface, direction.
func (r *dropRow) place() string {
	s := place(&r.latest.Endpoints)
	if r.key.direction != "" {
		s = strings.TrimPrefix(s+" "+string(r.key.direction), "- ")
	}
	return s
}

func place(e *record.Endpoints) string {
	ns := netnsName(e)
	switch {
	case ns == "" && e.IfName == "":
		return "-"
	case ns == "":
		return e.IfName
	case e.IfName == "":
		return ns + "/-"
	}
	return ns + "/" + e.IfName
}

// netnsName is the namespace, by its number if it has no name.
func netnsName(e *record.Endpoints) string {
	if e.NetNSName == "" && e.NetNS != 0 {
		return strconv.FormatUint(uint64(e.NetNS), 10)
	}
	return e.NetNSName
}

// endpoint is "10.0.0.9:53", "[2001:db8::9]:53", or the bare address.
func endpoint(a netip.Addr, port uint16) string {
	switch {
	case !a.IsValid():
		return "?"
	case port == 0:
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

// footer is the lines below the table: losses of our own first.
func (m *DropSums) footer(o *Options, g *signs, hidden tally, kinds uint64) []string {
	lines := m.lost.lines(o)
	if m.epoch == 0 {
		return lines
	}
	var parts []string
	var sum tally
	known := uint64(0)
	for v, t := range m.total {
		if v != record.Benign || o.All {
			sum.packets += t.packets
			sum.bytes += t.bytes
		}
	}
	for _, v := range record.Verdicts() {
		if t, ok := m.total[v]; ok && (v != record.Benign || o.All) {
			parts = append(parts, string(v)+" "+count(t.packets))
			known += t.packets
		}
	}
	if known < sum.packets {
		parts = append(parts, "unknown "+count(sum.packets-known))
	}
	since := fmt.Sprintf("since %s UTC (%s): ", m.start.UTC().Format("15:04:05"), lasting(m.end.Sub(m.start)))
	if sum.packets == 0 {
		lines = append(lines, g.cut(since+"no packet was lost", o.Width))
	} else {
		parts[0] = since + plural(sum.packets, "packet") + " dropped (" + size(sum.bytes) + "): " + parts[0]
		lines = append(lines, g.pack("", parts, g.dot, o.Width)...)
	}
	if hidden.packets > 0 {
		lines = append(lines, g.cut(hiddenNote(hidden.packets, kinds), o.Width))
	}
	if m.folded > 0 {
		lines = append(lines, g.cut(fmt.Sprintf("%s in ~other did not fit; what came back begins anew above, sums stay exact",
			plural(m.folded, "row")), o.Width))
	}
	return lines
}

// harmless says what is hidden.
func harmless(packets, kinds uint64) string {
	return fmt.Sprintf("hidden: %s of %s that harmed nobody (benign)", plural(packets, "packet"), plural(kinds, "kind"))
}

func hiddenNote(packets, kinds uint64) string {
	return harmless(packets, kinds) + "; --all shows them"
}
