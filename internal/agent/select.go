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
	kept := &record.Batch{Start: b.Start, End: b.End, Lost: b.Lost}
	for i := range b.Drops {
		if s.Match(&b.Drops[i].Endpoints) {
			kept.Drops = append(kept.Drops, b.Drops[i])
		}
	}
	for i := range b.Samples {
		if s.Match(&b.Samples[i].Endpoints) {
			kept.Samples = append(kept.Samples, b.Samples[i])
		}
	}
	for i := range b.Flows {
		if s.Match(&b.Flows[i].Endpoints) {
			kept.Flows = append(kept.Flows, b.Flows[i])
		}
	}
	for i := range b.Conns {
		if s.Match(&b.Conns[i].Endpoints) {
			kept.Conns = append(kept.Conns, b.Conns[i])
		}
	}
	for i := range b.Requests {
		if s.Match(&b.Requests[i].Endpoints) {
			kept.Requests = append(kept.Requests, b.Requests[i])
		}
	}
	for i := range b.Queries {
		if s.Match(&b.Queries[i].Endpoints) {
			kept.Queries = append(kept.Queries, b.Queries[i])
		}
	}
	return kept
}
