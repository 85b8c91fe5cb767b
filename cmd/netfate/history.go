package main

import (
	"context"
	"fmt"
	"os"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/record"
)

// historySink puts batches into a history.
type historySink struct {
	store history.Store
	// waits is for recordings, which come faster than anybody can write: nothing of
	// them is dropped.
	waits bool
	rows  int
}

// waitRows is after how many rows one that waits does so.
const waitRows = 50_000

func newHistorySink(path string, waits bool) (*historySink, error) {
	store, err := duckdb.Open(duckdb.Config{Path: path, Say: func(text string) { fmt.Fprintln(os.Stderr, "netfate:", text) }})
	if err != nil {
		return nil, err
	}
	return &historySink{store: store, waits: waits}, nil
}

func (s *historySink) Batch(b *record.Batch) error {
	ctx := context.Background()
	if err := s.store.Put(ctx, b); err != nil || !s.waits {
		return err
	}
	s.rows += len(b.Drops) + len(b.Flows) + len(b.Conns) + len(b.Requests) + len(b.Queries) + len(b.Ledger) + 1
	if s.rows < waitRows {
		return nil
	}
	s.rows = 0
	if taker, ok := s.store.(interface{ Taken(context.Context) error }); ok {
		return taker.Taken(ctx)
	}
	return s.store.Flush(ctx)
}

// Close writes what is left and says what had no room.
func (s *historySink) Close() error {
	st, err := s.store.Status(context.Background())
	for why, n := range st.Dropped {
		fmt.Fprintf(os.Stderr, "netfate: history: %d rows were dropped: %s\n", n, why)
	}
	if closed := s.store.Close(); closed != nil {
		return closed
	}
	return err
}
