package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// Reasons for which rows are given up, as Status.Dropped and records of what was lost
// have them.
const (
	forQueue   = "no room in the queue"
	forSpool   = "no room for what waits for ClickHouse"
	forDisk    = "what waits for ClickHouse cannot be written"
	forRefusal = "refused by ClickHouse"
	forAge     = "too old"
)

// store is a history. One goroutine, run, adds up and sends; what is asked of it comes by
// a queue.
type store struct {
	cfg    Config
	at     Address
	kinds  []*kind
	client *client

	orders  chan order
	waiting atomic.Int64  // records in orders
	waits   atomic.Uint64 // rows in spool
	done    chan struct{} // closed when run is over
	closing atomic.Bool
	put     sync.RWMutex  // held for writing while orders is closed
	slots   chan struct{} // one for each statement of a user that runs

	mu       sync.Mutex
	dialect  *dialect       // of the server, nil until it has answered
	zone     *time.Location // that of the server
	dropped  map[string]uint64
	degraded string

	// Owned by run, once it runs.
	pending *minutes
	spool   *spool
	lost    map[string]uint64 // rows given up that are not in pending yet
	sent    time.Time         // the last time that all there was was sent
	minute  int64             // that in which the newest batch began
	sealed  time.Time         // the last time that pending became batches
	due     time.Time         // when ready is sent
	ready   []*batch
	// readyRows is how many rows these have.
	readyRows int
	tried     time.Time // the last attempt to reach a server that is away
	kept      time.Time // the last look for days that are too old
	made      bool      // the tables are there
	told      string    // what was said last
}

// order is what run is asked to do: to take a batch, or to send and answer.
type order struct {
	batch *record.Batch
	rows  int64
	reply chan error
	// unless is for readers: nothing is sent if that was done since.
	unless time.Time
}

const (
	// maxOrders is how many batches wait for run at the most.
	maxOrders = 256
	// maxQuestions is how many statements of users run at once.
	maxQuestions = 2
	// shortest is the time between two times that minutes become batches, unless there is
	// much to insert.
	shortest = time.Second
	// questionTime bounds every question that brings no bound of its own.
	questionTime = 30 * time.Second
	// makeTime is how long making tables may take.
	makeTime = 10 * time.Second
)

var (
	errClosed   = errors.New("the history is closed")
	errReadOnly = errors.New("the history is open to be read only")
)

// Open opens the history at cfg.URL. A server that does not answer is told by cfg.Say,
// and tried again; what comes meanwhile waits. The error wraps [ErrHeld] if another
// process has the spool.
func Open(cfg Config) (history.Store, error) {
	at, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	if cfg.Password != "" && !at.Secure && !at.isLoopback() {
		return nil, fmt.Errorf("open history: %s would send the password in the clear: use %s://", at, SecureScheme)
	}
	s := &store{
		cfg: cfg.withDefaults(), at: at, kinds: newKinds(), orders: make(chan order, maxOrders), done: make(chan struct{}),
		slots: make(chan struct{}, maxQuestions), dropped: map[string]uint64{}, lost: map[string]uint64{},
	}
	s.client = newClient(&s.cfg, at)
	s.pending = newMinutes(s.kinds, s.cfg.Host)
	if s.cfg.ReadOnly {
		s.spool = &spool{}
		close(s.done)
		return s, nil
	}
	if s.spool, err = openSpool(s.cfg.Spool, s.cfg.MaxSpool, s.cfg.Say); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	s.waits.Store(s.spool.rows())
	s.sent = time.Now()
	if err := s.make(context.Background()); err != nil {
		s.away(err)
	}
	go s.run()
	return s, nil
}

// hello asks the server what it is, once.
func (s *store) hello(ctx context.Context) (dialect, *time.Location, error) {
	s.mu.Lock()
	d, zone := s.dialect, s.zone
	s.mu.Unlock()
	if d != nil {
		return *d, zone, nil
	}
	body, err := s.client.do(ctx, &request{statement: "SELECT version(), timezone() FORMAT TabSeparated", nowhere: true})
	if err != nil {
		return dialect{}, nil, err
	}
	defer body.Close()
	var version, name string
	if _, err := fmt.Fscanf(body, "%s\t%s\n", &version, &name); err != nil {
		return dialect{}, nil, fmt.Errorf("%s answers, but not as ClickHouse does: %w", s.at.Host, err)
	}
	if zone, err = time.LoadLocation(name); err != nil {
		zone = time.UTC
	}
	one := newDialect(version)
	s.mu.Lock()
	s.dialect, s.zone = &one, zone
	s.mu.Unlock()
	return one, zone, nil
}

