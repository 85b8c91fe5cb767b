//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// base is an open database: a [file] of this process, or one that another process has
// open for it. One goroutine writes, others may ask.
type base interface {
	rows(ctx context.Context, q history.Question) (history.Table, error)
	groups(ctx context.Context, q history.Question) (history.Table, error)
	series(ctx context.Context, q history.Question) (history.Series, error)
	durations(ctx context.Context, q history.Question) (history.Durations, error)
	sql(ctx context.Context, statement string, rows int) (history.Table, error)
	status(ctx context.Context, st *history.Status) error

	// write stores rows and rolls up what is complete, whole or not at all. seq is the
	// number of the write: one that is there already is not done twice.
	write(ctx context.Context, m *minutes, seq int64) error
	// written is the number of the last write.
	written() int64
	// keep deletes what is too old or has no room, and says how many rows it were.
	keep(ctx context.Context, now time.Time) (aged, crowded int64, err error)
	full(ctx context.Context) (bool, error)
	countMinutes(ctx context.Context) (int64, error)
	// takeOver writes all minutes that another one has, as one write.
	takeOver(ctx context.Context, from base) error
	checkpoint(ctx context.Context) error
	close() error

	// gone is closed when the process that has it has ended; nil where that is this one.
	gone() <-chan struct{}
	// why is the reason.
	why() error
}

// errEnded is wrapped by what cannot be done since the process that has the files has
// ended, or cannot be started.
var errEnded = errors.New("the process that has the history has ended")

// errReopened is wrapped by what cannot be done since a file was closed that is opened anew.
var errReopened = errors.New("the history's file is opened anew")

// openBase opens the database at path, "" for memory: here, or in the store's process.
func (s *store) openBase(path string) (base, error) {
	if s.cfg.Process != nil {
		p, err := s.running()
		if err != nil {
			return nil, err
		}
		return p.open(&s.cfg, path)
	}
	f, err := openFile(&s.cfg, path, s.kinds)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// with has use work with the database that is open.
func (s *store) with(use func(base) error) error {
	s.reading.RLock()
	defer s.reading.RUnlock()
	err := use(s.file)
	// A commit that failed leaves DuckDB of no use until the writer has opened the file anew.
	if errors.Is(err, errReopened) || err != nil && strings.Contains(err.Error(), "has been invalidated") {
		return fmt.Errorf("%w: %w", history.ErrLimit, errReopened)
	}
	if errors.Is(err, errEnded) {
		return fmt.Errorf("%w: %w, and is started again: a question that takes too much memory ends it", history.ErrLimit, err)
	}
	return err
}

// patiently is with for questions that cannot have ended the process: they are asked again
// of the next one, or of the file opened anew.
func (s *store) patiently(ctx context.Context, use func(base) error) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	for {
		err := s.with(use)
		if !errors.Is(err, errEnded) && !errors.Is(err, errReopened) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// longestPause bounds the time before the process is started anew.
const longestPause = 8 * time.Second

// running returns the store's process, which is started if there is none.
func (s *store) running() (*process, error) {
	if s.process != nil && !s.process.over() {
		return s.process, nil
	}
	again := s.process
	if again != nil {
		s.pause()
	}
	p, err := startProcess(s.cfg.Process())
	if err != nil {
		return nil, &fault{"start the history's process: " + err.Error(), []error{errEnded, err}}
	}
	s.process, s.started = p, time.Now()
	s.pid.Store(int64(p.cmd.Process.Pid))
	if again != nil {
		s.cfg.Say(fmt.Sprintf("history: %v: it was started again", again.reason))
	}
	return p, nil
}

// pause waits before the process is started anew, longer each time that it ended soon.
func (s *store) pause() {
	if time.Since(s.started) > time.Minute {
		s.ends = 0
	}
	time.Sleep(min(time.Duration(s.ends)*time.Second, longestPause))
	s.ends++
}

// Process is the number of the process that has the files, 0 if that is this one.
func (s *store) Process() int { return int(s.pid.Load()) }
