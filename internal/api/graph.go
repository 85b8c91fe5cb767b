package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

type graphInput struct {
	Selection
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many edges, the busiest."`
}

// Graph is who talks to whom.
type Graph struct {
	Nodes []Node `json:"nodes" nullable:"false"`
	Edges []Edge `json:"edges" nullable:"false"`
	Conns uint64 `json:"conns" doc:"How many connections closed or failed."`
	Cut   bool   `json:"cut" doc:"True if there are more edges, or connections between more than are told apart."`
	Lost  []Loss `json:"lost" nullable:"false" doc:"What netfate lost in that time: it spoils these numbers."`
}

// Node is a process, a container or a remote side.
type Node struct {
	ID    string `json:"id"`
	Label string `json:"label"`
	Kind  string `json:"kind" enum:"process,container,peer"`
	Bytes uint64 `json:"bytes"`
}

// Edge is what two nodes said to each other, both ways.
type Edge struct {
	From        string  `json:"from" doc:"Who began, as far as is known."`
	To          string  `json:"to"`
	Bytes       uint64  `json:"bytes"`
	Packets     uint64  `json:"packets"`
	Connections uint64  `json:"connections" doc:"TCP connections that closed or failed."`
	P50         *uint64 `json:"rtt_us_p50" doc:"Round-trip time that half of them kept below; null if none tells."`
	P95         *uint64 `json:"rtt_us_p95"`
	Errors      uint64  `json:"errors" doc:"Of these connections, those that failed or broke."`
}

type graphAnswer struct{ Body Graph }

const (
	// maxPairs bounds the pairs that edges are made of.
	maxPairs = 5000
)

func (s *Server) graph(ctx context.Context, in *graphInput) (*graphAnswer, error) {
	q, err := in.question(history.Flows, s.now())
	if err != nil {
		return nil, err
	}
	return ask(ctx, s, func(ctx context.Context) (*graphAnswer, error) {
		g := &grapher{nodes: map[string]*Node{}, edges: map[[2]string]*edge{}}
		q.By = []string{"direction", "comm", "container_name", "name", "src_addr", "dst_addr"}
		q.Measure, q.Limit = "host_bytes", maxPairs
		t, err := s.cfg.Store.Groups(ctx, q)
		if err != nil {
			return nil, err
		}
		g.flows(t)
		c := history.Question{Kind: history.Conns, Since: q.Since, Until: q.Until, Where: shared(q.Where)}
		c.Where = append(c.Where, history.Condition{Field: "event", Values: []string{string(record.ConnClosed), string(record.ConnFailed)}})
		c.Limit = maxPairs
		if err := s.conns(ctx, g, c); err != nil {
			return nil, err
		}
		out := g.graph(in.Limit)
		out.Lost, err = s.spoils(ctx, q)
		return &graphAnswer{out}, err
	})
}

// endFields are those that the ends of a connection are made of.
func endFields() []string {
	return []string{"role", "comm", "container_name", "name", "src_addr", "dst_addr"}
}

// conns adds connections to the edges: how many there are, and how far away the other
// side is.
func (s *Server) conns(ctx context.Context, g *grapher, q history.Question) error {
	q.By, q.Measure = append(endFields(), "error"), "conns"
	t, err := s.cfg.Store.Groups(ctx, q)
	if err != nil {
		return err
	}
	at := columnsOf(t)
	for _, row := range t.Rows {
		g.conn(func(name string) any { return at(row, name) })
	}
	q.By, q.Measure, q.Step = endFields(), "rtt_us", few(q.Until.Sub(q.Since))
	d, err := s.cfg.Store.Durations(ctx, q)
	if err != nil {
		return err
	}
	for _, line := range d.Lines {
		g.rtts(line)
	}
	return nil
}

// few returns a step of which a range has three at the most, and which is of whole days,
// hours or minutes if it can be: stores have those added up.
func few(length time.Duration) time.Duration {
	for _, unit := range []time.Duration{24 * time.Hour, time.Hour, 5 * time.Minute, time.Minute} {
		if length >= unit {
			return length.Truncate(unit)
		}
	}
	return max(length.Truncate(time.Second), time.Second)
}

// shared returns those conditions on flows that connections can be held against too.
func shared(where []history.Condition) (out []history.Condition) {
	for _, c := range where {
		if isField(history.Conns, c.Field) == nil {
			out = append(out, c)
		}
	}
	return out
}

// grapher makes nodes and edges of flows and connections.
type grapher struct {
	nodes map[string]*Node
	edges map[[2]string]*edge
	conns uint64
	cut   bool
}

