//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// Reasons for which rows are given up, as Status.Dropped has them.
const (
	forAge    = "too old"
	forRoom   = "no room in the file"
	forQueue  = "no room in the queue"
	forMemory = "no room in memory while nothing can be written"
)

// store is a history. One goroutine, run, writes; what is asked of it comes by a
// queue.
type store struct {
	cfg   Config
	kinds []*kind

	orders  chan order
	waiting atomic.Int64  // records in orders
	done    chan struct{} // closed when run is over
	closing atomic.Bool
	put     sync.RWMutex // held for writing while orders is closed

	slots chan struct{} // one for each statement of a user that runs

	reading sync.RWMutex // held for writing while file is exchanged
	file    base
	pid     atomic.Int64 // of process

	mu       sync.Mutex
	dropped  map[string]uint64
	degraded string

	// Owned by run, once it runs.
	pending *minutes
	written time.Time // the last write
	seq     int64
	tried   time.Time // the last attempt to write to disk again
	held    uint64    // rows that only memory has
	process *process  // what has the files, if that is not this one
	started time.Time // when it was
	ends    int       // how often it ended soon
}

// shortest is the time between two writes that nobody asked for, unless there is much to
// write.
const shortest = time.Second

// Where more than inBulk seconds of records wait, these come in bulk: a write has as many
// rows as may be, and longest is the time between two.
const (
	inBulk  = 180
	longest = 20 * time.Second
)

// order is what run is asked to do: to take a batch, or to write and answer.
type order struct {
	batch *record.Batch
	rows  int64
	reply chan error
	// unless is for readers: nothing is written if that was done since.
	unless time.Time
}

// maxOrders is how many batches wait for run at the most.
const maxOrders = 256

// maxQuestions is how many statements of users run at once.
const maxQuestions = 2

// Open opens the history at cfg.Path, or makes it. A file that cannot be read, or
// is of another version, is set aside under another name, and told. If nothing can be
// written there, the history is kept in memory until that is possible. The error wraps
// [ErrHeld] if another process has it.
func Open(cfg Config) (history.Store, error) {
	if strings.ContainsAny(cfg.Path, "?#%") || cfg.Path == "" {
		return nil, fmt.Errorf("open history: the path %q is empty, or has one of ?, # and %%: choose another one", cfg.Path)
	}
	s := &store{
		cfg: cfg.withDefaults(), kinds: newKinds(), orders: make(chan order, maxOrders), done: make(chan struct{}),
		slots: make(chan struct{}, maxQuestions), dropped: map[string]uint64{},
	}
	s.pending = newMinutes(s.kinds)
	if err := s.open(); err != nil {
		if s.process != nil {
			s.process.stop()
		}
		return nil, fmt.Errorf("open history %s: %w", cfg.Path, err)
	}
	s.written = time.Now()
	go s.run()
	return s, nil
}

// open opens the file, or memory if nothing can be written.
func (s *store) open() error {
	if s.cfg.ReadOnly {
		f, err := s.openBase(s.cfg.Path)
		if err != nil {
			return explained(err)
		}
		s.file = f
		return nil
	}
	f, err := s.openDisk()
	if errors.Is(err, ErrHeld) {
		return err
	}
	if err != nil {
		if f, err = s.openMemory(err); err != nil {
			return err
		}
	}
	s.file, s.seq = f, f.written()
	return nil
}

// openDisk opens the file; one that cannot be used is set aside first.
func (s *store) openDisk() (base, error) {
	if err := os.MkdirAll(filepath.Dir(s.cfg.Path), 0o750); err != nil {
		return nil, err
	}
	if err := writable(s.cfg.Path); err != nil {
		return nil, err
	}
	f, err := s.openBase(s.cfg.Path)
	if err == nil {
		// What a process that was killed has left in the log is not read again by
		// the next one.
		if err = f.checkpoint(context.Background()); err == nil {
			return f, nil
		}
		err = errors.Join(err, f.close())
	}
	if err = explained(err); errors.Is(err, ErrHeld) || errors.Is(err, errEnded) || outside(err) {
		return nil, err
	}
	aside, moved := setAside(s.cfg.Path, time.Now())
	if moved != nil {
		return nil, errors.Join(err, moved)
	}
	s.cfg.Say(fmt.Sprintf("the history %s cannot be used (%v): it is now %s, and a new one begins", s.cfg.Path, short(err), aside))
	return s.openBase(s.cfg.Path)
}

