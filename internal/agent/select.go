package agent

import (
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// Select restricts records to those that somebody asks about. A field that is
// empty restricts nothing; several must all fit.
type Select struct {
	Interface string
	NetNS     uint32 // inode
	PID       uint32
	Comm      string
	Container string // id, the beginning of one, or a name
}

// Any reports whether it restricts anything.
func (s *Select) Any() bool { return *s != Select{} }

// Match reports whether a record is one that is asked about.
func (s *Select) Match(e *record.Endpoints) bool {
	switch {
	case s.Interface != "" && e.IfName != s.Interface,
		s.NetNS != 0 && e.NetNS != s.NetNS,
		s.PID != 0 && e.PID != s.PID,
		s.Comm != "" && e.Comm != s.Comm:
		return false
	}
	return s.Container == "" || e.Container != "" &&
		(strings.HasPrefix(e.Container, s.Container) || strings.HasPrefix(s.Container, e.Container) ||
			e.ContainerName == s.Container)
}

// apply returns b without the records that were not asked about. What netfate
// lost stays: it may have been one of them.
func (s *Select) apply(b *record.Batch) *record.Batch {
	if !s.Any() {
		return b
	}
	kept := &record.Batch{
		Start: b.Start, End: b.End, Lost: b.Lost,
		Drops:    keep(s, b.Drops, func(r *record.Drop) *record.Endpoints { return &r.Endpoints }),
		Samples:  keep(s, b.Samples, func(r *record.Drop) *record.Endpoints { return &r.Endpoints }),
		Flows:    keep(s, b.Flows, func(r *record.Flow) *record.Endpoints { return &r.Endpoints }),
		Conns:    keep(s, b.Conns, func(r *record.Conn) *record.Endpoints { return &r.Endpoints }),
		Requests: keep(s, b.Requests, func(r *record.Request) *record.Endpoints { return &r.Endpoints }),
		Queries:  keep(s, b.Queries, func(r *record.Query) *record.Endpoints { return &r.Endpoints }),
	}
	for i := range b.Ledger {
		e := &b.Ledger[i]
		if s.NetNS != 0 && e.NetNS != s.NetNS || s.Interface != "" && e.IfName != s.Interface {
			continue
		}
		kept.Ledger = append(kept.Ledger, *e)
	}
	return kept
}

// keep returns the records of list that were asked about.
func keep[R any](s *Select, list []R, ends func(*R) *record.Endpoints) (kept []R) {
	for i := range list {
		if s.Match(ends(&list[i])) {
			kept = append(kept, list[i])
		}
	}
	return kept
}
