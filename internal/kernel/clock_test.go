package kernel

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestClockWall(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	c := Clock{Mono: 1_000_000_000_000, Boot: 5_000_000_000_000, Real: at.UnixNano()}
	f := func(got, want time.Time) {
		t.Helper()
		if !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	f(c.Wall(c.Mono), at)
	f(c.Wall(c.Mono+1), at.Add(1))
	f(c.Wall(c.Mono-1), at.Add(-1))
	f(c.Wall(0), at.Add(-1000*time.Second))
	f(c.Wall(c.Mono+3600e9), at.Add(time.Hour))
	f(c.WallBoot(c.Boot-1e9), at.Add(-time.Second))
	f(c.WallBoot(c.Boot+1e9), at.Add(time.Second))
	f(Clock{}.Wall(7), time.Unix(0, 7))
}

func TestReadClock(t *testing.T) {
	before := time.Now()
	c := ReadClock()
	now := uint64(clockNow(unix.CLOCK_MONOTONIC))
	after := time.Now()
	if got := c.Wall(now); got.Before(before.Add(-time.Second)) || got.After(after.Add(time.Second)) {
		t.Errorf("got %v, want between %v and %v", got, before, after)
	}
	if c.Boot < c.Mono-c.Err {
		t.Errorf("got %d ns since boot with sleep and %d without, want at least as much", c.Boot, c.Mono)
	}
}