// make makes the database, and what tables and columns are missing.
func (s *store) make(ctx context.Context) error {
	if s.made {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	d, _, err := s.hello(ctx)
	if err != nil {
		return err
	}
	if err := s.client.exec(ctx, &request{statement: "CREATE DATABASE IF NOT EXISTS " + quoted(s.at.Database), nowhere: true}); err != nil {
		return err
	}
	have, err := s.columns(ctx)
	if err != nil {
		return err
	}
	for _, k := range s.kinds {
		if err := s.makeTable(ctx, d, k, have[k.name]); err != nil {
			return fmt.Errorf("make table %s: %w", k.name, err)
		}
	}
	s.made = true
	return nil
}

func (s *store) makeTable(ctx context.Context, d dialect, k *kind, have map[string]bool) error {
	if have == nil {
		return s.client.exec(ctx, &request{statement: d.create(k)})
	}
	for i := range k.columns {
		if c := &k.columns[i]; !have[c.name] {
			if err := s.client.exec(ctx, &request{statement: fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s", k.name, d.define(c))}); err != nil {
				return err
			}
		}
	}
	return nil
}

// columns are those that the tables have, by their names.
func (s *store) columns(ctx context.Context) (map[string]map[string]bool, error) {
	a, err := s.client.query(ctx, "SELECT table, name FROM system.columns WHERE database = "+literal(s.at.Database), s.bounds())
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]bool{}
	for _, row := range a.Data {
		table, name := word(row[0]), word(row[1])
		if all[table] == nil {
			all[table] = map[string]bool{}
		}
		all[table][name] = true
	}
	return all, nil
}

func (s *store) bounds() bounds { return bounds{time: questionTime, memory: s.cfg.Memory} }

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
	if waiting := s.waiting.Add(rows); waiting <= s.cfg.MaxQueue || waiting == rows {
		select {
		case s.orders <- order{batch: b, rows: rows}:
			return nil
		default:
		}
	}
	s.waiting.Add(-rows)
	s.drop(forQueue, uint64(rows))
	return nil
}

// records is how many records of a batch are stored: samples are counted in drops.
func records(b *record.Batch) int64 {
	return int64(len(b.Drops) + len(b.Flows) + len(b.Conns) + len(b.Requests) + len(b.RequestCounts) + len(b.Queries) + len(b.Ledger) + len(b.Lost))
}

// drop counts rows that are given up.
func (s *store) drop(why string, n uint64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.dropped[why] += n
	s.lost[why] += n
	s.mu.Unlock()
}

// Flush sends what was Put: when it returns nil it is with the server, or on disk.
func (s *store) Flush(ctx context.Context) error {
	if s.cfg.ReadOnly {
		return errReadOnly
	}
	return s.ask(ctx, time.Time{})
}

// ask has run send what there is, unless it did since.
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

// Close sends what was Put, or leaves it on disk for the next one.
func (s *store) Close() error {
	s.put.Lock()
	if s.closing.Swap(true) {
		s.put.Unlock()
		return errClosed
	}
	close(s.orders)
	s.put.Unlock()
	<-s.done
	s.client.close()
	err := s.spool.close()
	if n := s.spool.rows(); n > 0 && s.cfg.Spool == "" {
		err = errors.Join(err, fmt.Errorf("history: %d rows are lost: %s", n, s.Degraded()))
	}
	return err
}

// Degraded is Status.Degraded.
func (s *store) Degraded() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.degraded == "" {
		return ""
	}
	where := s.cfg.Spool
	if where == "" {
		where = "memory"
	}
	return fmt.Sprintf("%s: %d rows wait in %s", s.degraded, s.waits.Load(), where)
}

