package agent

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// stepper is a feed during whose intervals the host's clock is stepped.
type stepper struct {
	steps []time.Duration
	stop  context.CancelFunc
	spans []time.Duration // from start to end of each interval, as whoever gets them reads them
	fail  error
}

func (s *stepper) Follow(context.Context, time.Time) error {
	if len(s.steps) == 0 {
		s.stop()
		return s.fail
	}
	now := unix.NsecToTimeval(time.Now().Add(s.steps[0]).UnixNano())
	if err := unix.Settimeofday(&now); err != nil {
		s.fail = err
	}
	s.steps = s.steps[1:]
	return s.fail
}

func (s *stepper) Roll(_ context.Context, start, end time.Time) (*record.Batch, error) {
	s.spans = append(s.spans, end.Round(0).Sub(start.Round(0))) // Round(0) leaves wall time alone
	return &record.Batch{Start: start, End: end}, nil
}

func (s *stepper) Stop() error { return nil }

// Intervals are as long as they are, though the clock is stepped by an hour, on or back.
// Go's clock cannot be replaced by one that steps, so a guest's is.
func TestClockSteps(t *testing.T) {
	need.Root(t)
	need.Guest(t)
	ctx, stop := context.WithCancel(t.Context())
	s := &stepper{steps: []time.Duration{0, time.Hour, -time.Hour, -time.Hour, time.Hour}, stop: stop}
	if err := pump(ctx, s, time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	if len(s.spans) != 6 {
		t.Errorf("got %d intervals, want 5 and what is left", len(s.spans))
	}
	for i, span := range s.spans {
		if span < 0 || span > 10*time.Minute {
			t.Errorf("interval %d: got %v from its start to its end, want what it took", i, span)
		}
	}
}
