package api

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
)

type latencyInput struct {
	Selection
	Kind string   `query:"kind" required:"true" enum:"requests,conns,queries" doc:"Whose: of connections it is the round-trip time."`
	By   []string `query:"by" maxItems:"4" doc:"Fields whose values have a map each, with commas between them."`
	Step string   `query:"step" maxLength:"32" doc:"Time between two columns, in seconds or as 30s; empty gives some 60."`
}

// Latency is a heat map.
type Latency struct {
	Bounds []uint64   `json:"bounds_us" nullable:"false" doc:"Upper bounds of the buckets but the last, which has none."`
	Step   float64    `json:"step_s" doc:"Seconds between two columns."`
	Times  []int64    `json:"times" nullable:"false" doc:"Unix seconds at which the columns begin."`
	Counts [][]uint64 `json:"counts" nullable:"false" doc:"Of each column, how many were in each bucket; of all groups together."`
	Groups []Heat     `json:"groups" nullable:"false" doc:"The same by the fields of by, the largest first; none without."`
	Rows   int        `json:"rows" doc:"How many records this is of: the newest, at the most."`
	Cut    bool       `json:"cut" doc:"True if there are more records, or more groups."`
	Lost   []Loss     `json:"lost" nullable:"false" doc:"What netfate lost in that time: it spoils these numbers."`
}

// Heat is the map of one group.
type Heat struct {
	Key    []string   `json:"key" nullable:"false"`
	Counts [][]uint64 `json:"counts" nullable:"false"`
	total  uint64
}

type latencyAnswer struct{ Body Latency }

const (
	// maxLatencies bounds the records of a map.
	maxLatencies = 100_000
	// maxHeats bounds the groups, maxColumns the columns of each.
	maxHeats     = 20
	maxColumns   = 500
	usualColumns = 60
)

// latencyBounds are two buckets for each doubling, from 100 µs to 100 s: a step of
// 41 % is what one sees in colours.
func latencyBounds() (bounds []uint64) {
	for b := 100.0; b < 1.1e8; b *= math.Sqrt2 {
		bounds = append(bounds, uint64(math.Round(b)))
	}
	return bounds
}

// latencyField is what a kind's latency is called.
func latencyField(kind string) string {
	if kind == history.Conns {
		return "rtt_us"
	}
	return "latency_us"
}

func (s *Server) latency(ctx context.Context, in *latencyInput) (*latencyAnswer, error) {
	q, err := in.question(in.Kind, time.Now())
	if err != nil {
		return nil, err
	}
	if err := areFields(in.Kind, in.By); err != nil {
		return nil, err
	}
	width, err := step(in.Step)
	if err != nil {
		return nil, err
	}
	width = max(width, (q.Until.Sub(q.Since)/maxColumns + time.Second).Truncate(time.Second))
	if in.Step == "" {
		width = max(time.Second, (q.Until.Sub(q.Since) / usualColumns).Truncate(time.Second))
	}
	return ask(ctx, s, func(ctx context.Context) (*latencyAnswer, error) {
		m := newHeatMap(q.Since.Truncate(width), q.Until, width)
		n, more, err := s.newest(ctx, q, maxLatencies, func(get func(string) any) { m.add(get, in.Kind, in.By) })
		if err != nil {
			return nil, err
		}
		out := m.out
		out.Rows, out.Cut = n, more || m.full
		out.Groups = m.sorted()
		out.Lost, err = s.spoils(ctx, q)
		return &latencyAnswer{out}, err
	})
}

type heatMap struct {
	out    Latency
	first  time.Time
	step   time.Duration
	groups map[string]*Heat
	full   bool // some groups found no room
}

func newHeatMap(first, until time.Time, step time.Duration) *heatMap {
	m := &heatMap{first: first, step: step, groups: map[string]*Heat{}, out: Latency{Bounds: latencyBounds(), Step: seconds(step), Times: []int64{}}}
	for t := first; t.Before(until); t = t.Add(step) {
		m.out.Times = append(m.out.Times, t.Unix())
	}
	m.out.Counts = m.columns()
	return m
}

func (m *heatMap) columns() [][]uint64 {
	columns := make([][]uint64, len(m.out.Times))
	for i := range columns {
		columns[i] = make([]uint64, len(m.out.Bounds)+1)
	}
	return columns
}

// add counts one record; those without a latency have no place here.
func (m *heatMap) add(get func(string) any, kind string, by []string) {
	us := uint64(number(get(latencyField(kind))))
	at, ok := get("time").(time.Time)
	if us == 0 || !ok || at.Before(m.first) {
		return
	}
	i := int(at.Sub(m.first) / m.step)
	if i >= len(m.out.Counts) {
		return
	}
	stands := max(uint64(number(get("one_in"))), 1) // for so many, where not all were kept
	bucket, _ := slices.BinarySearch(m.out.Bounds, us)
	m.out.Counts[i][bucket] += stands
	if len(by) == 0 {
		return
	}
	var key []string
	for _, name := range by {
		key = append(key, show(get(name)))
	}
	id := strings.Join(key, "\x00")
	g := m.groups[id]
	if g == nil {
		if len(m.groups) >= maxHeats {
			m.full = true
			return
		}
		g = &Heat{Key: key, Counts: m.columns()}
		m.groups[id] = g
	}
	g.Counts[i][bucket] += stands
	g.total += stands
}

func (m *heatMap) sorted() []Heat {
	list := []Heat{}
	for _, g := range m.groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b Heat) int {
		if a.total != b.total {
			return int(min(max(int64(b.total)-int64(a.total), -1), 1))
		}
		return slices.Compare(a.Key, b.Key)
	})
	return list
}