type edge struct {
	Edge
	rtts map[uint64]uint64 // how many took so long
}

// ends returns the nodes of a flow or connection, who began first.
func (g *grapher) ends(get func(string) any, direction record.Direction) (from, to *Node) {
	peer := func(addr string) *Node { // of the socket's owner
		a := show(get(addr))
		return g.node("peer", cmp.Or(text(get("name")), a))
	}
	own := func(addr string) *Node {
		if c := text(get("container_name")); c != "" {
			return g.node("container", c)
		}
		if c := text(get("comm")); c != "" {
			return g.node("process", c)
		}
		return g.node("peer", show(get(addr)))
	}
	switch direction {
	case record.In:
		return peer("src_addr"), own("dst_addr")
	case record.Out:
		return own("src_addr"), peer("dst_addr")
	}
	return g.node("peer", show(get("src_addr"))), g.node("peer", show(get("dst_addr")))
}

func (g *grapher) node(kind, label string) *Node {
	id := kind + ":" + label
	if g.nodes[id] == nil {
		g.nodes[id] = &Node{ID: id, Label: label, Kind: kind}
	}
	return g.nodes[id]
}

func (g *grapher) edge(from, to *Node) *edge {
	key := [2]string{from.ID, to.ID}
	if g.edges[key] == nil {
		g.edges[key] = &edge{Edge: Edge{From: from.ID, To: to.ID}, rtts: map[uint64]uint64{}}
	}
	return g.edges[key]
}

func (g *grapher) flows(t history.Table) {
	at := columnsOf(t)
	for _, row := range t.Rows {
		get := func(name string) any { return at(row, name) }
		direction := text(get("direction"))
		if direction == "~other" {
			g.cut = true
			continue
		}
		if get("src_addr") == nil || get("dst_addr") == nil {
			continue // not IP, or the remainder without addresses
		}
		from, to := g.ends(get, record.Direction(direction))
		e := g.edge(from, to)
		e.Bytes += uint64(number(get("host_bytes")))
		e.Packets += uint64(number(get("host_packets")))
	}
}

// of returns the edge of connections, if flows have made it: one that they have not
// would lack their numbers.
func (g *grapher) of(get func(string) any) *edge {
	direction := record.Out
	if text(get("role")) == string(record.Server) {
		direction = record.In
	}
	from, to := g.ends(get, direction)
	return g.edges[[2]string{from.ID, to.ID}]
}

// conn adds connections that have the same ends.
func (g *grapher) conn(get func(string) any) {
	n := uint64(number(get("conns")))
	g.conns += n
	if text(get("role")) == "~other" {
		g.cut = true
		return
	}
	e := g.of(get)
	if e == nil {
		return
	}
	e.Connections += n
	if text(get("error")) != "" {
		e.Errors += n
	}
}

// rtts adds the round-trip times of connections that have the same ends.
func (g *grapher) rtts(line history.Histograms) {
	if len(line.Key) < len(endFields()) {
		return // of the others
	}
	e := g.of(func(name string) any { return line.Key[slices.Index(endFields(), name)] })
	if e == nil {
		return
	}
	for _, histogram := range line.Counts {
		for us, n := range histogram {
			e.rtts[us] += n
		}
	}
}

// graph returns the busiest edges and the nodes that they join.
func (g *grapher) graph(limit int) Graph {
	out := Graph{Nodes: []Node{}, Edges: []Edge{}, Conns: g.conns, Cut: g.cut}
	var all []*edge
	for _, e := range g.edges {
		if e.Packets > 0 {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *edge) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	if len(all) > limit {
		all, out.Cut = all[:limit], true
	}
	var joined []*Node
	for _, e := range all {
		e.P50, e.P95 = quantile(e.rtts, 50), quantile(e.rtts, 95)
		out.Edges = append(out.Edges, e.Edge)
		for _, id := range []string{e.From, e.To} {
			n := g.nodes[id]
			n.Bytes += e.Bytes
			if !slices.Contains(joined, n) {
				joined = append(joined, n)
			}
		}
	}
	for _, n := range joined {
		out.Nodes = append(out.Nodes, *n)
	}
	return out
}

// quantile returns what so many percent took at the most, nil of none.
func quantile(took map[uint64]uint64, percent uint64) *uint64 {
	var all, upTo uint64
	for _, n := range took {
		all += n
	}
	for _, us := range slices.Sorted(maps.Keys(took)) {
		if upTo += took[us]; upTo*100 >= all*percent {
			return &us
		}
	}
	return nil
}
