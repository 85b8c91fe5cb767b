package table

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// The views of the ledger.
const (
	ledgerBook   = ""
	ledgerLayers = "layers"
	ledgerDraw   = "draw"
)

// LedgerViews lists what Options.By may be for [NewLedger]: all layers line by
// line, a drawing, or else sums and losses.
func LedgerViews() []string { return []string{ledgerLayers, ledgerDraw} }

// NewLedger is [NewDrops] for `netfate ledger`. JSON and CSV are the lines of each
// interval's books; tables add all intervals up.
func NewLedger(out, notes io.Writer, o Options) (View, error) {
	switch {
	case o.By != ledgerBook && !slices.Contains(LedgerViews(), o.By):
		return nil, fmt.Errorf("the ledger has no view %q", o.By)
	case o.By != ledgerBook && (o.Format == JSON || o.Format == CSV):
		return nil, fmt.Errorf("--%s is for tables: -o %s has every line of every layer; leave --%s out", o.By, o.Format, o.By)
	case o.Format == JSON, o.Format == CSV:
		return &ledgerRows{rows: newRows(out, o.Format, record.Entry{}), notes: newNotes(notes, &o)}, nil
	case o.Format != Table && o.Format != "":
		return nil, badFormat(o.Format)
	}
	return newTables(out, o, NewLedgerSums(o.By, o.MaxKeys)), nil
}

// ledgerRows is the ledger as JSON or CSV.
type ledgerRows struct {
	rows  *rows
	notes notes
}

func (v *ledgerRows) Batch(b *record.Batch) error {
	v.rows.begin()
	for i := range b.Ledger {
		v.rows.add(&b.Ledger[i])
	}
	v.notes.batch(b.Lost)
	return v.rows.flush()
}

func (v *ledgerRows) Close() error {
	v.rows.begin()
	v.notes.close()
	return v.rows.flush()
}

// LedgerSums adds up the books of intervals. It belongs to one goroutine.
type LedgerSums struct {
	clock
	by      string
	maxKeys int
	lost    lostSums
	lines   map[ledgerKey]*record.Entry
	order   []ledgerKey // as packets pass
	folded  uint64      // lines that found no room
	skew    time.Duration
}

type ledgerKey struct {
	scope          record.Scope
	netns          uint32
	ifname         string
	direction      record.Direction
	station        string
	layer          record.Layer
	line           record.Line
	what, location string
}

// ledgerKeys is the number of lines held unless told otherwise: those of a thousand
// namespaces, some 25 MB.
const ledgerKeys = 4 * DefaultMaxKeys

// NewLedgerSums returns empty books, shown by one of [LedgerViews]. What does not
// fit maxKeys lines is counted and said to be missing.
func NewLedgerSums(by string, maxKeys int) *LedgerSums {
	if maxKeys <= 0 {
		maxKeys = ledgerKeys
	}
	return &LedgerSums{by: by, maxKeys: maxKeys, lines: map[ledgerKey]*record.Entry{}}
}

// Add takes in the books of b.
func (m *LedgerSums) Add(b *record.Batch) {
	m.tick(b)
	m.lost.add(b.Lost)
	for i := range b.Ledger {
		e := &b.Ledger[i]
		m.host = cmp.Or(e.Host, m.host)
		m.skew = max(m.skew, time.Duration(e.SkewMicros)*time.Microsecond)
		k := ledgerKey{e.Scope, e.NetNS, e.IfName, e.Direction, e.Station, e.Layer, e.Line, e.What, ""}
		s := m.lines[k]
		if s == nil {
			if len(m.lines) >= m.maxKeys {
				m.folded++
				continue
			}
			s = &record.Entry{}
			*s = *e
			s.Counted, s.Seen = add(nil, e.Counted), add(nil, e.Seen)
			m.lines[k] = s
			m.order = append(m.order, k)
			continue
		}
		s.Packets += e.Packets
		s.Counted, s.Seen = add(s.Counted, e.Counted), add(s.Seen, e.Seen)
		for _, text := range []struct {
			to   *string
			from string
		}{{&s.Fact, e.Fact}, {&s.Location, e.Location}, {&s.NetNSName, e.NetNSName}, {&s.Comm, e.Comm}} {
			*text.to = cmp.Or(text.from, *text.to)
		}
		s.PID = cmp.Or(e.PID, s.PID)
		if len(e.Evidence) > 0 {
			s.Evidence, s.Command = e.Evidence, e.Command
		}
	}
}

