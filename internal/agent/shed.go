package agent

import (
	"math"
	"time"
)

// shedder says how much of HTTP is copied, by how full the ring gets and how busy
// the host is: first less of bodies, then fewer requests.
type shedder struct {
	budget  float64 // share of all CPUs that reading may take while they are busy
	level   int
	changed time.Time
}

// The levels: how many bytes of a message are copied from its head on; from the
// third on one request in two, four and so on is.
const (
	wholeRoom = 16 << 10
	headRoom  = 1 << 10
	maxLevel  = 12
)

const (
	// calm is how long nothing may press before more is copied again: so long
	// that what comes each few seconds does not go back and forth.
	calm = 10 * time.Second
	// busy is the share of the CPUs' time without work below which others wait
	// for what netfate takes.
	busy = 0.1
)

// keep returns what the present level allows.
func (s *shedder) keep() (room, oneIn uint32) {
	switch s.level {
	case 0:
		return wholeRoom, 1
	case 1:
		return headRoom, 1
	}
	return headRoom, 1 << (s.level - 1)
}

// ring takes how full the ring was when it was read. It reports whether the
// level has changed, as load does.
func (s *shedder) ring(now time.Time, waiting, size int) bool {
	switch {
	case waiting > size/2:
		return s.set(now, s.level+1)
	case waiting > size/8:
		s.changed = now // not calm
	}
	return false
}

// load takes how busy the host was since the last call. What netfate takes
// falls by half with each level, about.
func (s *shedder) load(now time.Time, l usage) bool {
	pressed := l.idle < busy && l.own > s.budget
	switch {
	case pressed:
		more := int(math.Ceil(math.Log2(l.own / s.budget)))
		if s.level == 0 {
			more++ // the first one spares little where bodies are short
		}
		return s.set(now, s.level+more)
	case l.idle < busy && 2*l.own > s.budget:
		s.changed = now // one level less would press again
	case now.Sub(s.changed) > calm:
		return s.set(now, s.level-1)
	}
	return false
}

func (s *shedder) set(now time.Time, level int) bool {
	level = min(max(level, 0), maxLevel)
	s.changed = now
	if level == s.level {
		return false
	}
	s.level = level
	return true
}
