package history

import (
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Each calls visit for what a batch tells of a kind that can be added up: a pointer to
// each record, when it counts to, and how many it stands for. What is of an interval
// counts to when that began, single events to their own time; requests that were only
// counted come as one record each, and connections that go on do not come.
func Each(b *record.Batch, kind string, visit func(rec any, when time.Time, stands uint64)) {
	began := func(end time.Time) time.Time {
		if b.Start.IsZero() {
			return end
		}
		return b.Start
	}
	switch kind {
	case Drops:
		each(b.Drops, func(r *record.Drop) { visit(r, began(r.Time), 1) })
	case Flows:
		each(b.Flows, func(r *record.Flow) { visit(r, began(r.Time), 1) })
	case Conns:
		each(b.Conns, func(r *record.Conn) {
			if Happened(r) {
				visit(r, r.Time, 1)
			}
		})
	case Requests:
		each(b.Requests, func(r *record.Request) { visit(r, r.Time, Stands(r)) })
		each(b.RequestCounts, func(c *record.RequestSum) { visit(asRequest(c), began(c.Time), c.Requests) })
	case Queries:
		each(b.Queries, func(r *record.Query) { visit(r, r.Time, 1) })
	case Ledger:
		each(b.Ledger, func(r *record.Entry) { visit(r, began(r.Time), 1) })
	case Lost:
		each(b.Lost, func(r *record.Lost) { visit(r, began(r.Time), 1) })
	}
}

func each[R any](all []R, visit func(*R)) {
	for i := range all {
		visit(&all[i])
	}
}

// asRequest is a request that was only counted.
func asRequest(c *record.RequestSum) *record.Request {
	r := &record.Request{Protocol: c.Protocol, Method: c.Method, HostName: c.HostName, Path: c.Path, Status: c.Status, Error: c.Error}
	r.Host = c.Host
	if c.Other {
		r.Path = "~other"
	}
	return r
}
