// Package outbox holds messages until they are sent: a bounded queue with one sender
// that tries again. Exporters that push stand on it; what a message is, they know. What has
// no room, is refused, or cannot be sent for too long is counted by reason.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/record"
)

// ErrRefused is wrapped by errors of messages that would be refused again.
var ErrRefused = errors.New("refused")

// Later is an error of a receiver that says when to try again.
type Later struct {
	Err   error
	After time.Duration
}

// Error implements error.
func (l *Later) Error() string { return l.Err.Error() }

// Unwrap is for errors.Is and errors.As.
func (l *Later) Unwrap() error { return l.Err }

// Partly is an error of a receiver that took a message but for some rows.
type Partly struct {
	Rows uint64 // that it did not take
	Why  string
}

// Error implements error.
func (p *Partly) Error() string { return fmt.Sprintf("%d rows were rejected: %s", p.Rows, p.Why) }

// Unwrap makes it a refusal.
func (p *Partly) Unwrap() error { return ErrRefused }

// Message is what is sent at once.
type Message struct {
	Path string // of the request that it is, for exporters that have several
	Body []byte
	Rows uint64 // that it tells of
}

// Config is the bounds of a box, and how it sends.
type Config struct {
	Name, Target string // as in export.Status
	// Bytes is how much may wait, by the bodies of messages.
	Bytes int
	// Patience is how long one message is tried, 0 for 5 min.
	Patience time.Duration
	// Flush is how long Close sends what waits, 0 for 3 s.
	Flush time.Duration
	// Send sends a message. It is called by one goroutine, and again if its error does
	// not wrap ErrRefused.
	Send func(ctx context.Context, m *Message) error
}

// Box is a queue. Its methods may be called at the same time.
type Box struct {
	cfg     Config
	closing context.Context // done when nothing more comes
	close   context.CancelFunc
	wake    chan struct{} // has room for one
	done    chan struct{} // closed when the sender ended

	mu      sync.Mutex
	queue   []Message
	bytes   int
	waiting uint64 // rows, of the message that is being sent too
	sent    uint64
	lost    []record.Lost
	fault   string
}

const (
	defaultPatience = 5 * time.Minute
	defaultFlush    = 3 * time.Second
	// Between two tries: so long first, twice as long each time, and so long at last.
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// New returns an empty box, whose sender runs until Close.
func New(cfg Config) *Box {
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	if cfg.Flush == 0 {
		cfg.Flush = defaultFlush
	}
	b := &Box{cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{})}
	b.closing, b.close = context.WithCancel(context.Background())
	go b.run()
	return b
}

// Put queues a message, or counts its rows as lost. It does not wait.
func (b *Box) Put(m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes > 0 && b.bytes+len(m.Body) > b.cfg.Bytes {
		b.lose("the queue is full", m.Rows, "these rows were not sent")
		return
	}
	b.queue = append(b.queue, m)
	b.bytes += len(m.Body)
	b.waiting += m.Rows
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Lose counts rows that are not sent, or not in full.
func (b *Box) Lose(reason string, rows uint64, effect string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose(reason, rows, effect)
}

func (b *Box) lose(reason string, rows uint64, effect string) {
	if rows == 0 {
		return
	}
	i := slices.IndexFunc(b.lost, func(l record.Lost) bool { return l.Reason == reason })
	if i < 0 {
		b.lost = append(b.lost, record.Lost{Place: b.cfg.Name, Reason: reason, Effect: effect})
		i = len(b.lost) - 1
	}
	b.lost[i].Count += rows
}

// Status returns how the box fares.
func (b *Box) Status() export.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return export.Status{
		Name: b.cfg.Name, Target: b.cfg.Target, Waiting: b.waiting, Sent: b.sent, Lost: slices.Clone(b.lost), Fault: b.fault,
	}
}

// Close sends what waits, as long as that may take and nothing fails, and counts the
// rest as lost.
func (b *Box) Close() error {
	b.close()
	<-b.done
	return nil
}

// run sends until the box is closed and empty.
func (b *Box) run() {
	defer close(b.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := context.AfterFunc(b.closing, func() { time.AfterFunc(b.cfg.Flush, cancel) })
	defer stop()
	for {
		m, ok := b.next()
		if !ok {
			select {
			case <-b.wake:
				continue
			case <-b.closing.Done():
			}
			if m, ok = b.next(); !ok {
				return
			}
		}
		err := b.deliver(ctx, &m)
		b.finish(&m, err)
	}
}

// next takes the oldest message.
func (b *Box) next() (m Message, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return m, false
	}
	m, b.queue[0] = b.queue[0], Message{}
	b.queue = b.queue[1:]
	b.bytes -= len(m.Body)
	return m, true
}

// deliver tries to send a message until it is sent, refused, or it takes too long;
// once the box is closed, only once.
func (b *Box) deliver(ctx context.Context, m *Message) error {
	begin, pause := time.Now(), firstPause
	for {
		err := b.cfg.Send(ctx, m)
		if err == nil || errors.Is(err, ErrRefused) || time.Since(begin) > b.cfg.Patience {
			return err
		}
		b.mu.Lock()
		b.fault = err.Error()
		b.mu.Unlock()
		wait := pause
		if l := (*Later)(nil); errors.As(err, &l) {
			wait = min(max(wait, l.After), b.cfg.Patience)
		}
		select {
		case <-b.closing.Done():
			return err
		case <-time.After(wait):
			pause = min(2*pause, lastPause)
		}
	}
}

// finish counts what became of a message.
func (b *Box) finish(m *Message, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting -= m.Rows
	partly := (*Partly)(nil)
	switch {
	case err == nil:
		b.sent += m.Rows
		b.fault = ""
		return
	case errors.As(err, &partly):
		rejected := min(partly.Rows, m.Rows)
		b.sent += m.Rows - rejected
		b.lose("rejected", rejected, "these rows did not arrive, others of the same message did")
	case errors.Is(err, ErrRefused):
		b.lose("refused", m.Rows, "these rows did not arrive")
	default:
		b.lose("cannot be sent", m.Rows, "these rows were not sent")
	}
	b.fault = err.Error()
}
