package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/api"
	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/memory"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/recording"
	"github.com/netfate/netfate/internal/webui"
)

// recordedRows is how many rows of each kind are shown of a recording: some 170 MB of
// flows. What there is more of is said.
const recordedRows = 1 << 18

// serveRecording answers about a recording until ctx is done.
func serveRecording(ctx context.Context, cfg config.Config, path string) error {
	store := replayed{inMemory{memory.New(memory.Config{MaxRows: recordedRows})}}
	header, rows, err := load(ctx, path, store)
	if err != nil {
		return err
	}
	books, err := allBooks()
	if err != nil {
		return err
	}
	kept, err := store.Status(ctx)
	if err != nil {
		return err
	}
	about := api.Config{
		API: cfg.API, Page: webui.Handler(), Store: store, Books: books,
		About: api.About{
			Host: header.Host, Version: version(), Started: time.Now().UTC(),
			Kernel: api.Kernel{Release: header.Kernel, Features: []api.Feature{}},
		},
		Costs:     newCostMeter(store).costs,
		Recording: &api.Recording{File: filepath.Base(path), Start: header.Start.UTC(), End: rows.end.UTC()},
		Base:      &http.Server{ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Second},
		Log:       func(line string) { say("%s", line) },
	}
	// The daemon of this host may have the socket.
	about.API.Listen = slices.DeleteFunc(slices.Clone(cfg.API.Listen), func(a string) bool { return strings.HasPrefix(a, "unix:") })
	if len(about.API.Listen) == 0 {
		about.API.Listen = []string{"127.0.0.1:0"}
	}
	server, err := listening(ctx, about)
	if errors.Is(err, syscall.EADDRINUSE) {
		about.API.Listen = []string{"127.0.0.1:0"}
		server, err = listening(ctx, about)
	}
	if err != nil {
		return err
	}
	for _, n := range kept.Dropped {
		say("note: the first %d rows are not shown, but the last %d of each kind", n, recordedRows)
		server.Lose("recording", "too many rows", n, "the first ones are not shown")
	}
	say("%s of %s: %v from %s on; Ctrl-C ends", about.Recording.File, header.Host, rows.end.Sub(header.Start).Round(time.Second), header.Start.Local().Format("2006-01-02 15:04:05"))
	for _, a := range server.Addrs() {
		say("listening on %v", a)
	}
	return server.Serve(ctx)
}

func listening(ctx context.Context, cfg api.Config) (*api.Server, error) {
	server, err := api.New(cfg)
	if err != nil {
		return nil, err
	}
	return server, server.Listen(ctx)
}

// replayed is the store of a recording.
type replayed struct{ inMemory }

// SQL implements history.Store: it refuses.
func (replayed) SQL(context.Context, string, history.Limits) (history.Table, error) {
	return history.Table{}, fmt.Errorf("%w: a recording is kept in memory, where nothing speaks SQL", history.ErrQuestion)
}

// loading puts the batches of a recording into a store.
type loading struct {
	store history.Store
	end   time.Time // of the last batch
}

// Batch implements agent.Sink.
func (r *loading) Batch(b *record.Batch) error {
	r.end = b.End
	return r.store.Put(context.Background(), b)
}

// Close implements agent.Sink.
func (*loading) Close() error { return nil }

// load reads a recording into a store, and returns what it says of itself and how far
// it goes.
func load(ctx context.Context, path string, store history.Store) (header recording.Header, rows *loading, err error) {
	in, err := os.Open(path)
	if err != nil {
		return header, nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, err := recording.Open(in)
	if err != nil {
		return header, nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer r.Close()
	header = r.Header()
	rows = &loading{store: store, end: header.Start}
	if err := agent.Replay(ctx, r, agent.Select{}, []agent.Output{{Name: "the history", Sink: rows}}); err != nil {
		return header, nil, err
	}
	if note := r.Note(); note != "" {
		say("note: %s", note)
	}
	return header, rows, nil
}
