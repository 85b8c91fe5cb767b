package agent

import (
	"errors"
	"fmt"
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

// queue leads to one sink, in a goroutine of its own. When it is full the
// newest batch is not queued, its rows are counted, and the next batch that
// finds room brings the count along.
type queue struct {
	name string
	sink Sink
	ch   chan *record.Batch
	done chan struct{} // closed when the sink is finished
	err  error         // good once done is closed

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
	}
	q.err = errors.Join(q.err, q.sink.Close())
	for b := range q.ch { // so that push never blocks on a dead sink
		_ = b
	}
}

// push queues b, or counts it.
func (q *queue) push(b *record.Batch) {
	if q.refused.Count > 0 {
		note := &record.Batch{Start: b.Start, End: b.End, Lost: []record.Lost{q.refused}}
		select {
		case q.ch <- note:
			q.refused = record.Lost{}
		default:
		}
	}
	select {
	case q.ch <- b:
	default:
		q.refused = record.Lost{
			Time: b.End, Place: "queue of " + q.name, Reason: "full",
			Count:  q.refused.Count + uint64(len(b.Drops)+len(b.Samples)+len(b.Flows)+len(b.Lost)),
			Effect: "these rows are missing from what was shown or written",
		}
	}
}

// close ends the queue and waits for the sink to take what is in it, but not
// for ever.
func (q *queue) close(patience time.Duration) error {
	close(q.ch)
	select {
	case <-q.done:
		return q.err
	case <-time.After(patience):
		return fmt.Errorf("%s did not finish within %v: its last rows may be missing", q.name, patience)
	}
}