// openMemory opens memory in place of the file that cannot be written for the
// reason.
func (s *store) openMemory(reason error) (base, error) {
	f, err := s.openBase("")
	if err != nil {
		return nil, errors.Join(reason, err)
	}
	s.degrade(fmt.Sprintf("%s cannot be written (%v): what comes is kept in memory, and what the file has is not shown", s.cfg.Path, short(reason)))
	s.tried = time.Now()
	return f, nil
}

func (s *store) degrade(why string) {
	s.mu.Lock()
	was := s.degraded
	s.degraded = why
	s.mu.Unlock()
	if why != was && why != "" {
		s.cfg.Say("history: " + why)
	}
}

func (s *store) isDegraded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.degraded != ""
}

func (s *store) drop(why string, n uint64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.dropped[why] += n
	s.mu.Unlock()
}

// writable tries whether a file can be written, or made, there: DuckDB would
// tell it by the same error as damage.
func writable(path string) error {
	_, before := os.Stat(path)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if errors.Is(before, os.ErrNotExist) {
		return os.Remove(path)
	}
	return nil
}

// explained gives errors of DuckDB their meaning.
func explained(err error) error {
	if strings.Contains(err.Error(), "Could not set lock on file") {
		return fmt.Errorf("%w: %s", ErrHeld, short(err))
	}
	return err
}

