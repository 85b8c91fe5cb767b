package api

import (
	"cmp"
	"context"
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
	Conns int    `json:"conns" doc:"How many connections the latencies are of: the newest, at the most."`
	Cut   bool   `json:"cut" doc:"True if there are more edges, or more connections."`
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
	// maxConns bounds the connections that latencies are made of.
	maxConns = 10_000
	// page is how many rows are asked for at once.
	page = 5000
)

func (s *Server) graph(ctx context.Context, in *graphInput) (*graphAnswer, error) {
	q, err := in.question(history.Flows, time.Now())
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
		conns, more, err := s.newest(ctx, c, maxConns, g.conn)
		if err != nil {
			return nil, err
		}
		out := g.graph(in.Limit)
		out.Conns, out.Cut = conns, out.Cut || more
		out.Lost, err = s.spoils(ctx, q)
		return &graphAnswer{out}, err
	})
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

// newest calls visit for rows, the newest first, up to a number of them; more says
// that there are others.
func (s *Server) newest(ctx context.Context, q history.Question, most int, visit func(get func(string) any)) (n int, more bool, err error) {
	for n < most {
		q.Limit = min(page, most-n)
		t, err := s.cfg.Store.Rows(ctx, q)
		if err != nil {
			return n, false, err
		}
		at := columnsOf(t)
		for _, row := range t.Rows {
			visit(func(name string) any { return at(row, name) })
		}
		n += len(t.Rows)
		if t.Next == "" || len(t.Rows) == 0 {
			return n, false, nil
		}
		q.After = t.Next
	}
	return n, true, nil
}

// grapher makes nodes and edges of flows and connections.
type grapher struct {
	nodes map[string]*Node
	edges map[[2]string]*edge
	cut   bool
}

type edge struct {
	Edge
	rtts []uint64
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
		g.edges[key] = &edge{Edge: Edge{From: from.ID, To: to.ID}}
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

// conn adds a connection to the edge that flows have made; it makes none, since the
// numbers of that would be missing.
func (g *grapher) conn(get func(string) any) {
	direction := record.Out
	if text(get("role")) == string(record.Server) {
		direction = record.In
	}
	from, to := g.ends(get, direction)
	e := g.edges[[2]string{from.ID, to.ID}]
	if e == nil {
		return
	}
	e.Connections++
	if text(get("error")) != "" {
		e.Errors++
	}
	if rtt := uint64(number(get("rtt_us"))); rtt > 0 {
		e.rtts = append(e.rtts, rtt)
	}
}

// graph returns the busiest edges and the nodes that they join.
func (g *grapher) graph(limit int) Graph {
	out := Graph{Nodes: []Node{}, Edges: []Edge{}, Cut: g.cut}
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
		slices.Sort(e.rtts)
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

// quantile returns the value that so many percent of the sorted ones keep below or
// reach, nil of none.
func quantile(sorted []uint64, percent int) *uint64 {
	if len(sorted) == 0 {
		return nil
	}
	return &sorted[(len(sorted)*percent+99)/100-1]
}
