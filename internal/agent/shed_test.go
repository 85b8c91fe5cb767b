package agent

import (
	"testing"
	"time"
)

// TestShed goes through what may press, a second each, and wants the level that
// follows.
func TestShed(t *testing.T) {
	s := shedder{budget: 0.02}
	now := time.Unix(1000, 0)
	ring := func(waiting int) func() bool { return func() bool { return s.ring(now, waiting, 100) } }
	load := func(l usage) func() bool { return func() bool { return s.load(now, l) } }
	for i, step := range []struct {
		name   string
		press  func() bool
		after  time.Duration
		level  int
		change bool
	}{
		{"empty", ring(0), 0, 0, false},
		{"half full", ring(50), 0, 0, false},
		{"fuller", ring(51), 0, 1, true},
		{"again", ring(80), time.Second, 2, true},
		{"still calm enough to wait", load(usage{0, 0.5}), calm, 2, false},
		{"calm", load(usage{0, 0.5}), calm + 1, 1, true},
		{"not that calm", ring(20), calm + 1, 1, false},
		{"so not yet", load(usage{0, 0.5}), time.Second, 1, false},
		{"busy, and twice the budget", load(usage{0.04, 0.05}), 0, 2, true},
		{"busy, and ten times", load(usage{0.2, 0}), 0, 6, true},
		{"less, but the next level would press", load(usage{0.015, 0}), calm + 1, 6, false},
		{"not for long", load(usage{0.005, 0}), calm, 6, false},
		{"much less", load(usage{0.005, 0}), calm + 1, 5, true},
		{"idle, however much", load(usage{0.5, 0.3}), calm + 1, 4, true},
		{"all of it", load(usage{1, 0}), 0, 10, true},
		{"more than all", load(usage{1, 0}), 0, maxLevel, true},
		{"no further", load(usage{1, 0}), 0, maxLevel, false},
		{"anew", func() bool { return s.set(now, 0) }, 0, 0, true},
		{"four times the budget", load(usage{0.08, 0}), 0, 3, true},
	} {
		now = now.Add(step.after)
		if got := step.press(); got != step.change || s.level != step.level {
			t.Errorf("step %d, %s: got level %d, changed %v; want %d, %v", i, step.name, s.level, got, step.level, step.change)
		}
	}
	for level, want := range map[int][2]uint32{0: {wholeRoom, 1}, 1: {headRoom, 1}, 2: {headRoom, 2}, maxLevel: {headRoom, 2048}} {
		s.level = level
		if room, oneIn := s.keep(); room != want[0] || oneIn != want[1] {
			t.Errorf("level %d: got %d bytes of one in %d, want %v", level, room, oneIn, want)
		}
	}
}

// TestDue has the meter read sooner where this process is the one that is busy.
func TestDue(t *testing.T) {
	own, err := readOwn()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		passed, spent time.Duration
		want          bool
	}{
		{0, 0, false}, {hurryTime - 1, time.Hour, false}, {hurryTime, 0, false}, {hurryTime, time.Hour, true},
		{meterTime - 1, 0, false}, {meterTime, 0, true},
	} {
		m := usageMeter{at: now.Add(-c.passed), own: own - c.spent}
		// A second more than there is takes away what this test takes meanwhile.
		if c.spent == 0 {
			m.own += time.Second
		}
		if got, err := m.due(now, 0.02); got != c.want || err != nil {
			t.Errorf("after %v with %v spent: got %v, %v; want %v", c.passed, c.spent, got, err, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	var m usageMeter
	now := time.Now()
	if _, ok, err := m.read(now); ok || err != nil {
		t.Fatalf("first reading: got %v, %v, want nothing to compare with", ok, err)
	}
	for spun := 0; time.Since(now) < 200*time.Millisecond; spun++ {
		continue
	}
	l, ok, err := m.read(time.Now())
	if err != nil || !ok || l.own <= 0 || l.own > 1.1 || l.idle < 0 || l.idle > 1 {
		t.Errorf("got %+v, %v, %v; want what it took to spin", l, ok, err)
	}
}
