// Package memory is the store of those who keep no history: the last batches, as
// they came, in a ring that is bounded by rows. What it answers is exact for what
// it holds, and its status says what it had to forget.
//
// The commands choose it where there is no durable store; it knows no sensor, no
// file and no SQL.
package memory

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// usualRows is Config.MaxRows where it is 0: some 40 MB of flows.
const usualRows = 1 << 16

// Config bounds a store. The zero value is ready.
type Config struct {
	// MaxRows is how many rows of one kind are held, 0 for 65,536. The last batch
	// is held in any case.
	MaxRows int
}

// Store keeps batches in memory. Its methods may be called at the same time.
type Store struct {
	maxRows int

	mu            sync.RWMutex
	kinds         map[string]*ring
	dropped       map[string]uint64
	first, newest time.Time // what all batches ever tell of
}

// ring is the batches of one kind that have rows of it, the oldest first.
type ring struct {
	held []part
	rows int
	next uint64    // the number of the row that comes next
	gone time.Time // until when rows were forgotten
}

// part is one batch's rows of one kind. They are numbered as they came.
type part struct {
	batch *record.Batch
	first uint64 // the number of its first row
	rows  int
}

var _ history.Store = (*Store)(nil)

// New returns an empty store.
func New(cfg Config) *Store {
	if cfg.MaxRows == 0 {
		cfg.MaxRows = usualRows
	}
	s := &Store{maxRows: cfg.MaxRows, kinds: map[string]*ring{}, dropped: map[string]uint64{}}
	for _, kind := range history.Kinds() {
		s.kinds[kind] = &ring{}
	}
	return s
}

// Put implements history.Store.
func (s *Store) Put(_ context.Context, b *record.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first = b.Start
	}
	s.newest = b.End
	for kind, r := range s.kinds {
		n, _ := history.Of(b, kind)
		if n == 0 {
			continue
		}
		r.held = append(r.held, part{batch: only(b, kind), first: r.next, rows: n})
		r.next += uint64(n)
		r.rows += n
		for r.rows > s.maxRows && len(r.held) > 1 {
			s.dropped["for room"] += uint64(r.held[0].rows)
			r.rows -= r.held[0].rows
			r.gone = r.held[0].batch.End
			r.held[0] = part{}
			r.held = r.held[1:]
		}
	}
	return nil
}

// only returns a batch of one kind's rows, so that those of others, which go
// sooner, do not stay for its sake.
func only(b *record.Batch, kind string) *record.Batch {
	one := &record.Batch{Start: b.Start, End: b.End}
	switch kind {
	case history.Drops:
		one.Drops = b.Drops
	case history.Flows:
		one.Flows = b.Flows
	case history.Conns:
		one.Conns = b.Conns
	case history.Requests:
		one.Requests = b.Requests
	case history.Queries:
		one.Queries = b.Queries
	case history.Ledger:
		one.Ledger = b.Ledger
	case history.Lost:
		one.Lost = b.Lost
	}
	return one
}

// Flush implements history.Store: there is nothing that could be made durable.
func (s *Store) Flush(context.Context) error { return nil }

// Close implements history.Store.
func (s *Store) Close() error { return nil }

// SQL implements history.Store: it refuses.
func (s *Store) SQL(context.Context, string, history.Limits) (history.Table, error) {
	return history.Table{}, fmt.Errorf("%w: nothing here speaks SQL, since no history is kept; set history.path", history.ErrQuestion)
}

// Status implements history.Store.
func (s *Store) Status(context.Context) (history.Status, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := history.Status{Engine: "memory", Dropped: maps.Clone(s.dropped)}
	for _, kind := range history.Kinds() {
		r := s.kinds[kind]
		if r.rows == 0 {
			continue
		}
		k := history.KindStatus{Kind: kind, Rows: int64(r.rows), Oldest: r.held[0].batch.Start, Newest: r.held[len(r.held)-1].batch.End}
		if st.Oldest.IsZero() || k.Oldest.Before(st.Oldest) {
			st.Oldest = k.Oldest
		}
		st.Kinds = append(st.Kinds, k)
	}
	return st, nil
}

// held is what the store has of a kind at one moment; it does not change any more.
type held struct {
	parts          []part
	oldest, newest time.Time // what is known, be there rows or not
}

func (s *Store) snapshot(kind string) held {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.kinds[kind]
	h := held{parts: append([]part(nil), r.held...), oldest: s.first, newest: s.newest}
	if r.gone.After(h.oldest) {
		h.oldest = r.gone
	}
	return h
}
