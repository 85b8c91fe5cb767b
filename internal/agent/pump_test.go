package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/netfate/netfate/internal/record"
)

// load is a feed that brings a random number of rows in each interval, and
// takes a random time about it.
type load struct {
	rand    *rand.Rand
	rows    int // handed out so far
	detail  int // of them, those that are no news of losses
	packets uint64
	stopped int  // calls of Stop
	after   bool // a Roll came after Stop
	fail    error
}

func (l *load) Follow(ctx context.Context, until time.Time) error {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(until)):
	}
	return l.fail
}

func (l *load) Roll(_ context.Context, start, end time.Time) (*record.Batch, error) {
	time.Sleep(time.Duration(l.rand.IntN(20)) * time.Millisecond)
	l.after = l.after || l.stopped > 0
	return l.batch(start, end), nil
}

func (l *load) Stop() error {
	l.stopped++
	return nil
}

func (l *load) batch(start, end time.Time) *record.Batch {
	b := &record.Batch{
		Start: start, End: end,
		Drops: make([]record.Drop, l.rand.IntN(5)), Samples: make([]record.Drop, l.rand.IntN(5)),
		Flows: make([]record.Flow, l.rand.IntN(5)), Lost: make([]record.Lost, l.rand.IntN(2)),
	}
	for i := range b.Drops {
		b.Drops[i].Packets = l.rand.Uint64N(1000)
	}
	for i := range b.Flows {
		b.Flows[i].PacketsIn = l.rand.Uint64N(1000)
	}
	for i := range b.Lost {
		b.Lost[i] = record.Lost{Place: "kernel", Count: l.rand.Uint64N(1000)}
	}
	l.rows += rowsOf(b)
	l.detail += rowsOf(b) - len(b.Lost)
	l.packets += packetsOf(b)
	return b
}

// packetsOf is everything that b counts: it must never be lost.
func packetsOf(b *record.Batch) (n uint64) {
	for i := range b.Drops {
		n += b.Drops[i].Packets
	}
	for i := range b.Flows {
		n += b.Flows[i].PacketsIn
	}
	for _, l := range b.Lost {
		if l.Place == "kernel" {
			n += l.Count
		}
	}
	return n
}

func rowsOf(b *record.Batch) int { return len(b.Drops) + len(b.Samples) + len(b.Flows) + len(b.Lost) }

// tally is a sink that counts rows, what they count, and how many rows it was
// told to have got without their detail.
type tally struct {
	pause   func()           // before each batch
	fail    func(n int) bool // at the batch of this number
	rows    int
	detail  int
	lost    int
	packets uint64
	failed  int // rows of the batch that it failed at
	seen    int // batches
	closed  int
}

var errSink = errors.New("disk is full")

func (s *tally) Batch(b *record.Batch) error {
	if s.pause != nil {
		s.pause()
	}
	s.seen++
	if s.fail != nil && s.fail(s.seen) {
		s.failed = rowsOf(b)
		return errSink
	}
	whole := true
	for _, l := range b.Lost {
		if strings.HasPrefix(l.Place, "queue") {
			s.lost += int(l.Count)
			whole = false
		}
	}
	s.packets += packetsOf(b)
	if whole {
		s.rows += rowsOf(b)
		s.detail += rowsOf(b) - len(b.Lost)
	}
	return nil
}

func (s *tally) Close() error {
	s.closed++
	return nil
}

// slowness returns a pause of up to most before each batch.
func slowness(seed uint64, most time.Duration) func() {
	r := rand.New(rand.NewPCG(seed, 1))
	return func() { time.Sleep(time.Duration(r.Int64N(int64(most)))) }
}

// start runs a queue to the sink.
func start(sink Sink, failed func(error)) *queue {
	q := newQueue("test", sink)
	go q.run(failed)
	return q
}

func ignore(error) {}

// TestPump is the promise of the queues: for each sink, however slow, counts are
// exact, and the rows that the feed brought are those that the sink took and those
// that it was told to have got without their detail.
func TestPump(t *testing.T) {
	defer goleak.VerifyNone(t)
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			feed := &load{rand: rand.New(rand.NewPCG(seed, 0))}
			sinks := []*tally{
				{},
				{pause: slowness(seed, time.Second)},
				{pause: slowness(seed, 4*time.Second)},
				{pause: slowness(seed, 40*time.Second)},
			}
			var queues []*queue
			for _, s := range sinks {
				queues = append(queues, start(s, ignore))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Duration(feed.rand.IntN(1000))*time.Millisecond)
			defer cancel()
			if err := pump(ctx, feed, time.Second, queues); err != nil {
				t.Fatalf("seed %d: pump: %v", seed, err)
			}
			if feed.stopped != 1 || !feed.after {
				t.Errorf("seed %d: got %d stops, a last interval: %v; want one, and then the rest", seed, feed.stopped, feed.after)
			}
			for i, q := range queues {
				if err := q.close(time.Hour); err != nil {
					t.Errorf("seed %d: close %d: %v", seed, i, err)
				}
				s := sinks[i]
				if s.detail+s.lost != feed.detail {
					t.Errorf("seed %d, sink %d: got %d rows and %d without their detail, sum %d; want %d", seed, i, s.detail, s.lost, s.detail+s.lost, feed.detail)
				}
				if s.packets != feed.packets {
					t.Errorf("seed %d, sink %d: the rows count %d packets, want %d", seed, i, s.packets, feed.packets)
				}
				if i < 2 && s.lost != 0 {
					t.Errorf("seed %d, sink %d: lost %d rows, though it was not slow", seed, i, s.lost)
				}
				if i == 3 && s.lost == 0 {
					t.Errorf("seed %d: the slowest sink lost nothing of %d rows: the test tests nothing", seed, feed.rows)
				}
				if s.closed != 1 {
					t.Errorf("seed %d, sink %d: closed %d times, want once", seed, i, s.closed)
				}
			}
		})
	}
}

