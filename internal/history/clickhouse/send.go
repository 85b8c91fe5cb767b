package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// silent is after how long rows are sent of minutes of which nothing tells that they are
// over.
const silent = 2 * time.Minute

// closingTime is how long an insert may take when the store is closed: whoever ends is
// waited for, and what is on disk is there.
const closingTime = 5 * time.Second

// drainTime is how long batches that waited are sent before what comes is looked at.
const drainTime = time.Second

// keepEvery is the time between two looks for days that are too old.
const keepEvery = time.Hour

// run adds up and sends until orders is closed.
func (s *store) run() {
	defer close(s.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case o, ok := <-s.orders:
			if !ok {
				if s.cfg.Spool == "" {
					s.drain() // what is on disk is for the next one
				}
				_ = s.write() // what is lost by it is told by Close
				return
			}
			s.serve(o)
		case <-tick.C:
			s.tick()
			s.drain()
			s.keep()
		}
	}
}

// tick sends what has waited long enough.
func (s *store) tick() {
	switch {
	case len(s.ready) > 0 && !time.Now().Before(s.due):
		_ = s.hand() // told by degrade
	case (s.pending.len > 0 || s.hasLost()) && time.Since(s.sent) > silent:
		_ = s.write()
	}
}

func (s *store) serve(o order) {
	if o.batch == nil {
		var err error
		if o.unless.IsZero() || s.sent.Before(o.unless) {
			err = s.write()
			s.drain()
		}
		o.reply <- err
		return
	}
	s.waiting.Add(-o.rows)
	// A new minute begins, so those before are over. What comes faster than time goes by,
	// from a recording, is sent in larger parts.
	if minute := minuteOfBatch(o.batch); minute > s.minute {
		if s.minute = minute; s.pending.len > 0 && time.Since(s.sealed) > shortest {
			_ = s.seal() // told by it
		}
	}
	s.pending.add(o.batch)
	if s.pending.len >= s.cfg.MaxPending {
		_ = s.write() // told by degrade
	}
}

// minuteOfBatch is the minute in which a batch began.
func minuteOfBatch(b *record.Batch) int64 {
	if b.Start.IsZero() {
		return b.End.Unix() / 60
	}
	return b.Start.Unix() / 60
}

// sendingTime is how long after the end of a minute a host sends it: hosts of other names
// wait for other times, else a fleet would send at once.
func sendingTime(host string, spread time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(host)) // it never fails
	return time.Duration(float64(spread) * float64(h.Sum32()) / (1 << 32))
}

// seal makes batches of what is pending, which are sent when this host's moment comes,
// or at once if there are many.
func (s *store) seal() error {
	s.sealed = time.Now()
	if len(s.spool.held) == 0 || s.closing.Load() {
		s.tellLost() // else it might be given up itself
	}
	rows := s.pending.len
	all, err := s.pending.seal()
	if err != nil {
		s.tell(fmt.Sprintf("history: %v", err))
		return err
	}
	if len(s.ready) == 0 {
		s.due = s.sealed.Add(sendingTime(s.cfg.Host, s.cfg.Spread))
	}
	s.ready, s.readyRows = append(s.ready, all...), s.readyRows+rows
	if s.readyRows >= s.cfg.MaxPending {
		return s.hand()
	}
	return nil
}

// hand sends what is ready, or has it wait. The error says that some of it is not
// durable.
func (s *store) hand() error {
	all := s.ready
	s.ready, s.readyRows = nil, 0
	var errs []error
	for _, b := range all {
		errs = append(errs, s.deliver(b))
	}
	return errors.Join(errs...)
}

// write sends all there is, that of the minute that goes on too. The error says that
// some of it is not durable.
func (s *store) write() error {
	s.sent = time.Now()
	err := errors.Join(s.seal(), s.hand())
	if err == nil && s.cfg.Spool == "" && len(s.spool.held) > 0 {
		return fmt.Errorf("history: %s", s.Degraded())
	}
	return err
}

// hasLost reports whether rows were given up that no record tells of yet.
func (s *store) hasLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lost) > 0
}

// tellLost adds records of what was given up: the fleet has to know of it too.
func (s *store) tellLost() {
	s.mu.Lock()
	lost := s.lost
	s.lost = map[string]uint64{}
	s.mu.Unlock()
	b := &record.Batch{}
	for why, n := range lost {
		b.Lost = append(b.Lost, record.Lost{Time: time.Now(), Place: "history", Reason: why, Count: n, Effect: "these rows are not in the history"})
	}
	s.pending.add(b)
}

// deliver inserts a batch that was never tried before; if the server is away it waits.
func (s *store) deliver(b *batch) error {
	if len(s.spool.held) == 0 && s.mayTry() {
		err := s.insert(b)
		if err == nil {
			s.back()
			return nil
		}
		if s.refused(b, err) {
			return err
		}
		s.away(err)
	}
	dropped, err := s.spool.put(b)
	s.waits.Store(s.spool.rows())
	if err != nil {
		s.drop(forDisk, dropped)
		s.tell(fmt.Sprintf("history: %s: %v", forDisk, err))
		return err
	}
	s.drop(forSpool, dropped)
	if s.cfg.Spool == "" {
		return fmt.Errorf("history: %s", s.Degraded())
	}
	return nil
}

// mayTry reports whether it is time to try a server that was away.
func (s *store) mayTry() bool { return s.tried.IsZero() || time.Since(s.tried) >= s.cfg.Retry }

