package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/table"
)

// Sink takes frozen batches: a view, an exporter, the history.
type Sink interface {
	// Batch takes b, which it may keep but not change. An error ends the
	// sink: it gets no more.
	Batch(b *record.Batch) error
	// Close flushes. It is called once, also after an error.
	Close() error
}

// queueLen is how many batches wait for a sink that is slow. With one a
// second it may sleep for a minute.
const queueLen = 64

// queueRows is how many rows wait for a sink at the most, some 15 MB; a batch
// of more waits alone. A quiet host never comes near it.
const queueRows = 1 << 15

// queue leads to one sink, in a goroutine of its own. A batch that finds it
// full, by batches or by rows, is added up with those before it, without
// addresses, and the sum goes ahead of the next batch that finds room: counts
// stay exact, and how much detail went is told.
type queue struct {
	name string
	sink Sink
	ch   chan *record.Batch
	done chan struct{} // closed when the sink is finished
	err  error         // good once done is closed

	waiting atomic.Int64 // rows, the batch that the sink has in hand included

	// Owned by the pump.
	rest *table.Remainder
}

func newQueue(name string, sink Sink) *queue {
	return &queue{name: name, sink: sink, ch: make(chan *record.Batch, queueLen), done: make(chan struct{}), rest: table.NewRemainder()}
}

// run feeds the sink until the queue is closed or the sink fails. failed is
// called then, so that the pump can stop if it has no other reader.
func (q *queue) run(failed func(error)) {
	defer close(q.done)
	for b := range q.ch {
		if err := q.sink.Batch(b); err != nil {
			q.err = err
			failed(err)
			break
		}
		q.waiting.Add(-int64(rows(b)))
	}
	q.err = errors.Join(q.err, q.sink.Close())
	missed := 0
	for b := range q.ch { // what a dead sink does not take must not fill its queue
		missed += rows(b)
	}
	if missed > 0 {
		q.err = fmt.Errorf("%w; %d later rows are missing", q.err, missed)
	}
}

func rows(b *record.Batch) int {
	return len(b.Drops) + len(b.Samples) + len(b.Flows) + len(b.Conns) + len(b.Requests) + len(b.RequestCounts) + len(b.Queries) + len(b.Ledger) + len(b.Lost)
}

// push queues b, or adds it to what waits for room.
func (q *queue) push(b *record.Batch) {
	if !q.rest.Empty() && q.room(q.rest.Len()) {
		q.send(q.restBatch())
	}
	if q.rest.Empty() && q.room(rows(b)) {
		q.send(b)
		return
	}
	q.rest.Add(b)
}

// room reports whether a batch of n rows may be sent. Only the pump sends, so
// there will still be room when it does.
func (q *queue) room(n int) bool {
	waiting := q.waiting.Load()
	return len(q.ch) < cap(q.ch) && (waiting == 0 || waiting+int64(n) <= queueRows)
}

func (q *queue) send(b *record.Batch) {
	q.waiting.Add(int64(rows(b)))
	q.ch <- b
}

// restBatch takes what was added up, with the count of what it has lost.
func (q *queue) restBatch() *record.Batch {
	rows, samples, single := q.rest.Rows, q.rest.Samples, q.rest.Single
	b := q.rest.Batch()
	for _, l := range []record.Lost{
		{Reason: "full", Count: rows, Effect: "these rows are counted, but without addresses, as other"},
		{Reason: "full of samples", Count: samples, Effect: "these events are counted, but not shown one by one"},
		{Reason: "full of single rows", Count: single, Effect: "these connections, requests, queries or lines of the ledger are not told"},
	} {
		if l.Count > 0 {
			l.Time, l.Place = b.End, "queue of "+q.name
			b.Lost = append(b.Lost, l)
		}
	}
	return b
}

// close ends the queue and waits for the sink to take what is in it, and what
// was added up last, but not for ever.
func (q *queue) close(patience time.Duration) error {
	late, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if !q.rest.Empty() {
		select {
		case q.ch <- q.restBatch():
		case <-late.Done():
		}
	}
	close(q.ch)
	select {
	case <-q.done:
		return q.err
	case <-late.Done():
		return fmt.Errorf("%s did not finish within %v: its last rows may be missing", q.name, patience)
	}
}