// TestSinkFails ends one sink and leaves the others alone.
func TestSinkFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			feed := &load{rand: rand.New(rand.NewPCG(seed, 0))}
			at := 1 + feed.rand.IntN(100)
			bad := &tally{fail: func(n int) bool { return n == at }}
			good := &tally{}
			var told []error
			queues := []*queue{start(bad, func(err error) { told = append(told, err) }), start(good, ignore)}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if err := pump(ctx, feed, time.Second, queues); err != nil {
				t.Fatalf("seed %d: pump: %v", seed, err)
			}
			if err := queues[0].close(time.Second); !errors.Is(err, errSink) {
				t.Errorf("seed %d: close the sink that failed: got %v, want %v", seed, err, errSink)
			}
			if err := queues[1].close(time.Second); err != nil {
				t.Errorf("seed %d: close the other sink: %v", seed, err)
			}
			if good.rows != feed.rows || good.lost != 0 {
				t.Errorf("seed %d: the other sink got %d rows and lost %d, want %d and 0", seed, good.rows, good.lost, feed.rows)
			}
			// The error says how many rows it did not take after that one.
			var missed int
			if _, rest, ok := strings.Cut(fmt.Sprint(queues[0].err), "; "); !ok {
				t.Errorf("seed %d: %v does not say what is missing", seed, queues[0].err)
			} else if _, err := fmt.Sscanf(rest, "%d later rows are missing", &missed); err != nil {
				t.Errorf("seed %d: %q: %v", seed, rest, err)
			}
			if bad.rows+bad.failed+missed != feed.rows {
				t.Errorf("seed %d: took %d rows, failed at %d, missed %d; want %d together", seed, bad.rows, bad.failed, missed, feed.rows)
			}
			if bad.seen != at || bad.closed != 1 {
				t.Errorf("seed %d: the sink that failed at %d got %d batches, closed %d times; want none after, once", seed, at, bad.seen, bad.closed)
			}
			if len(told) != 1 || !errors.Is(told[0], errSink) {
				t.Errorf("seed %d: told %v, want %v once", seed, told, errSink)
			}
		})
	}
}

// TestSinkBlocks has a sink that never comes back: it costs the patience of
// one close and nothing else.
func TestSinkBlocks(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		const seed = 1
		feed := &load{rand: rand.New(rand.NewPCG(seed, 0))}
		release := make(chan struct{})
		stuck := &tally{pause: func() { <-release }}
		good := &tally{}
		queues := []*queue{start(stuck, ignore), start(good, ignore)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := pump(ctx, feed, time.Second, queues); err != nil {
			t.Fatalf("pump: %v", err)
		}
		began := time.Now()
		err := queues[0].close(5 * time.Second)
		if err == nil {
			t.Error("close a sink that never finishes: got no error")
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("close took %v, want the patience of 5 s", took)
		}
		if err := queues[1].close(5 * time.Second); err != nil || good.rows != feed.rows {
			t.Errorf("the other sink: got %d rows, error %v; want %d", good.rows, err, feed.rows)
		}
		close(release) // or this test would leak what netfate leaves to its exit
		<-queues[0].done
	})
}

// TestPumpFails passes on what the feed says, wherever it says so.
func TestPumpFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := errors.New("map is gone")
		feed := &load{rand: rand.New(rand.NewPCG(1, 0)), fail: want}
		if err := pump(t.Context(), feed, time.Second, nil); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	})
}

// TestIntervals have no gap and no overlap, and the last ends when it is over.
func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		feed := &load{rand: rand.New(rand.NewPCG(1, 0))}
		var all []*record.Batch
		q := start(sinkFunc(func(b *record.Batch) error { all = append(all, b); return nil }), ignore)
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		if err := pump(ctx, feed, time.Second, []*queue{q}); err != nil {
			t.Fatal(err)
		}
		if err := q.close(time.Second); err != nil {
			t.Fatal(err)
		}
		at := began
		for i, b := range all {
			if !b.Start.Equal(at) {
				t.Errorf("interval %d begins at %v, want %v", i, b.Start.Sub(began), at.Sub(began))
			}
			at = b.End
		}
		if got := at.Sub(began); got != 10500*time.Millisecond {
			t.Errorf("the last interval ends at %v, want 10.5 s", got)
		}
	})
}