// drain sends what waits, the oldest first, for a while. Since it may have been sent
// before, it is looked for.
func (s *store) drain() {
	begin := time.Now()
	for len(s.spool.held) > 0 && s.mayTry() && time.Since(begin) < drainTime {
		b, err := s.spool.first()
		if err != nil {
			s.drop(forDisk, s.spool.held[0].rows)
			s.tell(fmt.Sprintf("history: a batch that waits cannot be read: %v", err))
		} else if err = s.again(b); err != nil && !s.refused(b, err) {
			s.away(err)
			return
		}
		if err := s.spool.drop(); err != nil {
			s.away(err) // it is looked for again
			return
		}
		s.waits.Store(s.spool.rows())
	}
	if len(s.spool.held) == 0 && s.mayTry() && s.Degraded() != "" {
		// Nothing waits, so nothing has shown yet whether it is back.
		if err := s.make(context.Background()); err != nil {
			s.away(err)
			return
		}
		s.back()
	}
}

// again inserts a batch that may have been inserted before.
func (s *store) again(b *batch) error {
	if err := s.make(context.Background()); err != nil {
		return err
	}
	there, err := s.has(b)
	if err != nil || there {
		return err
	}
	return s.insert(b)
}

// errRunning says that an insert goes on, though whoever sent it does not wait any more.
var errRunning = errors.New("an earlier insert of the same rows still goes on")

// has reports whether the server has a batch. It takes one whole or not at all.
func (s *store) has(b *batch) (bool, error) {
	ctx := context.Background()
	n, err := s.count(ctx, "SELECT count() FROM system.processes WHERE query_id = "+literal(b.ID))
	if err != nil {
		return false, err
	}
	if n > 0 {
		return false, errRunning
	}
	n, err = s.count(ctx, fmt.Sprintf("SELECT count() FROM %s WHERE time >= %s AND time <= %s AND batch = %s",
		b.Table, moment(int64(b.Since)), moment(int64(b.Until)), literal(b.ID)))
	return n > 0, err
}

// count asks a statement that answers one number.
func (s *store) count(ctx context.Context, statement string) (uint64, error) {
	a, err := s.client.query(ctx, statement, s.bounds())
	if err != nil {
		return 0, err
	}
	if len(a.Data) != 1 || len(a.Meta) != 1 {
		return 0, errFormat
	}
	n, err := uints(a.Data[0])
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// insert inserts a batch. Where the tables are gone it makes them and tries once more.
func (s *store) insert(b *batch) error {
	patience := s.cfg.Patience
	if s.closing.Load() {
		patience = min(patience, closingTime)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.make(ctx); err != nil {
		return err
	}
	d, _, err := s.hello(ctx)
	if err != nil {
		return err
	}
	r := &request{statement: b.Insert, body: b.body, id: b.ID, settings: d.insertSettings()}
	err = s.client.exec(ctx, r)
	if e := (*refusal)(nil); errors.As(err, &e) && e.outdated() {
		s.made = false
		if err := s.make(ctx); err != nil {
			return err
		}
		err = s.client.exec(ctx, r)
	}
	return err
}

// refused reports whether the server will never take a batch, whose rows are dropped then.
func (s *store) refused(b *batch, err error) bool {
	e := (*refusal)(nil)
	if !errors.As(err, &e) || !e.forGood() {
		return false
	}
	s.drop(forRefusal, b.Rows)
	s.tell(fmt.Sprintf("history: %d rows of %s are %s: %v", b.Rows, b.Table, forRefusal, err))
	return true
}

// away notes that the server does not take rows.
func (s *store) away(err error) {
	s.tried = time.Now()
	s.made = false // it may come back as another one
	s.mu.Lock()
	was := s.degraded
	s.degraded = fmt.Sprintf("%s does not take rows (%s)", s.at.Host, short(err))
	text := s.degraded
	s.dialect = nil
	s.mu.Unlock()
	if was == "" {
		s.tell("history: " + text + ": they wait, and it is tried again")
	}
}

// back notes that it takes them.
func (s *store) back() {
	s.tried = time.Time{}
	s.mu.Lock()
	was := s.degraded
	s.degraded = ""
	s.mu.Unlock()
	if was != "" {
		s.tell(fmt.Sprintf("history: %s takes rows again, and has those that waited", s.at.Host))
	}
	s.told = ""
}

// tell says what a user has to know, once.
func (s *store) tell(text string) {
	if text != s.told {
		s.told = text
		s.cfg.Say(text)
	}
}

// keep deletes the days that are too old, whole ones.
func (s *store) keep() {
	if s.cfg.MaxAge == 0 || time.Since(s.kept) < keepEvery || s.Degraded() != "" {
		return
	}
	s.kept = time.Now()
	before := s.kept.Add(-s.cfg.MaxAge).UTC().Format("20060102")
	if err := s.dropDays(context.Background(), before); err != nil {
		s.tell(fmt.Sprintf("history: days before %s cannot be deleted: %v", before, err))
	}
}

// dropDays deletes the partitions before a day, as 20260314.
func (s *store) dropDays(ctx context.Context, before string) error {
	a, err := s.client.query(ctx, fmt.Sprintf("SELECT table, partition, sum(rows) FROM system.parts WHERE active AND database = %s AND partition < %s GROUP BY table, partition",
		literal(s.at.Database), literal(before)), s.bounds())
	if err != nil {
		return err
	}
	for _, row := range a.Data {
		table, partition := word(row[0]), word(row[1])
		if !isKind(table) || strings.Trim(partition, "0123456789") != "" {
			continue // it is somebody else's
		}
		rows, err := uints(row[2:])
		if err != nil {
			return err
		}
		if err := s.client.exec(ctx, &request{statement: "ALTER TABLE " + table + " DROP PARTITION " + partition}); err != nil {
			return err
		}
		s.mu.Lock()
		s.dropped[forAge] += rows[0]
		s.mu.Unlock()
	}
	return nil
}

func isKind(table string) bool { return history.Fields(table) != nil }
