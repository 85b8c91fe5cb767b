package api

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/history"
)

type latencyInput struct {
	Selection
	Kind string   `query:"kind" required:"true" enum:"requests,conns,queries" doc:"Whose: of connections it is the round-trip time."`
	By   []string `query:"by" maxItems:"4" doc:"Fields whose values have a map each, with commas between them."`
	Step string   `query:"step" maxLength:"32" doc:"Time between two columns, in seconds or as 30s; empty gives some 60. What is kept by the minute has no shorter ones."`
}

// Latency is a heat map.
type Latency struct {
	Bounds []uint64   `json:"bounds_us" nullable:"false" doc:"Upper bounds of the buckets but the last, which has none."`
	Step   float64    `json:"step_s" doc:"Seconds between two columns."`
	Times  []int64    `json:"times" nullable:"false" doc:"Unix seconds at which the columns begin."`
	Counts [][]uint64 `json:"counts" nullable:"false" doc:"Of each column, how many were in each bucket; of all groups together."`
	Groups []Heat     `json:"groups" nullable:"false" doc:"The same by the fields of by, the largest first; none without."`
	Rows   uint64     `json:"rows" doc:"How many these are, of all groups together."`
	Cut    bool       `json:"cut" doc:"True if there are more groups."`
	// Sampled is of requests only.
	Sampled uint64 `json:"sampled" doc:"Of these, how many are known only by one that was kept of several: so many are estimated."`
	Lost    []Loss `json:"lost" nullable:"false" doc:"What netfate lost in that time: it spoils these numbers."`
}

// Heat is the map of one group.
type Heat struct {
	Key    []string   `json:"key" nullable:"false"`
	Counts [][]uint64 `json:"counts" nullable:"false"`
}

type latencyAnswer struct{ Body Latency }

const (
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
	q, err := in.question(in.Kind, s.now())
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
		width = round(q.Until.Sub(q.Since) / usualColumns)
	}
	q.By, q.Measure, q.Step, q.Limit = in.By, latencyField(in.Kind), width, maxHeats
	return ask(ctx, s, func(ctx context.Context) (*latencyAnswer, error) {
		d, err := s.cfg.Store.Durations(ctx, q)
		if err != nil {
			return nil, err
		}
		out := heatMap(&d, len(in.By) > 0)
		out.Lost, err = s.spoils(ctx, q)
		return &latencyAnswer{out}, err
	})
}

// round returns the next longer of the steps that clocks have: stores have minutes,
// hours and days added up.
func round(width time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Second, time.Minute, time.Hour} {
		for _, n := range []time.Duration{1, 2, 5, 10, 15, 30} {
			if n*unit >= width {
				return n * unit
			}
		}
	}
	const day = 24 * time.Hour
	return (width + day - 1) / day * day
}

// heatMap adds histograms up to a map.
func heatMap(d *history.Durations, grouped bool) Latency {
	out := Latency{Bounds: latencyBounds(), Step: seconds(d.Step), Times: []int64{}, Groups: []Heat{}, Sampled: d.Sampled}
	for _, t := range d.Times {
		out.Times = append(out.Times, t.Unix())
	}
	out.Counts = columnsFor(&out)
	for _, line := range d.Lines {
		counts := columnsFor(&out)
		for i, histogram := range line.Counts {
			for us, n := range histogram {
				bucket, _ := slices.BinarySearch(out.Bounds, us)
				counts[i][bucket] += n
				out.Counts[i][bucket] += n
				out.Rows += n
			}
		}
		switch {
		case grouped && slices.Equal(line.Key, []string{"~other"}):
			out.Cut = true
		case grouped:
			out.Groups = append(out.Groups, Heat{Key: line.Key, Counts: counts})
		}
	}
	return out
}

// columnsFor returns an empty map.
func columnsFor(l *Latency) [][]uint64 {
	columns := make([][]uint64, len(l.Times))
	for i := range columns {
		columns[i] = make([]uint64, len(l.Bounds)+1)
	}
	return columns
}