type sinkFunc func(*record.Batch) error

func (f sinkFunc) Batch(b *record.Batch) error { return f(b) }
func (f sinkFunc) Close() error                { return nil }

// TestPushToDeadSink never blocks, and counts what the sink will not get.
func TestPushToDeadSink(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		q := start(&tally{fail: func(int) bool { return true }}, ignore)
		for range 3 * queueLen {
			q.push(&record.Batch{Flows: make([]record.Flow, 1)})
			synctest.Wait()
		}
		if err := q.close(time.Second); !errors.Is(err, errSink) {
			t.Errorf("got %v, want %v", err, errSink)
		}
	})
}

// TestPushToFullQueue adds up what did not fit, and sends the sum ahead of the
// next batch when there is room.
func TestPushToFullQueue(t *testing.T) {
	q := newQueue("test", &tally{}) // nobody takes anything
	batch := &record.Batch{
		Start: time.Unix(8, 0), End: time.Unix(9, 0), Drops: []record.Drop{{Packets: 5}}, Samples: make([]record.Drop, 2),
		Flows: []record.Flow{{PacketsIn: 1}, {PacketsIn: 2}, {PacketsOut: 4}}, Lost: []record.Lost{{Place: "kernel", Count: 7}},
	}
	for range queueLen {
		q.push(batch)
	}
	if !q.rest.Empty() {
		t.Error("a batch was added up while there was room")
	}
	q.push(batch)
	q.push(batch)
	take(q)
	take(q)
	q.push(batch)
	if !q.rest.Empty() {
		t.Error("the sum was not sent, though there is room")
	}
	var all []*record.Batch
	for len(q.ch) > 0 {
		all = append(all, take(q))
	}
	sum := all[len(all)-2]
	want := &record.Batch{
		Start: batch.Start, End: batch.End,
		Drops: []record.Drop{{Endpoints: record.Endpoints{Time: batch.End}, Packets: 10}},
		Flows: []record.Flow{{Endpoints: record.Endpoints{Time: batch.End}, PacketsIn: 6, PacketsOut: 8, Other: true}},
		Lost: []record.Lost{
			{Time: batch.End, Place: "kernel", Count: 14},
			{Time: batch.End, Place: "queue of test", Reason: "full", Count: 8, Effect: sum.Lost[1].Effect},
			{Time: batch.End, Place: "queue of test", Reason: "full of samples", Count: 4, Effect: sum.Lost[2].Effect},
		},
	}
	if diff := cmp.Diff(want, sum, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("the sum of two batches (-want +got):\n%s", diff)
	}
	if all[len(all)-1] != batch {
		t.Error("the batch behind the sum is not the one that was pushed")
	}
	// Room for one only: the sum takes it, and the batch begins another.
	for range queueLen + 1 {
		q.push(batch)
	}
	take(q)
	q.push(batch)
	if q.rest.Rows != 4 {
		t.Errorf("got %d rows added up behind the sum, want 4", q.rest.Rows)
	}
}

// TestQueueOfRows is full of rows before it is full of batches; a batch of more
// than fit waits alone.
func TestQueueOfRows(t *testing.T) {
	q := newQueue("test", &tally{})
	huge := &record.Batch{End: time.Unix(9, 0), Flows: make([]record.Flow, 2*queueRows)}
	q.push(huge)
	q.push(&record.Batch{End: time.Unix(10, 0), Flows: make([]record.Flow, 1)})
	if len(q.ch) != 1 || q.rest.Rows != 1 {
		t.Errorf("got %d batches queued and %d rows added up, want 1 and 1", len(q.ch), q.rest.Rows)
	}
	take(q)
	q.push(huge)
	if len(q.ch) != 1 || q.rest.Rows != 2*queueRows {
		t.Errorf("got %d batches queued and %d rows added up, want the sum and %d", len(q.ch), q.rest.Rows, 2*queueRows)
	}
}

// take does what a sink's goroutine does.
func take(q *queue) *record.Batch {
	b := <-q.ch
	q.waiting.Add(-int64(rows(b)))
	return b
}

// TestCloseTellsLastLoss has a sink that is slow until the end: what its queue
// refused last is told too.
func TestCloseTellsLastLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tally{pause: func() { time.Sleep(time.Second) }}
		q := start(s, ignore)
		pushed := 3 * queueLen
		for range pushed {
			q.push(&record.Batch{End: time.Unix(9, 0), Flows: []record.Flow{{PacketsIn: 1}}})
		}
		if err := q.close(time.Hour); err != nil {
			t.Fatal(err)
		}
		if s.rows+s.lost != pushed || s.lost == 0 || s.packets != uint64(pushed) {
			t.Errorf("got %d rows and %d without their detail of %d packets, want %d together", s.rows, s.lost, s.packets, pushed)
		}
	})
}