// outside reports whether an error tells of the disk and not of the file.
func outside(err error) bool {
	if errors.Is(err, os.ErrPermission) {
		return true
	}
	for _, text := range []string{"No space left", "Permission denied", "Read-only file system", "Input/output error", "Disk quota", "Too many open files", "Out of Memory", "Allocation failure", "bad_alloc"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// short is the first line of an error.
func short(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	return line
}

// setAside gives the file and its log another name.
func setAside(path string, now time.Time) (string, error) {
	aside := path + ".aside-" + now.UTC().Format("20060102T150405.000")
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	if err := os.Rename(path+".wal", aside+".wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return aside, nil
}

var (
	errClosed   = errors.New("the history is closed")
	errReadOnly = errors.New("the history is open to be read only")
)

// Put queues the batch. What finds the queue full is dropped and counted.
func (s *store) Put(_ context.Context, b *record.Batch) error {
	if s.cfg.ReadOnly {
		return errReadOnly
	}
	rows := records(b)
	s.put.RLock()
	defer s.put.RUnlock()
	if s.closing.Load() {
		return errClosed
	}
	if waiting := s.waiting.Add(rows); waiting > s.cfg.MaxQueue && waiting > rows {
		s.waiting.Add(-rows)
		s.drop(forQueue, uint64(rows))
		return nil
	}
	select {
	case s.orders <- order{batch: b, rows: rows}:
	default:
		s.waiting.Add(-rows)
		s.drop(forQueue, uint64(rows))
	}
	return nil
}

// records is how many records of a batch are stored: samples are counted in drops.
func records(b *record.Batch) int64 {
	return int64(len(b.Drops) + len(b.Flows) + len(b.Conns) + len(b.Requests) + len(b.RequestCounts) + len(b.Queries) + len(b.Ledger) + len(b.Lost))
}

// Flush writes what was Put. The error says that it is in memory only.
func (s *store) Flush(ctx context.Context) error {
	if s.cfg.ReadOnly {
		return errReadOnly
	}
	return s.ask(ctx, time.Time{})
}

// Taken returns once all that was Put before is added up, so that as much has room again. It
// need not be durable.
func (s *store) Taken(ctx context.Context) error {
	if s.cfg.ReadOnly {
		return errReadOnly
	}
	return s.ask(ctx, time.Unix(0, 1))
}

// ask has run write what there is, unless it did since.
func (s *store) ask(ctx context.Context, unless time.Time) error {
	o := order{reply: make(chan error, 1), unless: unless}
	if err := s.send(ctx, o); err != nil {
		return err
	}
	select {
	case err := <-o.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *store) send(ctx context.Context, o order) error {
	s.put.RLock()
	defer s.put.RUnlock()
	if s.closing.Load() {
		return errClosed
	}
	select {
	case s.orders <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close writes what was Put and closes the file.
func (s *store) Close() error {
	s.put.Lock()
	if s.closing.Swap(true) {
		s.put.Unlock()
		return errClosed
	}
	close(s.orders)
	s.put.Unlock()
	<-s.done
	s.reading.Lock()
	defer s.reading.Unlock()
	err := s.file.close()
	if s.process != nil {
		s.process.stop()
	}
	if s.isDegraded() && s.pending.len == 0 {
		err = errors.Join(err, errors.New(s.Degraded()))
	}
	return err
}

// Degraded is Status.Degraded.
func (s *store) Degraded() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.degraded
}

// run adds up and writes until orders is closed.
func (s *store) run() {
	defer close(s.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case o, ok := <-s.orders:
			if !ok {
				s.write(s.pending)
				return
			}
			s.serve(o)
		case <-tick.C:
			if s.pending.len > 0 && time.Since(s.written) > time.Minute {
				s.write(s.pending)
			}
			s.recover()
		case <-s.file.gone():
			s.restart()
		}
	}
}

func (s *store) serve(o order) {
	if o.batch == nil {
		if o.unless.IsZero() || s.written.Before(o.unless) {
			s.write(s.pending)
		}
		if s.isDegraded() {
			o.reply <- fmt.Errorf("history: %s", s.Degraded())
			return
		}
		o.reply <- nil
		return
	}
	s.waiting.Add(-o.rows)
	before := s.pending.new
	s.pending.add(o.batch)
	// A new minute began, so those before are over. What comes faster than time goes by,
	// from a recording, is written in larger parts.
	wait := shortest
	if s.pending.new-s.pending.old > inBulk {
		wait = longest
	}
	over := before > 0 && s.pending.new > before && time.Since(s.written) > wait
	switch {
	case over:
		s.write(s.pending)
	case s.pending.len >= s.cfg.MaxPending:
		s.write(s.pending.groups())
	}
}

// write stores what is pending, or a part of it: in the file; if that fails all of it in the file
// opened anew; if that fails too in memory.
func (s *store) write(part *minutes) {
	s.written = time.Now()
	if s.pending.len == 0 {
		return
	}
	ctx := context.Background()
	s.seq++
	err := s.file.write(ctx, part, s.seq)
	if err == nil && part != s.pending {
		s.pending.cut(part)
		s.keep(ctx)
		return
	}
	if err != nil && (!s.isDegraded() || errors.Is(err, errEnded)) {
		err = s.again(ctx, err)
	}
	if err != nil {
		// Not even memory takes them.
		s.drop(forMemory, uint64(s.pending.len))
		s.pending.clear()
		return
	}
	if s.isDegraded() {
		s.held += uint64(s.pending.len)
	}
	s.pending.clear()
	s.keep(ctx)
}

// restart goes on with a new process, as the one that had the files has ended.
func (s *store) restart() {
	if s.pending.len > 0 {
		s.write(s.pending) // which finds that out
		return
	}
	// What it cannot is told.
	_ = s.again(context.Background(), s.file.why())
}

// keep deletes what has to go. That it cannot is told as what cannot be written is, by the
// next write.
func (s *store) keep(ctx context.Context) {
	aged, crowded, err := s.file.keep(ctx, time.Now())
	s.drop(forAge, uint64(aged))
	if s.isDegraded() {
		s.drop(forMemory, uint64(crowded))
		s.bound(ctx)
		return
	}
	s.drop(forRoom, uint64(crowded))
	if err != nil {
		s.cfg.Say(fmt.Sprintf("history: %s cannot be kept within its bounds: %v", s.cfg.Path, short(err)))
	}
}

// bound begins memory anew if it has too many rows, all of the newest partition.
func (s *store) bound(ctx context.Context) {
	full, err := s.file.full(ctx)
	if err == nil && !full {
		return
	}
	n, err := s.file.countMinutes(ctx)
	if err != nil {
		return
	}
	f, err := s.openBase("")
	if err != nil {
		return // it stays full, and the next write tries again
	}
	s.held = 0
	s.drop(forMemory, uint64(n))
	s.exchange(f)
}

// again tries a write that failed once more, with the file opened anew, since an error
// may leave DuckDB of no use; then it goes on in memory. If there is nothing to write it only
// opens.
func (s *store) again(ctx context.Context, failed error) error {
	if err := s.closeFile(); err != nil {
		failed = errors.Join(failed, err)
	}
	s.drop(forMemory, s.held)
	s.held = 0
	f, err := s.openDisk()
	if err == nil {
		if s.isDegraded() {
			s.seq = f.written() + 1 // memory's numbers are its own
		}
		// The write may have been done after all.
		if s.pending.len == 0 || f.written() >= s.seq || f.write(ctx, s.pending, s.seq) == nil {
			s.setFile(f)
			s.degrade("")
			return nil
		}
		failed = errors.Join(failed, f.close())
	}
	if f, err = s.openMemory(failed); err != nil {
		// There is no memory for a database either: a file that is closed answers
		// with errors, and recover tries again.
		s.degrade(short(err))
		s.tried = time.Now()
		return err
	}
	s.setFile(f)
	return f.write(ctx, s.pending, s.seq)
}

// closeFile closes the file once nobody reads it.
func (s *store) closeFile() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.file.close()
}

func (s *store) setFile(f base) {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.file = f
}

// exchange closes the file for another one.
func (s *store) exchange(f base) {
	s.reading.Lock()
	defer s.reading.Unlock()
	old := s.file
	s.file = f
	if err := old.close(); err != nil {
		s.cfg.Say(fmt.Sprintf("history: close: %v", short(err)))
	}
}

// recover goes back to the file, from time to time, with what memory has.
func (s *store) recover() {
	if !s.isDegraded() || time.Since(s.tried) < s.cfg.Retry {
		return
	}
	s.tried = time.Now()
	f, err := s.openDisk()
	if err != nil {
		return
	}
	if f.takeOver(context.Background(), s.file) == nil {
		s.seq, s.held = f.written(), 0
		s.exchange(f)
		s.degrade("")
		s.cfg.Say(fmt.Sprintf("history: %s can be written again, and has what was kept in memory", s.cfg.Path))
		return
	}
	if err := f.close(); err != nil {
		s.cfg.Say(fmt.Sprintf("history: close: %v", short(err)))
	}
}

// Rows implements history.Store.
func (s *store) Rows(ctx context.Context, q history.Question) (t history.Table, err error) {
	if q.After == "" {
		s.refresh(ctx)
	}
	err = s.patiently(ctx, func(b base) (err error) {
		t, err = b.rows(ctx, q)
		return err
	})
	return t, err
}

// Groups implements history.Store.
func (s *store) Groups(ctx context.Context, q history.Question) (t history.Table, err error) {
	s.refresh(ctx)
	err = s.patiently(ctx, func(b base) (err error) {
		t, err = b.groups(ctx, q)
		return err
	})
	return t, err
}

// Series implements history.Store.
func (s *store) Series(ctx context.Context, q history.Question) (r history.Series, err error) {
	s.refresh(ctx)
	err = s.patiently(ctx, func(b base) (err error) {
		r, err = b.series(ctx, q)
		return err
	})
	return r, err
}

// Durations implements history.Store.
func (s *store) Durations(ctx context.Context, q history.Question) (d history.Durations, err error) {
	s.refresh(ctx)
	err = s.patiently(ctx, func(b base) (err error) {
		d, err = b.durations(ctx, q)
		return err
	})
	return d, err
}

// Status tells how much there is.
func (s *store) Status(ctx context.Context) (history.Status, error) {
	s.refresh(ctx)
	s.mu.Lock()
	st := history.Status{Path: s.cfg.Path, Degraded: s.degraded, Dropped: maps.Clone(s.dropped)}
	s.mu.Unlock()
	err := s.with(func(b base) error { return b.status(ctx, &st) })
	if errors.Is(err, errEnded) {
		st.Degraded, err = err.Error(), nil
	}
	if st.Degraded != "" {
		st.Bytes = 0
	}
	return st, err
}

// refresh writes what is pending, so that it can be read, if that was not done
// just now. That it cannot is not the reader's error.
func (s *store) refresh(ctx context.Context) {
	if s.cfg.ReadOnly {
		return
	}
	if err := s.ask(ctx, time.Now().Add(-s.cfg.Fresh)); err != nil {
		return
	}
}