// Status tells how much there is, of all hosts.
func (s *store) Status(ctx context.Context) (history.Status, error) {
	s.refresh(ctx)
	st := history.Status{Engine: "clickhouse", Path: s.at.String(), Degraded: s.Degraded()}
	s.mu.Lock()
	st.Dropped = maps.Clone(s.dropped)
	s.mu.Unlock()
	d, _, err := s.hello(ctx)
	if err != nil {
		if st.Degraded != "" {
			return st, nil // it says so
		}
		return st, err
	}
	st.Engine += " " + d.version
	if err := s.amounts(ctx, &st); err != nil && st.Degraded == "" {
		return st, err
	}
	return st, nil
}

// amounts finds out how much there is of each kind. Only the first and the last day are
// looked into.
func (s *store) amounts(ctx context.Context, st *history.Status) error {
	a, err := s.client.query(ctx, "SELECT table, sum(rows), sum(bytes_on_disk), min(partition), max(partition) FROM system.parts WHERE active AND database = "+
		literal(s.at.Database)+" GROUP BY table", s.bounds())
	if err != nil {
		return err
	}
	for _, k := range s.kinds {
		one := history.KindStatus{Kind: k.name, Resolution: resolution}
		here := false
		for _, row := range a.Data {
			if word(row[0]) != k.name {
				continue
			}
			here = true
			if one.Rows, err = strconv.ParseInt(word(row[1]), 10, 64); err != nil {
				return err
			}
			size, err := strconv.ParseInt(word(row[2]), 10, 64)
			if err != nil {
				return err
			}
			st.Bytes += size
			if one.Oldest, one.Newest, err = s.ends(ctx, k, word(row[3]), word(row[4])); err != nil {
				return err
			}
		}
		if !here { // empty, or elsewhere: a Distributed table has no parts
			if err := s.amount(ctx, &one); err != nil {
				return err
			}
		}
		if !one.Oldest.IsZero() && (st.Oldest.IsZero() || one.Oldest.Before(st.Oldest)) {
			st.Oldest = one.Oldest
		}
		st.Kinds = append(st.Kinds, one)
	}
	return nil
}

// amount finds out how much there is of one kind, by looking at all of it.
func (s *store) amount(ctx context.Context, k *history.KindStatus) error {
	a, err := s.client.query(ctx, "SELECT count(), toUInt32(min(time)), toUInt32(max(time)) FROM "+k.Kind, s.bounds())
	if err != nil || len(a.Data) != 1 {
		return err
	}
	got, err := uints(a.Data[0])
	if err != nil || got[0] == 0 {
		return err
	}
	k.Rows, k.Oldest, k.Newest = int64(got[0]), time.Unix(int64(got[1]), 0).UTC(), time.Unix(int64(got[2]), 0).UTC()
	return nil
}

// ends are the times of the oldest and the newest row of a kind, given its first and its
// last day, as 20260314.
func (s *store) ends(ctx context.Context, k *kind, first, last string) (oldest, newest time.Time, err error) {
	from, err := time.Parse("20060102", last)
	if err != nil {
		return oldest, newest, fmt.Errorf("table %s has a partition %q that is no day", k.name, last)
	}
	to, err := time.Parse("20060102", first)
	if err != nil {
		return oldest, newest, fmt.Errorf("table %s has a partition %q that is no day", k.name, first)
	}
	a, err := s.client.query(ctx, fmt.Sprintf("SELECT (SELECT toUInt32(min(time)) FROM %[1]s WHERE time < %[2]s), (SELECT toUInt32(max(time)) FROM %[1]s WHERE time >= %[3]s)",
		k.name, moment(to.Unix()+day), moment(from.Unix())), s.bounds())
	if err != nil || len(a.Data) != 1 {
		return oldest, newest, err
	}
	both, err := uints(a.Data[0])
	if err != nil {
		return oldest, newest, err
	}
	return time.Unix(int64(both[0]), 0).UTC(), time.Unix(int64(both[1]), 0).UTC(), nil
}

// refresh sends what is pending, so that it can be read, if that was not done just now.
// That it cannot is not the reader's error.
func (s *store) refresh(ctx context.Context) {
	if s.cfg.ReadOnly {
		return
	}
	if err := s.ask(ctx, time.Now().Add(-s.cfg.Fresh)); err != nil {
		return
	}
}

// short is the first line of an error.
func short(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
