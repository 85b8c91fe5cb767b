package ledger

import (
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// desk balances one station.
type desk struct {
	station   string
	direction record.Direction
	layer     record.Layer
	unit      string
	lines     []record.Entry
	rest      int64 // what came and did not go yet
}

const (
	packets = "packets"
	buffers = "buffers"
)

func newDesk(station string, direction record.Direction, layer record.Layer, unit string) *desk {
	return &desk{station: station, direction: direction, layer: layer, unit: unit}
}

// add writes a line; one without packets is left out, but for the first and the
// last.
func (d *desk) add(line record.Line, layer record.Layer, what string, n int64, names ...string) *record.Entry {
	if n == 0 && line != record.Remainder && (line != record.Came || len(d.lines) > 0) {
		return &record.Entry{}
	}
	return d.line(line, layer, what, n, names...)
}

// line writes a line whatever it says.
func (d *desk) line(line record.Line, layer record.Layer, what string, n int64, names ...string) *record.Entry {
	if line == record.Came {
		d.rest += n
	} else {
		d.rest -= n
	}
	d.lines = append(d.lines, record.Entry{
		Station: d.station, Direction: d.direction, Layer: layer, Line: line, What: what, Unit: d.unit, Packets: n,
		Counter: strings.Join(names, " "),
	})
	e := &d.lines[len(d.lines)-1]
	if len(names) > 0 && n >= 0 {
		counted := uint64(n)
		e.Counted = &counted
	}
	return e
}

// came, went and the like are add for what a station gets and gives.
func (d *desk) came(what string, n int64, names ...string) {
	d.add(record.Came, d.layer, what, n, names...)
}

func (d *desk) went(line record.Line, what string, n int64, names ...string) {
	d.add(line, d.layer, what, n, names...)
}

// lost writes a loss.
func (d *desk) lost(b *book, l *loss) {
	line := record.LostLine
	if l.benign {
		line = record.Ignored
	}
	n := int64(l.number())
	if d.unit == packets && l.counted == nil {
		n = int64(l.seenPackets)
	}
	if n == 0 && l.seen == 0 {
		return
	}
	e := d.line(line, l.layer, l.what, n) // none is counted though some were seen: that is told too
	e.IfName = l.ifname
	if l.counted != nil {
		e.Counter, e.Counted = strings.Join(l.counters, " "), l.counted
	}
	if b.interval.Watched && (l.most != nil || !unseen(l)) {
		seen := l.seen
		if d.unit == packets && l.station != queue { // whose drops are buffers
			seen = l.seenPackets
		}
		e.Seen = &seen
	}
	b.describe(e, l)
}

// unseen reports whether the drop sensor cannot see a loss: there is no buffer,
// or it is freed as if it were not lost.
func unseen(l *loss) bool {
	return l.layer == record.RingLayer || l.layer == record.XDPLayer || l.layer == record.DriverLayer || l.what == "TCP_LISTEN_OVERFLOW" || l.station == taps && l.counted != nil
}

// close writes what nothing explains, zero too: that is the proof.
func (d *desk) close() *desk {
	d.add(record.Remainder, d.layer, "", d.rest)
	return d
}

// sumUp adds the desks of a direction up: what came from outside, where it ended.
// What one passes to the next is in neither, and the remainder is what is missing
// in the end.
func sumUp(direction record.Direction, desks []*desk) []record.Entry {
	type key struct {
		line record.Line
		what string
	}
	var order []key
	sums := map[key]*record.Entry{}
	for _, d := range desks {
		if d == nil {
			continue
		}
		for i := range d.lines {
			e := &d.lines[i]
			if e.Line == record.Passed || e.Line == record.Remainder || e.Line == record.Came && chained(e) {
				continue
			}
			k := key{e.Line, e.What}
			s := sums[k]
			if s == nil {
				s = &record.Entry{}
				*s = *e
				s.Station, s.Direction, s.Packets, s.Unit, s.IfName = total, direction, 0, buffers, ""
				if e.Line != record.LostLine && e.Line != record.Ignored {
					s.Layer = record.TotalLayer
				}
				s.Counter, s.Counted, s.Seen, s.Evidence = "", nil, nil, nil
				sums[k] = s
				order = append(order, k)
			}
			s.Packets += e.Packets
		}
	}
	sum := newDesk(total, direction, record.TotalLayer, buffers)
	for _, k := range order {
		sum.lines = append(sum.lines, *sums[k])
		if k.line == record.Came {
			sum.rest += sums[k].Packets
		} else {
			sum.rest -= sums[k].Packets
		}
	}
	return sum.close().lines
}

// fromBefore marks what a station got from the one before it.
const fromBefore = "from the layer below"

func chained(e *record.Entry) bool { return strings.HasPrefix(e.What, fromBefore) }