// add adds a number that may not be known.
func add(to, n *uint64) *uint64 {
	if n == nil {
		return to
	}
	sum := *n
	if to != nil {
		sum += *to
	}
	return &sum
}

// ledgerBooks is one direction of a namespace, of an interface or of the host.
type ledgerBooks struct {
	scope       record.Scope
	netns       uint32
	name        string
	ifname      string
	direction   record.Direction
	total       []*record.Entry
	stations    []*record.Entry
	came, rests int64 // rests are the remainders of the stations, whatever their signs
}

// books groups the lines; the busiest namespaces first, the host last.
func (m *LedgerSums) books(scope record.Scope) []*ledgerBooks {
	type key struct {
		netns     uint32
		ifname    string
		direction record.Direction
	}
	found := map[key]*ledgerBooks{}
	var list []*ledgerBooks
	for _, k := range m.order {
		if k.scope != scope {
			continue
		}
		e := m.lines[k]
		ifname := ""
		if scope == record.InterfaceScope {
			ifname = k.ifname
		}
		at := key{k.netns, ifname, k.direction}
		b := found[at]
		if b == nil {
			b = &ledgerBooks{scope: scope, netns: k.netns, name: e.NetNSName, ifname: ifname, direction: k.direction}
			found[at] = b
			list = append(list, b)
		}
		b.name = cmp.Or(e.NetNSName, b.name)
		if k.station == "total" {
			b.total = append(b.total, e)
			if k.line == record.Came {
				b.came += e.Packets
			}
			continue
		}
		b.stations = append(b.stations, e)
		if k.line == record.Remainder {
			b.rests += max(e.Packets, -e.Packets)
		}
	}
	busy := map[uint32]int64{}
	for _, b := range list {
		busy[b.netns] += b.came
	}
	slices.SortStableFunc(list, func(x, y *ledgerBooks) int {
		return cmp.Or(cmp.Compare(busy[y.netns], busy[x.netns]), cmp.Compare(x.name, y.name), cmp.Compare(x.netns, y.netns))
	})
	return list
}

// quiet reports whether there is nothing to tell of it.
func (b *ledgerBooks) quiet() bool {
	return b.came == 0 && b.rests == 0 && b.sum(record.LostLine) == 0
}

// sum adds up lines of a kind.
func (b *ledgerBooks) sum(lines ...record.Line) (n int64) {
	for _, e := range b.total {
		if slices.Contains(lines, e.Line) {
			n += e.Packets
		}
	}
	return n
}

// losses returns the losses of all namespaces, the gravest first.
func (m *LedgerSums) losses() []*record.Entry {
	var list []*record.Entry
	for _, k := range m.order {
		// What a queue lost is in the book of its interface, and in that of its
		// namespace.
		if k.line == record.LostLine && k.station != "total" && !(k.scope == record.InterfaceScope && k.station == "queue") {
			list = append(list, m.lines[k])
		}
	}
	slices.SortStableFunc(list, func(x, y *record.Entry) int {
		return cmp.Or(cmp.Compare(verdictRank(x.Verdict), verdictRank(y.Verdict)), cmp.Compare(y.Packets, x.Packets))
	})
	return list
}

func verdictRank(v record.Verdict) int {
	if i := slices.Index(record.Verdicts(), v); i >= 0 {
		return i
	}
	return 0
}
