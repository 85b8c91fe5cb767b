package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/netfate/netfate/internal/record"
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

// queueRows is how many rows wait for a sink at the most, some 30 MB; a batch
// of more waits alone. A quiet host never comes near it.
const queueRows = 1 << 16

// queue leads to one sink, in a goroutine of its own. When it is full the
// newest batch is not queued, its rows are counted, and the next batch that
// finds room brings the count along. It is full by batches or by rows.
type queue struct {
	name string
	sink Sink
	ch   chan *record.Batch
	done chan struct{} // closed when the sink is finished
	err  error         // good once done is closed

	waiting atomic.Int64 // rows, the batch that the sink has in hand included

	// Owned by the pump.
	refused record.Lost
}

func newQueue(name string, sink Sink) *queue {
	return &queue{name: name, sink: sink, ch: make(chan *record.Batch, queueLen), done: make(chan struct{})}
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
	return len(b.Drops) + len(b.Samples) + len(b.Flows) + len(b.Lost)
}

// push queues b, or counts it.
func (q *queue) push(b *record.Batch) {
	if q.refused.Count > 0 {
		note := &record.Batch{Start: b.Start, End: b.End, Lost: []record.Lost{q.refused}}
		select {
		case q.ch <- note:
			q.waiting.Add(int64(rows(note)))
			q.refused = record.Lost{}
		default:
		}
	}
	n := int64(rows(b))
	if waiting := q.waiting.Load(); waiting == 0 || waiting+n <= queueRows {
		q.waiting.Add(n)
		select {
		case q.ch <- b:
			return
		default:
			q.waiting.Add(-n)
		}
	}
	q.refused = record.Lost{
		Time: b.End, Place: "queue of " + q.name, Reason: "full",
		Count:  q.refused.Count + uint64(n),
		Effect: "these rows are missing from what was shown or written",
	}
}

// close ends the queue and waits for the sink to take what is in it, and the
// count of what was refused last, but not for ever.
func (q *queue) close(patience time.Duration) error {
	late, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if q.refused.Count > 0 {
		select {
		case q.ch <- &record.Batch{Start: q.refused.Time, End: q.refused.Time, Lost: []record.Lost{q.refused}}:
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
