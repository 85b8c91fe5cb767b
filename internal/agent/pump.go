package agent

import (
	"context"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// feed is where batches come from: the sensors of this host, or a test's own.
// Its methods are called by one goroutine.
type feed interface {
	// Follow takes in single events until the time has come or ctx is done,
	// whichever is first.
	Follow(ctx context.Context, until time.Time) error
	// Roll ends the interval and returns what it brought, frozen.
	Roll(ctx context.Context, start, end time.Time) (*record.Batch, error)
	// Stop takes the sensors off; Roll still returns what they have seen.
	Stop() error
}

// pump moves batches from f to the queues, one each interval, until ctx is
// done; then it stops the sensors and moves what is left.
func pump(ctx context.Context, f feed, interval time.Duration, queues []*queue) error {
	start := time.Now()
	for ctx.Err() == nil {
		until := start.Add(interval)
		if err := f.Follow(ctx, until); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		now := time.Now()
		if err := roll(ctx, f, start, now, queues); err != nil {
			return err
		}
		start = now
	}
	if err := f.Stop(); err != nil {
		return err
	}
	// The last interval is short, and there is no context for it: it is over.
	return roll(context.WithoutCancel(ctx), f, start, time.Now(), queues)
}

func roll(ctx context.Context, f feed, start, end time.Time, queues []*queue) error {
	// Where wall time was stepped meanwhile, the interval is as long as it was all the same,
	// and does not end before it starts: the difference is the monotonic clock's.
	start = end.Add(start.Sub(end))
	batch, err := f.Roll(ctx, start, end)
	if err != nil {
		return err
	}
	for _, q := range queues {
		q.push(batch)
	}
	return nil
}
